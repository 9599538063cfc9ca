"""Starlette's two helpers, over one thread pool shared by the process."""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import ParamSpec, TypeVar

from genro_asgi.executors.thread import ThreadExecutor

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_shared: ThreadExecutor | None = None


def shared_pool() -> ThreadExecutor:
    """The pool behind `run_in_threadpool`: 40 threads, as Starlette has, and callers wait in line."""
    global _shared
    if _shared is None or _shared.closed:
        _shared = ThreadExecutor("threadpool", max_workers=40, on_overload="wait")
    return _shared


async def run_in_threadpool(func: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a blocking function in a thread and await its result; context variables reach it."""
    return await shared_pool().run(func, *args, **kwargs)


async def iterate_in_threadpool(iterator: Iterable[T]) -> AsyncGenerator[T, None]:
    """Iterate something blocking in threads, one item per turn; leaving early closes a generator."""
    async with aclosing(shared_pool().stream(lambda: iterator)) as items:
        async for item in items:
            yield item
