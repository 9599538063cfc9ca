"""Work that is done after the answer has been sent."""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ParamSpec

from genro_asgi.delivery import Runner

__all__ = ["BackgroundTask", "BackgroundTasks", "is_async_callable"]

P = ParamSpec("P")


class BackgroundTask:
    """One call to be made later; a function that is not async runs in a thread."""

    def __init__(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
        self.func: Callable[..., Any] = func
        self.args = args
        self.kwargs = kwargs
        self.is_async = is_async_callable(func)

    async def run(self, runner: Runner) -> None:
        """Make the call; `await runner(function, *args)` takes what would block the loop."""
        if self.is_async:
            await self.func(*self.args, **self.kwargs)
        else:
            await runner(partial(self.func, *self.args, **self.kwargs))

    async def __call__(self) -> None:
        await self.run(asyncio.to_thread)


class BackgroundTasks(BackgroundTask):
    """Calls to be made one after the other; one that raises ends the row."""

    def __init__(self, tasks: Sequence[BackgroundTask] | None = None) -> None:
        self.tasks = list(tasks) if tasks else []

    def add_task(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
        """Add a call at the end."""
        self.tasks.append(BackgroundTask(func, *args, **kwargs))

    async def run(self, runner: Runner) -> None:
        """Make the calls in their order."""
        for task in self.tasks:
            await task.run(runner)


def is_async_callable(func: Any) -> bool:
    """Whether calling it gives something to await: an async function, also in a partial, or an object that is one."""
    while isinstance(func, partial):
        func = func.func
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(type(func).__call__)
