"""LocalExecutor: real processes run decorated functions, and what cannot be sent is named."""

import asyncio
import decimal
import functools
import math
import multiprocessing
import operator
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import offload_jobs as jobs
import pytest

from genro_asgi.executors import (
    ExecutorClosedError,
    ExecutorError,
    ExecutorOverloadError,
    LocalExecutor,
    Progress,
    RemoteTraceback,
    in_worker,
)

Make = Callable[..., LocalExecutor]
decorated_here: Any = None


def outcomes(pool: LocalExecutor) -> dict[str, int]:
    """The counters that are not zero."""
    names = ("submitted", "completed", "failed", "cancelled", "timed_out", "rejected", "pending", "abandoned")
    metrics = pool.metrics()
    return {name: metrics[name] for name in names if metrics[name]}


async def running(job: Any) -> int:
    """Wait until the job reports the pid of its process."""
    async with aclosing(aiter(job)) as reports:
        progress: Progress = await anext(reports)
    return int(progress.text)


@pytest.mark.asyncio
async def test_calls_run_in_another_process(processes: Make, no_leak: None) -> None:
    pool = processes()
    assert await pool.run(jobs.add, 1, b=2) == 3
    assert await pool.submit(jobs.inside) is True
    assert (await pool.run(jobs.pid)) not in (os.getpid(), None)
    assert in_worker() is False
    assert (pool.workers, pool.busy) == (1, 0)
    assert outcomes(pool) == {"submitted": 3, "completed": 3}
    await pool.shutdown()


@pytest.mark.asyncio
async def test_a_worker_stays_and_workers_are_started_as_needed(processes: Make, tmp_path: Path) -> None:
    pool = processes(max_workers=2)
    assert pool.workers == 0
    pids = {await pool.run(jobs.pid) for _ in range(3)}
    assert (len(pids), pool.workers) == (1, 1)
    calls = [pool.run(jobs.hang_up_on_file, str(tmp_path / "go")) for _ in range(2)]
    assert len({await running(job) for job in calls}) == 2
    assert (pool.workers, pool.busy) == (2, 2)
    (tmp_path / "go").touch()
    await asyncio.gather(*calls)


