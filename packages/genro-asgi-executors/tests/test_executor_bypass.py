"""Pools in bypass run calls on the spot, with the errors and the metrics of real ones."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import offload_jobs as jobs
import pytest

from genro_asgi.executors import (
    ExecutorClosedError,
    ExecutorError,
    ExecutorTimeoutError,
    LocalExecutor,
    Progress,
    ThreadExecutor,
    report,
)

Make = Callable[..., Any]


def outcomes(pool: Any) -> dict[str, int]:
    names = ("submitted", "completed", "failed", "cancelled", "timed_out", "rejected", "pending", "abandoned")
    metrics = pool.metrics()
    return {name: metrics[name] for name in names if metrics[name]}


@pytest.fixture(params=["threads", "processes"])
def make(request: pytest.FixtureRequest) -> Make:
    factory = request.getfixturevalue(request.param)
    return lambda **options: factory(bypass=True, **options)


@pytest.mark.asyncio
async def test_calls_run_here(make: Make) -> None:
    pool = make()
    await pool.warm_up()
    assert await pool.run(jobs.pid) == os.getpid()
    assert await pool.run(threading.get_ident) == threading.get_ident()
    assert (pool.mode, pool.workers, pool.busy) == ("bypass", 0, 0)
    assert outcomes(pool) == {"submitted": 2, "completed": 2}
    assert pool.metrics()["run_seconds"]["count"] == 2


@pytest.mark.asyncio
async def test_the_initializer_runs_here_once(make: Make) -> None:
    pool = make(initializer=jobs.preload, initargs=("loaded here",))
    assert await pool.run(jobs.preloaded) == "loaded here"
    jobs.preload(None)
    assert await pool.run(jobs.preloaded) is None
    warm = make(initializer=jobs.preload, initargs=("warm",))
    await warm.warm_up()
    assert jobs.preloaded() == "warm"
    jobs.preload(None)


@pytest.mark.asyncio
async def test_an_initializer_that_fails_here(make: Make) -> None:
    pool = make(initializer=jobs.broken_initializer, initargs=("no model",))
    for attempt in (pool.run(jobs.add, 1), pool.warm_up()):
        with pytest.raises(
            ExecutorError, match=r"cannot start a worker: its initializer raised ValueError\('no model'\)"
        ):
            await attempt


@pytest.mark.parametrize(("value", "bypassed"), [("1", True), ("0", False), ("", False), (None, False)])
@pytest.mark.parametrize("kind", [LocalExecutor, ThreadExecutor])
def test_the_environment_switches_it_on(
    kind: Make, value: str | None, bypassed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GENRO_EXECUTOR_BYPASS", raising=False)
    if value is not None:
        monkeypatch.setenv("GENRO_EXECUTOR_BYPASS", value)
    assert kind("x").bypass is bypassed
    assert kind("x", bypass=True).bypass is True


@pytest.mark.asyncio
async def test_errors_are_the_same(make: Make) -> None:
    pool = make()
    with pytest.raises(ValueError, match="bad"):
        await pool.run(jobs.fail, "bad")
    with pytest.raises(ExecutorError, match=r"offload_jobs.exit_with raised SystemExit\(4\)"):
        await pool.run(jobs.exit_with, 4)
    with pytest.raises(ExecutorError, match="is async"):
        await pool.run(jobs.coroutine)
    assert outcomes(pool) == {"submitted": 3, "failed": 3}
    await pool.shutdown()
    with pytest.raises(ExecutorClosedError):
        await pool.run(jobs.add, 1)
    with pytest.raises(ExecutorClosedError):
        await anext(pool.stream(jobs.count_to, 1))


@pytest.mark.asyncio
async def test_what_cannot_be_sent_is_refused_as_by_a_process(processes: Make) -> None:
    pool = processes(bypass=True)
    with pytest.raises(ExecutorError, match="is a lambda"):
        pool.run(lambda: 1)
    with pytest.raises(ExecutorError, match=r"argument value \(function\)"):
        pool.run(jobs.echo, lambda: 1)
    with pytest.raises(ExecutorError, match=r"the result of offload_jobs.make_lambda"):
        await pool.run(jobs.make_lambda)
    with pytest.raises(ExecutorError, match=r"an item of offload_jobs.yield_lambda"):
        [item async for item in pool.stream(jobs.yield_lambda)]
    value = {"a": [1]}
    copy = await pool.run(jobs.echo, value)
    assert copy == value
    assert copy is not value


@pytest.mark.asyncio
async def test_a_timeout_is_noticed_afterwards(make: Make) -> None:
    pool = make(timeout=0.005)
    with pytest.raises(ExecutorTimeoutError, match=r"time.sleep ran longer than 0.005 s"):
        await pool.run(time.sleep, 0.01)
    assert outcomes(pool) == {"submitted": 1, "timed_out": 1}


@pytest.mark.asyncio
async def test_progress_and_nesting(make: Make) -> None:
    pool = make()
    job = pool.run(jobs.steps, 1)
    assert [progress async for progress in job] == [Progress(0.0, "step 0"), Progress(1.0, "beyond"), Progress(None)]
    assert await job == "done"
    report(0.5, "nobody")
    assert job.progress == Progress(None)


@pytest.mark.asyncio
async def test_streams(make: Make) -> None:
    pool = make()
    assert [item async for item in pool.stream(jobs.count_to, 3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="no more"):
        [item async for item in pool.stream(jobs.count_and_fail, 1)]


@pytest.mark.asyncio
async def test_leaving_a_stream_early_closes_it(make: Make, tmp_path: Any) -> None:
    async with aclosing(make().stream(jobs.count_and_mark, str(tmp_path / "mark"))) as items:
        assert await anext(items) == 0
    assert (tmp_path / "mark").read_text() == "closed"


@pytest.mark.asyncio
async def test_a_bypassed_function_sees_itself_pending(threads: Make) -> None:
    pool = threads(bypass=True)
    assert await pool.run(lambda: pool.pending) == 1

    @pool
    def numbers() -> Iterator[int]:
        yield pool.pending

    assert [item async for item in numbers()] == [1]
