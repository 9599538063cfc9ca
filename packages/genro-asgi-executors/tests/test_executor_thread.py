"""ThreadExecutor: calls, limits, priorities, cancellation, timeouts, loops and the end."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from genro_asgi.executors import (
    ExecutorClosedError,
    ExecutorError,
    ExecutorOverloadError,
    ExecutorTimeoutError,
    Progress,
    ThreadExecutor,
    report,
)

Make = Callable[..., ThreadExecutor]
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


class Gate:
    """A blocking call that says when it runs, and waits to be let go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.exit = threading.Event()
        self.runs = 0

    def __call__(self, value: Any = None) -> Any:
        self.runs += 1
        self.entered.release()
        assert self.exit.wait(20)
        return value

    async def running(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.entered.acquire, True, 20)


def outcomes(pool: ThreadExecutor) -> dict[str, int]:
    """The counters that are not zero."""
    names = ("submitted", "completed", "failed", "cancelled", "timed_out", "rejected", "pending", "abandoned")
    metrics = pool.metrics()
    return {name: metrics[name] for name in names if metrics[name]}


@pytest.mark.asyncio
async def test_a_call_runs_in_a_named_daemon_thread(threads: Make) -> None:
    pool = threads(name="db")
    thread = await pool.run(threading.current_thread)
    assert (thread.name, thread.daemon) == ("genro-db_1", True)
    assert await threads(thread_name_prefix="mine").run(lambda: threading.current_thread().name) == "mine_1"
    assert await pool.submit(dict, a=1) == {"a": 1}


@pytest.mark.asyncio
async def test_run_returns_a_future_of_the_running_loop(threads: Make) -> None:
    job = threads().run(int)
    assert isinstance(job, asyncio.Future)
    assert job.get_loop() is asyncio.get_running_loop()
    assert await job == 0


@pytest.mark.asyncio
async def test_context_variables_reach_the_thread_and_do_not_come_back(threads: Make) -> None:
    pool = threads()
    variable.set("caller")

    def change() -> str:
        before = variable.get()
        variable.set("thread")
        return before

    assert await pool.run(change) == "caller"
    assert variable.get() == "caller"


@pytest.mark.asyncio
async def test_an_exception_comes_back_as_it_is(threads: Make) -> None:
    error = KeyError("k")

    def fail() -> None:
        raise error

    pool = threads()
    with pytest.raises(KeyError) as caught:
        await pool.run(fail)
    assert caught.value is error
    assert outcomes(pool) == {"submitted": 1, "failed": 1}


