"""ExecutorRegistry, the options every pool checks, the public names."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import genro_asgi.executors
from genro_asgi.executors import BaseExecutor, ExecutorError, ExecutorRegistry, LocalExecutor, ThreadExecutor


def test_a_pool_is_made_once() -> None:
    registry = ExecutorRegistry()
    pool = registry.get_or_create("pdf", kind="thread", max_workers=2)
    assert isinstance(pool, ThreadExecutor)
    assert registry.get_or_create("pdf") is pool
    assert registry.get_or_create("pdf", "thread", max_workers=2) is pool
    assert registry.get("pdf") is pool
    assert registry.get("other") is None
    assert ("pdf" in registry, "other" in registry, len(registry), list(registry)) == (True, False, 1, ["pdf"])
    assert dict(registry.executors) == {"pdf": pool}
    with pytest.raises(TypeError):
        registry.executors["x"] = pool  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "options", "kind"),
    [
        ((), {}, LocalExecutor),
        (("a",), {}, LocalExecutor),
        (("a", "local"), {}, LocalExecutor),
        (("a",), {"executor_type": "local"}, LocalExecutor),
        (("a",), {"kind": "local"}, LocalExecutor),
        (("a",), {"kind": "process"}, LocalExecutor),
        (("a", "local"), {"kind": "process"}, LocalExecutor),
        (("a", "thread"), {}, ThreadExecutor),
        (("a",), {"kind": "thread"}, ThreadExecutor),
    ],
)
def test_kinds_and_their_older_spelling(arguments: tuple[str, ...], options: dict[str, str], kind: type) -> None:
    pool = ExecutorRegistry().get_or_create(*arguments, **options)
    assert type(pool) is kind
    assert pool.name == (arguments[0] if arguments else "default")


def test_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="there is no executor kind 'fibre'; the kinds are local, process, thread"):
        ExecutorRegistry().get_or_create("a", "fibre")
    with pytest.raises(ValueError, match="as kind 'thread' and as 'local'; give one of them"):
        ExecutorRegistry().get_or_create("a", "local", kind="thread")


def test_what_exists_must_be_what_is_asked_for() -> None:
    registry = ExecutorRegistry()
    registry.get_or_create("a", "thread", max_workers=2)
    with pytest.raises(ValueError, match="executor 'a' exists and is of another kind than 'process'"):
        registry.get_or_create("a", "process")
    for options in ({"max_workers": 3}, {"max_pending": 5}):
        with pytest.raises(ValueError, match="executor 'a' exists and was not made with max_"):
            registry.get_or_create("a", **options)


def test_a_kind_of_ones_own() -> None:
    registry = ExecutorRegistry()
    calls: list[Any] = []

    def factory(name: str, **options: Any) -> BaseExecutor:
        calls.append((name, options))
        return ThreadExecutor(f"my-{name}")

    registry.register_factory("mine", factory)
    assert registry.get_or_create("a", "mine", size=3).name == "my-a"
    assert calls == [("a", {"size": 3})]


@pytest.mark.asyncio
async def test_shutdown_all_ends_every_pool_and_they_can_be_made_anew(no_leak: None) -> None:
    registry = ExecutorRegistry()
    pool = registry.get_or_create("t", "thread")
    registry.get_or_create("p", "process", max_workers=1)
    job = pool.run(int)
    assert set(registry.all_metrics()) == {"t", "p"}
    assert registry.all_metrics()["p"]["kind"] == "process"
    await registry.shutdown_all()
    assert job.result() == 0
    assert all(executor.closed for executor in registry.executors.values())
    assert registry.get_or_create("t", "thread", max_workers=3) is not pool
    await registry.shutdown_all(wait=False, timeout=1)


@pytest.mark.asyncio
async def test_one_pool_that_fails_to_end_does_not_keep_the_others() -> None:
    class Broken(ThreadExecutor):
        async def shutdown(self, wait: bool = True, timeout: float | None = None) -> None:  # noqa: ASYNC109
            raise OSError("stuck")

    registry = ExecutorRegistry()
    registry.register_factory("broken", Broken)
    registry.get_or_create("b", "broken")
    good = registry.get_or_create("t", "thread")
    with pytest.raises(ExceptionGroup, match="executors that did not shut down") as caught:
        await registry.shutdown_all()
    assert [str(error) for error in caught.value.exceptions] == ["stuck"]
    assert good.closed


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": ""}, "the name of an executor is ''; give a text that is not empty"),
        ({"name": 3}, "the name of an executor is 3"),
        ({"max_workers": 0}, "max_workers of executor 'x' is 0; give a whole number of at least 1"),
        ({"max_workers": "2"}, "max_workers of executor 'x' is '2'; give a whole number"),
        ({"max_workers": 1.5}, "max_workers of executor 'x' is 1.5; give a whole number"),
        ({"max_pending": 0}, "max_pending of executor 'x' is 0; give a whole number of at least 1, or None"),
        ({"timeout": "3"}, "timeout of executor 'x' is '3'; give seconds above 0, or None"),
        ({"initializer": "jobs:load"}, "initializer of executor 'x' is 'jobs:load'; give a function, or None"),
        ({"initargs": 3}, "initargs of executor 'x' is 3; give a tuple of its arguments"),
        ({"on_overload": "drop"}, "on_overload of executor 'x' is 'drop'; give 'raise' or 'wait'"),
        ({"timeout": 0}, "timeout of executor 'x' is 0; give seconds above 0, or None"),
    ],
)
@pytest.mark.parametrize("kind", [LocalExecutor, ThreadExecutor])
def test_bad_options_are_refused(kind: Callable[..., Any], options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        kind(**{"name": "x", **options})


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        (LocalExecutor, {"on_cancel": "stop"}, "on_cancel of executor 'x' is 'stop'; give 'finish' or 'kill'"),
        (LocalExecutor, {"max_tasks_per_worker": 0}, "max_tasks_per_worker of executor 'x' is 0"),
        (LocalExecutor, {"max_rss_per_worker": -1}, "max_rss_per_worker of executor 'x' is -1"),
        (ThreadExecutor, {"max_parked": -1}, "max_parked of executor 'x' is -1; give 0 or more"),
    ],
)
def test_bad_options_of_one_kind(kind: Callable[..., Any], options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        kind("x", **options)


@pytest.mark.parametrize("kind", [LocalExecutor, ThreadExecutor])
def test_only_functions_are_decorated(kind: Callable[..., Any]) -> None:
    with pytest.raises(ExecutorError, match="'text' cannot be called; give a function"):
        kind("x")("text")


def test_options_of_a_call() -> None:
    pool = LocalExecutor("x", timeout=3)
    assert pool.timeout == 3
    runner = pool.options(priority=2).options(on_cancel="kill")
    assert (runner.defaults.priority, runner.defaults.timeout, runner.defaults.on_cancel) == (2, 3, "kill")
    assert runner.options(timeout=float("inf")).defaults.timeout is None
    with pytest.raises(ValueError, match="on_cancel of executor 'y' is 'kill'; give 'finish'"):
        ThreadExecutor("y").options(on_cancel="kill")
    with pytest.raises(ValueError, match=r"priority of executor 'x' is 1.5; give an integer"):
        pool.options(priority=1.5)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_the_decorator_and_its_options() -> None:
    pool = ThreadExecutor("x")

    @pool.options(timeout=0.5)
    def double(number: int) -> int:
        """Twice."""
        return number * 2

    assert (double.__name__, double.__doc__, double.executor) == ("double", "Twice.", pool)
    assert asyncio.iscoroutinefunction(double)
    assert await double(2) == 4
    assert await double.start(3) == 6
    assert await double.options(priority=1)(4) == 8
    assert double.start(1).options.timeout == 0.5
    assert double.options(priority=1).start(1).options.timeout == 0.5
    runner = pool.options(priority=1)
    assert [item async for item in runner.stream(iter, "ab")] == ["a", "b"]
    await pool.shutdown()


def test_sizes_that_are_not_given() -> None:
    cpus = os.cpu_count() or 1
    assert ThreadExecutor().max_workers == min(32, cpus + 4)
    assert LocalExecutor().max_workers == cpus
    assert (ThreadExecutor().name, LocalExecutor().name) == ("worker", "default")


def test_public_names() -> None:
    for name in genro_asgi.executors.__all__:
        assert getattr(genro_asgi.executors, name).__name__ == name
    assert sorted(genro_asgi.executors.__all__) == sorted(genro_asgi.executors._HOMES)
    with pytest.raises(AttributeError, match=r"module 'genro_asgi.executors' has no attribute 'nothing'"):
        genro_asgi.executors.nothing  # noqa: B018


def test_a_worker_does_not_import_the_event_loop() -> None:
    """What every worker process pays for at its start."""
    code = "import sys, genro_asgi.executors.worker; print('asyncio' in sys.modules, 'inspect' in sys.modules)"
    code = "import pkgutil; " + code  # in a checkout the marker of the namespace imports it, and that imports inspect
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "False"


def test_metrics_without_a_call() -> None:
    metrics = ThreadExecutor("x", max_workers=2).metrics()
    assert metrics.pop("wait_seconds")["count"] == metrics.pop("run_seconds")["count"] == 0
    assert metrics == {
        "name": "x", "kind": "thread", "mode": "thread", "max_workers": 2, "workers": 0, "busy": 0, "pending": 0,
        "queued": 0, "abandoned": 0, "max_pending": 100, "submitted": 0, "completed": 0, "failed": 0, "cancelled": 0,
        "timed_out": 0, "rejected": 0, "avg_duration_ms": 0.0, "parked": 0,
    }  # fmt: skip
    assert LocalExecutor("x").metrics()["replaced"] == 0


@pytest.mark.asyncio
async def test_metrics_tell_waiting_from_running() -> None:
    import time

    pool = ThreadExecutor("x", max_workers=1)
    await asyncio.gather(*[pool.run(time.sleep, 0.02) for _ in range(3)])
    metrics = pool.metrics()
    wait, run = metrics["wait_seconds"], metrics["run_seconds"]
    assert (wait["count"], run["count"]) == (3, 3)
    assert wait["sum"] >= 0.05  # 0, 20 and 40 ms, less what it takes to bring the three
    assert run["sum"] >= 0.06
    assert (run["buckets"]["0.01"], run["buckets"]["60"], run["buckets"]["+Inf"]) == (0, 3, 3)
    assert metrics["avg_duration_ms"] == pytest.approx(run["sum"] / 3 * 1000)
    await pool.shutdown()
