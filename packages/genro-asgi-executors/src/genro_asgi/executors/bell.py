"""How an idle thread sleeps, and how it is woken on the processor where its waker is about to stop."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import NamedTuple

# What an event file takes; to a pipe any few bytes do.
_RING = (1).to_bytes(8, sys.byteorder)

# A thread that woke on another processor is placed so many times. Then it is left to the kernel once, which may do the
# right thing by itself (it does when the other processors are busy), and placing costs two system calls. Where it does
# not, that one time unsettles both threads for long: so the next time is twice as far away, up to the second number.
PLACED, MOST_PLACED = 64, 1 << 16


class Scheduler(NamedTuple):
    """What the C library says to the kernel."""

    cpu: Callable[[], int]
    give_way: Callable[[], int]


@cache
def _scheduler() -> Scheduler | None:
    """The C library's, or None where threads cannot be placed or have one place only."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) == 1:
        return None
    try:
        import ctypes

        # The first keeps the GIL, because it takes less time than giving it away; the second is for giving it away.
        return Scheduler(ctypes.PyDLL(None).sched_getcpu, ctypes.CDLL(None).sched_yield)
    except (ImportError, OSError, AttributeError):
        return None


class Bell:
    """What one thread waits for, and others ring.

    The thread reads a file. On a lock or a queue it would wake while the loop still holds the GIL, fall asleep again,
    and cost three context switches a call where the file costs one. Raises OSError when no file can be opened.
    """

    __slots__ = ("_caller", "_cpus", "_next", "_placed", "_read", "_scheduler", "_write", "tid")

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self._read = self._write = os.eventfd(0)
        else:
            self._read, self._write = os.pipe()
        self._scheduler = _scheduler()
        #: native id of the thread, which sets it when it starts
        self.tid = 0
        # The processor of who rang, when the thread should be woken there.
        self._caller: int | None = None
        # How often the thread is still to be placed, and how often when it strays again.
        self._placed, self._next = 0, PLACED
        # The processors it may use once it runs.
        self._cpus: set[int] | None = None

    def wait(self) -> None:
        """Sleep until somebody rings."""
        os.read(self._read, 8)
        caller, self._caller = self._caller, None
        if caller is None or self._scheduler is None:
            return
        if self._cpus is None:
            if self._scheduler.cpu() != caller:
                self._placed = self._next
                self._next = min(self._next * 2, MOST_PLACED)
            elif self._next > PLACED:
                self._next //= 2
            return
        cpus, self._cpus = self._cpus, None
        # Refused if these processors were taken away meanwhile, and then the kernel has chosen others.
        with suppress(OSError):
            os.sched_setaffinity(0, cpus)

    def ring(self) -> None:
        """Wake the thread, wherever the kernel likes: to run while the caller goes on."""
        os.write(self._write, _RING)

    def ring_here(self, give_way: bool = False) -> None:
        """Wake the thread on the caller's own processor, which the caller is about to leave.

        Left alone, the kernel wakes a processor that sleeps, for tens of microseconds on each side; and under the GIL
        there is nothing to win by it. The thread may move again as soon as it runs. To `give_way` to what takes some
        microseconds saves falling asleep for it: the loop would be woken elsewhere, too.
        """
        scheduler = self._scheduler
        if scheduler is not None:
            self._caller = caller = scheduler.cpu()
            if self._placed:
                self._place(caller)
        os.write(self._write, _RING)
        if give_way and scheduler is not None:
            scheduler.give_way()

    def _place(self, cpu: int) -> None:
        self._placed -= 1
        try:
            cpus = os.sched_getaffinity(self.tid)
            os.sched_setaffinity(self.tid, {cpu})
        except OSError:
            self._scheduler = None  # not allowed here, and it will not be later
        else:
            self._cpus = cpus

    def close(self) -> None:
        """Give the files back; nobody may wait or ring any more."""
        for fd in {self._read, self._write}:
            os.close(fd)
