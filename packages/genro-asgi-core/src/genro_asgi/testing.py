"""An in-process client for tests: HTTP, WebSocket and lifespan against any ASGI application, without a dependency.

It plays a strict server: what the application sends is held to the ASGI specification, and every wait is bounded.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import quote, unquote_to_bytes, urlencode, urljoin, urlsplit

from genro_asgi import jsoncodec
from genro_asgi.datastructures.headers import Headers
from genro_asgi.exceptions import WebSocketDisconnect
from genro_asgi.types import ASGIApp, Message, Scope

__all__ = ["AsyncClient", "LifespanManager", "TestResponse", "WebSocketSession", "make_scope"]

HeadersArgument = Mapping[str, str] | Sequence[tuple[str, str]] | None
Content = bytes | str | AsyncIterable[bytes] | Iterable[bytes] | None

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def make_scope(
    method: str = "GET",
    path: str = "/",
    query: bytes | str = b"",
    headers: HeadersArgument = None,
    **extra: Any,
) -> Scope:
    """An HTTP scope as a server makes it; `path` may be percent-encoded, `extra` adds or replaces keys."""
    raw_path = quote(path, safe="/%!$&'()*+,;=:@~-._").encode()
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote_to_bytes(raw_path).decode("utf-8", "replace"),
        "raw_path": raw_path,
        "query_string": query.encode() if isinstance(query, str) else query,
        "root_path": "",
        "headers": raw_headers(headers),
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        **extra,
    }


def raw_headers(headers: HeadersArgument) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return [(name.lower().encode("latin-1"), _latin(value)) for name, value in pairs]


def _latin(value: str) -> bytes:
    # What latin-1 cannot hold goes out as UTF-8, as browsers do.
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()


class TestResponse:
    """What came back: status, headers and the whole body."""

    __test__ = False

    def __init__(self, status_code: int, headers: Headers, content: bytes, url: str) -> None:
        self.status_code = status_code
        self.headers = headers
        self.content = content
        self.url = url

    @property
    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON."""
        return jsoncodec.loads(self.content)

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status_code < 300

    def __repr__(self) -> str:
        return f"<TestResponse [{self.status_code}]>"


