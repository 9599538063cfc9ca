"""The answers: Response and its family, every one an ASGI application of its own."""

import asyncio
import mimetypes
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from genro_asgi.datastructures.headers import MutableHeaders
from genro_asgi.exceptions import HTTPException, problem
from genro_asgi.jsoncodec import dumps
from genro_asgi.rendering import HeaderPair, content_type_pair, encode_text, encoder_for, length_pair
from genro_asgi.set_cookie import SameSite, cookie_text, make_cookie
from genro_asgi.types import Receive, Scope, Send

if TYPE_CHECKING:
    from genro_asgi.request import BaseRequest

__all__ = [
    "FileResponse",
    "HTMLResponse",
    "JSONResponse",
    "PlainTextResponse",
    "RedirectResponse",
    "Response",
    "StreamingResponse",
    "error_response",
    "make_cookie",
]

HeadersArgument = Mapping[str, str] | Sequence[tuple[str, str]] | None
#: Runs a blocking function elsewhere: `await run(function, *args)`.
Runner = Callable[..., Awaitable[Any]]

# RFC 9110: these carry no body, whatever the handler gave.
_BODILESS = frozenset({204, 304})


def header_pair(name: str, value: str) -> HeaderPair:
    """A header as ASGI wants it; ValueError for CR, LF, NUL or what latin-1 cannot hold."""
    text = f"{name}{value}"
    if "\r" in text or "\n" in text or "\0" in text:
        raise ValueError(f"Header {name!r} holds a CR, LF or NUL; take it out.")
    if not name or not name.isascii() or " " in name or ":" in name:
        raise ValueError(f"Header name {name!r} is not a token of RFC 9110.")
    try:
        return name.lower().encode("latin-1"), value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise ValueError(f"Header {name!r} holds characters outside latin-1; encode its value.") from error


