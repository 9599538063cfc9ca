"""The bell of a thread: where it wakes, what it may use then, and what happens where nobody may say so."""

import asyncio
import os
import resource
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from genro_asgi.executors import ExecutorError, ThreadExecutor, bell, crew
from genro_asgi.executors.bell import Bell

needs_places = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two processors to choose of"
)


@pytest.fixture
def pool() -> Iterator[ThreadExecutor]:
    pool = ThreadExecutor("t", max_workers=1)
    yield pool
    if not pool.closed:
        asyncio.run(pool.shutdown())


def bell_of(pool: ThreadExecutor) -> Bell:
    (thread,) = pool._crew.threads
    return thread.bell


async def idle(pool: ThreadExecutor) -> None:
    """Until the only thread sleeps: only then it is a bell that wakes it."""
    while not pool._crew.idle:
        await asyncio.sleep(0)


async def placed_call(pool: ThreadExecutor) -> tuple[set[int], int]:
    """What the function of a placed call may use, and how often the thread is still to be placed after it."""
    await idle(pool)
    bell_of(pool)._placed = 5
    return await pool.run(os.sched_getaffinity, 0), bell_of(pool)._placed


@needs_places
@pytest.mark.asyncio
async def test_a_thread_that_was_placed_may_use_every_processor(pool: ThreadExecutor) -> None:
    await pool.run(abs, 1)
    for _ in range(50):
        assert await placed_call(pool) == (os.sched_getaffinity(0), 4)


@needs_places
@pytest.mark.asyncio
async def test_processors_taken_from_a_thread_stay_taken(pool: ThreadExecutor) -> None:
    """Whoever confines the threads of a running process, `taskset -a` for one, is not overruled."""
    await pool.run(abs, 1)
    last = max(os.sched_getaffinity(0))
    (thread,) = pool._crew.threads
    assert thread.native_id is not None
    os.sched_setaffinity(thread.native_id, {last})
    for _ in range(3):
        assert await placed_call(pool) == ({last}, 4)


@needs_places
@pytest.mark.asyncio
async def test_where_threads_may_not_be_placed_calls_go_on(
    pool: ThreadExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.run(abs, 1)

    def refuse(tid: int, cpus: set[int]) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    assert await placed_call(pool) == (os.sched_getaffinity(0), 4)
    assert await placed_call(pool) == (os.sched_getaffinity(0), 5)  # not tried again


@needs_places
def test_a_thread_that_strays_is_placed_from_then_on() -> None:
    first, second = sorted(os.sched_getaffinity(0))[:2]
    mine = os.sched_getaffinity(0)
    doorbell = Bell()
    given_way = []
    doorbell._scheduler = bell.Scheduler(lambda: first, lambda: given_way.append(1) or 0)
    doorbell.ring_here()
    doorbell._scheduler = bell.Scheduler(lambda: second, lambda: given_way.append(2) or 0)
    doorbell.wait()
    assert doorbell._placed == bell.PLACED
    doorbell.ring_here()
    assert os.sched_getaffinity(0) == {second}
    doorbell.wait()
    assert os.sched_getaffinity(0) == mine
    assert doorbell._placed == bell.PLACED - 1
    doorbell._placed = 0
    doorbell.ring_here()
    doorbell.wait()
    assert doorbell._placed == 0  # it came to the right place by itself
    assert given_way == []
    doorbell.ring_here(give_way=True)
    doorbell.wait()
    assert given_way == [2]
    doorbell.ring()
    doorbell.wait()
    doorbell.close()


@pytest.mark.asyncio
async def test_the_loop_gives_way_to_what_was_brief(pool: ThreadExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    rings: list[bool] = []
    monkeypatch.setattr(Bell, "ring_here", lambda self, give_way=False: (rings.append(give_way), self.ring()))

    def wait(seconds: float) -> None:
        threading.Event().wait(seconds)

    async def call(seconds: float) -> bool:
        await idle(pool)
        rings.clear()
        await pool.run(wait, seconds)
        return rings[0]

    monkeypatch.setattr(crew, "BRIEF", 0.1)
    await pool.run(abs, 1)
    assert [await call(0) for _ in range(3)] == [False, True, True]
    assert [await call(0.2), await call(0), await call(0)] == [True, False, True]
    monkeypatch.setattr(crew, "MAX_BRIEF", 2)
    for fn in (repr, len, id):
        await pool.run(fn, ())
    assert len(pool._crew._brief) <= 2


@pytest.mark.asyncio
async def test_what_may_do_something_else_next_time_is_never_brief(pool: ThreadExecutor) -> None:
    await pool.run(partial(abs, 1))
    await pool.run([].copy)
    await pool.run(Brief().method)
    await idle(pool)
    assert len(pool._crew._brief) == 0


class Brief:
    def method(self) -> None: ...


@pytest.mark.parametrize("missing", ["eventfd", "sched_setaffinity"])
@pytest.mark.asyncio
async def test_systems_that_have_less(missing: str, pool: ThreadExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    bell._scheduler.cache_clear()
    monkeypatch.delattr(os, missing, raising=False)
    try:
        for number in range(20):
            assert await pool.run(divmod, number, 7) == divmod(number, 7)
            await idle(pool)
        assert (bell_of(pool)._read == bell_of(pool)._write) is (missing != "eventfd")
        await pool.shutdown()
    finally:
        bell._scheduler.cache_clear()


@pytest.mark.asyncio
async def test_the_thread_that_fell_asleep_last_is_woken_first(no_leak: None) -> None:
    pool = ThreadExecutor("t", max_workers=3)
    await pool.warm_up()
    while len(pool._crew.idle) < 3:
        await asyncio.sleep(0)
    threads = set()
    for _ in range(20):
        threads.add(await pool.run(lambda: threading.get_ident()))
        while len(pool._crew.idle) < 3:
            await asyncio.sleep(0)
    assert len(threads) == 1
    await pool.shutdown()


@pytest.mark.asyncio
async def test_no_file_for_a_bell_is_an_error_of_the_pool(pool: ThreadExecutor) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(ExecutorError, match=r"executor 't' cannot start a thread: .*Too many open files"):
            await pool.run(abs, -1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert pool.pending == 0
    assert await pool.run(abs, -1) == 1
