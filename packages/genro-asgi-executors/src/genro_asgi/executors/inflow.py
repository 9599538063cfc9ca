"""The items of a stream on their way from a worker process to the loop."""

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Items, and bytes of them, that may wait for their reader before the worker is made to wait too.
AHEAD = 16
MAX_BYTES = 1 << 20


class Inflow:
    """Pickled items in order of arrival; the reader takes them, and the worker is held back while he is slow."""

    def __init__(self) -> None:
        self.items: deque[bytes] = deque()
        # When the worker last had reason to work on: what a timeout is counted from.
        self.since = monotonic()
        self.pause: Callable[[], None] | None = None
        self.resume: Callable[[], None] | None = None
        self._size = 0
        self._reader: asyncio.Future[None] | None = None

    def put(self, item: bytes) -> None:
        """An item has come."""
        self.items.append(item)
        self._size += len(item)
        self.since = monotonic()
        if (len(self.items) >= AHEAD or self._size >= MAX_BYTES) and self.pause is not None:
            self.pause()
        self.wake()

    def take(self) -> bytes:
        """The next item; IndexError when none waits."""
        item = self.items.popleft()
        self._size -= len(item)
        if not self.items and self.resume is not None:
            self.since = monotonic()
            self.resume()
        return item

    def wake(self) -> None:
        """Let the reader look: there is an item, or the end."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def more(self) -> None:
        """Wait until `wake`."""
        self._reader = asyncio.get_running_loop().create_future()
        await self._reader
