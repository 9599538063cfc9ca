"""Compressed answers (RFC 9110, 8.4.1.3): gzip, also of streams, for clients that accept it."""

import gzip
import io
from typing import Any

from genro_asgi.datastructures.headers import Headers, MutableHeaders
from genro_asgi.staticfiles import accepted_encodings
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["GZipMiddleware"]

# Compressed already, or read piece by piece as it comes.
_SKIPPED = ("text/event-stream", "image/", "video/", "audio/", "font/woff", "application/zip", "application/gzip")


class GZipMiddleware:
    """Compresses bodies of at least `minimum_size` bytes, and all streams; level 1 is fast, 9 is small."""

    def __init__(self, app: ASGIApp, minimum_size: int = 500, compresslevel: int = 9) -> None:
        self.app = app
        self.minimum_size = minimum_size
        self.compresslevel = compresslevel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        accepted = accepted_encodings(Headers(scope=scope).get("accept-encoding", ""))
        responder = _Responder(send, self.minimum_size, self.compresslevel, "gzip" in accepted)
        await self.app(scope, receive, responder.send)


class _Responder:
    """One answer on its way: the start waits until the first piece of the body has decided."""

    def __init__(self, send: Send, minimum_size: int, level: int, accepted: bool) -> None:
        self._send, self._minimum_size, self._accepted = send, minimum_size, accepted
        self._level = level
        self._start: Message | None = None
        self._buffer = io.BytesIO()
        self._file: gzip.GzipFile | None = None

    async def send(self, message: Message) -> None:
        """Take a message of the application."""
        if message["type"] == "http.response.start":
            self._start = {**message, "headers": list(message.get("headers", ()))}
        elif self._start is not None and message["type"] == "http.response.body":
            await self._first(message)
        elif self._file is not None and message["type"] == "http.response.body":
            await self._send(self._compressed(message))
        else:
            await self._forward_start()
            await self._send(message)

    async def _first(self, message: Message) -> None:
        assert self._start is not None
        headers = MutableHeaders(raw=self._start["headers"])
        more = message.get("more_body", False)
        fits = len(message.get("body", b"")) >= self._minimum_size or more
        if fits and self._compressible(headers):
            headers.add_vary_header("Accept-Encoding")
            if self._accepted:
                message = self._begin(headers, message)
        await self._forward_start()
        await self._send(message)

    def _compressible(self, headers: MutableHeaders) -> bool:
        kind = headers.get("content-type", "")
        if "content-encoding" in headers or kind.startswith(_SKIPPED):
            return False
        # Part of a file would no longer be the part that was asked for (RFC 9110, 14.4).
        return self._start is not None and self._start["status"] not in (204, 206, 304)

    def _begin(self, headers: MutableHeaders, message: Message) -> Message:
        self._file = gzip.GzipFile(mode="wb", fileobj=self._buffer, compresslevel=self._level, mtime=0)
        compressed = self._compressed(message)
        headers["content-encoding"] = "gzip"
        etag = headers.get("etag")
        if etag is not None and not etag.startswith("W/"):
            headers["etag"] = f"W/{etag}"  # the bytes are other ones now
        if message.get("more_body", False):
            del headers["content-length"]
        else:
            headers["content-length"] = str(len(compressed["body"]))
        return compressed

    def _compressed(self, message: Message) -> Message:
        assert self._file is not None
        self._file.write(message.get("body", b""))
        more = message.get("more_body", False)
        if more:
            self._file.flush()  # what a stream has sent is seen by the client, not when the block is full
        else:
            self._file.close()
        body = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        result: dict[str, Any] = {"type": "http.response.body", "body": body, "more_body": more}
        return result

    async def _forward_start(self) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            await self._send(start)
