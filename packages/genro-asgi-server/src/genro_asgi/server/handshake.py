"""What is looked at before a WebSocket is accepted: where the page came from, who asks, and whether there is time."""

from collections.abc import Awaitable, Iterable
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from genro_asgi.exceptions import HTTPException, HTTPForbidden, HTTPServiceUnavailable, HTTPUnauthorized
from genro_asgi.response import error_response
from genro_asgi.types import Scope
from genro_asgi.websocket import WebSocket

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["Handshakes", "authenticate", "authorization_of", "credentials_scope", "deny", "origin_allowed"]

_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class Handshakes:
    """The checks of a server; HTTPException says why a handshake is refused."""

    def __init__(self, server: "AsgiServer", origins: Iterable[str] | None) -> None:
        self.server = server
        self.origins = frozenset(_normal(origin) for origin in origins or ())

    async def check(self, scope: Scope) -> dict[str, Any] | None:
        """The identity behind the credentials of a handshake, None for anonymous ones.

        503 while the server is draining, 403 for a foreign origin and for wrong credentials, 431 and the like for a
        head over the limits.
        """
        if self.server.draining:
            raise HTTPServiceUnavailable("The server is shutting down.", code="DRAINING", retry=True)
        if self.server.dispatcher.head is not None:
            self.server.dispatcher.head.check(scope)
        if not origin_allowed(scope, self.origins):
            raise HTTPForbidden("Pages of this origin may not connect.")
        if self.left_to_applications():
            return None
        try:
            return await authenticate(self.server, self.server, scope)
        except HTTPUnauthorized as error:
            raise HTTPForbidden(error.detail) from error

    def left_to_applications(self) -> bool:
        """Whether only applications know credentials: each asks for its own calls then."""
        server = self.server
        own = bool(server._users or server._tokens) or server.always_authenticate
        return not own and any(hasattr(app, "authenticate") for app in server.apps.values())


async def authenticate(server: "AsgiServer", owner: Any, scope: Scope) -> dict[str, Any] | None:
    """What an authenticator (a server's or an application's, sync or async) says of a scope; it may take a thread.

    HTTPUnauthorized also when it says `exp`, in Unix seconds, and that moment is over.
    """
    is_slow = getattr(owner, "authentication_is_slow", server.authentication_is_slow)
    info = await server.handlers.run(owner.authenticate, scope) if is_slow(scope) else owner.authenticate(scope)
    if isinstance(info, Awaitable):
        info = await info
    found: dict[str, Any] | None = info
    if found is not None and found.get("exp") is not None and found["exp"] <= time():
        raise HTTPUnauthorized("The credentials have expired.")
    return found


def origin_allowed(scope: Scope, origins: frozenset[str]) -> bool:
    """Whether the page that opens a socket is of this host or of a listed origin; other clients send no Origin.

    Browsers let any page open a socket to any host, cookies included: this check is the only one there is.
    """
    found = [value for name, value in scope["headers"] if name == b"origin"]
    if not found or "*" in origins:
        return True
    origin = found[0].decode("latin-1").lower()
    if len(found) > 1:
        return False
    if _normal(origin) in origins:
        return True
    host = next((value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"), None)
    return host is not None and _same_host(origin, host)


def _same_host(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
        # A proxy may end TLS: which of the two schemes the page was fetched by is not known here.
        default = _PORTS.get(parts.scheme)
        asked = urlsplit(f"//{host}")
        return (
            default is not None
            and bool(parts.hostname)
            and parts.hostname == asked.hostname
            and (parts.port or default) == (asked.port or default)
        )
    except ValueError:  # a port that is no number, a broken address
        return False


def _normal(origin: str) -> str:
    """An origin without the port its scheme implies."""
    text = origin.strip().lower().rstrip("/")
    scheme, separator, rest = text.partition("://")
    return text.removesuffix(f":{_PORTS[scheme]}") if separator and rest and scheme in _PORTS else text


async def deny(websocket: WebSocket, error: HTTPException) -> None:
    """Refuse a handshake with the answer of an exception, or with a plain 403 where the server knows no other."""
    await websocket.send_denial_response(error_response(error))


def authorization_of(scope: Scope) -> tuple[bytes, ...]:
    """What a handshake showed of credentials: its authorization and its cookies."""
    return tuple(value for name, value in scope["headers"] if name in (b"authorization", b"cookie"))


def credentials_scope(scope: Scope, auth: Any) -> Scope:
    """The scope an authenticator reads for credentials that came in a message.

    `auth` is the value of an Authorization header, or an object with `authorization`, with `token`, or with
    `username` and `password`. HTTPUnauthorized when it is none of these.
    """
    header = _authorization(auth)
    if header is None:
        raise HTTPUnauthorized("Credentials are needed: authorization, token, or username and password.")
    headers = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
    return {**scope, "headers": [*headers, (b"authorization", header.encode("utf-8", "replace"))]}


def _authorization(auth: Any) -> str | None:
    if isinstance(auth, str):
        return auth
    if not isinstance(auth, dict):
        return None
    if isinstance(auth.get("authorization"), str):
        return str(auth["authorization"])
    if isinstance(auth.get("token"), str):
        return f"Bearer {auth['token']}"
    if isinstance(auth.get("username"), str) and isinstance(auth.get("password"), str):
        from base64 import b64encode

        return "Basic " + b64encode(f"{auth['username']}:{auth['password']}".encode()).decode()
    return None
