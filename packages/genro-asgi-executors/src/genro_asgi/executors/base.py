"""What every pool has in common: its name, its limits, its counters and its face as a decorator."""

import asyncio
import math
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextvars import copy_context
from time import monotonic
from types import AsyncGeneratorType, CoroutineType
from typing import Any, ClassVar, Literal, ParamSpec, TypeVar, cast, overload
from weakref import WeakSet

from genro_asgi.executors.backlog import Backlog
from genro_asgi.executors.decorator import Offloaded, Runner, Streamed, refuse_async
from genro_asgi.executors.errors import (
    ExecutorClosedError,
    ExecutorError,
    ExecutorOverloadError,
    ExecutorTimeoutError,
    cannot_start,
    describe,
    presentable,
)
from genro_asgi.executors.job import CallOptions, Job, OnCancel
from genro_asgi.executors.metrics import Tally
from genro_asgi.executors.progress import here
from genro_asgi.executors.pull import END, Pull

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

Overload = Literal["raise", "wait"]
# The pools of this process: one that is forked off it has none of their threads, and must let go of their processes.
_pools: "WeakSet[BaseExecutor]" = WeakSet()
_ASYNC_RESULTS = frozenset({CoroutineType, AsyncGeneratorType})


class BaseExecutor(ABC):
    """A named pool: hand it calls with `run`, or decorate functions with it."""

    kind: ClassVar[str]
    can_kill: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        *,
        max_workers: int,
        max_pending: int | None = 100,
        on_overload: Overload = "raise",
        timeout: float | None = None,
        on_cancel: OnCancel = "finish",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        bypass: bool = False,
    ) -> None:
        if not name or not isinstance(name, str):
            raise ValueError(f"the name of an executor is {name!r}; give a text that is not empty")
        self.name = name
        self._check_count("max_workers", max_workers)
        self._check_count("max_pending", max_pending, or_none=True)
        self._check("on_overload", on_overload, on_overload in ("raise", "wait"), "'raise' or 'wait'")
        self._check("initializer", initializer, initializer is None or callable(initializer), "a function, or None")
        self._check("initargs", initargs, isinstance(initargs, tuple | list), "a tuple of its arguments")
        self.max_workers = max_workers
        self.max_pending = max_pending
        self.on_overload = on_overload
        self.initializer = initializer
        self.initargs = tuple(initargs)
        self.bypass = bypass or os.environ.get("GENRO_EXECUTOR_BYPASS", "") not in ("", "0")
        self.closed = False
        self.defaults = self.merge(CallOptions(), None, timeout, on_cancel)
        # One number to compare with on the road of every call: no limit is infinity, closed is -1.
        self._ceiling = float("inf") if max_pending is None or on_overload == "wait" else max_pending
        # Calls somebody awaits; those of them no worker has taken yet; and calls that run though nobody awaits them.
        self._live: set[Job[Any]] = set()
        self._backlog = Backlog()
        self._abandoned: set[Job[Any]] = set()
        self._tally = Tally()
        self._initialized = False
        _pools.add(self)

    def _check(self, option: str, value: object, good: bool, allowed: str) -> None:
        if not good:
            raise ValueError(f"{option} of executor {self.name!r} is {value!r}; give {allowed}")

    def _check_count(self, option: str, value: object, or_none: bool = False) -> None:
        good = (isinstance(value, int) and value >= 1) or (or_none and value is None)
        self._check(option, value, good, "a whole number of at least 1" + ", or None" * or_none)

    def merge(
        self, defaults: CallOptions, priority: int | None, timeout: float | None, on_cancel: OnCancel | None
    ) -> CallOptions:
        """The options with what is not None replaced; `math.inf` takes a timeout away. Raises ValueError."""
        priority = defaults.priority if priority is None else priority
        timeout = defaults.timeout if timeout is None else timeout
        on_cancel = defaults.on_cancel if on_cancel is None else on_cancel
        allowed = ("finish", "kill") if self.can_kill else ("finish",)
        self._check("priority", priority, isinstance(priority, int), "an integer")
        good = timeout is None or (isinstance(timeout, int | float) and timeout > 0)
        self._check("timeout", timeout, good, "seconds above 0, or None")
        self._check("on_cancel", on_cancel, on_cancel in allowed, " or ".join(map(repr, allowed)))
        return CallOptions(priority, None if timeout == math.inf else timeout, on_cancel)

    @property
    def mode(self) -> str:
        """How calls really run: the kind, or `bypass`."""
        return "bypass" if self.bypass else self.kind

    @property
    def timeout(self) -> float | None:
        """Seconds a call may run unless it says otherwise."""
        return self.defaults.timeout

    @property
    @abstractmethod
    def pending(self) -> int:
        """Calls somebody awaits: queued and running."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """Threads or processes there are now."""

    @property
    @abstractmethod
    def busy(self) -> int:
        """Workers that run something, also for callers who gave up."""

    def run(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Hand `fn(*args, **kwargs)` to the pool from a running event loop, and get the future of its result.

        Raises ExecutorOverloadError at once when `max_pending` calls are pending, unless `on_overload` is "wait".
        """
        return self.launch(fn, args, kwargs, self.defaults)

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """The older name of `run`."""
        return self.launch(fn, args, kwargs, self.defaults)

    def stream(self, fn: Callable[P, Iterable[T]], /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
        """The items of `fn(*args, **kwargs)`, produced in the pool as they are asked for."""
        return self.launch_stream(fn, args, kwargs, self.defaults)

    def options(
        self, *, priority: int | None = None, timeout: float | None = None, on_cancel: OnCancel | None = None
    ) -> Runner:
        """This pool with other options for the calls made through it; None keeps what the pool says."""
        return Runner(self, self.merge(self.defaults, priority, timeout, on_cancel))

    @overload
    def __call__(self, fn: Callable[P, Iterator[T]]) -> Streamed[P, T]: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, fn: Callable[P, R]) -> Offloaded[P, R]: ...

    def __call__(self, fn: Callable[..., Any]) -> Any:
        """Decorate a function: calling it runs it in this pool, and the call is awaited."""
        return Runner(self, self.defaults)(fn)

    def prepare(self, fn: Callable[..., Any]) -> None:
        """Refuse a function that cannot run here; called once when it is decorated."""
        refuse_async(fn)

    def metrics(self) -> dict[str, Any]:
        """A snapshot of every gauge, counter and histogram."""
        return {
            "name": self.name,
            "kind": self.kind,
            "mode": self.mode,
            "max_workers": self.max_workers,
            "workers": self.workers,
            "busy": self.busy,
            "pending": self.pending,
            "queued": len(self._backlog),
            "abandoned": len(self._abandoned),
            "max_pending": self.max_pending,
            **self._totals().as_dict(),
        }

    @abstractmethod
    async def shutdown(self, wait: bool = True, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Take no more calls, let the pending ones finish for `timeout` seconds (None: as long as they take), then end.

        What is left after that, or at once with `wait=False`, fails with ExecutorClosedError.
        """

    @abstractmethod
    def abandon(self, job: Job[Any]) -> None:
        """Take note that the caller gave the job up; its future is cancelled already."""

    @abstractmethod
    def launch(
        self, fn: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Job[R]:
        """What `run` does, with the options spelled out."""

    @abstractmethod
    def launch_stream(
        self, fn: Callable[..., Iterable[T]], args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> AsyncGenerator[T, None]:
        """What `stream` does, with the options spelled out."""

    @abstractmethod
    async def warm_up(self) -> None:
        """Start every worker now, and wait until it is ready, rather than when calls come."""

    def forget(self) -> None:
        """Begin anew in a forked process: calls, threads and processes are those of the process before."""
        self._live.clear()
        self._abandoned.clear()
        self._backlog.clear()
        self._tally = Tally()

    async def _drain(self, deadline: float) -> None:
        """Wait until nothing is queued or runs, or the deadline (of the monotonic clock) has passed."""
        while (self.pending or self.busy) and monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.002)  # what happens in threads and on other loops sets no event here

    def _totals(self) -> Tally:
        return self._tally

    def _refuse(self, tally: Tally) -> None:
        if self.closed:
            raise ExecutorClosedError(f"executor {self.name!r} was shut down; it takes no more calls")
        tally.rejected += 1
        raise ExecutorOverloadError(
            f"executor {self.name!r} has {len(self._live)} calls pending and takes {self.max_pending}; "
            "retry later, raise max_pending, or set on_overload='wait'"
        )

    def _settle(self, job: Job[Any], tally: Tally) -> None:
        """Count a call that ran, and give its caller the outcome unless he is gone."""
        tally.waited.observe(job.started - job.queued)
        tally.ran.observe(job.ended - job.started)
        if job.done():
            return
        self._live.discard(job)
        if job.timer is not None:
            job.timer.cancel()
        if job.error is not None:
            tally.failed += 1
            job.set_exception(presentable(job.error, job.fn))
        elif type(job.value) in _ASYNC_RESULTS:
            tally.failed += 1
            if isinstance(job.value, CoroutineType):
                job.value.close()
            job.set_exception(ExecutorError(f"{describe(job.fn)} is async; await it on the loop instead"))
        else:
            tally.completed += 1
            job.set_result(job.value)

    def _time_out(self, job: Job[Any], tally: Tally) -> None:
        self._live.discard(job)
        tally.timed_out += 1
        job.set_exception(
            ExecutorTimeoutError(
                f"{describe(job.fn)} ran longer than {job.options.timeout} s in executor {self.name!r}"
            )
        )

    def _cut_short(self, job: Job[Any], tally: Tally) -> None:
        self._live.discard(job)
        tally.cancelled += 1
        job.set_exception(ExecutorClosedError(f"executor {self.name!r} was shut down before {describe(job.fn)} ended"))

    def _initialize_inline(self) -> None:
        """Run the initializer once, for a pool in bypass: what it loads is here and not in a worker."""
        if self.initializer is not None and not self._initialized:
            try:
                self.initializer(*self.initargs)
            except BaseException as exc:
                raise cannot_start(self.name, exc) from exc
        self._initialized = True

    def _inline(self, fn: Callable[..., Any], call: Callable[[], R], options: CallOptions) -> Job[R]:
        """Run a call here and now, on the loop, for a pool in bypass."""
        job: Job[R] = Job(loop=asyncio.get_running_loop())
        job.owner, job.lane, job.fn, job.options, job.error, job.value = self, None, fn, options, None, None
        self._live.add(job)
        self._tally.submitted += 1
        job.queued = job.started = monotonic()
        outer, here.reporter = here.reporter, job.advance
        try:
            self._initialize_inline()
            job.value = copy_context().run(call)
        except BaseException as exc:
            job.error = exc
        finally:
            here.reporter = outer
        job.ended = monotonic()
        if options.timeout is not None and job.ended - job.started > options.timeout:
            self._time_out(job, self._tally)
        self._settle(job, self._tally)
        return job

    async def _inline_stream(
        self, fn: Callable[..., Any], make: Callable[[], Iterable[T]], options: CallOptions
    ) -> AsyncGenerator[T, None]:
        pull = Pull(make, fn)
        try:
            while (item := await self._inline(fn, pull, options)) is not END:
                yield cast("T", item)
        finally:
            if pull.dismiss():
                pull()


def _forget_all() -> None:
    for pool in list(_pools):
        pool.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