class Response:
    """An answer whose body is known; the base of the family.

    `headers` may be a mapping or a list of pairs. The handler's own Content-Type and Content-Length are kept.
    """

    media_type: str | None = None
    charset: str = "utf-8"
    #: Whether the body comes piece by piece, through `respond`.
    is_streamed: ClassVar[bool] = False
    #: Whether a subclass brought a `__call__` of its own, which then does the sending.
    is_foreign: ClassVar[bool] = False
    #: Whether the client has been told the status.
    started: bool = False
    _tytx: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__call__" in cls.__dict__ and cls.__module__ != __name__:
            cls.is_foreign = True

    def __init__(
        self,
        content: Any = None,
        status_code: int = 200,
        headers: HeadersArgument = None,
        media_type: str | None = None,
        background: Any = None,
        request: "BaseRequest | None" = None,
    ) -> None:
        self.status_code = status_code
        if media_type is not None:
            self.media_type = media_type
        self.background = background
        if request is not None:
            # Only what is needed of it: a request that knows its response and back would be garbage for the collector.
            self._tytx = request.tytx_transport
        self.body = self.render(content)
        self.raw_headers: list[HeaderPair] = []
        self.init_headers(headers)

    def render(self, content: Any) -> bytes:
        """The bytes of `content`: str is encoded, None is empty."""
        if content is None:
            return b""
        if isinstance(content, bytes | bytearray | memoryview):
            return bytes(content)
        return str(content).encode(self.charset)

    def init_headers(self, headers: HeadersArgument = None) -> None:
        """Fill `raw_headers` from what was given, the body's length and the media type."""
        given = headers.items() if isinstance(headers, Mapping) else headers or ()
        self.raw_headers = raw = [header_pair(name, value) for name, value in given]
        names = {name for name, _ in raw}
        if b"content-length" not in names and self._has_length():
            raw.append(length_pair(len(self.body)))
        if b"content-type" not in names and self.media_type is not None:
            raw.append(content_type_pair(self.media_type, self.charset))

    def _has_length(self) -> bool:
        return not (self.status_code < 200 or self.status_code in _BODILESS)

    @property
    def headers(self) -> MutableHeaders:
        """The headers, to be read and changed."""
        return MutableHeaders(raw=self.raw_headers)

    def set_header(self, name: str, value: str) -> None:
        """Set a header, replacing what it was; Set-Cookie is always appended."""
        pair = header_pair(name, value)
        if pair[0] != b"set-cookie":
            self._drop(pair[0])
        self.raw_headers.append(pair)

    def append_header(self, name: str, value: str) -> None:
        """Add a header beside those of the same name."""
        self.raw_headers.append(header_pair(name, value))

    def _drop(self, name: bytes) -> None:
        self.raw_headers[:] = [pair for pair in self.raw_headers if pair[0] != name]

    def _find(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.raw_headers if key == name), None)

    def set_cookie(
        self,
        key: str,
        value: str = "",
        max_age: int | None = None,
        expires: datetime | str | int | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: SameSite | None = "lax",
        partitioned: bool = False,
    ) -> None:
        """Add a cookie; `max_age` in seconds, `expires` a moment or seconds from now. ValueError for bad attributes."""
        text = cookie_text(key, value, max_age, expires, path, domain, secure, httponly, samesite, partitioned)
        self.raw_headers.append(header_pair("set-cookie", text))

    def delete_cookie(
        self,
        key: str,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: SameSite | None = "lax",
    ) -> None:
        """Make the client forget a cookie; path and domain must be those it was set with."""
        self.set_cookie(key, "", 0, 0, path, domain, secure, httponly, samesite)

    def set_result(self, result: Any, metadata: Mapping[str, Any] | None = None) -> None:
        """Take a handler's value as the body: bytes and Content-Type by its class (BEHAVIOUR, Responses).

        `metadata` may name another media type (`media_type` or `mime_type`); a Content-Type that was set stays.
        Values that are sent piece by piece (paths, iterators, responses) are refused with TypeError.
        """
        encoder = encoder_for(result)
        if encoder is None:
            raise TypeError(f"A {type(result).__name__} is not sent at once; return it from the handler instead.")
        encode, pair = encoder
        if self._tytx is not None and isinstance(result, dict | list):
            self.body, pair = encode_tytx(result, self._tytx)
        else:
            self.body = encode(result)
        override = (metadata or {}).get("media_type") or (metadata or {}).get("mime_type") or self.media_type
        self._set_content(content_type_pair(override, self.charset) if override else pair)

    def _set_content(self, content_type: HeaderPair) -> None:
        self._drop(b"content-length")
        if self._find(b"content-type") is None:
            self.raw_headers.append(content_type)
        if self._has_length():
            self.raw_headers.append(length_pair(len(self.body)))

    def finish(self) -> tuple[int, list[HeaderPair], bytes]:
        """Status, headers and body as they go out; 1xx, 204 and 304 go out without a body (RFC 9110, 15)."""
        if self._has_length():
            return self.status_code, self.raw_headers, self.body
        unsaid = (b"content-length",) if self.status_code == 304 else (b"content-length", b"content-type")
        return self.status_code, [pair for pair in self.raw_headers if pair[0] not in unsaid], b""

    async def respond(self, scope: Scope, send: Send, run: Runner = asyncio.to_thread) -> None:
        """Send this answer; `run` takes the blocking parts, if any. Whoever calls it watches for a client that leaves."""
        status, headers, body = self.finish()
        prefix = "websocket." if scope["type"] == "websocket" else ""
        self.started = True
        await send({"type": f"{prefix}http.response.start", "status": status, "headers": headers})
        await send({"type": f"{prefix}http.response.body", "body": b"" if scope.get("method") == "HEAD" else body})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.respond(scope, send)
        if self.background is not None:
            await self.background()


class JSONResponse(Response):
    """A JSON answer."""

    media_type = "application/json"

    def __init__(
        self,
        content: Any = None,
        status_code: int = 200,
        headers: HeadersArgument = None,
        media_type: str | None = None,
        background: Any = None,
    ) -> None:
        super().__init__(content, status_code, headers, media_type, background)

    def render(self, content: Any) -> bytes:
        """JSON text, also of None."""
        return dumps(content)


class HTMLResponse(Response):
    """An HTML answer."""

    media_type = "text/html"


class PlainTextResponse(Response):
    """A text answer."""

    media_type = "text/plain"


class RedirectResponse(Response):
    """Sends the client elsewhere; what a URL cannot hold is percent-encoded."""

    def __init__(
        self, url: Any, status_code: int = 307, headers: HeadersArgument = None, background: Any = None
    ) -> None:
        super().__init__(b"", status_code, headers, None, background)
        self.set_header("location", quote(str(url), safe=":/%#?=@[]!$&'()*+,;"))


