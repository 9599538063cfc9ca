"""Tasks whose first step runs at once, as Python has them from 3.12 on."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

__all__ = ["start_task"]


def running_task(loop: Any) -> "asyncio.Task[Any] | None":
    """The task a loop is running; None for None, and for a loop that runs none."""
    return None if loop is None else asyncio.current_task(loop)


_tasks: Any = getattr(asyncio.tasks, "_current_tasks", None)
# Up to Python 3.13 asyncio.current_task() is a function around this dictionary, and costs five times as much. From 3.14
# on the dictionary may be there, and stays empty.
task_of: Callable[[Any], "asyncio.Task[Any] | None"] = (
    running_task if sys.version_info >= (3, 14) or _tasks is None else _tasks.get
)

# To give each task a name of its own costs a tenth of what it costs to make one.
_NAME = "call"


def _start_eagerly(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], context: Context
) -> "asyncio.Task[Any]":
    """Run a coroutine in a task; most end in the first step, and never wait for a turn of the loop."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, name=_NAME, context=context, eager_start=True)  # type: ignore[call-arg, unused-ignore]
    return task


class _Capture:
    """Stands for `loop.call_soon` while a task is made, and keeps the step it would have run later."""

    __slots__ = ("context", "loop", "step")

    def __init__(self) -> None:
        self.step: Any = None
        self.loop: Any = None
        self.context: Context | None = None

    def __call__(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        if context is self.context and self.step is None:
            self.step = callback
            return None
        # A finalizer came in between, and has something of its own to say.
        return type(self.loop).call_soon(self.loop, callback, *args, context=context)


_capture = _Capture()


def _start_captured(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], context: Context
) -> "asyncio.Task[Any]":
    """The same for Python 3.11: the task is an ordinary one, only its first step is taken by hand.

    So it is what asyncio.current_task() gives, and timeouts and cancellation work as in any task.
    """
    capture = _capture
    if task_of(loop) is not None:  # no task runs inside another one
        return asyncio.Task(work, loop=loop, name=_NAME, context=context)
    capture.loop, capture.context, capture.step = loop, context, None
    loop.call_soon = capture  # type: ignore[assignment, method-assign]
    try:
        task = asyncio.Task(work, loop=loop, name=_NAME, context=context)
    finally:
        del loop.call_soon
        step, capture.loop, capture.context, capture.step = capture.step, None, None, None
    context.run(step)
    return task


#: Runs a coroutine in a task of its own and in this context, up to where it waits for the first time.
start_task = _start_eagerly if sys.version_info >= (3, 12) else _start_captured
