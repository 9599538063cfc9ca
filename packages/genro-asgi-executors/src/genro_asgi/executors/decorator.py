"""Functions that run in a pool when they are called."""

import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from genro_asgi.executors.errors import ExecutorError, describe, shown
from genro_asgi.executors.job import CallOptions, Job, OnCancel

if TYPE_CHECKING:
    from genro_asgi.executors.base import BaseExecutor

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Offloaded(Protocol[P, R_co]):
    """A decorated function: await the call, or `start` it to hold its Job."""

    executor: "BaseExecutor"
    start: Callable[..., Job[Any]]

    @property
    def options(self) -> "Callable[..., Offloaded[P, R_co]]":
        """The same function with another `priority`, `timeout` or `on_cancel`."""
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Run the function in the pool."""
        ...


class Streamed(Protocol[P, T_co]):
    """A decorated generator function: its items come with `async for`."""

    executor: "BaseExecutor"

    @property
    def options(self) -> "Callable[..., Streamed[P, T_co]]":
        """The same function with another `priority`, `timeout` or `on_cancel`."""
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T_co, None]:
        """Run the generator in the pool."""
        ...


@dataclass(frozen=True, slots=True)
class Runner:
    """A pool together with the options of the calls made through it."""

    executor: "BaseExecutor"
    defaults: CallOptions

    def run(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Like the pool's own `run`."""
        return self.executor.launch(fn, args, kwargs, self.defaults)

    def stream(self, fn: Callable[P, Iterable[T]], /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
        """Like the pool's own `stream`."""
        return self.executor.launch_stream(fn, args, kwargs, self.defaults)

    def options(
        self, *, priority: int | None = None, timeout: float | None = None, on_cancel: OnCancel | None = None
    ) -> "Runner":
        """The same with other options; None keeps what is."""
        return Runner(self.executor, self.executor.merge(self.defaults, priority, timeout, on_cancel))

    @overload
    def __call__(self, fn: Callable[P, Iterator[T]]) -> Streamed[P, T]: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, fn: Callable[P, R]) -> Offloaded[P, R]: ...

    def __call__(self, fn: Callable[..., Any]) -> Any:
        """Decorate a function: calling it runs it in the pool."""
        self.executor.prepare(fn)
        return _offload(self, fn)


def refuse_async(fn: Callable[..., Any]) -> None:
    """Raise ExecutorError for a function that belongs on the event loop, and for what is no function."""
    if not callable(fn):
        raise ExecutorError(f"{shown(fn)} cannot be called; give a function")
    if inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn):
        raise ExecutorError(f"{describe(fn)} is async; await it on the event loop, pools run plain functions")


def _offload(runner: Runner, fn: Callable[..., Any]) -> Any:
    offloaded: Any = _streaming(runner, fn) if inspect.isgeneratorfunction(fn) else _awaiting(runner, fn)
    offloaded.executor = runner.executor
    offloaded.options = lambda **options: _offload(runner.options(**options), fn)
    # Where a worker process finds the function, whatever other decorators hide it: wraps() hands this mark on.
    offloaded.__offloaded__ = fn
    return offloaded


def _awaiting(runner: Runner, fn: Callable[..., Any]) -> Any:
    @wraps(fn)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await runner.run(fn, *args, **kwargs)

    offloaded: Any = call
    offloaded.start = partial(runner.run, fn)
    return offloaded


def _streaming(runner: Runner, fn: Callable[..., Any]) -> Any:
    @wraps(fn)
    async def items(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        async with aclosing(runner.stream(fn, *args, **kwargs)) as stream:
            async for item in stream:
                yield item

    return items
