"""The gateway: what no ASGI application of the server answers goes to its WSGI application."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from genro_asgi.middleware.wsgi.bridge import WSGIMiddleware
from genro_asgi.middleware.wsgi.call import WSGIApp
from genro_asgi.request import route_path
from genro_asgi.types import ASGIApp, Receive, Scope, Send

__all__ = ["BUILT_IN_PREFIXES", "WSGIMiddleware", "WsgiGateway", "WsgiGatewayMiddleware", "asgi_prefixes"]

#: The places every server has of its own.
BUILT_IN_PREFIXES = frozenset({"_server", "_sys"})


def asgi_prefixes(mounts: Mapping[str, Any], children: Iterable[str]) -> frozenset[str]:
    """The first path segments that stay with ASGI.

    mounts:   mounted applications by name; one whose `app_protocol` is not "asgi" gives no prefix
    children: the names below the server's main router
    """
    mounted = (name for name, app in mounts.items() if getattr(app, "app_protocol", "asgi") == "asgi")
    return BUILT_IN_PREFIXES.union((name.strip("/").partition("/")[0] for name in mounted), children)


class WsgiGateway:
    """One WSGI application, and the decision which paths are its.

    `prefixes` is asked each time, so a mount made while the server runs counts at once; it should answer from a set it
    keeps. `options` are those of WSGIMiddleware.
    """

    def __init__(self, wsgi_app: WSGIApp, prefixes: Callable[[], frozenset[str]], **options: Any) -> None:
        self.prefixes = prefixes
        self.bridge = WSGIMiddleware(wsgi_app, **options)

    @property
    def wsgi_app(self) -> WSGIApp:
        """The WSGI application; replacing it keeps the threads."""
        return self.bridge.app

    @wsgi_app.setter
    def wsgi_app(self, wsgi_app: WSGIApp) -> None:
        self.bridge.app = wsgi_app

    def owns(self, path: str) -> bool:
        """Whether a path, without root_path, is answered by the WSGI application."""
        return path[1:].partition("/")[0] not in self.prefixes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.bridge(scope, receive, send)

    async def shutdown(self) -> None:
        """Let running requests end and stop the threads; a request that comes after that starts new ones."""
        await self.bridge.shutdown()
        self.bridge.startup()


class WsgiHost(Protocol):
    """What may have a WSGI application; it can be set, replaced and taken away at any time."""

    wsgi_app: WSGIApp | None


class WsgiGatewayMiddleware:
    """The gateway around an ASGI application: a pass-through as long as `server.wsgi_app` is None.

    Only HTTP goes to WSGI; WebSockets and lifespan always pass on.
    """

    def __init__(self, app: ASGIApp, server: WsgiHost, prefixes: Callable[[], frozenset[str]], **options: Any) -> None:
        self.app = app
        self.server = server
        self.prefixes = prefixes
        self.options = options
        self._gateway: WsgiGateway | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = self.gateway if scope["type"] == "http" else None
        if gateway is not None and gateway.owns(route_path(scope)):
            await gateway(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    @property
    def gateway(self) -> WsgiGateway | None:
        """The gateway to the WSGI application the server has now, if any."""
        wsgi_app = self.server.wsgi_app
        if wsgi_app is None:
            return None
        if self._gateway is None:
            self._gateway = WsgiGateway(wsgi_app, self.prefixes, **self.options)
        self._gateway.wsgi_app = wsgi_app
        return self._gateway

    async def shutdown(self) -> None:
        """Let running WSGI requests end and stop the threads."""
        if self._gateway is not None:
            await self._gateway.shutdown()
