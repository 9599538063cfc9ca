"""How an idle thread sleeps, and how it is woken on the processor where its waker is about to stop."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache

# What an event file takes; to a pipe any few bytes do.
_RING = (1).to_bytes(8, sys.byteorder)

# A thread that woke on another processor is placed so many times. Then it is left to the kernel once, which may do the
# right thing by itself (it does when the other processors are busy), and placing costs two system calls.
PLACED = 64


@cache
def _current_cpu() -> Callable[[], int] | None:
    """The C library's `sched_getcpu`, or None where threads cannot be placed or have one place only."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) == 1:
        return None
    try:
        import ctypes

        # PyDLL keeps the GIL: the call takes less time than giving it away.
        return ctypes.PyDLL(None).sched_getcpu
    except (ImportError, OSError, AttributeError):
        return None


class Bell:
    """What one thread waits for, and others ring.

    The thread reads a file. On a lock or a queue it would wake while the loop still holds the GIL, fall asleep again,
    and cost three context switches a call where the file costs one. Raises OSError when no file can be opened.
    """

    __slots__ = ("_caller", "_cpu", "_cpus", "_placed", "_read", "_tid", "_write")

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self._read = self._write = os.eventfd(0)
        else:
            self._read, self._write = os.pipe()
        self._cpu = _current_cpu()
        self._tid = 0
        # The processor of who rang, when the thread should be woken there.
        self._caller: int | None = None
        # How often the thread is still to be placed, and the processors it may use once it runs.
        self._placed = 0
        self._cpus: set[int] | None = None

    def wait(self, tid: int) -> None:
        """Sleep until somebody rings; `tid` is the calling thread's native id."""
        self._tid = tid
        os.read(self._read, 8)
        caller, self._caller = self._caller, None
        if caller is None or self._cpu is None:
            return
        if self._cpus is None:
            if self._cpu() != caller:
                self._placed = PLACED
            return
        cpus, self._cpus = self._cpus, None
        # Refused if these processors were taken away meanwhile, and then the kernel has chosen others.
        with suppress(OSError):
            os.sched_setaffinity(0, cpus)

    def ring(self) -> None:
        """Wake the thread, wherever the kernel likes: to run while the caller goes on."""
        os.write(self._write, _RING)

    def ring_here(self) -> None:
        """Wake the thread on the caller's own processor, which the caller is about to leave.

        Left alone, the kernel wakes a processor that sleeps, for tens of microseconds on each side; and under the GIL
        there is nothing to win by it. The thread may move again as soon as it runs.
        """
        if self._cpu is not None:
            self._caller = caller = self._cpu()
            if self._placed:
                self._place(caller)
        os.write(self._write, _RING)

    def _place(self, cpu: int) -> None:
        self._placed -= 1
        try:
            cpus = os.sched_getaffinity(self._tid)
            os.sched_setaffinity(self._tid, {cpu})
        except OSError:
            self._cpu = None  # not allowed here, and it will not be later
        else:
            self._cpus = cpus

    def close(self) -> None:
        """Give the files back; nobody may wait or ring any more."""
        for fd in {self._read, self._write}:
            os.close(fd)
