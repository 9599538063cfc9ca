"""No wake-up is lost: calls that end only side by side always do, however threads and loops interleave."""

import asyncio
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import offload_jobs as jobs
import pytest

from genro_asgi.executors import LocalExecutor, ThreadExecutor
from genro_asgi.executors.crew import WorkerThread

PATIENCE = 30


@pytest.fixture
def busy_switching() -> Iterator[None]:
    """Threads take turns a thousand times as often, so that they meet in every place."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def meetings(pool: ThreadExecutor, size: int, rounds: int, seed: int) -> None:
    """`size` calls that wait for each other, among others that are short, cancelled or slow to come."""
    dice = random.Random(seed)
    for number in range(rounds):
        barrier = threading.Barrier(size)
        meeting, others = [], []
        for _ in range(size):
            for _ in range(dice.choice((0, 0, 1, 3))):
                others.append(pool.options(priority=dice.choice((0, 0, 1))).run(divmod, number, 7))
            if others and dice.random() < 0.1:
                others.pop().cancel()
            meeting.append(pool.run(barrier.wait, PATIENCE))
            await turns(dice.choice((0, 0, 0, 1, 2, 5)))
        assert sorted(await asyncio.gather(*meeting)) == list(range(size))
        assert await asyncio.wait_for(asyncio.gather(*others), PATIENCE) == [divmod(number, 7)] * len(others)
        if dice.random() < 0.2:
            await asyncio.sleep(dice.random() * 0.001)


class Sluggish(list[WorkerThread]):
    """The list of idle threads, with time for others to come in between just before and after each change."""

    def append(self, thread: WorkerThread) -> None:
        time.sleep(0.0001)
        super().append(thread)
        time.sleep(0.0001)

    def pop(self, index: Any = -1) -> WorkerThread:
        time.sleep(0)
        return super().pop(index)

    def remove(self, thread: WorkerThread) -> None:
        time.sleep(0)
        super().remove(thread)


@pytest.mark.parametrize("idle", [list, Sluggish])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_calls_that_need_all_threads_get_them(busy_switching: None, size: int, idle: type[list[WorkerThread]]) -> None:
    async def main() -> None:
        pool = ThreadExecutor("t", max_workers=size, max_pending=None)
        pool._crew.idle = idle()
        await meetings(pool, size, 400, seed=size)
        assert (pool.pending, pool.workers) == (0, size)
        await pool.shutdown()

    asyncio.run(main())


@pytest.mark.parametrize("spare", [0, 1])
def test_calls_from_several_loops_get_their_threads(busy_switching: None, spare: int) -> None:
    """The loops wake threads for each other's calls; whoever is woken may take a call of another loop."""
    sizes = (1, 2, 3)
    pool = ThreadExecutor("t", max_workers=sum(sizes) + spare, max_pending=None)
    failures: list[BaseException] = []

    def visit(size: int) -> None:
        try:
            asyncio.run(meetings(pool, size, 150, seed=size))
        except BaseException as exc:
            failures.append(exc)

    visitors = [threading.Thread(target=visit, args=(size,)) for size in sizes]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    asyncio.run(pool.shutdown())
    assert failures == []
    assert pool.pending == 0


def test_one_thread_after_the_other_from_several_loops(busy_switching: None) -> None:
    """Each call waits until the one before has ended, and the only thread falls asleep in between."""
    pool = ThreadExecutor("t", max_workers=1)
    done: list[int] = []

    async def visit() -> None:
        for number in range(1000):
            done.append(await asyncio.wait_for(pool.run(abs, -number), PATIENCE))

    visitors = [threading.Thread(target=asyncio.run, args=(visit(),)) for _ in range(3)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    asyncio.run(pool.shutdown())
    assert sorted(done) == sorted([*range(1000)] * 3)


def test_threads_that_park_are_replaced_while_others_come_and_go(busy_switching: None) -> None:
    """Every caller blocks all threads, parked, until one more call has run: it needs the thread in their place."""

    async def main() -> None:
        pool = ThreadExecutor("t", max_workers=2, max_parked=2, max_pending=None)

        def wait_parked(event: threading.Event) -> bool:
            pool.park()
            try:
                return event.wait(PATIENCE)
            finally:
                pool.unpark()

        dice = random.Random(4)
        for _ in range(200):
            event = threading.Event()
            waiting = []
            for _ in range(2):
                waiting.append(pool.run(wait_parked, event))
                await turns(dice.choice((0, 1, 3)))
            short = [pool.run(abs, -1) for _ in range(dice.randrange(3))]
            await asyncio.wait_for(pool.run(event.set), PATIENCE)
            assert await asyncio.gather(*waiting) == [True, True]
            assert await asyncio.wait_for(asyncio.gather(*short), PATIENCE) == [1] * len(short)
        await pool.shutdown()
        assert (pool.pending, pool.workers, pool.parked) == (0, 0, 0)

    asyncio.run(main())


@pytest.mark.asyncio
async def test_calls_that_need_all_processes_get_them(
    processes: Callable[..., LocalExecutor], tmp_path: Path, no_leak: None
) -> None:
    """Also those that were sent ahead to a worker that waits, in its call in hand, for them to run elsewhere."""
    pool = processes(max_workers=3, max_pending=None, timeout=PATIENCE)
    await pool.warm_up()
    dice = random.Random(8)
    for number in range(60):
        place = tmp_path / str(number)
        place.mkdir()
        meeting, others = [], []
        for _ in range(3):
            others += [
                pool.options(priority=dice.choice((0, 1))).run(jobs.add, number) for _ in range(dice.randrange(4))
            ]
            meeting.append(pool.run(jobs.meet, str(place), 3))
            if dice.random() < 0.3:
                await asyncio.sleep(dice.random() * 0.002)
            if others and dice.random() < 0.2:
                others.pop().cancel()
        assert await asyncio.gather(*meeting) == [3, 3, 3]
        assert await asyncio.gather(*others) == [number] * len(others)
    assert (pool.pending, pool.workers, pool.metrics()["replaced"]) == (0, 3, 0)
    await pool.shutdown()
