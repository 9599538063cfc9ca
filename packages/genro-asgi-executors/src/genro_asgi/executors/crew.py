"""The threads of a pool: how they wait, wake, take jobs and leave."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import Any

from genro_asgi.executors.backlog import Backlog
from genro_asgi.executors.errors import ExecutorError
from genro_asgi.executors.job import Job
from genro_asgi.executors.progress import here


class WorkerThread(threading.Thread):
    """One thread, and the job it has in hand."""

    def __init__(self, work: Callable[["WorkerThread"], None], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.work = work
        self.job: Job[Any] | None = None

    def run(self) -> None:
        here.reporter = self.report
        self.work(self)

    def report(self, fraction: float | None, text: str) -> None:
        """Bring a report of the running function to the loop its caller lives on."""
        if self.job is not None:
            with suppress(RuntimeError):  # the loop is closed, nobody listens
                self.job.advance_soon(fraction, text)


class Crew:
    """Threads that take jobs from a backlog and hand them back done.

    An idle thread reads a pipe, and a byte wakes it. On a lock or a queue it would wake while the loop still holds the
    GIL, fall asleep again, and cost three context switches a call where the pipe costs one.
    """

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
        # One entry for each thread that waits for a byte nobody has written yet.
        self.idle: list[None] = []
        self._backlog = backlog
        self._hand_back = hand_back
        self._initializer = initializer
        self._initargs = initargs
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._pipe: tuple[int, int] | None = None
        self._closing = False

    @property
    def busy(self) -> int:
        """Threads that run a job."""
        return sum(thread.job is not None for thread in list(self.threads))

    def hire(self) -> None:
        """Start one more thread. Raises ExecutorError when there can be none at all."""
        with self._lock:
            if self._pipe is None:
                self._pipe = os.pipe()
        thread = WorkerThread(self._work, f"{self.prefix}_{next(self._numbers)}")
        self.threads.add(thread)
        try:
            thread.start()
        except RuntimeError as exc:
            self._leave(thread)
            if not self.threads:
                raise ExecutorError(f"executor {self.name!r} cannot start a thread: {exc}") from exc

    def wake(self) -> None:
        """Wake one thread, if one waits."""
        try:
            self.idle.pop()
        except IndexError:
            return
        assert self._pipe is not None
        os.write(self._pipe[1], b"\n")

    def wake_for(self, jobs: int) -> None:
        """Wake a thread for each of so many jobs, as far as threads wait."""
        for _ in range(min(jobs, len(self.idle))):
            self.wake()

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
        self.threads.clear()
        self.idle.clear()
        self._lock = threading.Lock()
        pipe, self._pipe = self._pipe, None
        for fd in pipe or ():
            os.close(fd)  # the threads of the other process read there

    def _work(self, me: WorkerThread) -> None:
        if not self._initialized(me):
            return
        next_job = self._backlog.pop
        while len(self.threads) <= self.limit or not self._leave(me, surplus=True):
            me.job = job = next_job()
            if job is None:
                if self._closing:
                    self._leave(me)
                    return
                self._park()
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

    def _park(self) -> None:
        self.idle.append(None)
        # Whoever brought a job before that line saw nobody to wake, so look again after it.
        if self._backlog or self._closing:
            try:
                self.idle.pop()
            except IndexError:
                pass  # somebody took the entry, and a byte is on its way
            else:
                return
        assert self._pipe is not None
        os.read(self._pipe[0], 1)

    def _initialized(self, me: WorkerThread) -> bool:
        if self._initializer is None:
            return True
        try:
            self._initializer(*self._initargs)
        except BaseException as exc:
            self._leave(me)
            while not self.threads and (job := self._backlog.pop()) is not None:
                job.started = job.ended = monotonic()
                job.error = ExecutorError(
                    f"executor {self.name!r} cannot start a worker: its initializer raised {exc!r}"
                )
                job.error.__cause__ = exc
                self._hand_back(job)
            return False
        return True

    def _leave(self, me: WorkerThread, surplus: bool = False) -> bool:
        with self._lock:
            if surplus and len(self.threads) <= self.limit:
                return False  # others have left already
            self.threads.discard(me)
            if self._closing and not self.threads and self._pipe is not None:
                for fd in self._pipe:
                    os.close(fd)
                self._pipe = None
            return True
