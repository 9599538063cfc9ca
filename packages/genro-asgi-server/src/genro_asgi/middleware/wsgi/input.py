"""The wsgi.input of a request: a file that is read while it arrives."""

import io
import sys
from collections import deque
from collections.abc import Callable, Iterator

from genro_asgi.middleware.wsgi.gate import Gate

__all__ = ["WINDOW", "WsgiInput"]

# Bytes that may wait to be read before the client is held.
WINDOW = 256 * 1024


class BodyRefused(OSError):
    """The body itself is at fault, and `status` is what the answer will have."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class WsgiInput(io.BufferedIOBase):
    """The body of a request. The loop feeds it, one thread reads it, and neither gets far ahead of the other.

    It ends where Content-Length says, or where the client ends it. A body that is cut short is never passed off as
    whole: the read that misses bytes raises an OSError.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        gate: Gate,
        length: int | None,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> None:
        self._wake = wake
        self._length = length
        self._limit = limit
        self._timeout = timeout
        self._chunks: deque[bytes] = deque()
        self._gate = gate
        # Written by the loop.
        self._received = 0
        self._error: OSError | None = None
        self.complete = False
        self.paused = False
        # Written by the thread.
        self._taken = 0
        self._wanted = 1
        self._rest = b""
        self._at = 0
        self.asked = False
        #: The status of the answer, once the application has met with a body that is at fault.
        self.fault = 0

    # -- the loop's side

    @property
    def full(self) -> bool:
        """Whether enough is waiting to be read; whoever asks for more at once wants it in memory anyway."""
        return self._received - self._taken >= max(WINDOW, self._wanted)

    @property
    def low(self) -> bool:
        """Whether a paused sender should go on."""
        return self._received - self._taken < WINDOW // 2

    @property
    def failed(self) -> bool:
        """Whether nothing more is taken in."""
        return self._error is not None

    def feed(self, body: bytes, more: bool) -> None:
        """Take in what has arrived."""
        if self._length is not None and self._received + len(body) > self._length:
            body = body[: self._length - self._received]
        if self._limit is not None and self._received + len(body) > self._limit:
            self.fail(BodyRefused(413, f"the request body is over {self._limit} bytes; send less, or raise max_body"))
            return
        if body:
            self._chunks.append(body)
            self._received += len(body)
        if self._received == self._length or (not more and self._length is None):
            self.complete = True
        elif not more:
            self.fail(BodyRefused(400, f"the request body ended after {self._received} of {self._length} bytes"))
        if self._ready():
            self._gate.open()

    def fail(self, error: OSError) -> None:
        """Nothing more will arrive: reads that need more raise `error`."""
        if not self.complete and self._error is None:
            self._error = error
        self._gate.open()

    # -- the thread's side

    def _ready(self) -> bool:
        return self._received - self._taken >= self._wanted or self.complete or self._error is not None

    def _refill(self, wanted: int = 1) -> bool:
        """Have something in `_rest` behind `_at`; False at the end of the body."""
        while self._at >= len(self._rest):
            # Looked at first: when it is set, everything has been put into the deque before.
            complete = self.complete
            if self._chunks:
                self._rest, self._at = self._chunks.popleft(), 0
                self._taken += len(self._rest)
                if self.paused and self.low:
                    self._wake()
            elif complete:
                return False
            elif self._error is not None:
                if isinstance(self._error, BodyRefused):
                    self.fault = self._error.status
                raise self._error
            else:
                self._wait(wanted)
        return True

    def _wait(self, wanted: int) -> None:
        self._wanted = wanted
        if not self.asked:
            self.asked = True
            self._wake()
        seen = self._received
        while not self._gate.wait(self._ready, self._timeout):
            if self._received == seen:
                self.fault = 408
                raise TimeoutError(f"no byte of the request body arrived for {self._timeout} seconds")
            seen = self._received
        self._wanted = 1

    def _advance(self, end: int) -> bytes:
        start, self._at = self._at, end
        return self._rest[start:end]

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """`size` bytes, fewer only at the end of the body; everything when it is None or negative."""
        left = size if size is not None and size >= 0 else -1
        parts: list[bytes] = []
        while left and self._refill(left if left > 0 else sys.maxsize):
            end = len(self._rest) if left < 0 else min(len(self._rest), self._at + left)
            parts.append(self._advance(end))
            if left > 0:
                left -= len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read1(self, size: int | None = -1, /) -> bytes:
        """What is there, at most `size` bytes; waits only while nothing is."""
        if size == 0 or not self._refill():
            return b""
        return self._advance(len(self._rest) if size is None or size < 0 else self._at + size)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Bytes up to and with the next LF, at most `size` of them."""
        left = size if size is not None and size >= 0 else -1
        parts: list[bytes] = []
        while left and self._refill():
            limit = len(self._rest) if left < 0 else self._at + left
            found = self._rest.find(b"\n", self._at, limit) + 1
            parts.append(self._advance(found or min(limit, len(self._rest))))
            if found:
                break
            if left > 0:
                left -= len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """The lines that are left; with a positive `hint`, stops after the line that completes so many bytes."""
        lines: list[bytes] = []
        size = 0
        for line in self:
            lines.append(line)
            size += len(line)
            if hint is not None and 0 < hint <= size:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line