class StreamingResponse(Response):
    """An answer sent piece by piece, from a sync or async iterable of bytes or str; the source is always closed."""

    is_streamed = True

    def __init__(
        self,
        content: AsyncIterable[Any] | Iterable[Any],
        status_code: int = 200,
        headers: HeadersArgument = None,
        media_type: str | None = None,
        background: Any = None,
    ) -> None:
        self.body_iterator = content
        super().__init__(None, status_code, headers, media_type, background)

    def _has_length(self) -> bool:
        return False

    async def respond(self, scope: Scope, send: Send, run: Runner = asyncio.to_thread) -> None:
        """Send the pieces as they come; however it ends, the source is closed."""
        source = self.body_iterator
        try:
            self.started = True
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope.get("method") != "HEAD":
                await self._send_pieces(source if isinstance(source, AsyncIterable) else threaded(source, run), send)
            await send({"type": "http.response.body", "body": b""})
        finally:
            await close_source(source, run)

    async def _send_pieces(self, source: AsyncIterable[Any], send: Send) -> None:
        async for piece in source:
            chunk = piece if piece.__class__ is bytes else self.encode_piece(piece)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

    def encode_piece(self, piece: Any) -> bytes:
        """The bytes of one piece."""
        return bytes(piece) if isinstance(piece, bytes | bytearray | memoryview) else encode_text(str(piece))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # On its own, without a server around it, the response watches for the client itself.
        await run_while_connected(self.respond(scope, send), receive)
        if self.background is not None:
            await self.background()


async def run_while_connected(work: Any, receive: Receive) -> None:
    """Run a coroutine to its end, or until the client leaves."""
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_until_disconnect(receive))
    try:
        await asyncio.wait((task, watcher), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
        if not task.cancelled():
            task.result()
    finally:
        watcher.cancel()
        task.cancel()


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


_END: Any = object()


async def threaded(source: Iterable[Any], run: Runner) -> AsyncIterator[Any]:
    """The items of a sync iterable, each fetched by `run` so that the loop never waits for it."""
    iterator = iter(source)
    while (item := await run(next, iterator, _END)) is not _END:
        yield item


async def close_source(source: Any, run: Runner) -> None:
    """Close a generator or file that was being sent."""
    if hasattr(source, "aclose"):
        await source.aclose()
    elif hasattr(source, "close"):
        await run(source.close)


class FileResponse(Response):
    """A file, read in pieces of 64 KiB off the loop."""

    is_streamed = True
    chunk_size: ClassVar[int] = 64 * 1024

    def __init__(
        self,
        path: str | os.PathLike[str],
        status_code: int = 200,
        headers: HeadersArgument = None,
        media_type: str | None = None,
        background: Any = None,
        filename: str | None = None,
        content_disposition_type: str = "attachment",
    ) -> None:
        self.path = Path(path)
        guess = mimetypes.guess_type(filename or self.path.name)[0] or "application/octet-stream"
        super().__init__(None, status_code, headers, media_type or guess, background)
        self.filename = filename
        if filename is not None:
            self.set_header("content-disposition", disposition(filename, content_disposition_type))

    def _has_length(self) -> bool:
        return False

    async def respond(self, scope: Scope, send: Send, run: Runner = asyncio.to_thread) -> None:
        """Send the file; FileNotFoundError before the first byte when there is none."""
        file = await run(open, self.path, "rb")
        try:
            size = (await run(os.fstat, file.fileno())).st_size
            headers = [*self.raw_headers, length_pair(size)]
            self.started = True
            await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
            left = 0 if scope.get("method") == "HEAD" else size
            while left > 0 and (chunk := await run(file.read, min(left, self.chunk_size))):
                left -= len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
            if size == 0 or scope.get("method") == "HEAD":
                await send({"type": "http.response.body", "body": b""})
        finally:
            await run(file.close)


def disposition(filename: str, kind: str = "attachment") -> str:
    """A Content-Disposition value (RFC 6266): plain names quoted, others in the UTF-8 form."""
    encoded = quote(filename)
    if encoded != filename:
        return f"{kind}; filename*=utf-8''{encoded}"
    return f'{kind}; filename="{filename}"'


def encode_tytx(value: Any, transport: str) -> tuple[bytes, HeaderPair]:
    """A TYTX document and its Content-Type."""
    from genro_asgi.wsx.tytx import to_tytx

    text = to_tytx(value, transport)
    body = text.encode() if isinstance(text, str) else text
    return body, (b"content-type", f"application/vnd.tytx+{transport}".encode())


def as_response(result: Any, media_type: str | None = None) -> Response:
    """The response of a value that is sent piece by piece: a path is a file, an iterator a stream."""
    if isinstance(result, Response):
        return result
    if isinstance(result, PurePath):
        return FileResponse(result, media_type=media_type)
    return StreamingResponse(result, media_type=media_type or "application/octet-stream")


def error_response(error: HTTPException) -> Response:
    """The answer to an HTTPException: RFC 9457 problem details with its status and headers; redirects have no body."""
    headers = error.headers.items() if isinstance(error.headers, Mapping) else error.headers or ()
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=list(headers))
    body = problem(error.status_code, error.detail, error.code, error.retry, error.details)
    return JSONResponse(body, error.status_code, list(headers), "application/problem+json")
