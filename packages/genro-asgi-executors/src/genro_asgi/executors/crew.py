"""The threads of a pool: how they wait, wake, take jobs and leave."""

import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from time import monotonic
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from genro_asgi.executors.backlog import Backlog
from genro_asgi.executors.bell import Bell
from genro_asgi.executors.errors import ExecutorError, cannot_start
from genro_asgi.executors.job import Job
from genro_asgi.executors.progress import here

# Seconds within which the loop may wait for a call, instead of falling asleep for it.
BRIEF = 0.00005
MAX_BRIEF = 4096


def _identity(fn: Callable[..., Any]) -> int:
    """A number for what a function does, which closures made anew each time share; nothing is kept alive by it.

    0 for anything but functions: the same object may do something else next time, or another one have its place.
    """
    kind = type(fn)
    if kind is FunctionType:
        return id(fn.__code__)
    return id(fn) if kind is BuiltinFunctionType and isinstance(getattr(fn, "__self__", None), ModuleType) else 0


class WorkerThread(threading.Thread):
    """One thread, the job it has in hand, and the bell that wakes it."""

    def __init__(self, work: Callable[["WorkerThread"], None], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.work = work
        self.bell = Bell()
        self.job: Job[Any] | None = None

    def run(self) -> None:
        here.reporter = self.report
        self.bell.tid = self.native_id or 0
        self.work(self)

    def report(self, fraction: float | None, text: str) -> None:
        """Bring a report of the running function to the loop its caller lives on."""
        if self.job is not None:
            with suppress(RuntimeError):  # the loop is closed, nobody listens
                self.job.advance_soon(fraction, text)


class Crew:
    """Threads that take jobs from a backlog and hand them back done."""

    def __init__(
        self,
        name: str,
        prefix: str,
        limit: int,
        backlog: Backlog,
        hand_back: Callable[[Job[Any]], None],
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
    ) -> None:
        self.name = name
        self.prefix = prefix
        # There are never more threads than this; who is one too many when it falls leaves as soon as it is free.
        self.limit = limit
        self.threads: set[WorkerThread] = set()
        # The threads that wait for a ring; who takes one out of here must ring.
        self.idle: list[WorkerThread] = []
        self._backlog = backlog
        self._hand_back = hand_back
        # The functions that took next to no time when they ran last.
        self._brief: set[int] = set()
        self._initializer = initializer
        self._initargs = initargs
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._closing = False

    @property
    def busy(self) -> int:
        """Threads that run a job."""
        return sum(thread.job is not None for thread in list(self.threads))

    def hire(self) -> None:
        """Start one more thread. Raises ExecutorError when there can be none at all."""
        try:
            thread = WorkerThread(self._work, f"{self.prefix}_{next(self._numbers)}")
            self.threads.add(thread)
            try:
                thread.start()
            except RuntimeError:
                self._leave(thread)
                raise
        except (OSError, RuntimeError) as exc:
            if not self.threads:
                raise ExecutorError(f"executor {self.name!r} cannot start a thread: {exc}") from exc

    def wake(self, here: bool = False) -> bool:
        """Wake the thread that fell asleep last, `here` if the calling thread is about to sleep; False if none sleeps.

        It may be one that only turns round, awake still, and looks for a job in any case.
        """
        try:
            thread = self.idle.pop()
        except IndexError:
            return False
        if here:
            job = self._backlog.first()
            thread.bell.ring_here(job is not None and _identity(job.fn) in self._brief)
        else:
            thread.bell.ring()
        return True

    def wake_for(self, jobs: int) -> None:
        """Wake a thread for each of so many jobs, as far as threads wait."""
        while jobs > 0 and self.wake():
            jobs -= 1

    def resize(self, limit: int) -> None:
        """Allow more threads, or fewer; jobs that wait may need one of the new ones at once."""
        self.limit = limit
        if len(self.threads) > limit:
            self.wake()
        elif self._backlog and len(self.threads) < limit:
            self.hire()

    def close(self) -> None:
        """Let every thread go when no job waits any more."""
        self._closing = True
        while self.idle:
            self.wake()

    def forget(self, limit: int) -> None:
        """Begin anew without threads, in a process that was forked off theirs."""
        self.limit = limit
        for thread in self.threads:
            thread.bell.close()  # this process's copies
        self.threads.clear()
        self.idle.clear()
        self._lock = threading.Lock()

    def _work(self, me: WorkerThread) -> None:
        if not self._initialized(me):
            return
        next_job, done = self._backlog.pop, None
        while True:
            surplus = len(self.threads) > self.limit
            me.job = job = None if surplus else next_job()
            leaving = surplus or (job is None and self._closing)
            resting = job is None and not leaving and self._lies_down(me)
            # Last, because it wakes the loop: it finds a thread to ring for, and soon nobody who holds the GIL.
            if done is not None:
                self._hand_back(done)
                done = None  # an idle thread keeps nothing alive
            if resting:
                me.bell.wait()
            elif job is not None:
                job.started = monotonic()
                try:
                    job.value = job.context.run(job.fn, *job.args, **job.kwargs)
                except BaseException as exc:
                    job.error = exc
                job.ended = monotonic()
                self._note(job)
                done = job
            elif leaving and self._leave(me, surplus):
                return

    def _note(self, job: Job[Any]) -> None:
        function, brief = _identity(job.fn), self._brief
        if job.ended - job.started > BRIEF:
            brief.discard(function)
        elif function and function not in brief:
            if len(brief) >= MAX_BRIEF:
                brief.clear()
            brief.add(function)

    def _lies_down(self, me: WorkerThread) -> bool:
        """Whether a thread that found no job may sleep until its bell rings."""
        self.idle.append(me)
        # Whoever brought a job before that line saw nobody to wake, so look again after it.
        if self._backlog or self._closing:
            try:
                self.idle.remove(me)
            except ValueError:
                pass  # somebody took it out, and is about to ring
            else:
                return False
        return True

    def _initialized(self, me: WorkerThread) -> bool:
        if self._initializer is None:
            return True
        try:
            self._initializer(*self._initargs)
        except BaseException as exc:
            self._leave(me)
            while not self.threads and (job := self._backlog.pop()) is not None:
                job.started = job.ended = monotonic()
                job.error = cannot_start(self.name, exc)
                self._hand_back(job)
            return False
        return True

    def _leave(self, me: WorkerThread, surplus: bool = False) -> bool:
        with self._lock:
            if surplus and len(self.threads) <= self.limit:
                return False  # others have left already
            self.threads.discard(me)
        me.bell.close()
        return True
