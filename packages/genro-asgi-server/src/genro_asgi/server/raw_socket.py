"""Raw WebSockets: routes with `websocket=True`, whose handlers read and write the socket themselves."""

import asyncio
import logging
from collections.abc import Awaitable
from time import time
from typing import TYPE_CHECKING, Any, ClassVar

from genro_asgi.exceptions import HTTPException, WebSocketDisconnect, WebSocketException
from genro_asgi.middleware.errors import as_http_exception, log_failure
from genro_asgi.request import HttpRequest, current_request
from genro_asgi.response import Response
from genro_asgi.server.handshake import deny
from genro_asgi.server.routes import Endpoint
from genro_asgi.websocket import WebSocket, WebSocketState

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["RawSockets", "SocketRequest"]

logger = logging.getLogger("genro_asgi")


class SocketRequest(HttpRequest):
    """The handshake of a raw WebSocket as its handler and the hooks see it; `websocket` is the socket."""

    transport: ClassVar[str] = "websocket"  # pyright: ignore[reportIncompatibleMethodOverride]
    websocket: WebSocket

    def __init__(self, websocket: WebSocket, server: Any) -> None:
        super().__init__()
        self.websocket, self.server, self.limits = websocket, server, server.limits
        self.scope, self.body_read = websocket.scope, True
        self.created_at, self.task = time(), asyncio.current_task()
        # Neither the time limit of handlers nor the watch for lost clients is for sockets.
        self.phase = "socket"

    def may_have_body(self) -> bool:
        """False: a handshake has none."""
        return False


class RawSockets:
    """Runs the handlers of raw sockets, and closes those that are open when the server stops."""

    def __init__(self, server: "AsgiServer") -> None:
        self.server = server
        self.open: set[WebSocket] = set()

    async def run(self, endpoint: Endpoint, args: tuple[str, ...], websocket: WebSocket, auth: Any) -> None:
        """Authorise the handshake, call the handler, and see that the socket is closed after it."""
        request = SocketRequest(websocket, self.server)
        request.endpoint = endpoint
        websocket.types = endpoint.types
        if auth is not None:
            request.auth, request.auth_tags = auth, list(auth.get("tags") or ())
        registry = self.server.request_registry
        registry.register(request)
        token = current_request.set(request)
        error: BaseException | None = None
        self.open.add(websocket)
        try:
            await self._call(request, endpoint, args, websocket)
        except Exception as exc:
            error = exc
            await self._failed(request, websocket, exc)
        except asyncio.CancelledError as exc:
            error = exc
            if request.cancelled is None or request.task is None:
                raise
            request.task.uncancel()
            await _close(websocket, 1012, "The server is shutting down.")
        finally:
            self.open.discard(websocket)
            current_request.reset(token)
            registry.unregister(request)
            if request.extra:
                await self.server.ws_dispatcher.clean_up(request, error)
            error = None  # its traceback knows this frame, and with it the request

    async def _call(self, request: SocketRequest, endpoint: Endpoint, args: tuple[str, ...], socket: WebSocket) -> None:
        dispatcher = self.server.ws_dispatcher
        for hook in dispatcher.before:
            answer = hook(request)
            answer = await answer if isinstance(answer, Awaitable) else answer
            if isinstance(answer, Response):
                await socket.send_denial_response(answer)
                return
        if endpoint.guarded or request.auth is not None or dispatcher.always_slow:
            await dispatcher.authorise(request, endpoint)
        await endpoint.call(request, args)
        if socket.application_state == WebSocketState.CONNECTING:
            await socket.refuse()
        else:
            await _close(socket, 1000)

    async def _failed(self, request: SocketRequest, websocket: WebSocket, exc: Exception) -> None:
        if isinstance(exc, WebSocketDisconnect):
            return  # the client went, or was told why it had to
        if isinstance(exc, WebSocketException):
            await _close(websocket, exc.code, exc.reason)
            return
        error = as_http_exception(request, exc)
        if error.status_code >= 500:
            log_failure(request, exc)
        if websocket.application_state == WebSocketState.CONNECTING:
            await _deny(websocket, error)
        elif error.status_code >= 500:
            await _close(websocket, 1011)
        else:
            await _close(websocket, 1008, error.detail)

    async def drain(self) -> None:
        """Close all sockets with 1012; their handlers see the end."""
        await asyncio.gather(*(_close(socket, 1012, "The server is shutting down.") for socket in list(self.open)))


async def _close(websocket: WebSocket, code: int, reason: str | None = None) -> None:
    try:
        await websocket.close(code, reason)
    except (OSError, RuntimeError, WebSocketDisconnect):
        logger.debug("A WebSocket was gone before it was closed.", exc_info=True)


async def _deny(websocket: WebSocket, error: HTTPException) -> None:
    try:
        await deny(websocket, error)
    except (OSError, RuntimeError, WebSocketDisconnect):
        logger.debug("A WebSocket was gone before it was refused.", exc_info=True)
