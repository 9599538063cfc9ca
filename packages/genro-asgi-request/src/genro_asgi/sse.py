"""Server-sent events: a stream of small texts that a browser reads with EventSource (HTML, 9.2)."""

import asyncio
import re
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass
from typing import Any

from genro_asgi.base_response import HeadersArgument, is_head, message_types
from genro_asgi.delivery import Runner, ThreadedIterator, close_source, tell
from genro_asgi.jsoncodec import dumps
from genro_asgi.streaming import StreamingResponse
from genro_asgi.types import Message, Scope, Send

__all__ = ["EventPieces", "SseEvent", "SseResponse"]

_LINES = re.compile("\r\n|\r|\n")
_ONE_LINE = re.compile("[\r\n\0]")
_KEEPALIVE = b": keepalive\n\n"


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event. `data` that is no str is sent as JSON; `retry` is milliseconds; a `comment` is not shown to anybody.

    ValueError for an `event` or `id` with a line break or NUL in it.
    """

    data: Any = None
    event: str | None = None
    id: str | None = None
    retry: int | None = None
    comment: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("event", self.event), ("id", self.id)):
            if value is not None and _ONE_LINE.search(value):
                raise ValueError(f"The {name} {value!r} of a server-sent event holds a line break or NUL; take it out.")
        if self.retry is not None and self.retry < 0:
            raise ValueError(f"The retry {self.retry!r} of a server-sent event must be 0 or more milliseconds.")

    def encode(self) -> bytes:
        """The event as it is sent, with the empty line that ends it."""
        lines = [f": {line}" for line in _LINES.split(self.comment)] if self.comment is not None else []
        lines += [f"id: {self.id}"] if self.id is not None else []
        lines += [f"event: {self.event}"] if self.event is not None else []
        lines += [f"retry: {self.retry}"] if self.retry is not None else []
        if self.data is not None or self.event is not None:
            # Without a data line a browser drops the event.
            lines += [f"data: {line}" for line in _LINES.split(_text(self.data))]
        return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


def _text(data: Any) -> str:
    if data is None:
        return ""
    return data if isinstance(data, str) else dumps(data).decode()


class SseResponse(StreamingResponse):
    """Sends what a source yields as server-sent events; the source is always closed.

    An item is an SseEvent, a str (its data), or anything JSON can hold (its data). When the source is silent for
    `keepalive_seconds` (None: never) a comment keeps proxies from hanging up. `retry_ms` is said first. `stop` ends
    the stream with `last_event`, as a server does at its shutdown.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        content: AsyncIterable[Any] | Iterable[Any],
        status_code: int = 200,
        headers: HeadersArgument = None,
        background: Any = None,
        *,
        retry_ms: int | None = None,
        keepalive_seconds: float | None = 15.0,
        last_event: SseEvent | None = None,
    ) -> None:
        if keepalive_seconds is not None and keepalive_seconds <= 0:
            raise ValueError(f"keepalive_seconds={keepalive_seconds} must be above 0, or None for no comments.")
        super().__init__(content, status_code, headers, None, background)
        for name, value in ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")):
            if self._find(name) is None:
                self.raw_headers.append((name, value))
        self.last_event = last_event
        self._first = SseEvent(retry=retry_ms).encode() if retry_ms is not None else b""
        self._keepalive = keepalive_seconds
        self._feeder: asyncio.Task[None] | None = None
        self._stopped = False
        self._sent = 0.0

    def stop(self, last_event: SseEvent | None = None) -> None:
        """End the stream: no more items are asked for, `last_event` goes out, the source is closed."""
        self._stopped = True
        self.last_event = last_event or self.last_event
        if self._feeder is not None:
            self._feeder.cancel()

    def encode_piece(self, piece: Any) -> bytes:
        """The bytes of one event."""
        return (piece if isinstance(piece, SseEvent) else SseEvent(piece)).encode()

    async def respond(self, scope: Scope, send: Send, run: Runner = asyncio.to_thread) -> None:
        """Send the events as they come, and comments in between; ClientDisconnect when `send` fails."""
        if isinstance(self._source, ThreadedIterator):
            self._source.run = run
        start, body = message_types(scope)
        try:
            self.started = True
            await tell(send, {"type": start, "status": self.status_code, "headers": self.raw_headers})
            if not is_head(scope) and not self._stopped:
                await self._attend(send, {"type": body, "more_body": True})
            if self._stopped and self.last_event is not None:
                await tell(send, {"type": body, "body": self.last_event.encode(), "more_body": True})
            await tell(send, {"type": body, "body": b"", "more_body": False})
        finally:
            await close_source(self.body_iterator, self._source)

    async def _attend(self, send: Send, message: Message) -> None:
        """Let one task feed the client, and send comments from here when it has been silent."""
        # One task for the whole source: a timeout around each of its steps would break what it opens over its yields.
        self._sent = asyncio.get_running_loop().time()
        turn = asyncio.Lock()
        feeder = self._feeder = asyncio.ensure_future(self._feed(send, message, turn))
        try:
            while not feeder.done():
                await asyncio.wait((feeder,), timeout=self._silence())
                async with turn:  # a feeder that is sending is not silent
                    if not feeder.done() and self._silence() == 0:
                        await self._say(send, message, _KEEPALIVE)
        finally:
            feeder.cancel()
            await asyncio.wait((feeder,))
        if not (feeder.cancelled() and self._stopped):
            feeder.result()

    def _silence(self) -> float | None:
        """The seconds left until a comment is due."""
        if self._keepalive is None:
            return None
        return max(0.0, self._sent + self._keepalive - asyncio.get_running_loop().time())

    async def _feed(self, send: Send, message: Message, turn: asyncio.Lock) -> None:
        pieces = aiter(self.body_iterator)
        try:
            if self._first:
                async with turn:
                    await self._say(send, message, self._first)
            async for piece in pieces:
                chunk = self.encode_piece(piece)
                async with turn:
                    await self._say(send, message, chunk)
        finally:
            await close_source(pieces)

    async def _say(self, send: Send, message: Message, chunk: bytes) -> None:
        await tell(send, {**message, "body": chunk})
        self._sent = asyncio.get_running_loop().time()


class EventPieces(StreamingResponse):
    """What a handler of an event stream yields: bytes and texts are written out already, all else becomes an event."""

    media_type = "text/event-stream"

    def encode_piece(self, piece: Any) -> bytes:
        """The bytes of one piece."""
        if isinstance(piece, bytes | bytearray | memoryview | str):
            return super().encode_piece(piece)
        return (piece if isinstance(piece, SseEvent) else SseEvent(piece)).encode()
