"""Compressed answers (RFC 9110, 8.4.1.3): gzip, also of streams, for clients that accept it."""

import zlib
from collections.abc import Iterable
from typing import Any

from genro_asgi.datastructures.headers import Headers, MutableHeaders
from genro_asgi.executors.threadpool import run_in_threadpool
from genro_asgi.staticfiles import accepted_encodings
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["DEFAULT_EXCLUDED_CONTENT_TYPES", "GZipMiddleware"]

#: Compressed already, or read piece by piece as it comes; `image/*` is all images.
DEFAULT_EXCLUDED_CONTENT_TYPES = (
    "application/grpc", "application/gzip", "application/x-gzip", "application/zip", "application/x-brotli",
    "application/x-bzip2", "application/x-xz", "audio/*", "font/woff", "font/woff2", "image/avif", "image/gif",
    "image/jpeg", "image/png", "image/webp", "text/event-stream", "video/*",
)  # fmt: skip


class GZipMiddleware:
    """Compresses bodies of at least `minimum_size` bytes, and all streams; level 1 is fast, 9 is small.

    Pieces of `thread_minimum_size` bytes and more are compressed in a thread. A type that is excluded excludes those
    built on it too: with `application/grpc` goes `application/grpc+proto`.
    """

    def __init__(
        self,
        app: ASGIApp,
        minimum_size: int = 500,
        compresslevel: int = 9,
        thread_minimum_size: int = 128 * 1024,
        *,
        exclude_content_types: Iterable[str] = DEFAULT_EXCLUDED_CONTENT_TYPES,
    ) -> None:
        self.app = app
        self.minimum_size = minimum_size
        self.compresslevel = compresslevel
        self.thread_minimum_size = thread_minimum_size
        self.exclude_content_types = frozenset(_essence(kind) for kind in exclude_content_types)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        accepted = "gzip" in accepted_encodings(Headers(scope=scope).get("accept-encoding", ""))
        await self.app(scope, receive, _Responder(self, send, accepted).send)

    def excludes(self, content_type: str) -> bool:
        """Whether answers of this type stay as they are."""
        kind = _essence(content_type)
        family = kind.partition("/")[0] + "/*"
        return not self.exclude_content_types.isdisjoint((kind, kind.partition("+")[0], family))


def _essence(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


class _Responder:
    """One answer on its way: a start that may have to change waits until the first piece of the body has decided."""

    def __init__(self, options: GZipMiddleware, send: Send, accepted: bool) -> None:
        self._options, self._send, self._accepted = options, send, accepted
        self._start: Message | None = None
        self._compressor: Any = None

    async def send(self, message: Message) -> None:
        """Take a message of the application."""
        kind = message["type"]
        if kind == "http.response.start":
            start = {**message, "headers": list(message.get("headers", ()))}
            if self._compressible(start):
                self._start = start
            else:
                await self._send(message)
        elif kind != "http.response.body":
            await self._forward_start()
            await self._send(message)
        elif self._start is not None:
            await self._first(self._start, message)
        else:
            await self._send(await self._compressed(message) if self._compressor is not None else message)

    def _compressible(self, start: Message) -> bool:
        headers = MutableHeaders(raw=start["headers"])
        # Part of a file would no longer be the part that was asked for (RFC 9110, 14.4).
        if "content-encoding" in headers or start["status"] in (204, 206, 304):
            return False
        return not self._options.excludes(headers.get("content-type", ""))

    async def _first(self, start: Message, message: Message) -> None:
        headers = MutableHeaders(raw=start["headers"])
        if message.get("more_body", False) or len(message.get("body", b"")) >= self._options.minimum_size:
            headers.add_vary_header("Accept-Encoding")
            if self._accepted:
                message = await self._begin(start, headers, message)
        await self._forward_start()
        await self._send(message)

    async def _begin(self, start: Message, headers: MutableHeaders, message: Message) -> Message:
        self._compressor = zlib.compressobj(self._options.compresslevel, zlib.DEFLATED, zlib.MAX_WBITS | 16)
        compressed = await self._compressed(message)
        headers["content-encoding"] = "gzip"
        etag = headers.get("etag")
        if etag is not None and not etag.startswith("W/"):
            headers["etag"] = f"W/{etag}"  # the bytes are other ones now
        # Trailers follow only what ends by itself.
        if message.get("more_body", False) or start.get("trailers", False):
            del headers["content-length"]
        else:
            headers["content-length"] = str(len(compressed["body"]))
        return compressed

    async def _compressed(self, message: Message) -> Message:
        body, more = message.get("body", b""), message.get("more_body", False)
        if len(body) >= self._options.thread_minimum_size:
            body = await run_in_threadpool(self._compress, body, more)
        else:
            body = self._compress(body, more)
        return {"type": "http.response.body", "body": body, "more_body": more}

    def _compress(self, body: bytes, more: bool) -> bytes:
        if more and not body:
            return b""
        # What a stream has sent is seen by the client, not when the block is full.
        data: bytes = self._compressor.compress(body)
        tail: bytes = self._compressor.flush(zlib.Z_SYNC_FLUSH if more else zlib.Z_FINISH)
        return data + tail

    async def _forward_start(self) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            await self._send(start)