@pytest.mark.parametrize(
    "error", [StopIteration(3), SystemExit(4), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()]
)
@pytest.mark.asyncio
async def test_what_a_future_cannot_carry_is_wrapped(threads: Make, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(ExecutorError, match=r"fail raised .*; raise an ordinary exception instead") as caught:
        await threads().run(fail)
    assert caught.value.__cause__ is error


@pytest.mark.asyncio
async def test_an_async_function_is_refused(threads: Make) -> None:
    async def coroutine() -> None: ...
    async def generator() -> Any:
        yield 1

    pool = threads()
    for fn in (coroutine, generator):
        with pytest.raises(ExecutorError, match="is async"):
            pool(fn)
        with pytest.raises(ExecutorError, match="is async; await it on the loop instead"):
            await pool.run(fn)
    assert outcomes(pool) == {"submitted": 2, "failed": 2}


@pytest.mark.asyncio
async def test_threads_are_started_as_they_are_needed_and_not_more(threads: Make) -> None:
    pool, gate = threads(max_workers=3), Gate()
    assert pool.workers == 0
    for _ in range(3):
        await pool.run(int)
    assert pool.workers == 1
    jobs = [pool.run(gate, number) for number in range(5)]
    for _ in range(3):
        await gate.running()
    assert (pool.workers, pool.busy, pool.pending, pool.metrics()["queued"]) == (3, 3, 5, 2)
    gate.exit.set()
    assert await asyncio.gather(*jobs) == [0, 1, 2, 3, 4]
    assert (pool.workers, pool.busy, pool.pending) == (3, 0, 0)


@pytest.mark.asyncio
async def test_idle_threads_wake_for_every_call_that_waits(threads: Make) -> None:
    """Four calls that need each other must run at the same time, however the threads were waiting before."""
    pool = threads(max_workers=4)
    await pool.warm_up()
    for _ in range(200):
        barrier = threading.Barrier(4)
        await asyncio.wait_for(asyncio.gather(*[pool.run(barrier.wait, 10) for _ in range(4)]), 10)


@pytest.mark.asyncio
async def test_warm_up_starts_all_threads(threads: Make) -> None:
    pool = threads(max_workers=3)
    await pool.warm_up()
    assert pool.workers == 3
    await pool.shutdown()
    with pytest.raises(ExecutorClosedError):
        await pool.warm_up()


@pytest.mark.asyncio
async def test_overload_raises_at_once_and_recovers(threads: Make) -> None:
    pool, gate = threads(max_workers=1, max_pending=2), Gate()
    jobs = [pool.run(gate, 1), pool.run(gate, 2)]
    with pytest.raises(ExecutorOverloadError, match="executor 't' has 2 calls pending and takes 2; retry later"):
        pool.run(gate, 3)
    gate.exit.set()
    assert await asyncio.gather(*jobs) == [1, 2]
    assert await pool.run(gate, 4) == 4
    assert outcomes(pool) == {"submitted": 3, "completed": 3, "rejected": 1}


@pytest.mark.asyncio
async def test_overload_can_wait(threads: Make) -> None:
    pool, gate = threads(max_workers=1, max_pending=1, on_overload="wait"), Gate()
    jobs = [pool.run(gate, number) for number in range(4)]
    gate.exit.set()
    assert await asyncio.gather(*jobs) == [0, 1, 2, 3]


@pytest.mark.asyncio
async def test_a_higher_priority_goes_first(threads: Make) -> None:
    pool, gate, order = threads(max_workers=1), Gate(), []
    first = pool.run(gate)
    await gate.running()
    jobs = [
        pool.options(priority=priority).run(order.append, name)
        for name, priority in (("low", -1), ("a", 0), ("high", 9), ("b", 0), ("high too", 9))
    ]
    gate.exit.set()
    await asyncio.gather(first, *jobs)
    assert order == ["high", "high too", "a", "b", "low"]


@pytest.mark.asyncio
async def test_cancelling_drops_queued_work_at_once(threads: Make) -> None:
    pool, gate, ran = threads(max_workers=1), Gate(), []
    first = pool.run(gate)
    await gate.running()
    task = asyncio.create_task(wait_for(pool.run(ran.append, 1)))
    await asyncio.sleep(0)
    assert pool.pending == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (pool.pending, pool.metrics()["queued"]) == (1, 0)
    gate.exit.set()
    await first
    await pool.run(int)
    assert ran == []
    assert outcomes(pool) == {"submitted": 3, "completed": 2, "cancelled": 1}


async def wait_for(job: Any) -> Any:
    return await job


@pytest.mark.asyncio
async def test_cancelling_running_work_leaves_its_thread_busy(threads: Make) -> None:
    pool, gate = threads(max_workers=1), Gate()
    job = pool.run(gate)
    await gate.running()
    assert job.cancel()
    assert not job.cancel()
    assert outcomes(pool) == {"submitted": 1, "cancelled": 1, "abandoned": 1}
    assert pool.busy == 1
    gate.exit.set()
    await until(lambda: pool.busy == 0)
    assert await pool.run(int) == 0
    assert outcomes(pool) == {"submitted": 2, "completed": 1, "cancelled": 1}


@pytest.mark.asyncio
async def test_an_abandoned_call_counts_when_threads_are_started(threads: Make) -> None:
    pool, gate = threads(max_workers=2), Gate()
    job = pool.run(gate)
    await gate.running()
    job.cancel()
    assert await asyncio.wait_for(pool.run(int), 10) == 0
    gate.exit.set()


@pytest.mark.asyncio
async def test_a_timeout_fails_the_call_and_leaves_the_thread_busy(threads: Make) -> None:
    pool, gate = threads(max_workers=1, timeout=0.02), Gate()
    with pytest.raises(ExecutorTimeoutError, match=r"Gate.* ran longer than 0.02 s in executor 't'") as caught:
        await pool.run(gate)
    assert isinstance(caught.value, TimeoutError)
    assert outcomes(pool) == {"submitted": 1, "timed_out": 1, "abandoned": 1}
    gate.exit.set()
    await until(lambda: pool.metrics()["abandoned"] == 0)
    assert await pool.run(int) == 0


@pytest.mark.asyncio
async def test_waiting_in_the_queue_is_not_running(threads: Make) -> None:
    pool, gate = threads(max_workers=1), Gate()
    first = pool.run(gate)
    await gate.running()
    queued = pool.options(timeout=0.01).run(gate, "late")
    await asyncio.sleep(0.03)
    assert not queued.done()
    pool.run(gate).cancel()
    gate.exit.set()
    assert (await first, await queued) == (None, "late")


@pytest.mark.asyncio
async def test_a_call_that_ended_just_before_its_timeout_is_not_timed_out(threads: Make) -> None:
    pool = threads(max_workers=1)
    job = pool.options(timeout=0.01).run(time.sleep, 0.002)
    while not (job.ended and time.monotonic() > job.queued + 0.02):
        time.sleep(0.001)  # noqa: ASYNC251 - the loop comes back when the call has ended and its timer has passed
    assert await job is None
    done = pool.options(timeout=0.01).run(int)
    await done
    await asyncio.sleep(0.02)
    assert outcomes(pool) == {"submitted": 2, "completed": 2}


@pytest.mark.asyncio
async def test_what_has_ended_is_neither_timed_out_nor_cut_short(threads: Make) -> None:
    """A timer, or a shutdown on another loop, may come just too late."""
    pool = threads()
    job = pool.options(timeout=10).run(int)
    await job
    pool._expire(job)
    pool._disappoint(job)
    assert outcomes(pool) == {"submitted": 1, "completed": 1}


@pytest.mark.asyncio
async def test_a_short_start_is_waited_for_before_the_timeout_counts(threads: Make) -> None:
    pool, gate = threads(max_workers=1), Gate()
    first = pool.run(time.sleep, 0.03)
    job = pool.options(timeout=0.04).run(gate)  # its timer fires 10 ms after it began
    with pytest.raises(ExecutorTimeoutError):
        await job
    assert job.started + 0.04 <= time.monotonic()
    await first
    gate.exit.set()


@pytest.mark.asyncio
async def test_a_call_reports_its_progress(threads: Make) -> None:
    def steps() -> str:
        report(0, "start")
        report(0.5)
        report(-3, "low")
        report(2, "high")
        report(None, "who knows")
        return "done"

    job = threads().run(steps)
    seen = [progress async for progress in job]
    assert seen == [
        Progress(0.0, "start"), Progress(0.5), Progress(0.0, "low"), Progress(1.0, "high"), Progress(None, "who knows"),
    ]  # fmt: skip
    assert job.progress == Progress(None, "who knows")
    assert await job == "done"
    assert [progress async for progress in job] == []


@pytest.mark.asyncio
async def test_a_flood_of_reports_is_told_to_the_loop_now_and_then(
    threads: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can read them all: the newest are kept, and the loop is not buried under them."""
    loop = asyncio.get_running_loop()
    told: list[object] = []
    tell = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args: [told.append(args[0]), tell(*args)][1])

    def flood() -> None:
        for step in range(5000):
            report(step / 5000)

    job = threads(max_workers=1).run(flood)
    while not job.lane.done:  # the loop has not looked at anything since
        time.sleep(0.001)  # noqa: ASYNC251
    seen = [progress.fraction async for progress in job]
    assert seen == [step / 5000 for step in range(5000 - 256, 5000)]
    assert len(told) == 2  # once for all the reports, once for the end


@pytest.mark.asyncio
async def test_two_who_listen_share_the_reports_and_both_end(threads: Make) -> None:
    pool, gate = threads(), Gate()

    def steps() -> None:
        gate()
        for step in range(10):
            report(step / 10)

    async def listen() -> list[Progress]:
        return [progress async for progress in job]

    job = pool.run(steps)
    listening = [asyncio.create_task(listen()) for _ in range(2)]
    await gate.running()
    gate.exit.set()
    heard = [progress for part in await asyncio.wait_for(asyncio.gather(*listening), 10) for progress in part]
    assert sorted(progress.fraction or 0 for progress in heard) == [step / 10 for step in range(10)]


@pytest.mark.asyncio
async def test_cancelling_the_iteration_cancels_the_call(threads: Make) -> None:
    pool, gate = threads(max_workers=1), Gate()
    job = pool.run(gate)
    await gate.running()

    async def listen() -> None:
        async for _ in job:
            pass

    task = asyncio.create_task(listen())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert job.cancelled()
    gate.exit.set()


def test_reports_from_elsewhere_are_nobodys() -> None:
    report(0.5, "nobody")


@pytest.mark.asyncio
async def test_a_report_between_jobs_is_dropped(threads: Make) -> None:
    """A thread that an earlier call left behind has no job to report for."""
    pool = threads(max_workers=1)
    thread: Any = await pool.run(threading.current_thread)
    await until(lambda: pool.busy == 0)
    thread.report(0.5, "late")


@pytest.mark.asyncio
async def test_an_initializer_runs_in_each_thread(threads: Make) -> None:
    local = threading.local()

    def prepare(value: str) -> None:
        local.value = value

    pool = threads(max_workers=2, initializer=prepare, initargs=("ready",))
    barrier = threading.Barrier(2)

    def read() -> Any:
        barrier.wait(10)
        return local.value

    assert await asyncio.gather(pool.run(read), pool.run(read)) == ["ready", "ready"]


@pytest.mark.asyncio
async def test_an_initializer_that_fails_fails_the_calls_and_is_tried_again(threads: Make) -> None:
    attempts: list[int] = []

    def prepare() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise SystemExit("first")

    pool = threads(max_workers=1, initializer=prepare)
    with pytest.raises(ExecutorError, match="executor 't' cannot start a worker: its initializer raised SystemExit"):
        await pool.run(int)
    assert pool.workers == 0
    assert await pool.run(int) == 0


@pytest.mark.asyncio
async def test_an_initializer_that_fails_leaves_the_others_at_work(threads: Make) -> None:
    first = threading.Lock()

    def prepare() -> None:
        if not first.acquire(blocking=False):
            raise ValueError("only one")

    pool, gate = threads(max_workers=2, initializer=prepare), Gate()
    jobs = [pool.run(gate, 1)]
    await gate.running()
    jobs.append(pool.run(gate, 2))
    await until(lambda: pool.workers == 1)
    gate.exit.set()
    assert await asyncio.gather(*jobs) == [1, 2]


@pytest.mark.asyncio
async def test_threads_that_cannot_be_started(threads: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, gate = threads(max_workers=2), Gate()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ExecutorError, match="executor 't' cannot start a thread: can't start new thread"):
            pool.run(int)
    assert (pool.pending, pool.workers) == (0, 0)
    job = pool.run(gate)
    await gate.running()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    queued = pool.run(int)  # one thread is enough to go on
    gate.exit.set()
    assert (await job, await queued) == (None, 0)


@pytest.mark.asyncio
async def test_a_parked_thread_is_replaced_and_one_too_many_leaves(threads: Make) -> None:
    pool, gate = threads(max_workers=1, max_parked=1), Gate()

    def wait_for_client() -> None:
        pool.park()
        gate()
        pool.unpark()

    slow = pool.run(wait_for_client)
    await gate.running()
    assert await asyncio.wait_for(pool.run(int), 10) == 0
    assert (pool.workers, pool.metrics()["parked"]) == (2, 1)
    gate.exit.set()
    await slow
    await until(lambda: pool.workers == 1)
    assert await pool.run(int) == 0
    assert pool.metrics()["parked"] == 0


@pytest.mark.asyncio
async def test_parking_hires_for_what_waits_already(threads: Make) -> None:
    pool, gate, park = threads(max_workers=1, max_parked=1), Gate(), Gate()

    def wait_for_client() -> None:
        park()
        pool.park()
        gate()
        pool.unpark()

    slow = pool.run(wait_for_client)
    await park.running()
    waiting = pool.run(int)
    park.exit.set()
    assert await asyncio.wait_for(waiting, 10) == 0
    second = pool.run(wait_for_client)  # beyond max_parked nobody stands in
    await until(lambda: pool.parked == 2)
    assert pool.workers == 2
    gate.exit.set()
    await asyncio.gather(slow, second)
    await until(lambda: pool.workers == 1)


@pytest.mark.asyncio
async def test_shutdown_waits_for_queued_and_running_work(threads: Make) -> None:
    pool, gate = threads(max_workers=1), Gate()
    jobs = [pool.run(gate, 1), pool.run(gate, 2)]
    await gate.running()
    ending = asyncio.create_task(pool.shutdown())
    await asyncio.sleep(0)
    with pytest.raises(ExecutorClosedError, match="executor 't' was shut down; it takes no more calls"):
        pool.run(int)
    gate.exit.set()
    await ending
    assert [job.result() for job in jobs] == [1, 2]
    assert (pool.workers, pool.pending) == (0, 0)
    await pool.shutdown()


@pytest.mark.asyncio
async def test_shutdown_has_a_deadline(threads: Make) -> None:
    pool, gate = threads(max_workers=1), Gate()
    running, queued = pool.run(gate), pool.run(gate)
    await gate.running()
    await pool.shutdown(timeout=0.02)
    for job in (running, queued):
        with pytest.raises(ExecutorClosedError, match=r"executor 't' was shut down before .*Gate.* ended"):
            await job
    assert outcomes(pool) == {"submitted": 2, "cancelled": 2, "abandoned": 1}
    gate.exit.set()
    await until(lambda: pool.workers == 0)
    assert gate.runs == 1


@pytest.mark.asyncio
async def test_shutdown_without_waiting(threads: Make) -> None:
    pool, gate = threads(max_workers=1), Gate()
    job, done = pool.run(gate), pool.run(int)
    await gate.running()
    done.cancel()
    await pool.shutdown(wait=False)
    with pytest.raises(ExecutorClosedError):
        await job
    gate.exit.set()
    await until(lambda: pool.workers == 0)


@pytest.mark.asyncio
async def test_shutdown_leaves_no_thread_and_no_descriptor(threads: Make, no_leak: None) -> None:
    pool = threads(name="leaving", max_workers=4)
    await pool.warm_up()
    await asyncio.gather(*[pool.run(time.sleep, 0.001) for _ in range(20)])
    await pool.shutdown()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("genro-leaving_")]


@pytest.mark.asyncio
async def test_shutdown_does_not_wait_for_an_initializer_that_hangs(threads: Make) -> None:
    gate = Gate()
    pool = threads(max_workers=1, initializer=gate)
    job = pool.run(int)
    await gate.running()
    await pool.shutdown(wait=False)
    with pytest.raises(ExecutorClosedError):
        await job
    gate.exit.set()
    await until(lambda: pool.workers == 0)


def test_one_pool_serves_loops_one_after_another() -> None:
    pool = ThreadExecutor(max_workers=2)

    async def twice() -> list[int]:
        return [await pool.run(add, 1, 2), await pool.run(add, 3, 4)]

    assert [asyncio.run(twice()) for _ in range(3)] == [[3, 7]] * 3
    assert pool.metrics()["completed"] == 6
    asyncio.run(pool.shutdown())


def add(a: int, b: int) -> int:
    return a + b


def test_one_pool_serves_loops_side_by_side() -> None:
    pool = ThreadExecutor(max_workers=3, max_pending=None)
    totals: list[int] = []

    async def many() -> None:
        totals.append(sum(await asyncio.gather(*[pool.run(add, number, 1) for number in range(300)])))

    loops = [threading.Thread(target=asyncio.run, args=(many(),)) for _ in range(3)]
    for thread in loops:
        thread.start()
    for thread in loops:
        thread.join()
    assert totals == [sum(range(1, 301))] * 3
    assert outcomes(pool) == {"submitted": 900, "completed": 900}
    asyncio.run(pool.shutdown())


def test_a_loop_may_close_while_its_calls_run_and_wait() -> None:
    pool, gate = ThreadExecutor(max_workers=1, max_pending=2), Gate()

    async def start() -> None:
        pool.run(gate)
        pool.run(gate)
        await gate.running()

    async def again() -> Any:
        gate.exit.set()
        return await pool.run(add, 1, 1)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(start())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert outcomes(pool) == {"submitted": 2, "cancelled": 2, "abandoned": 1}
    assert asyncio.run(again()) == 2
    assert gate.runs == 1
    assert pool.metrics()["abandoned"] == 0
    asyncio.run(pool.shutdown())


def test_calls_of_a_closed_loop_do_not_fill_the_pool() -> None:
    pool, gate = ThreadExecutor(max_workers=2, max_pending=1), Gate()

    async def start() -> None:
        pool.run(gate)
        await gate.running()

    async def run() -> int:
        return await pool.run(int)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(start())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert asyncio.run(run()) == 0
    gate.exit.set()
    asyncio.run(pool.shutdown())


def test_results_that_a_closed_loop_never_took() -> None:
    """The call ends while the loop still lives but does not run again."""
    pool, gate = ThreadExecutor(max_workers=1), Gate()

    async def start() -> None:
        pool.run(gate)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(start())
    assert gate.entered.acquire(timeout=10)
    gate.exit.set()
    while pool.busy:
        time.sleep(0.001)
    loop.close()
    assert outcomes(pool) == {"submitted": 1, "cancelled": 1}
    asyncio.run(pool.shutdown())


def test_a_report_to_a_closed_loop_is_dropped() -> None:
    pool, gate = ThreadExecutor(max_workers=1), Gate()
    failures: list[BaseException] = []

    def late() -> None:
        gate()
        try:
            report(0.5, "late")
        except BaseException as exc:
            failures.append(exc)

    async def start() -> None:
        pool.run(late)
        await gate.running()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(start())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    gate.exit.set()
    asyncio.run(pool.shutdown())
    assert failures == []
    assert pool.workers == 0


def test_shutdown_tells_calls_of_other_loops() -> None:
    pool, gate = ThreadExecutor(max_workers=1), Gate()
    seen: list[BaseException | None] = []

    async def hold() -> None:
        job = pool.run(gate)
        await asyncio.wait([job])
        seen.append(job.exception())

    other = threading.Thread(target=asyncio.run, args=(hold(),))
    other.start()
    assert gate.entered.acquire(timeout=10)
    asyncio.run(pool.shutdown(timeout=0.01))
    other.join(10)
    gate.exit.set()
    assert [type(error) for error in seen] == [ExecutorClosedError]


def test_an_idle_thread_keeps_nothing_alive() -> None:
    import gc
    import weakref

    class Thing: ...

    async def main() -> Any:
        pool = ThreadExecutor(max_workers=1)
        thing = Thing()
        watch = weakref.ref(thing)
        await pool.run(id, thing)
        del thing
        await until(lambda: pool.busy == 0)
        gc.collect()
        await until(lambda: watch() is None)
        await pool.shutdown()

    asyncio.run(main())
