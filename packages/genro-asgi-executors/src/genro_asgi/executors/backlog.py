"""Calls that wait for a worker, the highest priority first, in order of arrival within one priority."""

import threading
from collections import deque
from contextlib import suppress
from typing import Any

from genro_asgi.executors.job import Job

MAX_LEVELS = 64


class Backlog:
    """A queue per priority in use. Every operation is safe between threads: each is one atomic step on a deque."""

    __slots__ = ("_levels", "_opening", "_queues")

    def __init__(self) -> None:
        self._levels: dict[int, deque[Job[Any]]] = {0: deque()}
        self._queues: tuple[deque[Job[Any]], ...] = tuple(self._levels.values())
        self._opening = threading.Lock()

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    def __bool__(self) -> bool:
        return any(self._queues)

    def push(self, job: Job[Any]) -> None:
        """Put a job behind the others of its priority."""
        priority = job.options.priority
        queue = self._levels.get(priority)
        if queue is None:
            queue = self._open(priority)
        queue.append(job)
        if self._levels.get(priority) is not queue:
            self._bring_over(queue)

    def push_back(self, job: Job[Any]) -> None:
        """Put a job that was popped before the others of its priority again."""
        queue = self._levels.get(job.options.priority)
        if queue is None:
            queue = self._open(job.options.priority)
        queue.appendleft(job)

    def pop(self) -> Job[Any] | None:
        """The next job to run, or None."""
        for queue in self._queues:
            try:
                return queue.popleft()
            except IndexError:
                continue
        return None

    def first(self) -> Job[Any] | None:
        """The job that pop() would give, unless another thread is faster."""
        for queue in self._queues:
            try:
                return queue[0]
            except IndexError:
                continue
        return None

    def remove(self, job: Job[Any]) -> bool:
        """Take a job out; False when it is not here (any more)."""
        try:
            self._levels[job.options.priority].remove(job)
        except (KeyError, ValueError):
            return False
        return True

    def clear(self) -> None:
        """Drop all jobs; no other thread is left that could be in the middle of something."""
        self._opening = threading.Lock()
        for queue in self._queues:
            queue.clear()

    def _open(self, priority: int) -> deque[Job[Any]]:
        with self._opening:
            levels = self._levels
            if len(levels) >= MAX_LEVELS:
                levels = {level: queue for level, queue in levels.items() if queue}
            if len(levels) >= MAX_LEVELS:
                raise ValueError(f"priority {priority} would be number {MAX_LEVELS + 1} in use; use fewer of them")
            levels.setdefault(priority, deque())
            # Readers see the old ones or the new ones, both whole.
            self._levels, self._queues = levels, tuple(levels[level] for level in sorted(levels, reverse=True))
            return levels[priority]

    def _bring_over(self, queue: deque[Job[Any]]) -> None:
        """Put jobs in their places again: another thread has closed this queue when it was still empty."""
        with suppress(IndexError):
            while True:
                self.push(queue.popleft())
