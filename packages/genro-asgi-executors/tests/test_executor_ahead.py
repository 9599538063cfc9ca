"""Calls that are sent while another one runs: faster, and never lost, stuck or run out of turn."""

import asyncio
import os
import pickle
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import offload_jobs as jobs
import pytest

from genro_asgi.executors import ExecutorTimeoutError, LocalExecutor, Progress, WorkerDiedError, wire
from genro_asgi.executors.fleet import MAX_RECALLED
from genro_asgi.executors.local import MAX_AHEAD

Make = Callable[..., LocalExecutor]


async def running(job: Any) -> int:
    """Wait until the job reports the pid of its process."""
    async with aclosing(aiter(job)) as reports:
        progress: Progress = await anext(reports)
    return int(progress.text)


async def blocked(pool: LocalExecutor, gate: Path) -> Any:
    """A job that runs until the file is there, and its worker."""
    job = pool.run(jobs.hang_up_on_file, str(gate))
    await running(job)
    return job


def outcomes(pool: LocalExecutor) -> dict[str, int]:
    names = ("submitted", "completed", "failed", "cancelled", "timed_out", "pending", "queued", "abandoned", "busy")
    metrics = pool.metrics()
    return {name: metrics[name] for name in names if metrics[name]}


@pytest.mark.asyncio
async def test_one_call_is_sent_ahead_and_counts_as_queued(processes: Make, tmp_path: Path) -> None:
    pool = processes()
    first = await blocked(pool, tmp_path / "go")
    calls = [pool.run(jobs.add, number) for number in range(3)]
    assert (first.lane.ahead, len(pool._backlog)) == (calls[0], 2)
    assert outcomes(pool) == {"submitted": 4, "pending": 4, "queued": 3, "busy": 1}
    (tmp_path / "go").touch()
    assert await asyncio.gather(first, *calls) == ["released", 0, 1, 2]
    assert outcomes(pool) == {"submitted": 4, "completed": 4}


@pytest.mark.asyncio
async def test_a_call_sent_ahead_of_a_long_one_is_not_overtaken_for_ever(processes: Make, tmp_path: Path) -> None:
    """Also while so much comes that the other worker is never free."""
    pool = processes(max_workers=2, max_pending=None)
    await pool.warm_up()
    long = await blocked(pool, tmp_path / "go")
    calls = [pool.run(time.sleep, 0.001) for _ in range(10)]
    assert long.lane.ahead in calls
    first = calls[:]
    while not all(call.done() for call in first) and len(calls) < 500:
        calls.append(pool.run(time.sleep, 0.001))
        while len(pool._backlog) > 5:
            await asyncio.sleep(0)
    assert len(calls) < 500
    assert not long.done()
    (tmp_path / "go").touch()
    await asyncio.gather(long, *calls)


