"""WSX over WebSocket: one handler for all connections of a server."""

import uuid
from importlib.util import find_spec
from operator import call
from typing import TYPE_CHECKING, Any

from genro_asgi.exceptions import WebSocketDisconnect
from genro_asgi.limits import Limits
from genro_asgi.request import BaseRequest, MsgRequest
from genro_asgi.server.api_document import ApiDocument
from genro_asgi.server.route_watch import watch
from genro_asgi.server.wsx_connection import WsxConnection
from genro_asgi.server.wsx_registry import WsxRegistry
from genro_asgi.server.wsx_sessions import WsxSessions
from genro_asgi.websocket import WebSocket
from genro_asgi.wsx.session import FEATURES, Session
from genro_asgi.wsx.tytx.registry import DEFAULT_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from genro_asgi.server.server import AsgiServer

__all__ = ["HEARTBEAT", "SUBPROTOCOL", "WsxHandler"]

SUBPROTOCOL = "wsx.1"
#: Seconds between two pings of a WebSocket, and until a silent one is given up.
HEARTBEAT = 20.0


class WsxHandler:
    """Accepts sockets and runs a connection on each, until the client goes or the server stops."""

    def __init__(self, server: "AsgiServer") -> None:
        self.server = server
        self.registry = WsxRegistry()
        self.topics = server.topics
        self.document = ApiDocument(server)
        self.limits = connection_limits(server.limits, server.config.websocket.max_in_flight)
        self.connections: set[WsxConnection] = set()
        heartbeat = server.config.websocket.heartbeat
        #: What a hello is told besides.
        self.hello = {"heartbeat_s": HEARTBEAT if heartbeat is None else heartbeat}
        self.sessions = WsxSessions(self.limits, self.hello["heartbeat_s"])
        can = {
            "resume": self.sessions.seconds > 0,
            "msgpack": find_spec("msgpack") is not None,
            "deflate": bool(server.config.websocket.compression),
        }
        self.features = FEATURES | {name for name, there in can.items() if there}
        self.live: dict[BaseRequest, BaseRequest] = server.request_registry.live
        self.prepare()
        self._learn_suffixes(self.table.suffixes)
        self.table.on_suffixes = self._learn_suffixes
        watch(self)

    def prepare(self) -> None:
        """Take the hooks, the routes and the class of requests as they are now."""
        factory: Any = self.server.request_registry.factories.get("websocket", MsgRequest)
        shared = {"server": self.server, "limits": self.server.limits, "stop": stop}
        names = {"__slots__": (), "__doc__": factory.__doc__, "__module__": factory.__module__}
        # An empty __slots__ keeps the instances as they are.
        self.request_class: type[MsgRequest] = type(factory.__name__, (factory,), {**names, **shared})
        self.own_init = factory.init is not MsgRequest.init or factory.__init__ is not MsgRequest.__init__
        self.new_request: Callable[[type[MsgRequest]], Any] = call if self.own_init else object.__new__
        self.dispatcher, self.table = self.server.ws_dispatcher, self.server.table
        #: Whether nothing but the access log stands behind a handler, and nothing before it either.
        log = self.dispatcher.log
        self.note = None if log is None else log.note
        self.plain_after = not self.dispatcher.after or log is not None
        self.plain = self.plain_after and not (self.own_init or self.dispatcher.before or self.dispatcher.always_slow)

    def use_types(self, session: Session) -> None:
        """Let calls have the types of their routes; a hello is told of their suffixes."""
        session.read_by_call(self.table.types_of)
        self._escape(session)

    def _escape(self, session: Session) -> None:
        session.escape(self.table.suffixes)
        session.hello = {**self.hello, "types": sorted(self.table.suffixes)} if self.table.suffixes else self.hello

    def tree_changed(self) -> None:
        """Hear of a change of the routes: there may be types now where there were none."""
        for connection in list(self.connections):
            self.use_types(connection.session)

    def _learn_suffixes(self, suffixes: frozenset[str]) -> None:
        self.registry.types = DEFAULT_TYPES.escaping(suffixes)
        for connection in list(self.connections):
            self._escape(connection.session)

    def left_to_applications(self) -> bool:
        """Whether the server knows no credentials, and its applications do."""
        return self.server.websockets.handshakes.left_to_applications()

    async def serve(self, websocket: WebSocket, auth: dict[str, Any] | None) -> None:
        """Accept a socket whose handshake was checked, and answer its calls to the end."""
        chosen = SUBPROTOCOL if SUBPROTOCOL in websocket.subprotocols else None
        try:
            await websocket.accept(chosen)
        except (OSError, WebSocketDisconnect):
            return  # the client did not wait
        connection = WsxConnection(self, websocket, auth, str(uuid.uuid4()), legacy=chosen is None)
        self.enter(connection)
        await connection.run()

    def enter(self, connection: WsxConnection) -> None:
        """List a connection."""
        self.connections.add(connection)
        self.registry.register(
            connection.id, connection.websocket, connection.scope, connection.auth, connection.push
        )  # fmt: skip

    def leave(self, connection: WsxConnection) -> None:
        """Take a connection off the list."""
        self.connections.discard(connection)
        self.registry.unregister(connection.id)

    def drain(self, grace: float) -> None:
        """Tell all clients to go elsewhere; their connections close when their calls have ended, or after `grace`."""
        self.sessions.close()
        for connection in list(self.connections):
            connection.drain(grace)

    def abort(self) -> None:
        """Let go of clients that do not read; for the end, when the grace is over."""
        for connection in list(self.connections):
            connection.abort()


def connection_limits(limits: Limits, max_in_flight: int | None) -> Limits:
    """The server's limits, with the number of calls in flight that the section `websocket` says."""
    if max_in_flight is None:
        return limits
    from dataclasses import replace

    return replace(limits, ws_in_flight=max_in_flight)


def stop(request: MsgRequest) -> None:
    """The call has ended from outside: cancel its handler, unless it wants to finish although its client is gone."""
    endpoint = request.endpoint
    if endpoint is None or not endpoint.finish_on_disconnect or request.message.cancel_code != "LOST":
        request.cancel("outside")
