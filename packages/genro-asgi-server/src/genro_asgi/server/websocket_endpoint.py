"""WebSocket handshakes: which handler gets a socket that no mounted application owns."""

from typing import TYPE_CHECKING, Any

from genro_asgi.exceptions import HTTPException, HTTPServiceUnavailable, WebSocketDisconnect
from genro_asgi.request import route_path
from genro_asgi.server.handshake import Handshakes, deny
from genro_asgi.server.raw_socket import RawSockets
from genro_asgi.server.routes import Endpoint
from genro_asgi.server.wsx_handler import WsxHandler
from genro_asgi.types import Receive, Scope, Send
from genro_asgi.websocket import WebSocket

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["WebSocketEndpoint"]


class WebSocketEndpoint:
    """Checks a handshake, and hands it to the raw route that owns its path, else to WSX, on any path."""

    def __init__(self, server: "AsgiServer") -> None:
        self.server = server
        self.handshakes = Handshakes(server, server.config.websocket.origins)
        self.raw = RawSockets(server)
        self.wsx = WsxHandler(server)
        #: Sockets that are open or being opened, and how many that may be.
        self.sockets = 0
        self._most = server.limits.ws_connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        if self.sockets >= self._most:
            full = HTTPServiceUnavailable("As many sockets are open as may be.", code="OVERLOADED", retry=True)
            await self._refuse(websocket, full)
            return
        self.sockets += 1
        try:
            await self._serve(scope, websocket)
        finally:
            self.sockets -= 1

    async def _serve(self, scope: Scope, websocket: WebSocket) -> None:
        try:
            auth = await self.handshakes.check(scope)
        except HTTPException as error:
            await self._refuse(websocket, error)
            return
        raw = self._raw_route(route_path(scope))
        if raw is None:
            await self.wsx.serve(websocket, auth)
        else:
            await self.raw.run(*raw, websocket, auth)

    def _raw_route(self, path: str) -> tuple[Endpoint, tuple[str, ...]] | None:
        table = self.server.table
        if table.stale:
            table.refresh()
        endpoint = table.exact.get(path)
        found: Any = (endpoint, ()) if endpoint is not None else table.resolve(path)
        return found if found is not None and found[0].websocket else None

    async def _refuse(self, websocket: WebSocket, error: HTTPException) -> None:
        try:
            await deny(websocket, error)
        except (OSError, WebSocketDisconnect):
            return  # the client did not wait for it

    async def drain(self, grace: float) -> None:
        """Tell all sockets that the server is going to stop in `grace` seconds at the latest."""
        self.wsx.drain(grace)
        await self.raw.drain()