@pytest.mark.asyncio
async def test_answers_stay_in_order_when_reading_one_leads_to_reading_all(
    processes: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happens when a call is to be recalled that the worker has begun: the answer to another would be its own."""
    pool = processes()
    await pool.run(jobs.add, 1)
    (worker,) = pool._fleet.workers
    seen: list[bytes] = []

    def on_frame(worker: Any, kind: int, payload: bytes) -> None:
        seen.append(payload)
        if payload == b"1":
            worker.read_all()

    chunks = [wire.frame(wire.RESULT, b"1") + wire.frame(wire.RESULT, b"2"), wire.frame(wire.RESULT, b"3"), None]
    with monkeypatch.context() as patched:
        patched.setattr(worker, "on_frame", on_frame)
        patched.setattr(worker, "_receive", lambda: chunks.pop(0))
        worker._read()
    assert seen == [b"1", b"2", b"3"]


@pytest.mark.asyncio
async def test_a_free_worker_takes_what_was_sent_ahead_to_a_busy_one(processes: Make, tmp_path: Path) -> None:
    pool = processes(max_workers=2)
    await pool.warm_up()
    slow = await blocked(pool, tmp_path / "slow")
    quick = await blocked(pool, tmp_path / "quick")
    calls = [pool.run(jobs.pid) for _ in range(2)]
    assert {slow.lane.ahead, quick.lane.ahead} == set(calls)
    (tmp_path / "quick").touch()
    pids = await asyncio.wait_for(asyncio.gather(*calls), 15)
    assert set(pids) == {quick.lane.pid}
    (tmp_path / "slow").touch()
    await slow
    assert await pool.run(jobs.add, 1) == 1
    assert outcomes(pool) == {"submitted": 5, "completed": 5}


@pytest.mark.asyncio
async def test_a_call_sent_ahead_is_not_lost_with_the_worker(processes: Make) -> None:
    pool = processes()
    dying = pool.run(jobs.hang)
    pid = await running(dying)
    later = [pool.run(jobs.pid) for _ in range(3)]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError):
        await dying
    assert pid not in await asyncio.gather(*later)
    assert outcomes(pool) == {"submitted": 4, "completed": 3, "failed": 1}


@pytest.mark.asyncio
async def test_a_call_sent_ahead_is_not_lost_with_a_call_that_is_too_slow(processes: Make) -> None:
    pool = processes(timeout=0.3)
    await pool.warm_up()
    slow = pool.run(jobs.hang)
    later = [pool.options(timeout=15).run(jobs.add, number) for number in range(3)]
    with pytest.raises(ExecutorTimeoutError):
        await slow
    assert await asyncio.gather(*later) == [0, 1, 2]


@pytest.mark.asyncio
async def test_a_call_sent_ahead_is_not_lost_with_a_worker_that_leaves(processes: Make) -> None:
    pool = processes(max_tasks_per_worker=1)
    pids = await asyncio.gather(*[pool.run(jobs.pid) for _ in range(4)])
    assert len(set(pids)) == 4


@pytest.mark.asyncio
async def test_the_time_of_a_call_sent_ahead_begins_with_its_turn(processes: Make, tmp_path: Path) -> None:
    pool = processes()
    first = await blocked(pool, tmp_path / "go")
    second, third = pool.options(timeout=0.3).run(jobs.hang), pool.run(jobs.add, 1)
    await asyncio.sleep(0.4)
    (tmp_path / "go").touch()
    await first
    started = time.monotonic()
    with pytest.raises(ExecutorTimeoutError):
        await second
    assert time.monotonic() - started >= 0.25
    assert await third == 1


@pytest.mark.asyncio
async def test_a_call_sent_ahead_is_cancelled_at_once(processes: Make, tmp_path: Path) -> None:
    """Whatever lies in the socket already; and there is a limit to what may lie there."""
    pool = processes()
    first = await blocked(pool, tmp_path / "go")
    worker = first.lane
    for _ in range(MAX_RECALLED):
        job = pool.run(jobs.fail, "must not run")
        assert worker.ahead is job
        job.cancel()
        assert worker.ahead is None
    waits = pool.run(jobs.add, 1)
    assert (worker.ahead, worker.recalled) == (None, MAX_RECALLED)
    waits.cancel()
    last = pool.run(jobs.add, 2)
    (tmp_path / "go").touch()
    assert (await first, await last, worker.recalled) == ("released", 2, 0)
    assert outcomes(pool) == {"submitted": 7, "completed": 2, "cancelled": 5}


@pytest.mark.asyncio
async def test_a_call_that_is_more_urgent_goes_before_one_sent_ahead(processes: Make, tmp_path: Path) -> None:
    pool, order = processes(), []
    first = await blocked(pool, tmp_path / "go")
    calls = []
    for priority in (0, 5, 3, 9, 5):
        calls.append(pool.options(priority=priority).run(jobs.add, priority))
        calls[-1].add_done_callback(lambda job: order.append(job.result()))
    (tmp_path / "go").touch()
    await asyncio.gather(first, *calls)
    assert order == [9, 5, 5, 3, 0]


@pytest.mark.asyncio
async def test_streams_and_large_calls_are_not_sent_ahead(processes: Make, tmp_path: Path) -> None:
    pool = processes()
    first = await blocked(pool, tmp_path / "go")
    reading = asyncio.create_task(anext(pool.stream(jobs.count_to, 1)))
    await asyncio.sleep(0)
    behind = pool.run(jobs.add, 1)
    assert (first.lane.ahead, pool.metrics()["queued"]) == (None, 2)
    (tmp_path / "go").touch()
    assert (await first, await reading, await behind) == ("released", 0, 1)
    second = await blocked(pool, tmp_path / "again")
    large = pool.run(jobs.echo, b"x" * MAX_AHEAD)
    assert second.lane.ahead is None
    (tmp_path / "again").touch()
    assert len(await large) == MAX_AHEAD
    await second


@pytest.mark.asyncio
async def test_nothing_is_sent_ahead_of_a_stream(processes: Make) -> None:
    pool = processes()
    async with aclosing(pool.stream(jobs.count_to, 10**9)) as items:
        assert await anext(items) == 0
        waiting = pool.run(jobs.add, 1)
        assert next(iter(pool._fleet.workers)).ahead is None
    assert await waiting == 1


@pytest.mark.asyncio
async def test_sending_ahead_to_a_worker_that_just_died(processes: Make) -> None:
    pool = processes()
    dying = pool.run(jobs.hang)
    pid = await running(dying)
    os.kill(pid, signal.SIGKILL)
    assert readable(dying.lane)  # it is dead, and the loop does not know
    later = pool.run(jobs.add, 1)
    assert dying.lane.ahead is None
    with pytest.raises(WorkerDiedError):
        await dying
    assert await later == 1


# What happens between a worker and its pool within microseconds is played here by hand.


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.asyncio
async def test_a_worker_that_dies_before_it_comes_to_the_call_in_hand(processes: Make, cancelled: bool) -> None:
    """It has answered the call before; the next one was sent ahead, and nobody has claimed it."""
    pool = processes()
    first = pool.run(jobs.hang)
    pid = await running(first)
    second, third = pool.options(timeout=10).run(jobs.add, 2), pool.run(jobs.add, 3)
    os.kill(pid, signal.SIGSTOP)
    first.lane.on_frame(first.lane, wire.RESULT, pickle.dumps("played", 5))
    assert (first.lane.job, first.lane.ahead) == (second, third)
    if cancelled:
        second.cancel()
    os.kill(pid, signal.SIGKILL)
    assert (await first, await third) == ("played", 3)
    if cancelled:
        assert outcomes(pool) == {"submitted": 3, "completed": 2, "cancelled": 1}
    else:
        assert await second == 2
        assert outcomes(pool) == {"submitted": 3, "completed": 3}


@pytest.mark.parametrize("on_cancel", ["finish", "kill"])
@pytest.mark.asyncio
async def test_a_call_that_was_claimed_already_is_cancelled(
    processes: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_cancel: Any
) -> None:
    """The worker has put its hand on it, and comes to it later: it runs for nobody."""
    pool = processes()
    first = await blocked(pool, tmp_path / "go")
    second = pool.options(on_cancel=on_cancel).run(jobs.add, 2)
    monkeypatch.setattr(first.lane, "recall", lambda: False)
    urgent = pool.options(priority=1).run(jobs.add, 1)  # too late to go before it, too
    second.cancel()
    assert outcomes(pool) == {"submitted": 3, "cancelled": 1, "pending": 2, "queued": 2, "busy": 1}
    (tmp_path / "go").touch()
    assert (await first, await urgent) == ("released", 1)
    assert await pool.run(jobs.add, 3) == 3
    assert outcomes(pool) == {"submitted": 4, "completed": 3, "cancelled": 1}


@pytest.mark.parametrize("on_cancel", ["finish", "kill"])
@pytest.mark.asyncio
async def test_a_call_that_turns_out_to_run_is_cancelled(processes: Make, on_cancel: Any) -> None:
    """The answer to the call before has come, and was not read yet."""
    pool = processes()
    await pool.warm_up()
    (worker,) = pool._fleet.workers
    first, second = pool.run(jobs.add, 1), pool.options(on_cancel=on_cancel).run(jobs.hang)
    assert worker.ahead is second
    answer_and_report = len(wire.frame(wire.RESULT, pickle.dumps(1, 5))) + wire.HEAD.size
    while len(worker._sock.recv(1 << 16, socket.MSG_PEEK) if readable(worker) else b"") <= answer_and_report:
        time.sleep(0.001)  # noqa: ASYNC251 - the loop must not look
    second.cancel()
    assert await first == 1
    if on_cancel == "kill":
        assert await pool.run(jobs.add, 3) == 3
        assert outcomes(pool) == {"submitted": 3, "completed": 2, "cancelled": 1}
        assert pool.metrics()["replaced"] == 1
    else:
        assert outcomes(pool) == {"submitted": 2, "completed": 1, "cancelled": 1, "abandoned": 1, "busy": 1}


def readable(worker: Any) -> bool:
    return bool(select.select([worker._sock], [], [], 15)[0])


@pytest.mark.asyncio
async def test_a_claim_does_not_outlive_the_worker(processes: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker has put its hand on the next call when the one it runs is timed out."""
    pool = processes()
    await pool.warm_up()
    first, second = pool.options(timeout=0.2).run(jobs.hang), pool.run(jobs.add, 2)
    monkeypatch.setattr(first.lane, "recall", lambda: False)
    with pytest.raises(ExecutorTimeoutError):
        await first
    assert await second == 2


@pytest.mark.asyncio
async def test_a_call_that_was_found_too_late_waits(processes: Make, tmp_path: Path) -> None:
    """While it was looked for, the free worker was given something else."""
    pool = processes()
    first = await blocked(pool, tmp_path / "go")
    second = pool.run(jobs.add, 2)
    free: list[Any] = [object()]

    def recall() -> Any:
        free.clear()
        return pool._fleet.recall(first.lane)

    pool._recall_any = recall  # type: ignore[method-assign]
    pool._fleet.idle, nobody = free, pool._fleet.idle
    pool.on_free()
    pool._fleet.idle = nobody
    assert first.lane.ahead is second
    (tmp_path / "go").touch()
    assert (await first, await second) == ("released", 2)


def test_a_loop_may_close_while_the_setup_is_sent() -> None:
    pool = LocalExecutor("p", max_workers=1, initializer=jobs.preload, initargs=(b"m" * 20_000_000,))

    async def start() -> None:
        pool.run(jobs.add, 1)

    async def again() -> int:
        return len(await pool.run(jobs.preloaded))

    asyncio.run(start())
    assert asyncio.run(again()) == 20_000_000
    asyncio.run(pool.shutdown())


def test_calls_sent_ahead_for_a_loop_that_closed() -> None:
    pool = LocalExecutor("p", max_workers=1)

    async def start() -> None:
        first = pool.run(jobs.hang)
        await running(first)
        pool.run(jobs.fail, "must not run")

    async def again() -> int:
        return await pool.run(jobs.add, 1)

    asyncio.run(start())
    assert asyncio.run(again()) == 1
    assert outcomes(pool) == {"submitted": 3, "completed": 1, "cancelled": 2}
    asyncio.run(pool.shutdown())


@pytest.mark.parametrize("why", ["none can be started", "too many ended"])
@pytest.mark.asyncio
async def test_what_a_dead_worker_leaves_goes_to_a_free_one(
    processes: Make, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Also when no other worker is started in its place."""
    pool = processes(max_workers=2)
    await pool.warm_up()
    one, other = pool.run(jobs.hang), pool.run(jobs.hang, 0.3)
    pid = await running(one)
    await running(other)
    later = [pool.run(jobs.add, number) for number in range(2)]
    os.kill(pid, signal.SIGSTOP)
    one.lane.on_frame(one.lane, wire.RESULT, pickle.dumps("played", 5))
    await other
    while not pool._fleet.idle:  # each answer would forgive what was lost before
        await asyncio.sleep(0.002)
    if why == "none can be started":
        monkeypatch.setattr(pool._fleet, "hire", lambda: None)
    else:
        pool._fleet.lost = 100
    os.kill(pid, signal.SIGKILL)
    assert await asyncio.wait_for(asyncio.gather(one, *later), 15) == ["played", 0, 1]
    # A late death counts from anew, as an answer came in between; then there is a worker in its place.
    assert pool.workers == 1 or why == "too many ended"
