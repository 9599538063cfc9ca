"""Streams out of threads, and Starlette's two helpers."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from genro_asgi.executors import (
    ExecutorClosedError,
    ExecutorOverloadError,
    ThreadExecutor,
    iterate_in_threadpool,
    run_in_threadpool,
    threadpool,
)
from genro_asgi.executors.pull import END, Pull

Make = Callable[..., ThreadExecutor]
variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


class Source:
    """An iterator that counts, may block, and remembers that it was closed, and where."""

    def __init__(self, stop: int = 1000, block_at: int = -1) -> None:
        self.number = 0
        self.stop = stop
        self.block_at = block_at
        self.entered, self.exit, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.closed_in = ""

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self.number == self.block_at:
            self.entered.set()
            assert self.exit.wait(20)
        if self.number == self.stop:
            raise StopIteration
        self.number += 1
        return self.number

    def close(self) -> None:
        self.closed_in = threading.current_thread().name
        self.closed.set()


async def off_loop(event: threading.Event) -> None:
    assert await asyncio.get_running_loop().run_in_executor(None, event.wait, 20)


@pytest.mark.asyncio
async def test_a_generator_streams_in_threads(threads: Make) -> None:
    pool = threads()
    seen: list[str] = []

    @pool
    def numbers(stop: int) -> Iterator[int]:
        for number in range(stop):
            seen.append(threading.current_thread().name)
            variable.set(variable.get() + 1)  # one context for all items
            yield number + variable.get()

    assert [number async for number in numbers(4)] == [1, 3, 5, 7]
    assert all(name.startswith("genro-t_") for name in seen)
    assert variable.get() == 0


@pytest.mark.asyncio
async def test_an_error_ends_the_stream(threads: Make) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    stream = threads().stream(numbers)
    assert await anext(stream) == 1
    with pytest.raises(ValueError, match="no more"):
        await anext(stream)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@pytest.mark.asyncio
async def test_leaving_early_closes_the_source_before_it_goes_on(threads: Make) -> None:
    source = Source()
    async with aclosing(threads().stream(lambda: source)) as items:
        async for _ in items:
            break
    assert source.closed_in.startswith("genro-t_")


@pytest.mark.asyncio
async def test_a_cancelled_reader_does_not_wait_for_the_source(threads: Make) -> None:
    source = Source(block_at=1)
    pool = threads(max_workers=1)

    async def read() -> None:
        async for _ in pool.stream(lambda: source):
            pass

    task = asyncio.create_task(read())
    await off_loop(source.entered)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not source.closed.is_set()
    source.exit.set()
    await off_loop(source.closed)


@pytest.mark.asyncio
async def test_a_reader_cancelled_while_its_turn_is_queued(threads: Make) -> None:
    source, gate = Source(), Source(block_at=0)
    pool = threads(max_workers=1)
    stream = pool.stream(lambda: source)
    assert await anext(stream) == 1
    blocking = pool.run(next, gate)
    await off_loop(gate.entered)
    task = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.exit.set()
    await blocking
    await off_loop(source.closed)


@pytest.mark.asyncio
async def test_an_iterator_without_close_and_a_list(threads: Make) -> None:
    stream = threads().stream(lambda: [1, 2, 3])
    assert await anext(stream) == 1
    await stream.aclose()
    assert [item async for item in threads().stream(list, "ab")] == ["a", "b"]


@pytest.mark.asyncio
async def test_a_stream_that_has_begun_is_not_refused_in_the_middle(threads: Make) -> None:
    pool, source, gate = threads(max_workers=1, max_pending=1), Source(stop=3), Source(block_at=0)
    stream = pool.stream(lambda: source)
    assert await anext(stream) == 1
    blocking = pool.run(next, gate)
    await off_loop(gate.entered)
    with pytest.raises(ExecutorOverloadError):
        await anext(pool.stream(lambda: Source()))
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    gate.exit.set()
    assert await waiting == 2
    await blocking
    assert [number async for number in stream] == [3]


@pytest.mark.asyncio
async def test_a_source_is_closed_after_its_pool(threads: Make) -> None:
    pool, source = threads(), Source()
    stream = pool.stream(lambda: source)
    assert await anext(stream) == 1
    await pool.shutdown()
    with pytest.raises(ExecutorClosedError):
        await anext(stream)
    await off_loop(source.closed)
    assert source.closed_in == "genro-t-close"


def test_a_pull_dismissed_before_it_begins_makes_nothing() -> None:
    pull = Pull(lambda: [1], "name")
    assert pull.dismiss() is False
    assert pull() is END
    assert (pull.begun, pull.__qualname__, pull.__module__) == (False, "'name'", "builtins")


@pytest.mark.asyncio
async def test_run_in_threadpool() -> None:
    variable.set(7)
    assert await run_in_threadpool(lambda a, *, b: (a, b, variable.get()), 1, b=2) == (1, 2, 7)
    assert (await run_in_threadpool(threading.current_thread)).name.startswith("genro-threadpool_")
    with pytest.raises(ZeroDivisionError):
        await run_in_threadpool(divmod, 1, 0)


@pytest.mark.asyncio
async def test_iterate_in_threadpool() -> None:
    assert [item async for item in iterate_in_threadpool(range(3))] == [0, 1, 2]
    assert [item async for item in iterate_in_threadpool(iter("ab"))] == ["a", "b"]
    source = Source()
    async with aclosing(iterate_in_threadpool(source)) as items:
        assert await anext(items) == 1
    assert source.closed.is_set()


@pytest.mark.asyncio
async def test_the_shared_pool_comes_back_after_a_shutdown() -> None:
    first = threadpool.shared_pool()
    assert threadpool.shared_pool() is first
    await first.shutdown()
    assert await run_in_threadpool(int) == 0
    assert threadpool.shared_pool() is not first


@pytest.mark.asyncio
async def test_more_calls_than_the_shared_pool_holds_wait() -> None:
    async def call(number: int) -> Any:
        return await run_in_threadpool(divmod, number, 7)

    assert await asyncio.gather(*map(call, range(300))) == [divmod(number, 7) for number in range(300)]
