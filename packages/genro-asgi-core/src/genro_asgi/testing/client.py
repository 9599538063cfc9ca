"""An in-process client, for tests: HTTP, WebSocket and lifespan, without a network and without a dependency."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from genro_asgi.jsoncodec import dumps
from genro_asgi.testing.cookies import Cookies
from genro_asgi.testing.http import HttpExchange, TestResponse
from genro_asgi.testing.lifespan import LifespanManager
from genro_asgi.testing.scope import HeadersLike, encode_headers, make_scope
from genro_asgi.testing.websocket import WebSocketSession
from genro_asgi.types import ASGIApp, Scope

__all__ = ["AsyncClient"]

Params = Mapping[str, Any] | Iterable[tuple[str, Any]] | str
_SCHEMES = ("http://", "https://", "ws://", "wss://")

Body = bytes | str | AsyncIterable[bytes]


class AsyncClient:
    """Talks to an application as a server would, and holds it to the ASGI specification.

    Every wait ends after `timeout` seconds. Exceptions of the application are raised here, or become a 500 with
    `raise_app_exceptions=False`. Messages against the specification raise AssertionError either way. Cookies are kept
    between calls. `lifespan=False` leaves the lifespan out.
    """

    def __init__(
        self,
        app: ASGIApp,
        base_url: str = "http://testserver",
        lifespan: bool = True,
        raise_app_exceptions: bool = True,
        *,
        headers: HeadersLike = (),
        cookies: Mapping[str, str] | None = None,
        client: tuple[str, int] | None = ("127.0.0.1", 50000),
        root_path: str = "",
        timeout: float = 5,
        spec_version: str = "2.3",
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        self.app = app
        self.base_url = base_url.rstrip("/")
        self.raise_app_exceptions = raise_app_exceptions
        self.headers = encode_headers(headers)
        self.cookies = Cookies(dict(cookies or {}))
        self.timeout = timeout
        self._lifespan = LifespanManager(app, timeout) if lifespan else None
        self._extra: dict[str, Any] = {
            "client": client,
            "root_path": root_path,
            "asgi": {"version": "3.0", "spec_version": spec_version},
        }
        self._extensions = dict(extensions or {})

    @property
    def state(self) -> dict[str, Any]:
        """The state the lifespan of the application has filled."""
        return self._lifespan.state if self._lifespan else {}

    async def __aenter__(self) -> Self:
        if self._lifespan:
            await self._lifespan.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._lifespan:
            await self._lifespan.__aexit__(kind, error, traceback)

    def _scope(
        self,
        method: str,
        url: str,
        params: Params | None,
        headers: HeadersLike,
        cookies: Mapping[str, str] | None,
        **extra: Any,
    ) -> Scope:
        parts = urlsplit(url if url.startswith(_SCHEMES) else self.base_url + url)
        secure = parts.scheme in ("https", "wss")
        query = [parts.query] if parts.query else []
        if params:
            query.append(params if isinstance(params, str) else urlencode(_pairs(params), doseq=True))
        sent = [
            (b"host", parts.netloc.rpartition("@")[2].encode()),
            (b"accept", b"*/*"),
            (b"user-agent", b"testclient"),
        ]
        own = [*self.headers, *encode_headers(headers)]
        kept = {name for name, _ in own}
        sent = [pair for pair in sent if pair[0] not in kept] + own
        jar = self.cookies.header(parts.path or "/", secure)
        given = "; ".join(f"{name}={value}" for name, value in (cookies or {}).items())
        if jar or given:
            sent.append((b"cookie", "; ".join(filter(None, (jar, given))).encode("latin-1")))
        server = parts.hostname or "testserver", parts.port or (443 if secure else 80)
        websocket = extra.get("type") == "websocket"
        scheme = ("ws" if websocket else "http") + ("s" if secure else "")
        scope = make_scope(
            method,
            parts.path or "/",
            "&".join(query),
            sent,
            **{**self._extra, "scheme": scheme, "server": server, "state": self.state.copy(), **extra},
        )
        scope["extensions"].update(self._extensions)
        return scope

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        params: Params | None = None,
        headers: HeadersLike = (),
        cookies: Mapping[str, str] | None = None,
        content: Body = b"",
        data: Mapping[str, Any] | None = None,
        json: Any = None,
    ) -> AsyncIterator[TestResponse]:
        """A request whose response is read chunk by chunk; leaving the block early is leaving the server.

        An async iterator as `content` is asked for a chunk when the application asks for one; raising
        ClientDisconnect in it is to leave in the middle of the upload.
        """
        body, body_headers = _body(method, content, data, json)
        given = encode_headers(headers)
        names = {name for name, _ in given}
        given += [pair for pair in body_headers if pair[0] not in names]
        scope = self._scope(method, url, params, given, cookies)
        async with self._exchange(scope, body) as exchange:
            await exchange.until(lambda: exchange.status, "start its response")
            if exchange.ended:
                exchange.check_complete(self.raise_app_exceptions)
            response = TestResponse(exchange, url)
            for header in response.headers.getlist("set-cookie"):
                self.cookies.extract(header, scope["path"])
            yield response

    @asynccontextmanager
    async def _exchange(self, scope: Scope, body: bytes | AsyncIterable[bytes]) -> AsyncIterator[HttpExchange]:
        exchange = HttpExchange(self.app, scope, body, self.timeout)
        exchange.start()
        try:
            yield exchange
        except BaseException:
            # Whoever is cancelled here leaves the server, and the application gets its time to notice.
            exchange.disconnect()
            with suppress(TimeoutError):
                await exchange.finish()
            raise
        if not (exchange.complete or exchange.ended):
            exchange.disconnect()
        await exchange.finish()
        exchange.check_complete(self.raise_app_exceptions)

    async def request(self, method: str, url: str, **options: Any) -> TestResponse:
        """A request and its whole response, when the application has returned; options are those of stream()."""
        async with self.stream(method, url, **options) as response:
            await response.read()
        return response

    async def get(self, url: str, **options: Any) -> TestResponse:
        return await self.request("GET", url, **options)

    async def head(self, url: str, **options: Any) -> TestResponse:
        return await self.request("HEAD", url, **options)

    async def options(self, url: str, **options: Any) -> TestResponse:
        return await self.request("OPTIONS", url, **options)

    async def post(self, url: str, **options: Any) -> TestResponse:
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Any) -> TestResponse:
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Any) -> TestResponse:
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: Any) -> TestResponse:
        return await self.request("DELETE", url, **options)

    def websocket(
        self,
        url: str,
        subprotocols: Sequence[str] = (),
        *,
        params: Params | None = None,
        headers: HeadersLike = (),
        cookies: Mapping[str, str] | None = None,
    ) -> WebSocketSession:
        """A socket, opened by `async with`; a refused handshake raises WebSocketDenied with the status."""
        offered = [(b"sec-websocket-protocol", ", ".join(subprotocols).encode())] if subprotocols else []
        given = [*encode_headers(headers), *offered]
        scope = self._scope("GET", url, params, given, cookies, type="websocket", subprotocols=list(subprotocols))
        return WebSocketSession(self.app, scope, self.timeout, self.raise_app_exceptions)


def _pairs(params: Any) -> list[tuple[str, Any]]:
    return list(params.items() if isinstance(params, Mapping) else params)


def _body(
    method: str, content: Body, data: Mapping[str, Any] | None, json: Any
) -> tuple[bytes | AsyncIterable[bytes], list[tuple[bytes, bytes]]]:
    """The body of a request, and the headers that tell of it."""
    headers = []
    if json is not None:
        content = dumps(json)
        headers.append((b"content-type", b"application/json"))
    elif data is not None:
        content = urlencode(_pairs(data), doseq=True).encode()
        headers.append((b"content-type", b"application/x-www-form-urlencoded"))
    if isinstance(content, str):
        content = content.encode()
        headers.append((b"content-type", b"text/plain; charset=utf-8"))
    if not isinstance(content, bytes):
        headers.append((b"transfer-encoding", b"chunked"))
    elif content or method.upper() in ("POST", "PUT", "PATCH"):
        headers.append((b"content-length", str(len(content)).encode()))
    return content, headers
