"""The WSX connections of a server: found by identity, and told things without having asked."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from genro_asgi.datastructures.address import Address
from genro_asgi.limits import Limits
from genro_asgi.types import Scope
from genro_asgi.websocket import WebSocket
from genro_asgi.wsx.codec import encode_fields
from genro_asgi.wsx.tytx.registry import DEFAULT_TYPES, TypeTable

__all__ = ["BROADCAST_ID", "DIRECTED_ID", "WsxConnectionInfo", "WsxRegistry"]

#: The ids of what is sent to everybody, and to one identity.
BROADCAST_ID, DIRECTED_ID = "_broadcast", "_directed"

#: Hands a text to a connection without waiting; False when it cannot be taken.
Push = Callable[[str], bool]

logger = logging.getLogger("genro_asgi")


class SocketPush:
    """Hands texts to a socket by a task of its own; up to a limit they wait there for a client that is slow."""

    __slots__ = ("_lost", "_most", "_size", "_socket", "_task", "_waiting")

    def __init__(self, socket: WebSocket, most: int = Limits().ws_queue) -> None:
        self._socket = socket
        self._most = most
        self._waiting: deque[str] = deque()
        self._size = 0
        self._task: asyncio.Task[None] | None = None
        self._lost = False

    def __call__(self, text: str) -> bool:
        """Take a text; False when the socket is gone, or too much waits for it."""
        if self._lost or self._size + len(text) > self._most:
            return False
        self._waiting.append(text)
        self._size += len(text)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write())
        return True

    async def _write(self) -> None:
        try:
            while self._waiting:
                text = self._waiting.popleft()
                await self._socket.send_text(text)
                self._size -= len(text)
        except Exception:
            self._lost = True
            self._waiting.clear()
            logger.debug("A registered WebSocket could not be written to.", exc_info=True)
        finally:
            self._task = None


@dataclass(slots=True, eq=False)
class WsxConnectionInfo:
    """One connection: its socket, its handshake, and who is behind it."""

    connection_id: str
    websocket: WebSocket
    scope: Scope
    auth: Mapping[str, Any] | None
    push: Push

    def __init__(
        self,
        connection_id: str,
        websocket: WebSocket,
        scope: Scope,
        auth: Mapping[str, Any] | None = None,
        push: Push | None = None,
    ) -> None:
        self.connection_id, self.websocket, self.scope, self.auth = connection_id, websocket, scope, auth
        self.push = SocketPush(websocket) if push is None else push

    @property
    def identity(self) -> str | None:
        """Who has authenticated, None for nobody."""
        return None if self.auth is None else self.auth.get("identity")

    @property
    def client(self) -> Address | None:
        """The peer's address."""
        client = self.scope.get("client")
        return None if client is None else Address(*client)


class WsxRegistry:
    """The open connections, by id and by identity."""

    def __init__(self) -> None:
        self._by_id: dict[str, WsxConnectionInfo] = {}
        self._by_identity: dict[str, dict[str, WsxConnectionInfo]] = {}
        #: What the values of messages to many may be.
        self.types: TypeTable = DEFAULT_TYPES

    def register(
        self,
        connection_id: str,
        websocket: WebSocket,
        scope: Scope,
        auth: Mapping[str, Any] | None = None,
        push: Push | None = None,
    ) -> WsxConnectionInfo:
        """List a connection, in the place of another of this id.

        `push` hands a text to it without waiting. Without one it is sent by `websocket.send_text`: so the socket of a
        raw route can be listed, too.
        """
        self.unregister(connection_id)
        info = WsxConnectionInfo(connection_id, websocket, scope, auth, push)
        self._by_id[connection_id] = info
        self._index(info)
        return info

    def unregister(self, connection_id: str) -> WsxConnectionInfo | None:
        """Take a connection off the list and give it back; None when it was not there."""
        info = self._by_id.pop(connection_id, None)
        if info is not None:
            self._forget(info)
        return info

    def identify(self, connection_id: str, auth: Mapping[str, Any] | None) -> None:
        """Note who is behind a connection now; nothing happens when it is gone."""
        info = self._by_id.get(connection_id)
        if info is not None:
            self._forget(info)
            info.auth = auth
            self._index(info)

    def _index(self, info: WsxConnectionInfo) -> None:
        if info.identity is not None:
            self._by_identity.setdefault(info.identity, {})[info.connection_id] = info

    def _forget(self, info: WsxConnectionInfo) -> None:
        identity = info.identity
        if identity is not None and identity in self._by_identity:
            self._by_identity[identity].pop(info.connection_id, None)
            if not self._by_identity[identity]:
                del self._by_identity[identity]

    def get(self, connection_id: str) -> WsxConnectionInfo | None:
        """A connection by its id."""
        return self._by_id.get(connection_id)

    def find_by_identity(self, identity: str) -> list[WsxConnectionInfo]:
        """The connections of an identity, the oldest first."""
        return list(self._by_identity.get(identity, {}).values())

    async def broadcast(self, data: Any, *, exclude: str | Collection[str] | None = None) -> int:
        """Send `data` to all connections but those whose ids are excluded; how many took it.

        Nobody is waited for: a client that is too slow to take what it has been sent already gets none of it.
        """
        without = {exclude} if isinstance(exclude, str) else set(exclude or ())
        return await self._send(BROADCAST_ID, data, [info for key, info in self._by_id.items() if key not in without])

    async def send_to(self, identity: str, data: Any) -> int:
        """Send `data` to all connections of an identity; how many took it."""
        return await self._send(DIRECTED_ID, data, self.find_by_identity(identity))

    async def _send(self, id: str, data: Any, connections: list[WsxConnectionInfo]) -> int:
        if not connections:
            return 0
        text = encode_fields({"id": id, "status": 200, "data": data}, types=self.types).decode()
        taken = sum(info.push(text) for info in connections)
        await asyncio.sleep(0)  # sockets that take it at once have it then
        return taken

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[WsxConnectionInfo]:
        return iter(list(self._by_id.values()))

    def __contains__(self, connection_id: object) -> bool:
        return connection_id in self._by_id
