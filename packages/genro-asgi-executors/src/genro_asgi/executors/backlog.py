"""Calls that wait for a worker, the highest priority first, in order of arrival within one priority."""

import threading
from collections import deque
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
        queue = self._levels.get(job.options.priority)
        if queue is None:
            queue = self._open(job.options.priority)
        queue.append(job)

    def push_back(self, job: Job[Any]) -> None:
        """Put a job that was popped before the others of its priority again."""
        self._levels[job.options.priority].appendleft(job)

    def pop(self) -> Job[Any] | None:
        """The next job to run, or None."""
        for queue in self._queues:
            try:
                return queue.popleft()
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
            if len(self._levels) >= MAX_LEVELS:
                raise ValueError(f"priority {priority} would be number {MAX_LEVELS + 1} in use; use fewer of them")
            queue = self._levels.setdefault(priority, deque())
            # Readers see the old tuple or the new one, both whole.
            self._queues = tuple(self._levels[level] for level in sorted(self._levels, reverse=True))
        return queue
