"""Starlette's TestClient: synchronous, on httpx, with sockets and lifespan."""

import inspect
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self, cast

import httpx

from genro_asgi.datastructures.headers import Headers
from genro_asgi.exceptions import WebSocketDisconnect
from genro_asgi.testing.lifespan import LifespanManager
from genro_asgi.testing.portal import Portal
from genro_asgi.testing.scope import make_scope
from genro_asgi.testing.sync_http import TIMEOUT, Transport
from genro_asgi.testing.websocket import WebSocketDenied, WebSocketSession
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["TestClient", "WebSocketDenialResponse", "WebSocketTestSession"]


#: Seconds an application has to end after its socket has; then it is cancelled, as Starlette's client does at once.
_GRACE = 1


class WebSocketDenialResponse(httpx.Response, WebSocketDisconnect):  # type: ignore[misc]
    """The handshake was refused with this response."""

    code = 1006
    reason = ""


class WebSocketTestSession:
    """A socket to the application, opened by `with`."""

    def __init__(self, client: "TestClient", scope: Scope) -> None:
        self.scope = scope
        self._client = client
        self._stack = ExitStack()
        self._portal: Portal
        self._session: WebSocketSession

    @property
    def accepted_subprotocol(self) -> str | None:
        return self._session.accepted_subprotocol

    @property
    def extra_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers the application accepted with, as it wrote them."""
        return self._session.raw_headers

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._portal = stack.enter_context(self._client.portal())
            self._portal.call(self._open())
            self._stack = stack.pop_all()
        return self

    async def _open(self) -> None:
        # Made here because a session belongs to the loop it runs in.
        self._session = WebSocketSession(self._client.app, self.scope, TIMEOUT, self._client.raise_server_exceptions)
        self._session.lower_headers = True
        try:
            await self._session.__aenter__()
        except WebSocketDenied as error:
            if not error.answered:
                raise
            raise WebSocketDenialResponse(error.status_code, headers=error.headers.raw, content=error.content) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stack:
            self._portal.call(self._leave(raising=error is None))

    async def _leave(self, raising: bool) -> None:
        await self._session.close()
        self._session.timeout = _GRACE
        try:
            await self._session.finish()
        except TimeoutError:
            return
        if raising:
            self._session.raise_error()

    def send(self, message: Message) -> None:
        """Give the application a message as it is."""
        self._portal.call(self._session.send_message(message))

    def send_text(self, data: str) -> None:
        self._portal.call(self._session.send_text(data))

    def send_bytes(self, data: bytes) -> None:
        self._portal.call(self._session.send_bytes(data))

    def send_json(self, data: Any, mode: str = "text") -> None:
        """Send a value as JSON, in a text frame or, with `mode="binary"`, in a binary one."""
        self._portal.call(self._session.send_json(data, mode))

    def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close this side."""
        self._portal.call(self._session.close(code, reason or ""))

    def receive(self) -> Message:
        """The next message of the application as it is, websocket.close included."""
        try:
            return self._portal.call(self._session.receive_message())
        except WebSocketDisconnect as error:
            return {"type": "websocket.close", "code": error.code, "reason": error.reason}

    def receive_text(self) -> str:
        return self._portal.call(self._session.receive_text())

    def receive_bytes(self) -> bytes:
        return self._portal.call(self._session.receive_bytes())

    def receive_json(self, mode: str = "text") -> Any:
        """The next message, decoded; of a text frame or, with `mode="binary"`, of a binary one."""
        return self._portal.call(self._session.receive_json(mode))


