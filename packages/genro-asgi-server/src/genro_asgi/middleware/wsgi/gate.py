"""Where the thread of a request waits until the event loop has made something true."""

import threading
from collections.abc import Callable

__all__ = ["WINDOW", "ClientGone", "Gate"]

# Bytes that may wait between the thread and the loop, either way, before the faster of them is held.
WINDOW = 256 * 1024


class ClientGone(ConnectionResetError):
    """The client left; raised to the application where it reads its input or calls write()."""

    def __init__(self) -> None:
        super().__init__("the client closed the connection")


class Gate:
    """A condition for one waiting thread: it costs nothing as long as nobody waits, and the loop never blocks."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock: threading.Lock | None = None

    def wait(self, ready: Callable[[], bool], timeout: float | None = None) -> bool:
        """Block the calling thread until `ready()`; False when nothing opened the gate for `timeout` seconds."""
        while not ready():
            # A fresh lock each time: an opening that comes late opens nothing that somebody waits at.
            lock = threading.Lock()
            lock.acquire()
            self._lock = lock
            # Asked again, or what became true before the lock could be seen would never be told.
            if not ready() and not lock.acquire(timeout=-1 if timeout is None else timeout):
                return False
        return True

    def open(self) -> None:
        """Have the waiting thread look again; called on the loop."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