class Exchange:
    """One HTTP exchange: the channels the application gets, and what it did with them."""

    def __init__(self, app: ASGIApp, scope: Scope, body: AsyncIterator[bytes] | None, limit: float) -> None:
        self.scope = scope
        self.status: int | None = None
        self.headers = Headers(raw=[])
        self.complete = asyncio.Event()
        self._limit = limit
        self._body = body
        self._pending: bytes | None = None
        self._body_done = body is None
        self._body_told = False
        self._gone = asyncio.Event()
        self._started = asyncio.Event()
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.task = asyncio.ensure_future(self._run(app))

    async def _run(self, app: ASGIApp) -> None:
        try:
            await app(self.scope, self._receive, self._send)
            assert self._gone.is_set() or self.complete.is_set(), "the application returned without a complete response"
        finally:
            self._started.set()
            self.complete.set()
            self._chunks.put_nowait(None)

    async def _receive(self) -> Message:
        if self._gone.is_set():
            return {"type": "http.disconnect"}
        if not self._body_told:
            return await self._next_body()
        waits = [asyncio.ensure_future(event.wait()) for event in (self._gone, self.complete)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return {"type": "http.disconnect"}

    async def _next_body(self) -> Message:
        chunk = b""
        if self._body is not None and not self._body_done:
            try:
                chunk = await anext(self._body)
            except StopAsyncIteration:
                self._body_done = True
        self._body_told = self._body_done
        return {"type": "http.request", "body": chunk, "more_body": not self._body_done}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if self._gone.is_set():
            return  # a real server drops what nobody reads
        if kind == "http.response.start":
            assert self.status is None, "http.response.start was sent twice"
            self.status = message["status"]
            assert isinstance(self.status, int), f"the status must be an int, not {self.status!r}"
            pairs = [(name, value) for name, value in message.get("headers", ())]
            assert all(isinstance(part, bytes) for pair in pairs for part in pair), f"headers must be bytes: {pairs!r}"
            assert not any(c in part for pair in pairs for part in pair for c in b"\r\n\0"), f"control bytes: {pairs!r}"
            self.headers = Headers(raw=pairs)
        elif kind == "http.response.body":
            assert self.status is not None, "http.response.body was sent before http.response.start"
            assert not self.complete.is_set(), "http.response.body was sent after the end of the body"
            self._take(message)
        else:
            raise AssertionError(f"{kind!r} is no message of an HTTP response")
        self._started.set()

    def _take(self, message: Message) -> None:
        body = message.get("body", b"")
        assert isinstance(body, bytes | bytearray | memoryview), f"the body must be bytes, not {type(body).__name__}"
        if self.scope["method"] == "HEAD":
            assert not body, "the answer to HEAD has a body"
        if body:
            self._chunks.put_nowait(bytes(body))
        if not message.get("more_body", False):
            self.complete.set()
            self._chunks.put_nowait(None)

    async def started(self) -> None:
        """Wait for status and headers."""
        async with asyncio.timeout(self._limit):
            await self._started.wait()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces of the body as they were sent."""
        while True:
            async with asyncio.timeout(self._limit):
                chunk = await self._chunks.get()
            if chunk is None:
                return
            yield chunk

    def disconnect(self) -> None:
        """Leave, as a client that closes its connection."""
        self._gone.set()

    async def finish(self, raise_exceptions: bool = True) -> None:
        """Wait for the application to return; its exception is raised when nobody turned it into an answer."""
        async with asyncio.timeout(self._limit):
            await asyncio.wait((self.task,))
        error = None if self.task.cancelled() else self.task.exception()
        if error is not None and (raise_exceptions or isinstance(error, AssertionError)):
            raise error


class StreamedResponse:
    """An answer that is still coming."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.status_code = exchange.status
        self.headers = exchange.headers

    def chunks(self) -> AsyncIterator[bytes]:
        """The pieces of the body as they were sent."""
        return self._exchange.chunks()

    def disconnect(self) -> None:
        """Leave before the end."""
        self._exchange.disconnect()


class LifespanManager:
    """Runs the lifespan of an application around a block; `state` is what it left for its requests."""

    def __init__(self, app: ASGIApp, limit: float = 5.0) -> None:
        self.app = app
        self.state: dict[str, Any] = {}
        self._limit = limit
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> Self:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self._task = asyncio.ensure_future(self.app(scope, self._to_app.get, self._answers.put))
        answer = await self._ask("lifespan.startup")
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            raise RuntimeError(answer.get("message", "") or "the application did not start")
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._task is not None:
            answer = await self._ask("lifespan.shutdown")
            if answer is not None and answer["type"] == "lifespan.shutdown.failed":
                raise RuntimeError(answer.get("message", "") or "the application did not stop")

    async def _ask(self, kind: str) -> Message | None:
        """Send a message and wait for the answer; None from an application without a lifespan."""
        assert self._task is not None
        await self._to_app.put({"type": kind})
        reader = asyncio.ensure_future(self._answers.get())
        try:
            async with asyncio.timeout(self._limit):
                await asyncio.wait((reader, self._task), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not reader.done():
                reader.cancel()
        if reader.done() and not reader.cancelled():
            return reader.result()
        self._task.exception()  # an application that does not know the protocol says so by raising
        self._task = None
        return None


class AsyncClient:
    """Talks to an ASGI application in the same event loop: `async with AsyncClient(app) as client: ...`.

    Its lifespan runs around the block unless `lifespan=False`. Cookies are kept between calls. Exceptions of the
    application are raised unless `raise_app_exceptions=False`, which turns them into a 500. `limit` bounds every wait,
    in seconds.
    """

    __test__ = False

    def __init__(
        self,
        app: ASGIApp,
        base_url: str = "http://testserver",
        *,
        lifespan: bool = True,
        raise_app_exceptions: bool = True,
        headers: HeadersArgument = None,
        cookies: Mapping[str, str] | None = None,
        limit: float = 5.0,
    ) -> None:
        self.app = app
        self.base_url = base_url
        self.cookies = dict(cookies or {})
        self.headers = raw_headers(headers)
        self._raise = raise_app_exceptions
        self._limit = limit
        self._lifespan = LifespanManager(app, limit) if lifespan else None

    @property
    def state(self) -> dict[str, Any]:
        """What the lifespan left for the requests."""
        return self._lifespan.state if self._lifespan is not None else {}

    async def __aenter__(self) -> Self:
        if self._lifespan is not None:
            await self._lifespan.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._lifespan is not None:
            await self._lifespan.__aexit__(*error)

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | Sequence[tuple[str, Any]] | None = None,
        headers: HeadersArgument = None,
        json: Any = None,
        content: Content = None,
        data: Mapping[str, Any] | None = None,
        cookies: Mapping[str, str] | None = None,
        follow_redirects: bool = False,
    ) -> TestResponse:
        """Ask and wait for the whole answer; `json`, `content` (also in pieces) or `data` (a form) is the body."""
        arguments = {"params": params, "headers": headers, "cookies": cookies}
        exchange = self._open(method, url, json=json, content=content, data=data, **arguments)
        body = b"".join([chunk async for chunk in exchange.chunks()])
        await exchange.finish(self._raise)
        target = exchange.headers.get("location")
        if follow_redirects and exchange.status in _REDIRECTS and target:
            return await self.request("GET", urljoin(url, target), headers=headers, follow_redirects=True)
        return TestResponse(500 if exchange.status is None else exchange.status, exchange.headers, body, url)

    @asynccontextmanager
    async def stream(self, method: str, url: str, **arguments: Any) -> AsyncIterator[StreamedResponse]:
        """Ask and get the answer as it comes; leaving the block early is leaving the server."""
        exchange = self._open(method, url, **arguments)
        await exchange.started()
        try:
            yield StreamedResponse(exchange)
        finally:
            exchange.disconnect()
            await exchange.finish(self._raise)

    def _open(self, method: str, url: str, **arguments: Any) -> Exchange:
        scope, body = self._prepare(method, url, **arguments)
        exchange = Exchange(self.app, scope, body, self._limit)
        exchange.task.add_done_callback(lambda task: self._keep_cookies(exchange.headers))
        return exchange

    def _prepare(
        self,
        method: str,
        url: str,
        *,
        params: Any = None,
        headers: HeadersArgument = None,
        json: Any = None,
        content: Content = None,
        data: Mapping[str, Any] | None = None,
        cookies: Mapping[str, str] | None = None,
    ) -> tuple[Scope, AsyncIterator[bytes] | None]:
        parts = urlsplit(urljoin(self.base_url + "/", url.lstrip("/") if url.startswith("//") else url))
        query = "&".join(part for part in (parts.query, urlencode(params or {}, doseq=True)) if part)
        given = [(b"host", parts.netloc.encode()), *self.headers, *self._cookie_header(cookies), *raw_headers(headers)]
        names = {name for name, _ in given}
        kind, body = encode_body(json, content, data)
        if kind and b"content-type" not in names:
            given.append((b"content-type", kind))
        if isinstance(body, bytes) and b"content-length" not in names:
            given.append((b"content-length", str(len(body)).encode()))
        elif body is not None and not isinstance(body, bytes):
            given.append((b"transfer-encoding", b"chunked"))
        scope = make_scope(method.upper(), parts.path or "/", query, scheme=parts.scheme)
        scope["headers"], scope["state"] = given, dict(self.state)
        return scope, pieces(body)

    def _cookie_header(self, cookies: Mapping[str, str] | None) -> list[tuple[bytes, bytes]]:
        jar = {**self.cookies, **(cookies or {})}
        return [(b"cookie", "; ".join(f"{k}={v}" for k, v in jar.items()).encode("latin-1"))] if jar else []

    def _keep_cookies(self, headers: Headers) -> None:
        for line in headers.getlist("set-cookie"):
            pair, *attributes = [part.strip() for part in line.split(";")]
            name, _, value = pair.partition("=")
            if "max-age=0" in [attribute.lower() for attribute in attributes]:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    async def get(self, url: str, **arguments: Any) -> TestResponse:
        """GET."""
        return await self.request("GET", url, **arguments)

    async def head(self, url: str, **arguments: Any) -> TestResponse:
        """HEAD."""
        return await self.request("HEAD", url, **arguments)

    async def options(self, url: str, **arguments: Any) -> TestResponse:
        """OPTIONS."""
        return await self.request("OPTIONS", url, **arguments)

    async def post(self, url: str, **arguments: Any) -> TestResponse:
        """POST."""
        return await self.request("POST", url, **arguments)

    async def put(self, url: str, **arguments: Any) -> TestResponse:
        """PUT."""
        return await self.request("PUT", url, **arguments)

    async def patch(self, url: str, **arguments: Any) -> TestResponse:
        """PATCH."""
        return await self.request("PATCH", url, **arguments)

    async def delete(self, url: str, **arguments: Any) -> TestResponse:
        """DELETE."""
        return await self.request("DELETE", url, **arguments)

    def websocket(
        self, url: str, subprotocols: Sequence[str] = (), headers: HeadersArgument = None
    ) -> "WebSocketSession":
        """A WebSocket to the application: `async with client.websocket("/path") as ws: ...`."""
        scope, _ = self._prepare("GET", url, headers=headers)
        scope = {**scope, "type": "websocket", "scheme": "ws", "subprotocols": list(subprotocols)}
        del scope["method"]
        return WebSocketSession(self.app, scope, self._limit)


def encode_body(json: Any, content: Content, data: Mapping[str, Any] | None) -> tuple[bytes | None, Any]:
    """The media type and the bytes, or the source of bytes, of a request body."""
    if json is not None:
        return b"application/json", jsoncodec.dumps(json)
    if data is not None:
        return b"application/x-www-form-urlencoded", urlencode(data, doseq=True).encode()
    return None, content.encode() if isinstance(content, str) else content


async def _each(source: Any) -> AsyncIterator[bytes]:
    if isinstance(source, bytes):
        yield source
    elif isinstance(source, AsyncIterable):
        async for piece in source:
            yield piece
    else:
        for piece in source:
            yield piece


def pieces(body: Any) -> AsyncIterator[bytes] | None:
    """A body as the pieces it is sent in; None without one."""
    return None if body is None or body == b"" else _each(body)


class WebSocketSession:
    """The client's end of a WebSocket; a handshake that is refused raises WebSocketDisconnect with `status`."""

    def __init__(self, app: ASGIApp, scope: Scope, limit: float) -> None:
        self.scope = scope
        self.accepted_subprotocol: str | None = None
        self.headers = Headers(raw=[])
        self._app = app
        self._limit = limit
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[Any] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._app(self.scope, self._to_app.get, self._send))
        await self._to_app.put({"type": "websocket.connect"})
        message = await self.receive()
        if message["type"] != "websocket.accept":
            self._closed = True
            raise await self._refusal(message)
        self.accepted_subprotocol = message.get("subprotocol")
        self.headers = Headers(raw=list(message.get("headers", ())))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()
        assert self._task is not None
        async with asyncio.timeout(self._limit):
            await asyncio.wait((self._task,))
        failure = None if self._task.cancelled() else self._task.exception()
        if failure is not None and error[0] is None:
            raise failure

    async def _send(self, message: Message) -> None:
        if self._closed:
            raise OSError("the client has closed the WebSocket")  # ASGI, WebSocket 2.4
        await self._from_app.put(message)

    async def _refusal(self, message: Message) -> WebSocketDisconnect:
        status = 403
        body = b""
        if message["type"] == "websocket.http.response.start":
            status = message["status"]
            part: Message = {"more_body": True}
            while part.get("more_body", False):
                part = await self._next()
                body += part.get("body", b"")
        refusal = WebSocketDisconnect(message.get("code", 1000), message.get("reason"))
        refusal.status, refusal.body = status, body  # type: ignore[attr-defined]
        return refusal

    async def _next(self) -> Message:
        assert self._task is not None
        reader = asyncio.ensure_future(self._from_app.get())
        try:
            async with asyncio.timeout(self._limit):
                await asyncio.wait((reader, self._task), return_when=asyncio.FIRST_COMPLETED)
            if not reader.done() and self._from_app.empty():
                failure = None if self._task.cancelled() else self._task.exception()
                raise failure or WebSocketDisconnect(1006, "the application returned without closing")
            return await reader
        finally:
            reader.cancel()

    async def receive(self) -> Message:
        """The next message of the application; WebSocketDisconnect when it closes an accepted socket."""
        message = await self._next()
        if message["type"] == "websocket.close" and self.accepted_subprotocol is not None:
            self._closed = True
        return message

    async def _receive_data(self, key: str) -> Any:
        message = await self.receive()
        if message["type"] == "websocket.close":
            self._closed = True
            raise WebSocketDisconnect(message.get("code", 1000), message.get("reason"))
        assert message.get(key) is not None, f"expected {key}, got {message!r}"
        return message[key]

    async def receive_text(self) -> str:
        """The next message, which must be text."""
        text: str = await self._receive_data("text")
        return text

    async def receive_bytes(self) -> bytes:
        """The next message, which must be binary."""
        data: bytes = await self._receive_data("bytes")
        return data

    async def receive_json(self) -> Any:
        """The next text message as JSON."""
        return jsoncodec.loads(await self.receive_text())

    async def send_text(self, text: str) -> None:
        """Send text."""
        await self._to_app.put({"type": "websocket.receive", "text": text})

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes."""
        await self._to_app.put({"type": "websocket.receive", "bytes": data})

    async def send_json(self, value: Any) -> None:
        """Send a value as JSON text."""
        await self.send_text(jsoncodec.dumps(value).decode())

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, once."""
        if not self._closed:
            self._closed = True
            await self._to_app.put({"type": "websocket.disconnect", "code": code, "reason": reason})