class _Asgi2:
    """An application of ASGI 2, called with the scope alone, as one of ASGI 3."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope)(receive, send)


def _as_asgi3(app: Any) -> ASGIApp:
    try:
        inspect.signature(app).bind(None, None, None)
    except TypeError:
        return _Asgi2(app)
    except ValueError:  # it does not say what it takes
        pass
    return cast("ASGIApp", app)


class TestClient(httpx.Client):
    """An httpx client whose requests go to an application, as Starlette's test client.

    In a `with` block the application's lifespan runs, and all requests share one event loop; outside of one each
    request has its own. `backend` and `backend_options` are taken for Starlette's sake, the loop is asyncio's.
    """

    __test__ = False

    def __init__(
        self,
        app: ASGIApp,
        base_url: str = "http://testserver",
        raise_server_exceptions: bool = True,
        root_path: str = "",
        backend: str = "asyncio",
        backend_options: dict[str, Any] | None = None,
        cookies: Any = None,
        headers: Mapping[str, str] | None = None,
        follow_redirects: bool = True,
        client: tuple[str, int] = ("testclient", 50000),
    ) -> None:
        self.app = _as_asgi3(app)
        self.raise_server_exceptions = raise_server_exceptions
        self.app_state: dict[str, Any] = {}
        self._root_path = root_path
        self._address = client
        self._stack = ExitStack()
        self._portal: Portal | None = None
        self._live = Transport(self)
        super().__init__(
            base_url=base_url,
            headers={"user-agent": "testclient", **(headers or {})},
            cookies=cookies,
            follow_redirects=follow_redirects,
            transport=self._live,
        )

    @contextmanager
    def portal(self) -> Iterator[Portal]:
        """The event loop of the `with` block, or one for the moment."""
        if self._portal is not None:
            yield self._portal
        else:
            with Portal() as portal:
                yield portal

    def make_scope(self, request: httpx.Request, kind: str, **extra: Any) -> Scope:
        """The scope of a request of httpx, "http" or "websocket"."""
        url = request.url
        secure = url.scheme in ("https", "wss")
        scheme = ("ws" if kind == "websocket" else "http") + ("s" if secure else "")
        if kind == "http":
            extra["extensions"] = {"http.response.debug": {}, "http.response.trailers": {}}
        path = url.raw_path.partition(b"?")[0].decode("ascii")
        return make_scope(
            request.method,
            path,
            url.query,
            request.headers.raw,
            type=kind,
            scheme=scheme,
            server=(url.host, url.port if url.port is not None else 443 if secure else 80),
            client=self._address,
            root_path=self._root_path,
            state=self.app_state.copy(),
            **extra,
        )

    def websocket_connect(
        self, url: str, subprotocols: Sequence[str] | None = None, **kwargs: Any
    ) -> WebSocketTestSession:
        """A socket; `headers`, `cookies`, `params` and `auth` are those of a request."""
        auth = kwargs.pop("auth", httpx.USE_CLIENT_DEFAULT)
        headers: MutableMapping[str, str] = httpx.Headers(kwargs.pop("headers", None))
        headers.setdefault("connection", "upgrade")
        headers.setdefault("sec-websocket-key", "testserver==")
        headers.setdefault("sec-websocket-version", "13")
        if subprotocols is not None:
            headers.setdefault("sec-websocket-protocol", ", ".join(subprotocols))
        request = self.build_request("GET", url, headers=headers, **kwargs)
        request = next(self._build_request_auth(request, auth).sync_auth_flow(request))
        offered = Headers(raw=request.headers.raw).get("sec-websocket-protocol", "")
        names = [name.strip() for name in offered.split(",") if name.strip()]
        return WebSocketTestSession(self, self.make_scope(request, "websocket", subprotocols=names))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            portal = stack.enter_context(Portal())
            lifespan = portal.call(self._start())
            stack.push(lambda *error: portal.call(lifespan.__aexit__(*error)))
            self._stack = stack.pop_all()
        self._portal = portal
        self.app_state = lifespan.state
        return self

    async def _start(self) -> LifespanManager:
        return await LifespanManager(self.app, TIMEOUT).__aenter__()

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._live.close()
        self._portal = None
        self._stack.__exit__(kind, error, traceback)
