"""Thousands of calls among kills, timeouts and cancellations: nothing leaks, nothing is lost, the pool is whole."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import offload_jobs as jobs
import pytest

from genro_asgi.executors import ExecutorTimeoutError, LocalExecutor, ThreadExecutor, WorkerDiedError

CALLS = int(os.environ.get("GENRO_CHAOS_CALLS", "10000"))
IN_FLIGHT = 40
WORKERS = 3


def children() -> dict[int, str]:
    """The children of this process and their states; a zombie is Z."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == os.getpid():
            found[int(stat.parent.name)] = state
    return found


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


class Storm:
    """Makes calls of every sort and notes what becomes of them."""

    def __init__(self, pool: LocalExecutor, seed: int) -> None:
        self.pool = pool
        self.random = random.Random(seed)
        self.seen: Counter[str] = Counter()

    async def run(self, calls: int) -> None:
        turns = iter(range(calls))

        async def caller() -> None:
            for number in turns:
                await self.one(number)

        await asyncio.gather(*[caller() for _ in range(IN_FLIGHT)])

    async def one(self, number: int) -> None:
        dice = self.random.random()
        try:
            if dice < 0.003:
                await self.pool.options(timeout=0.03).run(jobs.hang)
            elif dice < 0.006:
                await self.pool.run(jobs.die, self.random.choice(["kill", "exit", "segfault"]))
            elif dice < 0.009:
                await self.cancel(self.pool.options(on_cancel="kill").run(jobs.hang))
            elif dice < 0.05:
                await self.cancel(self.pool.run(jobs.add, number), self.random.random() * 0.005)
            elif dice < 0.06:
                await self.leave_early()
            elif dice < 0.063:
                self.kill_somebody()
            elif dice < 0.07:
                await self.pool.run(jobs.fail, "as expected")
            else:
                assert await self.pool.options(priority=number % 3).run(jobs.add, number, b=1) == number + 1
                self.seen["right"] += 1
        except (ExecutorTimeoutError, WorkerDiedError, ValueError) as exc:
            self.seen[type(exc).__name__] += 1

    async def cancel(self, job: Any, after: float = 0.01) -> None:
        # It may end, one way or the other, in the very turn of the loop that gives it up.
        await asyncio.wait([job], timeout=after)
        if job.cancel():
            self.seen["cancelled"] += 1
        else:
            await job
            self.seen["too late to cancel"] += 1

    async def leave_early(self) -> None:
        async with aclosing(self.pool.stream(jobs.count_to, 50)) as items:
            async for item in items:
                if item == self.random.randrange(60):
                    break
        self.seen["streamed"] += 1

    def kill_somebody(self) -> None:
        self.seen["killed"] += 1
        workers = sorted(self.pool._fleet.workers, key=lambda worker: worker.pid)
        if workers:
            os.kill(self.random.choice(workers).pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors and zombies in /proc")
@pytest.mark.timeout(300)
@pytest.mark.asyncio
async def test_ten_thousand_calls_in_a_storm(processes: Callable[..., LocalExecutor], no_leak: None) -> None:
    pool = processes(max_workers=WORKERS, max_pending=None, max_tasks_per_worker=300)
    await pool.warm_up()
    fds = open_fds()
    storm = Storm(pool, seed=6)
    await storm.run(CALLS)
    async with asyncio.timeout(30):
        while pool._fleet.leaving or len(pool._fleet.idle) < WORKERS:
            await asyncio.sleep(0.005)
    metrics = pool.metrics()
    assert (metrics["pending"], metrics["queued"], metrics["abandoned"], metrics["busy"]) == (0, 0, 0, 0)
    ended = sum(metrics[outcome] for outcome in ("completed", "failed", "cancelled", "timed_out"))
    assert metrics["submitted"] == ended
    assert metrics["submitted"] == CALLS - storm.seen["killed"]
    assert metrics["timed_out"] == storm.seen["ExecutorTimeoutError"]
    assert metrics["failed"] == storm.seen["WorkerDiedError"] + storm.seen["ValueError"]
    assert storm.seen["right"] > CALLS * 0.9
    assert min(storm.seen[kind] for kind in ("ExecutorTimeoutError", "WorkerDiedError", "cancelled", "streamed")) > 0
    assert metrics["workers"] == WORKERS
    alive = children()
    assert {worker.pid for worker in pool._fleet.workers} == set(alive)
    assert "Z" not in alive.values()
    assert open_fds() == fds
    await pool.shutdown()
    assert children() == {}


@pytest.mark.asyncio
async def test_a_storm_in_threads(threads: Callable[..., ThreadExecutor], no_leak: None) -> None:
    import time

    pool = threads(max_workers=4, max_pending=None)
    dice = random.Random(6)
    seen: Counter[str] = Counter()

    async def one(number: int) -> None:
        chance = dice.random()
        try:
            if chance < 0.02:
                await pool.options(timeout=0.001).run(time.sleep, 0.005)
            elif chance < 0.2:
                async with asyncio.timeout(dice.random() * 0.002):
                    await pool.run(time.sleep, 0.001)
            elif chance < 0.25:
                async with aclosing(pool.stream(range, 9)) as items:
                    async for item in items:
                        if item == dice.randrange(12):
                            break
            else:
                assert await pool.options(priority=number % 3).run(divmod, number, 7) == divmod(number, 7)
                seen["right"] += 1
        except TimeoutError as exc:
            seen[type(exc).__name__] += 1

    turns = iter(range(5000))

    async def caller() -> None:
        for number in turns:
            await one(number)

    await asyncio.gather(*[caller() for _ in range(50)])
    await pool.shutdown()
    metrics = pool.metrics()
    assert (metrics["pending"], metrics["queued"], metrics["abandoned"], metrics["workers"]) == (0, 0, 0, 0)
    ended = sum(metrics[outcome] for outcome in ("completed", "failed", "cancelled", "timed_out"))
    assert metrics["submitted"] == ended
    assert metrics["timed_out"] == seen["ExecutorTimeoutError"]
    assert seen["right"] > 3000
