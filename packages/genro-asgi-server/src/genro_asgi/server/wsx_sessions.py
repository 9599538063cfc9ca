"""The WSX sessions that may go on over another connection: by their names, and for how long they are waited for."""

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

from genro_asgi.limits import Limits
from genro_asgi.server.handshake import authorization_of

if TYPE_CHECKING:
    from genro_asgi.server.wsx_connection import WsxConnection

__all__ = ["WsxSessions"]

#: What tells a connection that was lost from one that was closed: no close at all, or a ping that got no answer.
_LOST = (1006, 1011)


class WsxSessions:
    """The sessions of a server that are kept, connected or not."""

    def __init__(self, limits: Limits, heartbeat: float) -> None:
        #: Seconds for which a session without a connection is kept; 0 where none is.
        self.seconds = limits.ws_resume or 0.0
        self._bytes, self._most = limits.ws_resume_bytes, limits.ws_resume_sessions
        # Between the last answer that was read and the news that its connection is lost there are two heartbeats.
        self._every = 2 * heartbeat + 5 if heartbeat else 60.0
        self._by_name: dict[str, WsxConnection] = {}
        self._waiting: dict[WsxConnection, asyncio.TimerHandle] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many wait for a connection."""
        return len(self._waiting)

    def begin(self, connection: "WsxConnection") -> str:
        """Keep the session of a connection from now on; its name, which nobody can guess."""
        kept = connection.session.kept
        if kept is None:
            name = secrets.token_urlsafe(16)
            connection.session.keep(name, self._bytes)
            self._by_name[name] = connection
            if self._timer is None:
                self._timer = connection.loop.call_later(self._every, self._age, connection.loop)
            return name
        return kept.token

    def find(self, name: Any, newcomer: "WsxConnection") -> "WsxConnection | None":
        """The session that a new connection may take over: of this name, and of nobody else."""
        found = self._by_name.get(name) if isinstance(name, str) else None
        if found is None or found is newcomer or _who(found) != _who(newcomer):
            return None
        return found

    def wait_for(self, connection: "WsxConnection", message: dict[str, Any]) -> bool:
        """Keep a session whose connection ended with this message; False when it was closed, or there is no room."""
        kept = connection.session.kept
        if kept is None or self._by_name.get(kept.token) is not connection:
            return False
        # uvicorn says 1005 of both, and a reason only of a close.
        code = message.get("code")
        is_lost = code in _LOST or (code == 1005 and "reason" not in message)
        if not is_lost or len(self._waiting) >= self._most or connection.session.draining:
            self.forget(connection)
            return False
        self._waiting[connection] = connection.loop.call_later(self.seconds, connection.abandon)
        return True

    def found_again(self, connection: "WsxConnection") -> None:
        """A session has a connection again."""
        timer = self._waiting.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def forget(self, connection: "WsxConnection") -> None:
        """A session is over."""
        self.found_again(connection)
        kept = connection.session.kept
        if kept is not None and self._by_name.get(kept.token) is connection:
            del self._by_name[kept.token]
        if not self._by_name and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _age(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._every, self._age, loop)
        for connection in self._by_name.values():
            kept = connection.session.kept
            if kept is not None and connection not in self._waiting:
                kept.age()

    def close(self) -> None:
        """The server goes: nobody is waited for any more."""
        for connection in list(self._waiting):
            connection.abandon()


def _who(connection: "WsxConnection") -> Any:
    auth = connection.auth
    # Where applications know who is asking, the server knows it by what they are shown.
    return authorization_of(connection.scope) if auth is None else (auth.get("backend"), auth.get("identity"))
