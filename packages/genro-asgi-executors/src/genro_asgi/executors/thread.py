"""Threads fed by hand: blocking work off the loop at a fraction of what run_in_executor costs."""

import asyncio
import math
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeVar, cast

from genro_asgi.executors.base import BaseExecutor, Overload
from genro_asgi.executors.errors import ExecutorClosedError, ExecutorError, describe
from genro_asgi.executors.job import CallOptions, Job
from genro_asgi.executors.metrics import Tally
from genro_asgi.executors.progress import Progress, here
from genro_asgi.executors.pull import END, Pull

R = TypeVar("R")
T = TypeVar("T")


class Lane:
    """The way back to one event loop: finished jobs wait here, and one wake-up of the loop takes them all."""

    __slots__ = ("armed", "done", "loop", "tally")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.done: deque[Job[Any]] = deque()
        self.armed = False
        self.tally = Tally()


class WorkerThread(threading.Thread):
    """One thread of a pool, and the job it has in hand."""

    def __init__(self, work: Callable[["WorkerThread"], None], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.work = work
        self.job: Job[Any] | None = None

    def run(self) -> None:
        here.reporter = self.report
        self.work(self)

    def report(self, progress: Progress) -> None:
        """Bring a report of the running function to the loop its caller lives on."""
        if self.job is not None:
            with suppress(RuntimeError):  # the loop is closed, nobody listens
                self.job.lane.loop.call_soon_threadsafe(self.job.advance, progress)


class ThreadExecutor(BaseExecutor):
    """A pool of daemon threads, started as they are needed, that any event loop may use.

    Context variables reach the function. A thread cannot be killed: a call that is cancelled or timed out while it runs
    keeps its thread until it returns.
    """

    kind = "thread"

    def __init__(
        self,
        name: str = "worker",
        max_workers: int | None = None,
        max_pending: int | None = 100,
        on_overload: Overload = "raise",
        timeout: float | None = None,
        thread_name_prefix: str | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        bypass: bool = False,
    ) -> None:
        super().__init__(
            name,
            max_workers=min(32, (os.cpu_count() or 1) + 4) if max_workers is None else max_workers,
            max_pending=max_pending,
            on_overload=on_overload,
            timeout=timeout,
            bypass=bypass,
        )
        self.thread_name_prefix = thread_name_prefix or f"genro-{name}"
        self.initializer = initializer
        self.initargs = initargs
        self._lock = threading.Lock()
        self._lane: Lane | None = None
        self._lanes: dict[asyncio.AbstractEventLoop, Lane] = {}
        # A token per job in the backlog: a token without a job is harmless, a job without a token would wait for ever.
        self._tokens: SimpleQueue[bool] = SimpleQueue()
        self._threads: set[WorkerThread] = set()
        self._numbers = count(1)

    @property
    def workers(self) -> int:
        return len(self._threads)

    @property
    def busy(self) -> int:
        return sum(thread.job is not None for thread in list(self._threads))

    @property
    def pending(self) -> int:
        self._bury_closed()
        return len(self._live)

    def launch(
        self, fn: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Job[R]:
        loop = asyncio.get_running_loop()
        lane = self._lane
        if lane is None or lane.loop is not loop:
            lane = self._lane_to(loop)
        live, threads = self._live, self._threads
        if len(live) >= self._ceiling:
            self._admit(fn, lane.tally)
        if self.bypass:
            return self._inline(fn, args, kwargs, options)
        if len(threads) < self.max_workers and len(live) + len(self._abandoned) >= len(threads):
            self._grow()
        job: Job[R] = Job(loop=loop)
        job.owner = self
        job.options = options
        job.lane = lane
        job.fn = fn
        job.args = args
        job.kwargs = kwargs
        job.context = copy_context()
        job.value = job.error = None
        job.started = job.ended = 0.0
        job.queued = monotonic()
        self._backlog.push(job)
        live.add(job)
        lane.tally.submitted += 1
        self._tokens.put(True)
        if options.timeout is not None:
            job.timer = loop.call_later(options.timeout, self._expire, job)
        return job

    async def launch_stream(
        self, fn: Callable[..., Iterable[T]], args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> AsyncGenerator[T, None]:
        """One turn in the pool per item: a slow reader holds no thread, and the generator may change threads."""
        pull = Pull(partial(fn, *args, **kwargs), fn)
        try:
            while (item := await self.launch(pull, (), {}, options)) is not END:
                yield cast("T", item)
        except BaseException as exc:
            if pull.dismiss():
                closing = self._close_stream(pull)
                # Cancelled, the reader must not wait for a free thread; leaving early, it may count on the clean-up.
                if closing is not None and isinstance(exc, GeneratorExit):
                    await closing
            raise

    def _close_stream(self, pull: Pull) -> Job[object] | None:
        if not self.closed:
            return self.launch(pull, (), {}, self.defaults)
        threading.Thread(target=pull, name=f"{self.thread_name_prefix}-close", daemon=True).start()
        return None

    def abandon(self, job: Job[Any]) -> None:
        self._withdraw(job)
        job.lane.tally.cancelled += 1

    async def shutdown(self, wait: bool = True, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self.closed, self._ceiling = True, -1
        deadline = monotonic() + (math.inf if timeout is None else timeout)
        while wait and (self.pending or self.busy) and monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.002)  # the state belongs to threads, and to other loops
        for job in list(self._live):
            with suppress(RuntimeError):  # its loop is closed
                job.lane.loop.call_soon_threadsafe(self._disappoint, job)
        idle = [thread for thread in self._threads if thread.job is None]
        for _ in self._threads:
            self._tokens.put(False)
        while any(thread.is_alive() for thread in idle) and monotonic() < deadline + 1:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    def _admit(self, fn: Callable[..., Any], tally: Tally) -> None:
        """Refuse a call, unless it goes on with a stream, or the calls that fill the pool are of closed loops."""
        begun = isinstance(fn, Pull) and fn.begun
        if self.closed or not (begun or self.pending < self._ceiling):
            self._refuse(tally)

    def _lane_to(self, loop: asyncio.AbstractEventLoop) -> Lane:
        self._bury_closed()
        with self._lock:
            self._lane = lane = self._lanes.setdefault(loop, Lane(loop))
        return lane

    def _totals(self) -> Tally:
        with self._lock:
            total = Tally()
            for tally in (self._tally, *(lane.tally for lane in self._lanes.values())):
                total.add(tally)
        return total

    def _grow(self) -> None:
        thread = WorkerThread(self._work, f"{self.thread_name_prefix}_{next(self._numbers)}")
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError as exc:
            self._threads.discard(thread)
            if not self._threads:
                raise ExecutorError(f"executor {self.name!r} cannot start a thread: {exc}") from exc

    def _work(self, me: WorkerThread) -> None:
        if not self._initialized(me):
            return
        token, next_job = self._tokens.get, self._backlog.pop
        while token():
            me.job = job = next_job()
            if job is None:
                continue
            job.started = monotonic()
            try:
                job.value = job.context.run(job.fn, *job.args, **job.kwargs)
            except BaseException as exc:
                job.error = exc
            job.ended = monotonic()
            me.job = None
            self._hand_back(job)
            del job  # an idle thread keeps nothing alive
        self._threads.discard(me)

    def _initialized(self, me: WorkerThread) -> bool:
        if self.initializer is None:
            return True
        try:
            self.initializer(*self.initargs)
        except BaseException as exc:
            self._threads.discard(me)
            while not self._threads and (job := self._backlog.pop()) is not None:
                job.started = job.ended = monotonic()
                job.error = ExecutorError(
                    f"a thread of executor {self.name!r} cannot start: its initializer raised {exc!r}"
                )
                job.error.__cause__ = exc
                self._hand_back(job)
            return False
        return True

    def _hand_back(self, job: Job[Any]) -> None:
        lane: Lane = job.lane
        lane.done.append(job)
        if not lane.armed:
            lane.armed = True
            try:
                lane.loop.call_soon_threadsafe(self._deliver, lane)
            except RuntimeError:
                self._bury(lane)

    def _deliver(self, lane: Lane) -> None:
        lane.armed = False
        done = lane.done
        while done:
            job = done.popleft()
            self._abandoned.discard(job)
            self._settle(job, lane.tally)

    def _expire(self, job: Job[Any]) -> None:
        assert job.options.timeout is not None
        if job.done() or job.ended:
            return
        left = job.started + job.options.timeout - monotonic() if job.started else job.options.timeout
        if left > 0:
            job.timer = job.lane.loop.call_later(left, self._expire, job)
        else:
            self._withdraw(job)
            self._time_out(job, job.lane.tally)

    def _disappoint(self, job: Job[Any]) -> None:
        if not job.done():
            self._withdraw(job)
            job.lane.tally.cancelled += 1
            job.set_exception(
                ExecutorClosedError(f"executor {self.name!r} was shut down before {describe(job.fn)} ended")
            )

    def _withdraw(self, job: Job[Any]) -> None:
        """Nobody awaits the job any more: drop it if no thread has it yet."""
        self._live.discard(job)
        if job.timer is not None:
            job.timer.cancel()
        if not self._backlog.remove(job):
            self._abandoned.add(job)
            return
        with suppress(Empty):  # a thread took the token already, and will find no job
            self._tokens.get_nowait()

    def _bury_closed(self) -> None:
        for lane in list(self._lanes.values()):
            if lane.loop.is_closed():
                self._bury(lane)

    def _bury(self, lane: Lane) -> None:
        """Give up the calls of a loop that was closed: nobody can await them."""
        with self._lock:
            for job in [job for job in list(self._live) if job.lane is lane]:
                self._withdraw(job)
                self._tally.cancelled += 1
            while lane.done:
                self._abandoned.discard(lane.done.popleft())
            if self._lanes.pop(lane.loop, None) is not None:
                self._tally.add(lane.tally)
            lane.armed = False
