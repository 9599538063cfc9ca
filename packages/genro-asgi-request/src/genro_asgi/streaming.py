"""Answers that are sent piece by piece, from an iterator."""

import asyncio
from collections.abc import AsyncIterable, Iterable
from typing import Any

from genro_asgi.base_response import HeadersArgument, Response, is_head, message_types
from genro_asgi.delivery import Runner, ThreadedIterator, close_source, tell
from genro_asgi.pieces import send_pieces
from genro_asgi.rendering import encode_text
from genro_asgi.types import Scope, Send

__all__ = ["StreamingResponse"]


class StreamingResponse(Response):
    """An answer sent piece by piece, from a sync or async iterable of bytes or str; the source is always closed.

    Each piece is a message of its own, unless a server that knows who takes them has set `gathers`: then those between
    which an async iterable waits for nothing go out together, up to 64 KB in one message.
    `body_iterator` is async whatever was given, and may be replaced by one that changes the pieces.
    """

    is_streamed = True
    names_disconnect = True
    gathers = False

    def __init__(
        self,
        content: AsyncIterable[Any] | Iterable[Any],
        status_code: int = 200,
        headers: HeadersArgument = None,
        media_type: str | None = None,
        background: Any = None,
    ) -> None:
        self._source: AsyncIterable[Any] = content if isinstance(content, AsyncIterable) else ThreadedIterator(content)
        self.body_iterator: AsyncIterable[Any] = self._source
        super().__init__(None, status_code, headers, media_type, background)

    def _has_length(self) -> bool:
        return False

    async def respond(self, scope: Scope, send: Send, run: Runner = asyncio.to_thread) -> None:
        """Send the pieces as they come; however it ends, the source is closed. ClientDisconnect when `send` fails."""
        if isinstance(self._source, ThreadedIterator):
            self._source.run = run
        start, piece_type = message_types(scope)
        pieces = aiter(self.body_iterator)
        try:
            self.started = True
            await tell(send, {"type": start, "status": self.status_code, "headers": self.raw_headers})

            async def emit(data: bytes) -> None:
                await tell(send, {"type": piece_type, "body": data, "more_body": True})

            if not is_head(scope):
                if self.gathers:
                    await send_pieces(pieces, self.encode_piece, emit)
                else:
                    async for piece in pieces:
                        await emit(self.encode_piece(piece))
            await tell(send, {"type": piece_type, "body": b"", "more_body": False})
        finally:
            await close_source(pieces, self.body_iterator, self._source)

    def encode_piece(self, piece: Any) -> bytes:
        """The bytes of one piece."""
        if isinstance(piece, bytes | bytearray | memoryview):
            return bytes(piece)
        return encode_text(str(piece), self.charset)
