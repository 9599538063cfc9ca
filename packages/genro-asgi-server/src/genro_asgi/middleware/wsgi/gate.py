"""Where the thread of a request waits until the event loop has made something true."""

import asyncio
import math
import threading
from collections.abc import Callable
from typing import Protocol

__all__ = ["ClientGone", "Gate", "Parking"]

# Seconds a wait is taken for a matter of the loop; after that it is the client who is slow.
_SHORT = 0.05
# Seconds between two looks of a waiting thread at whether its loop still exists.
_LOOK = 1.0


class ClientGone(ConnectionResetError):
    """The client left; raised to the application where it reads its input or calls write()."""

    def __init__(self) -> None:
        super().__init__("the client closed the connection")


class Parking(Protocol):
    """A pool that replaces a thread while it waits for a client."""

    def park(self) -> None:
        """The calling thread begins to wait."""

    def unpark(self) -> None:
        """It goes on."""


class Gate:
    """A condition for one waiting thread: it costs nothing as long as nobody waits, and the loop never blocks."""

    __slots__ = ("_lock", "_loop", "_parking")

    def __init__(self, loop: asyncio.AbstractEventLoop, parking: Parking) -> None:
        self._loop = loop
        self._parking = parking
        self._lock: threading.Lock | None = None

    def wait(self, ready: Callable[[], bool], timeout: float | None = None) -> bool:
        """Block the calling thread until `ready()`; False when nothing opened the gate for `timeout` seconds.

        Raises ClientGone when the loop was closed: nobody would ever open.
        """
        while not ready():
            # A fresh lock each time: an opening that comes late opens nothing that somebody waits at.
            lock = threading.Lock()
            lock.acquire()
            self._lock = lock
            # Asked again, or what became true before the lock could be seen would never be told.
            if not ready() and not self._acquire(lock, timeout):
                return False
        return True

    def _acquire(self, lock: threading.Lock, timeout: float | None) -> bool:
        left = math.inf if timeout is None else timeout
        if lock.acquire(timeout=min(_SHORT, left)):
            return True
        left -= _SHORT
        self._parking.park()
        try:
            while left > 0:
                if lock.acquire(timeout=min(_LOOK, left)):
                    return True
                left -= _LOOK
                if self._loop.is_closed():
                    raise ClientGone
            return False
        finally:
            self._parking.unpark()

    def open(self) -> None:
        """Have the waiting thread look again; called on the loop."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
