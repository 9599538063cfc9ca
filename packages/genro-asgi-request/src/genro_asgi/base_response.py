"""The answers whose body is known at once: Response and its plain kinds, every one an ASGI application of its own."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from genro_asgi.datastructures.headers import MutableHeaders, encode_header
from genro_asgi.delivery import Runner, run_while_connected, send_tells
from genro_asgi.exceptions import ClientDisconnect, HTTPException, problem, status_phrase
from genro_asgi.jsoncodec import dumps
from genro_asgi.rendering import JSON, HeaderPair, content_type_pair, encode, encode_text, encoder_for, length_pair
from genro_asgi.set_cookie import SameSite, cookie_text
from genro_asgi.types import Receive, Scope, Send

if TYPE_CHECKING:
    from genro_asgi.request import BaseRequest

__all__ = [
    "HTMLResponse",
    "HeadersArgument",
    "JSONResponse",
    "PlainTextResponse",
    "RedirectResponse",
    "Response",
    "error_response",
    "is_head",
    "message_types",
    "plain_error",
]

HeadersArgument = Mapping[str, str] | Sequence[tuple[str, str]] | None

# RFC 9110: these carry no body, whatever the handler gave.
_BODILESS = frozenset({204, 304})


def message_types(scope: Scope) -> tuple[str, str]:
    """The types of the start and body messages; an answer to a WebSocket handshake has names of its own."""
    if scope.get("type") == "websocket":
        return "websocket.http.response.start", "websocket.http.response.body"
    return "http.response.start", "http.response.body"


def is_head(scope: Scope) -> bool:
    """Whether the client wants no body."""
    method: str = scope.get("method", "")
    return method == "HEAD" or method.upper() == "HEAD"


class Response:
    """An answer whose body is known; the base of the family.

    `headers` may be a mapping or a list of pairs. The handler's own Content-Type and Content-Length are kept.
    """

    media_type: str | None = None
    charset: str = "utf-8"
    #: Whether the body comes piece by piece, through `respond`.
    is_streamed: ClassVar[bool] = False
    #: Whether a `send` that fails is a ClientDisconnect for who awaits the response itself, as in Starlette.
    names_disconnect: ClassVar[bool] = False
    #: Whether a subclass brought a `__call__` of its own, which then does the sending.
    is_foreign: ClassVar[bool] = False
    #: Whether the client has been told the status.
    started: bool = False
    #: What its typed values may be, where its route says so: a TypeTable.
    types: Any = None
    _tytx: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__call__" in cls.__dict__:
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

    @classmethod
    def of(cls, body: bytes, content_type: HeaderPair) -> "Response":
        """A 200 with this body, made without what only a caller's arguments would need."""
        response = cls.__new__(cls)
        response.status_code, response.background, response.body = 200, None, body
        response.raw_headers = [content_type, length_pair(len(body))]
        return response

    def render(self, content: Any) -> bytes:
        """The bytes of `content`: str is encoded, None is empty."""
        if content is None:
            return b""
        if isinstance(content, bytes | bytearray | memoryview):
            return bytes(content)
        return encode_text(str(content), self.charset)

    def init_headers(self, headers: HeadersArgument = None) -> None:
        """Fill `raw_headers` from what was given, the body's length and the media type."""
        names: set[bytes] = set()
        self.raw_headers = raw = []
        if headers:
            given = headers.items() if isinstance(headers, Mapping) else headers
            raw += [encode_header(name, value) for name, value in given]
            names = {name for name, _ in raw}
        # A subclass with an `__init__` of its own may have no body.
        if b"content-length" not in names and self._has_length() and (body := getattr(self, "body", None)) is not None:
            raw.append(length_pair(len(body)))
        if b"content-type" not in names and self.media_type is not None:
            raw.append(content_type_pair(self.media_type, self.charset))

    def _has_length(self) -> bool:
        return not (self.status_code < 200 or self.status_code in _BODILESS)

    @property
    def headers(self) -> MutableHeaders:
        """The headers, to be read and changed."""
        return MutableHeaders(raw=self.raw_headers)

    def set_header(self, name: str, value: str) -> None:
        """Set a header, replacing what it was; Set-Cookie is always appended. ValueError for what is no header."""
        pair = encode_header(name, value)
        if pair[0] != b"set-cookie":
            self._drop(pair[0])
        self.raw_headers.append(pair)

    def append_header(self, name: str, value: str) -> None:
        """Add a header beside those of the same name."""
        self.raw_headers.append(encode_header(name, value))

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
        self.raw_headers.append(encode_header("set-cookie", text))

    def delete_cookie(
        self,
        key: str,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: SameSite | None = "lax",
        partitioned: bool = False,
    ) -> None:
        """Make the client forget a cookie; path and domain must be those it was set with."""
        self.set_cookie(key, "", 0, 0, path, domain, secure, httponly, samesite, partitioned)

    def set_result(self, result: Any, metadata: Mapping[str, Any] | None = None) -> None:
        """Take a handler's value as the body: bytes and Content-Type by its class (BEHAVIOUR, Responses).

        `metadata` may name another media type (`media_type` or `mime_type`); a Content-Type that was set stays.
        Values that are sent piece by piece (paths, iterators, responses) are refused with TypeError.
        """
        encoder = encoder_for(result)
        if encoder is None:
            raise TypeError(f"A {type(result).__name__} is not sent at once; return it from the handler instead.")
        pair = encoder[1]
        if self._tytx is not None and (encoder is JSON or (self.types is not None and self.types.owns(type(result)))):
            from genro_asgi.tytx_body import encode_tytx

            self.body, pair = encode_tytx(result, self._tytx, self.types)
        elif self.types is not None:
            self.body, pair = self._without_types(result)
        else:
            self.body = encode(result)
        override = (metadata or {}).get("media_type") or (metadata or {}).get("mime_type") or self.media_type
        self._set_content(content_type_pair(override, self.charset) if override else pair)

    def _without_types(self, result: Any) -> tuple[bytes, HeaderPair]:
        from genro_asgi.tytx_body import fit_result

        fitted = fit_result(result, self.types)
        encoder = encoder_for(fitted)
        assert encoder is not None
        return encode(fitted), encoder[1]

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
        """Send this answer; `run` takes what would block. Whoever calls it watches for a client that leaves."""
        status, headers, body = self.finish()
        start, piece = message_types(scope)
        self.started = True
        await send({"type": start, "status": status, "headers": headers})
        await send({"type": piece, "body": b"" if is_head(scope) else body})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error: BaseException | None = None
        try:
            # On its own, without a server around it, the response watches for the client itself.
            if self.is_streamed and not send_tells(scope):
                await run_while_connected(self.respond(scope, send), receive)
            else:
                await self.respond(scope, send)
        except HTTPException as refusal:
            if self.started:
                raise
            await plain_error(refusal).respond(scope, send)
        except ClientDisconnect as gone:
            error = gone.__cause__
            if self.names_disconnect or error is None:
                raise
        if error is not None:
            try:
                raise error  # servers know the one they raised themselves, and keep quiet about it
            finally:
                del error
        if self.background is not None:
            await self.background()


class JSONResponse(Response):
    """A JSON answer; `None` is `null`."""

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


def error_response(error: HTTPException) -> Response:
    """The answer to an HTTPException: RFC 9457 problem details with its status and headers; redirects have no body."""
    headers = error.headers.items() if isinstance(error.headers, Mapping) else error.headers or ()
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=list(headers))
    body = problem(error.status_code, error.detail, error.code, error.retry, error.details)
    return JSONResponse(body, error.status_code, list(headers), "application/problem+json")


def plain_error(error: HTTPException) -> Response:
    """The answer to an HTTPException where no server is around that has one body for all errors: its text."""
    text = status_phrase(error.status_code) if error.status_code >= 500 else error.detail
    return PlainTextResponse(text, error.status_code, error.headers)