@pytest.mark.asyncio
async def test_a_decorated_function_runs_in_a_process(processes: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the module leads to the decorated function, here and in the worker."""
    import offload_decorated

    monkeypatch.setattr(offload_decorated.pool, "_backlog", offload_decorated.pool._backlog)
    assert await offload_decorated.double(4) == (8, True)
    assert await offload_decorated.cached_triple(4) == (12, True)
    assert offload_decorated.double.__wrapped__(4) == (8, False)
    assert offload_decorated.double.__name__ == "double"
    assert [item async for item in offload_decorated.letters("abc")] == ["a", "b", "c"]
    job = offload_decorated.double.start(5)
    assert await job == (10, True)
    assert offload_decorated.double.executor is offload_decorated.pool
    assert await offload_decorated.double.options(priority=3)(6) == (12, True)
    await offload_decorated.pool.shutdown()


@pytest.mark.parametrize(
    ("value", "size"),
    [(None, 0), ({"a": [1, 2.5, decimal.Decimal("1.10")]}, 0), (b"x" * 3_000_000, 3_000_000), ("è" * 70_000, 70_000)],
    ids=["none", "nested", "3 MB", "text"],
)
@pytest.mark.asyncio
async def test_values_travel_both_ways(processes: Make, value: Any, size: int) -> None:
    result = await processes().run(jobs.echo, value)
    assert result == value
    assert size == 0 or len(result) == size


@pytest.mark.asyncio
async def test_large_values_of_several_calls_do_not_mix(processes: Make) -> None:
    pool = processes(max_workers=2)
    values = [bytes([number]) * 500_000 for number in range(8)]
    assert await asyncio.gather(*[pool.run(jobs.echo, value) for value in values]) == values


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (lambda: 1, r"<lambda> is a lambda"),
        (jobs.Fickle().__reduce__, r"Fickle.__reduce__ is a method"),
        (jobs.Fickle.__reduce__, r"Fickle.__reduce__ is a method"),
        (functools.partial(lambda a: a, 1), r"<lambda> is a lambda"),
        (operator.itemgetter(1), r"operator.itemgetter\(1\) has no name of its own"),
        ([].append, r"has no name of its own|is a method"),
        (functools.wraps(jobs.add)(lambda: 1), r"the name offload_jobs.add leads to something else"),
        (jobs.coroutine, r"offload_jobs.coroutine is async"),
    ],
    ids=["lambda", "bound", "method", "partial", "object", "builtin method", "impostor", "async"],
)
@pytest.mark.asyncio
async def test_functions_no_process_could_find_are_refused(processes: Make, fn: Any, why: str) -> None:
    pool = processes()
    with pytest.raises(ExecutorError, match=why):
        pool.run(fn)
    assert outcomes(pool) == {"submitted": 1, "failed": 1}
    assert pool.workers == 0


@pytest.mark.asyncio
async def test_an_unhashable_callable_is_refused(processes: Make) -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> None: ...

    with pytest.raises(ExecutorError, match="has no name of its own"):
        processes().run(Unhashable())


@pytest.mark.asyncio
async def test_refused_when_decorated(processes: Make) -> None:
    pool = processes()

    def local() -> None: ...

    for fn in (lambda: 1, local, jobs.coroutine, pool.run):
        with pytest.raises(ExecutorError):
            pool(fn)
        with pytest.raises(ExecutorError):
            LocalExecutor("q", initializer=fn) if fn is not jobs.coroutine else pool(fn)


@pytest.mark.parametrize(
    ("args", "kwargs", "culprit"),
    [
        ((lambda: 1,), {}, r"argument a \(function\) of offload_jobs.add"),
        ((1,), {"b": threading.Lock()}, r"argument b \(lock\)"),
        (({"rows": [1, {2: (3, lambda: 4)}]},), {}, r"argument a\['rows'\]\[1\]\[2\]\[1\] \(function\)"),
        ((1, 2, lambda: 3), {}, r"argument 3 \(function\)"),
        ((), {"c": lambda: 3}, r"argument c \(function\)"),
    ],
)
@pytest.mark.asyncio
async def test_an_argument_that_cannot_be_sent_is_named(processes: Make, args: Any, kwargs: Any, culprit: str) -> None:
    with pytest.raises(ExecutorError, match=culprit + ".*cannot be sent to a worker process.*pass plain data"):
        processes().run(jobs.add, *args, **kwargs)


@pytest.mark.asyncio
async def test_arguments_that_only_fail_together(processes: Make) -> None:
    calls: list[int] = []

    class Moody:
        def __reduce__(self) -> Any:
            calls.append(1)
            if len(calls) == 1:
                raise ValueError("not now")
            return int, ()

    with pytest.raises(ExecutorError, match=r"the arguments of offload_jobs.echo cannot be sent .*: not now"):
        processes().run(jobs.echo, Moody())


@pytest.mark.asyncio
async def test_an_argument_the_worker_cannot_rebuild(processes: Make) -> None:
    pool = processes()
    with pytest.raises(ExecutorError, match=r"the arguments of offload_jobs.echo cannot be rebuilt .*: LookupError"):
        await pool.run(jobs.echo, jobs.Fickle())
    assert await pool.run(jobs.add, 1) == 1


@pytest.mark.asyncio
async def test_a_result_that_cannot_be_sent_is_named(processes: Make) -> None:
    pool = processes()
    with pytest.raises(
        ExecutorError, match=r"the result of offload_jobs.make_lambda .*value\['rows'\]\[1\] \(function\)"
    ):
        await pool.run(jobs.make_lambda)
    with pytest.raises(ExecutorError, match=r"the result of offload_jobs.count_to .*; iterate it with stream\(\)"):
        await pool.run(jobs.count_to, 3)
    assert outcomes(pool) == {"submitted": 2, "failed": 2}


@pytest.mark.asyncio
async def test_a_result_that_cannot_be_rebuilt_here(processes: Make) -> None:
    pool = processes()
    with pytest.raises(ExecutorError, match=r"the result of offload_jobs.make_fickle cannot be rebuilt on this side"):
        await pool.run(jobs.make_fickle)
    assert await pool.run(jobs.add, 1) == 1


@pytest.mark.asyncio
async def test_an_exception_brings_its_remote_traceback(processes: Make) -> None:
    with pytest.raises(ValueError, match=r"^bad$") as caught:
        await processes().run(jobs.fail, "bad")
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert "in inner" in str(cause)
    assert "offload_jobs.py" in cause.text
    assert "worker.py" not in cause.text.splitlines()[1]


@pytest.mark.parametrize(
    ("name", "text", "attributes"),
    [
        ("Picky", "picky", {"code": 3}),
        ("Wordy", "code 3", {"code": 3}),
        ("Keyed", "keyed", {"code": 3}),
        ("Missing", "[Errno 2] gone", {"code": 3, "errno": 2, "strerror": "gone"}),
        ("Travels", "travels", {"code": 3}),
        ("Slotted", "3", {"code": 3}),
    ],
)
@pytest.mark.asyncio
async def test_exceptions_with_an_init_of_their_own(
    processes: Make, name: str, text: str, attributes: dict[str, Any]
) -> None:
    """Pickle alone would lose them, or say "code code 3"; in a group as well."""
    pool = processes()
    kind = getattr(jobs, name)
    with pytest.raises(kind) as caught:
        await pool.run(jobs.raise_special, name)
    with pytest.raises(ExceptionGroup) as group:
        await pool.run(jobs.raise_special, name, grouped=True)
    for error in (caught.value, *group.value.exceptions):
        assert (type(error), str(error)) == (kind, text)
        assert {key: getattr(error, key) for key in attributes} == attributes
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert caught.value.__notes__ == ["noted"]


@pytest.mark.parametrize(
    ("fn", "args", "text"),
    [
        (jobs.raise_stubborn, (), "raised an exception that cannot be sent .*Stubborn: 3"),
        (jobs.raise_unsendable, (), "raised an exception that cannot be sent .*Unsendable: unsendable"),
        (jobs.exit_with, (4,), r"offload_jobs.exit_with raised SystemExit\(4\); raise an ordinary exception"),
        (jobs.stop_iteration, (), r"offload_jobs.stop_iteration raised StopIteration\('enough'\)"),
    ],
)
@pytest.mark.asyncio
async def test_exceptions_that_cannot_travel(processes: Make, fn: Any, args: Any, text: str) -> None:
    pool = processes()
    with pytest.raises(ExecutorError, match=text):
        await pool.run(fn, *args)
    assert await pool.run(jobs.add, 1) == 1
    assert pool.metrics()["replaced"] == 0


@pytest.mark.parametrize(
    ("fn", "args", "text"),
    [
        (jobs.raise_odd, ("Renegade",), "raised an exception that cannot be sent .*Renegade"),
        (jobs.raise_odd, ("Turncoat",), "raised an exception that cannot be sent .*Turncoat"),
        (jobs.raise_odd, ("Mute",), "offload_jobs.raise_odd raised <Mute, whose repr fails: ValueError>; raise an"),
        (jobs.make_traitor, (), r"the result of offload_jobs.make_traitor cannot be rebuilt .*: SystemExit\(5\)"),
        (jobs.echo, (jobs.Traitor(),), r"the arguments of offload_jobs.echo cannot be rebuilt .*: SystemExit\(5\)"),
    ],
)
@pytest.mark.asyncio
async def test_what_is_hostile_on_its_way_fails_its_call_alone(processes: Make, fn: Any, args: Any, text: str) -> None:
    """Neither the loop ends, nor does the caller wait for ever, nor does the worker die of it."""
    pool = processes()
    async with asyncio.timeout(30):
        with pytest.raises(ExecutorError, match=text):
            await pool.run(fn, *args)
        assert await pool.run(jobs.add, 1) == 1
    metrics = pool.metrics()
    assert {key: metrics[key] for key in ("submitted", "completed", "failed", "pending", "replaced")} == {
        "submitted": 2, "completed": 1, "failed": 1, "pending": 0, "replaced": 0,
    }  # fmt: skip


@pytest.mark.asyncio
async def test_an_exception_that_lets_nothing_be_set(processes: Make) -> None:
    with pytest.raises(jobs.Frozen) as caught:
        await processes().run(jobs.raise_frozen)
    assert caught.value.code == 3
    assert isinstance(caught.value.__cause__, RemoteTraceback)


@pytest.mark.asyncio
async def test_a_call_that_forks_is_answered_once(processes: Make) -> None:
    """The copy that comes back from the call, too, says nothing: it would be taken for the next answer."""
    pool = processes()
    assert await pool.run(jobs.fork_and_return) == "the original"
    assert [item async for item in pool.stream(jobs.fork_and_yield)] == ["the original", "more"]
    assert await pool.run(jobs.add, 1) == 1


@pytest.mark.asyncio
async def test_what_a_call_forks_off_can_be_terminated(processes: Make) -> None:
    assert await processes().run(jobs.fork_and_terminate) == -signal.SIGTERM


@pytest.mark.parametrize("bypass", [False, True])
@pytest.mark.asyncio
async def test_a_partial_of_a_function(processes: Make, bypass: bool) -> None:
    pool = processes(bypass=bypass)
    assert await pool.run(functools.partial(functools.partial(jobs.add, 1), b=2)) == 3
    assert await pool.run(functools.partial(sorted, reverse=True), [1, 2]) == [2, 1]
    assert await pool(functools.partial(jobs.add, 4))(5) == 9
    assert [item async for item in pool.stream(functools.partial(jobs.count_to, 2))] == [0, 1]
    with pytest.raises(ExecutorError, match="is a lambda"):
        pool(functools.partial(lambda: 1))


@pytest.mark.asyncio
async def test_a_worker_knows_the_key_of_multiprocessing(processes: Make) -> None:
    """Without it, a queue of a multiprocessing.Manager that is an argument could not be talked to."""
    assert await processes().run(jobs.key) == bytes(multiprocessing.current_process().authkey)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads the memory of a process from /proc")
@pytest.mark.asyncio
async def test_a_large_argument_is_not_kept_until_the_next_call(processes: Make) -> None:
    """Neither there nor here, and it does not count as what the worker holds after the call."""
    large = 64 << 20
    pool = processes(max_rss_per_worker=large)
    assert await pool.run(jobs.size_of, bytes(large)) == large
    assert await pool.run(jobs.echo, bytes(large)) == bytes(large)
    (worker,) = pool._fleet.workers
    assert pool.metrics()["replaced"] == 0
    assert len(worker._unsent.obj) == 0
    statm = Path(f"/proc/{worker.pid}/statm")
    async with asyncio.timeout(10):
        while int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") > large:
            await asyncio.sleep(0.005)


@pytest.mark.asyncio
async def test_a_function_that_no_worker_can_import(processes: Make) -> None:
    module = type(sys)("only_here")
    exec("def fn(): ...", module.__dict__)
    sys.modules["only_here"] = module
    module.fn.__module__ = "only_here"
    try:
        with pytest.raises(ExecutorError, match=r"a worker process cannot import only_here.fn: No module named"):
            await processes().run(module.fn)
    finally:
        del sys.modules["only_here"]


@pytest.mark.asyncio
async def test_an_initializer_preloads_a_model(processes: Make) -> None:
    """Loaded once in each worker, and never sent with a call."""
    size = 64 << 20
    pool = processes(initializer=jobs.preload_model, initargs=(size,))
    await pool.warm_up()
    started = time.perf_counter()
    answers = [await pool.run(jobs.look_up, index) for index in range(50)]
    assert time.perf_counter() - started < 5
    assert [answer[:2] for answer in answers] == [(index, size) for index in range(50)]
    assert len({answer[2] for answer in answers}) == 1


@pytest.mark.asyncio
async def test_large_initargs_do_not_block_the_loop(processes: Make) -> None:
    pool = processes(initializer=jobs.preload, initargs=(b"m" * 20_000_000,))
    assert len(await pool.run(jobs.preloaded)) == 20_000_000


@pytest.mark.asyncio
async def test_warm_up_starts_all_workers_and_can_be_given_up(processes: Make) -> None:
    pool = processes(max_workers=2)
    impatient = asyncio.create_task(pool.warm_up())
    await asyncio.sleep(0)
    impatient.cancel()
    await pool.warm_up()
    assert [worker.ready for worker in pool._fleet.workers] == [True, True]
    assert impatient.cancelled()
    await pool.warm_up()


@pytest.mark.asyncio
async def test_an_initializer_that_fails(processes: Make) -> None:
    pool = processes(max_workers=2, initializer=jobs.broken_initializer, initargs=("no model",))
    calls = [pool.run(jobs.add, 1), pool.run(jobs.add, 2)]
    for result in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(result, ExecutorError)
        assert "executor 'p' cannot start a worker: its initializer raised ValueError('no model')" in str(result)
        assert "broken_initializer" in str(result.__cause__.__cause__)  # type: ignore[union-attr]
    with pytest.raises(ExecutorError, match="no model"):
        await pool.warm_up()
    assert outcomes(pool) == {"submitted": 2, "failed": 2}


@pytest.mark.asyncio
async def test_a_stream_fails_with_the_initializer(processes: Make) -> None:
    pool = processes(initializer=jobs.broken_initializer, initargs=("no model",))
    with pytest.raises(ExecutorError, match="no model"):
        await anext(pool.stream(jobs.count_to, 3))


@pytest.mark.asyncio
async def test_overload_in_both_ways(processes: Make, tmp_path: Path) -> None:
    pool = processes(max_pending=1)
    job = pool.run(jobs.hang_up_on_file, str(tmp_path / "go"))
    with pytest.raises(ExecutorOverloadError, match="executor 'p' has 1 calls pending and takes 1"):
        pool.run(jobs.add, 1)
    with pytest.raises(ExecutorOverloadError):
        await anext(pool.stream(jobs.count_to, 1))
    (tmp_path / "go").touch()
    await job
    patient = processes(max_pending=1, on_overload="wait")
    assert await asyncio.gather(*[patient.run(jobs.add, number) for number in range(5)]) == [0, 1, 2, 3, 4]
    assert outcomes(pool) == {"submitted": 1, "completed": 1, "rejected": 2}


@pytest.mark.asyncio
async def test_a_higher_priority_goes_first(processes: Make) -> None:
    pool, order = processes(), []
    first = pool.run(jobs.hang, 0.1)
    await running(first)
    calls = {name: pool.options(priority=priority).run(jobs.add, 1) for name, priority in (("b", 0), ("a", 5))}
    for name, job in calls.items():
        job.add_done_callback(lambda _, name=name: order.append(name))
    await asyncio.gather(*calls.values())
    assert order == ["a", "b"]


@pytest.mark.asyncio
async def test_progress_comes_while_it_runs(processes: Make) -> None:
    job = processes().run(jobs.steps, 2)
    assert [progress async for progress in job] == [
        Progress(0.0, "step 0"), Progress(0.5, "step 1"), Progress(1.0, "beyond"), Progress(None, ""),
    ]  # fmt: skip
    assert await job == "done"


@pytest.mark.asyncio
async def test_generators_stream_items_back(processes: Make) -> None:
    pool = processes()
    assert [item async for item in pool.stream(jobs.count_to, 1000)] == list(range(1000))
    assert [item async for item in pool.stream(jobs.items_of, ["a", None])] == ["a", None]
    assert outcomes(pool) == {"submitted": 2, "completed": 2}


@pytest.mark.asyncio
async def test_a_slow_reader_holds_the_worker_back(processes: Make) -> None:
    """What waits here and in the socket is bounded, however long the stream is."""
    pool = processes()
    async with aclosing(pool.stream(jobs.count_to, 10**9)) as items:
        assert await anext(items) == 0
        job = next(iter(pool._live))
        worker: Any = job.lane
        async with asyncio.timeout(10):
            while not worker.paused:
                await asyncio.sleep(0.001)
        waiting = len(job.inflow.items)
        await asyncio.sleep(0.05)
        assert len(job.inflow.items) == waiting
        assert [await anext(items) for _ in range(30_000)] == list(range(1, 30_001))
    assert await pool.run(jobs.add, 1) == 1


@pytest.mark.asyncio
async def test_an_error_ends_a_stream_after_its_items(processes: Make) -> None:
    pool, seen = processes(), []

    async def read() -> None:
        async for item in pool.stream(jobs.count_and_fail, 40):
            seen.append(item)
            await asyncio.sleep(0)

    with pytest.raises(ValueError, match="no more") as caught:
        await read()
    assert seen == list(range(40))
    assert "count_and_fail" in str(caught.value.__cause__)
    with pytest.raises(
        ExecutorError, match=r"an item of offload_jobs.yield_lambda cannot be sent .*value \(function\)"
    ):
        [item async for item in pool.stream(jobs.yield_lambda)]
    with pytest.raises(ExecutorError, match=r"an item of offload_jobs.items_of cannot be rebuilt on this side"):
        [item async for item in pool.stream(jobs.items_of, [FickleItems()])]
    assert await pool.run(jobs.add, 1) == 1


class FickleItems:
    """An argument that becomes an item which cannot be rebuilt here."""

    def __reduce__(self) -> Any:
        return jobs.make_fickle, ()


@pytest.mark.asyncio
async def test_leaving_a_stream_early_closes_the_generator(processes: Make, tmp_path: Path) -> None:
    pool = processes()
    async with aclosing(pool.stream(jobs.count_and_mark, str(tmp_path / "mark"))) as items:
        async for item in items:
            if item == 100:
                break
    assert await pool.run(jobs.add, 1) == 1  # the same worker, after its generator
    assert (tmp_path / "mark").read_text() == "closed"
    assert pool.metrics()["replaced"] == 0
    assert outcomes(pool) == {"submitted": 2, "completed": 1, "cancelled": 1}


@pytest.mark.asyncio
async def test_a_reader_who_leaves_is_not_told_of_an_error(processes: Make, caplog: Any) -> None:
    pool = processes()
    stream = pool.stream(jobs.count_and_fail, 3)
    assert await anext(stream) == 0
    async with asyncio.timeout(10):
        while pool.pending:
            await asyncio.sleep(0.001)
    await stream.aclose()
    import gc

    gc.collect()
    assert caplog.records == []


@pytest.mark.asyncio
async def test_a_queued_stream_can_be_cancelled(processes: Make) -> None:
    pool = processes()
    first = pool.run(jobs.hang, 0.1)
    await running(first)
    reading = asyncio.create_task(anext(pool.stream(jobs.count_to, 3)))
    await asyncio.sleep(0)
    assert pool.pending == 2
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert pool.pending == 1
    await first


@pytest.mark.asyncio
async def test_builtin_functions_and_classes_can_be_called(processes: Make) -> None:
    pool = processes()
    assert await pool.run(math.gcd, 12, 18) == 6
    assert await pool.run(decimal.Decimal, "1.5") == decimal.Decimal("1.5")


@pytest.mark.asyncio
async def test_a_pool_inside_a_worker_raises(processes: Make) -> None:
    with pytest.raises(
        ExecutorError, match="executor 'nested' is used inside a worker process; call the function itself"
    ):
        await processes().run(jobs.use_pool)


@pytest.mark.asyncio
async def test_a_worker_knows_that_it_is_one(processes: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genro_asgi.executors.worker._inside", True)
    with pytest.raises(ExecutorError, match="executor 'p' is used inside a worker process"):
        processes().run(jobs.add, 1)


@pytest.mark.asyncio
async def test_shutdown_drains(processes: Make, no_leak: None) -> None:
    pool = processes(max_workers=2)
    calls = [pool.run(jobs.work, 0.02) for _ in range(6)]
    await asyncio.sleep(0)
    await pool.shutdown()
    assert all(job.done() for job in calls)
    assert outcomes(pool) == {"submitted": 6, "completed": 6}
    assert pool.workers == 0
    with pytest.raises(ExecutorClosedError, match="executor 'p' was shut down"):
        pool.run(jobs.add, 1)
    await pool.shutdown()


@pytest.mark.asyncio
async def test_shutdown_has_a_deadline_and_then_terminates(processes: Make, no_leak: None) -> None:
    pool = processes()
    running_job, queued = pool.run(jobs.spin), pool.run(jobs.add, 1)
    pid = await running(running_job)
    await pool.shutdown(timeout=0.02)
    for job in (running_job, queued):
        with pytest.raises(ExecutorClosedError, match="executor 'p' was shut down before offload_jobs"):
            await job
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert outcomes(pool) == {"submitted": 2, "cancelled": 2}


@pytest.mark.asyncio
async def test_shutdown_ends_a_stream(processes: Make) -> None:
    pool = processes()
    stream = pool.stream(jobs.count_and_hang, 1)
    assert await anext(stream) == 0
    reading = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    await pool.shutdown(wait=False)
    with pytest.raises(ExecutorClosedError):
        await reading


@pytest.mark.asyncio
async def test_shutdown_of_a_pool_that_was_never_used(processes: Make) -> None:
    pool = processes()
    await pool.shutdown()
    with pytest.raises(ExecutorClosedError):
        await pool.warm_up()


@pytest.mark.asyncio
async def test_shutdown_while_workers_start(processes: Make, no_leak: None) -> None:
    pool = processes(max_workers=2)
    job = pool.run(jobs.add, 1)
    await pool.shutdown(wait=False)
    with pytest.raises(ExecutorClosedError):
        await job


@pytest.mark.asyncio
async def test_a_worker_that_will_not_leave_is_killed(processes: Make, monkeypatch: Any, no_leak: None) -> None:
    monkeypatch.setattr("genro_asgi.executors.fleet.GRACE", 0.05)
    pool = processes()
    await pool.run(jobs.stubborn)
    await pool.shutdown()
    assert pool._fleet.leaving == set()


def test_one_pool_serves_loops_one_after_another() -> None:
    pool = LocalExecutor("p", max_workers=1)

    async def call() -> int:
        return await pool.run(jobs.pid)

    assert len({asyncio.run(call()) for _ in range(3)}) == 1
    asyncio.run(pool.shutdown())
    assert outcomes(pool) == {"submitted": 3, "completed": 3}


def test_a_loop_may_close_while_its_calls_run_and_wait(no_leak: None) -> None:
    pool = LocalExecutor("p", max_workers=1)

    async def start() -> int:
        job = pool.run(jobs.hang)
        pool.run(jobs.add, 1)
        return await running(job)

    async def again() -> int:
        return await pool.run(jobs.add, 1, 2)

    loop = asyncio.new_event_loop()
    pid = loop.run_until_complete(start())
    loop.close()
    assert pool.pending == 0
    assert asyncio.run(again()) == 3
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert outcomes(pool) == {"submitted": 3, "completed": 1, "cancelled": 2}
    asyncio.run(pool.shutdown())


def test_a_loop_may_stop_while_its_calls_run() -> None:
    pool = LocalExecutor("p", max_workers=1)

    async def start() -> Any:
        job = pool.options(timeout=0.3).run(jobs.hang)
        await running(job)
        return job

    async def again() -> int:
        return await pool.run(jobs.add, 1, 2)

    loop = asyncio.new_event_loop()
    job = loop.run_until_complete(start())
    assert asyncio.run(again()) == 3
    assert job.cancelled()
    loop.run_until_complete(asyncio.sleep(0.4))  # the timer of the old call finds nothing to do
    loop.close()
    asyncio.run(pool.shutdown())


@pytest.mark.asyncio
async def test_another_loop_that_runs_is_refused(processes: Make) -> None:
    pool = processes()
    await pool.run(jobs.add, 1)

    async def call() -> None:
        with pytest.raises(ExecutorError, match="executor 'p' serves another event loop that runs"):
            pool.run(jobs.add, 1)

    await asyncio.to_thread(asyncio.run, call())
    assert await pool.run(jobs.add, 1) == 1
