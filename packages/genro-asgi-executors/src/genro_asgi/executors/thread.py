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
from time import monotonic
from typing import Any, TypeVar, cast
from weakref import finalize

from genro_asgi.executors.base import BaseExecutor, Overload
from genro_asgi.executors.crew import Crew
from genro_asgi.executors.errors import ExecutorError
from genro_asgi.executors.job import CallOptions, Job
from genro_asgi.executors.metrics import Tally
from genro_asgi.executors.pull import END, Pull

# Turns of the loop a job may wait for others to come before a thread is woken for all of them.
MAX_GATHERING = 10

R = TypeVar("R")
T = TypeVar("T")


class Lane:
    """The way back to one event loop: finished jobs wait here, and one wake-up of the loop takes them all."""

    __slots__ = ("armed", "calling", "done", "loop", "tally")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.done: deque[Job[Any]] = deque()
        self.armed = False
        self.calling = False
        self.tally = Tally()


class ThreadExecutor(BaseExecutor):
    """A pool of daemon threads, started as they are needed, that any event loop may use.

    `initializer(*initargs)` runs first in each thread, and context variables reach the function. A thread cannot be
    killed: a call that is cancelled or timed out while it runs keeps its thread until it returns.
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
        max_parked: int = 0,
        bypass: bool = False,
    ) -> None:
        super().__init__(
            name,
            max_workers=min(32, (os.cpu_count() or 1) + 4) if max_workers is None else max_workers,
            max_pending=max_pending,
            on_overload=on_overload,
            timeout=timeout,
            initializer=initializer,
            initargs=initargs,
            bypass=bypass,
        )
        self._check("max_parked", max_parked, isinstance(max_parked, int) and max_parked >= 0, "0 or more")
        self.max_parked = max_parked
        self.parked = 0
        self._crew = Crew(
            name,
            thread_name_prefix or f"genro-{name}",
            self.max_workers,
            self._backlog,
            _hand_back,
            initializer,
            self.initargs,
        )
        # The threads of a pool that nobody has any more, and that was not shut down, leave too.
        finalize(self, self._crew.close).atexit = False
        self._lock = threading.Lock()
        self._lane: Lane | None = None
        self._lanes: dict[asyncio.AbstractEventLoop, Lane] = {}

    @property
    def workers(self) -> int:
        return len(self._crew.threads)

    @property
    def busy(self) -> int:
        return self._crew.busy

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
        live, crew = self._live, self._crew
        if len(live) >= self._ceiling:
            self._admit(fn, lane.tally)
        if self.bypass:
            return self._inline(fn, partial(fn, *args, **kwargs), options)
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
        if crew.idle and not lane.calling:
            if len(live) == 1:
                crew.wake(here=True)  # it wakes up while the loop goes to sleep
            else:
                # Not at once: ringing gives the GIL away while the loop may have more jobs to bring.
                lane.calling = True
                loop.call_soon(self._call, lane)
        if len(crew.threads) < crew.limit and len(live) + len(self._abandoned) > len(crew.threads):
            self._hire_for(job)
        if options.timeout is not None:
            job.timer = loop.call_later(options.timeout, self._expire, job)
        return job

    def _call(self, lane: Lane, seen: int = 1, turns: int = 0) -> None:
        """Wake a thread when none is awake; until the loop's next turn it takes all jobs that are short.

        While each turn brings more jobs it waits for the next: one wake-up of a thread, and one of the loop, for all.
        """
        waiting = len(self._backlog)
        if waiting > seen and turns < MAX_GATHERING:
            lane.loop.call_soon(self._call, lane, waiting, turns + 1)
            return
        if waiting and len(self._crew.idle) == len(self._crew.threads):
            self._crew.wake(here=True)
            waiting -= 1
        if waiting:
            lane.loop.call_soon(self._call_more, lane)
        else:
            lane.calling = False

    def _call_more(self, lane: Lane) -> None:
        """What still waits one turn later waits behind something slow: a thread for each."""
        lane.calling = False
        self._crew.wake_for(len(self._backlog))

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
        threading.Thread(target=pull, name=f"{self._crew.prefix}-close", daemon=True).start()
        return None

    def abandon(self, job: Job[Any]) -> None:
        self._withdraw(job)
        job.lane.tally.cancelled += 1

    def forget(self) -> None:
        super().forget()
        self._lock = threading.Lock()
        self._lane = None
        self._lanes.clear()
        self.parked = 0
        self._crew.forget(self.max_workers)

    async def warm_up(self) -> None:
        if self.closed:
            self._refuse(self._tally)
        if self.bypass:
            self._initialize_inline()
        else:
            while self.workers < self.max_workers:
                self._crew.hire()

    def park(self) -> None:
        """The calling thread begins to wait, for a slow client perhaps, and another may take its place meanwhile.

        At most `max_parked` threads are replaced at one time.
        """
        with self._lock:
            self.parked += 1
            self._crew.resize(self.max_workers + min(self.parked, self.max_parked))

    def unpark(self) -> None:
        """The calling thread goes on; one too many leaves as soon as it is free."""
        with self._lock:
            self.parked -= 1
            self._crew.resize(self.max_workers + min(self.parked, self.max_parked))

    def metrics(self) -> dict[str, Any]:
        return super().metrics() | {"parked": self.parked}

    async def shutdown(self, wait: bool = True, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self.closed, self._ceiling = True, -1
        deadline = math.inf if timeout is None else monotonic() + timeout
        if wait:
            await self._drain(deadline)
        for job in list(self._live):
            with suppress(RuntimeError):  # its loop is closed
                job.lane.loop.call_soon_threadsafe(self._disappoint, job)
        idle = [thread for thread in self._crew.threads if thread.job is None]
        self._crew.close()
        # They go at once, unless an initializer hangs.
        deadline = monotonic() + 1
        while any(thread.is_alive() for thread in idle) and monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    def _admit(self, fn: Callable[..., Any], tally: Tally) -> None:
        """Refuse a call, unless it goes on with a stream, or the calls that fill the pool are of closed loops."""
        begun = isinstance(fn, Pull) and fn.begun
        if self.closed or not (begun or self.pending < self._ceiling):
            self._refuse(tally)

    def _hire_for(self, job: Job[Any]) -> None:
        try:
            self._crew.hire()
        except ExecutorError:
            self._withdraw(job)
            job.lane.tally.failed += 1
            raise

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

    def _deliver(self, lane: Lane) -> None:
        lane.armed = False
        done = lane.done
        while done:
            job = done.popleft()
            if self._abandoned:
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
            self._cut_short(job, job.lane.tally)

    def _withdraw(self, job: Job[Any]) -> None:
        """Nobody awaits the job any more: drop it if no thread has it yet."""
        self._live.discard(job)
        if job.timer is not None:
            job.timer.cancel()
        if not self._backlog.remove(job):
            self._abandoned.add(job)

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


def _hand_back(job: Job[Any]) -> None:
    """Called by a thread, which does not hold the pool: only its jobs do."""
    lane: Lane = job.lane
    lane.done.append(job)
    if not lane.armed:
        lane.armed = True
        pool = cast("ThreadExecutor", job.owner)
        try:
            lane.loop.call_soon_threadsafe(pool._deliver, lane)
        except RuntimeError:
            pool._bury(lane)
