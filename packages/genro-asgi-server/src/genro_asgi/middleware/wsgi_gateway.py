"""The gateway: what no ASGI application of the server answers goes to its WSGI application."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from genro_asgi.middleware.base import Middleware
from genro_asgi.request import route_path
from genro_asgi.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from genro_asgi.middleware.wsgi.bridge import WSGIMiddleware
    from genro_asgi.middleware.wsgi.call import WSGIApp

__all__ = ["BUILT_IN_PREFIXES", "WSGIMiddleware", "WsgiGateway", "WsgiGatewayMiddleware", "asgi_prefixes"]

#: The places every server has of its own.
BUILT_IN_PREFIXES = frozenset({"_server", "_sys"})


def asgi_prefixes(mounts: Mapping[str, Any], children: Iterable[str]) -> frozenset[str]:
    """The first path segments that stay with ASGI.

    mounts:   mounted applications by name; one whose `app_protocol` is not "asgi" gives no prefix
    children: the names below the server's main router
    """
    mounted = {name.strip("/").partition("/")[0]: app for name, app in mounts.items()}
    wsgi = {name for name, app in mounted.items() if getattr(app, "app_protocol", "asgi") != "asgi"}
    return BUILT_IN_PREFIXES.union(mounted, children) - wsgi


def prefixes_of(server: Any) -> frozenset[str]:
    """The same of anything that has `apps`, and perhaps a router of genro-routes."""
    router = getattr(server, "router", None)
    own = {*getattr(router, "_children", ()), *getattr(router, "_branches", ()), *getattr(router, "_entries", ())}
    return asgi_prefixes(getattr(server, "apps", None) or {}, own - {getattr(router, "default_entry", None)})


class WsgiGateway:
    """One WSGI application, and the decision which paths are its.

    `prefixes` is asked each time, so a mount made while the server runs counts at once; it should answer from a set it
    keeps. `options` are those of WSGIMiddleware.
    """

    def __init__(self, wsgi_app: "WSGIApp", prefixes: Callable[[], frozenset[str]], **options: Any) -> None:
        # Imported when there is something to serve: most servers never have a WSGI application.
        from genro_asgi.middleware.wsgi.bridge import WSGIMiddleware

        self.prefixes = prefixes
        self.bridge = WSGIMiddleware(wsgi_app, **options)

    @property
    def wsgi_app(self) -> "WSGIApp":
        """The WSGI application; replacing it keeps the threads."""
        return self.bridge.app

    @wsgi_app.setter
    def wsgi_app(self, wsgi_app: "WSGIApp") -> None:
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

    wsgi_app: Any


class WsgiGatewayMiddleware(Middleware):
    """The gateway to `server.wsgi_app`: inert as long as that is None.

    It is in the chain of every server, where the hooks of the others are around it. In a chain made by hand it stands
    around `app`, an ASGI application; WebSockets and lifespan always pass on to that.

    server:   who has the `wsgi_app`; looked for behind `app` when it is not given
    prefixes: the first path segments that pass on; without it those of the server's applications and routes

    The other options are those of WSGIMiddleware.
    """

    name: ClassVar[str] = "wsgi_gateway"
    order: ClassVar[int] = 900
    default: ClassVar[bool] = True
    transports: ClassVar[frozenset[str]] = frozenset({"http"})

    def __init__(
        self,
        app: ASGIApp | None = None,
        server: WsgiHost | None = None,
        prefixes: Callable[[], frozenset[str]] | None = None,
        *,
        workers: int | None = None,
        max_body: int | None = None,
        body_timeout: float | None = 60.0,
        stall_timeout: float | None = 60.0,
        raise_errors: bool = False,
        pool: Any = None,
    ) -> None:
        super().__init__(server if server is not None else _host_behind(app))
        self.app = app
        host: Any = self.server
        self.prefixes: Callable[[], frozenset[str]] = (
            prefixes or getattr(host, "asgi_prefixes", None) or (lambda: prefixes_of(host))
        )
        for option, value in (("workers", workers), ("max_body", max_body)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise TypeError(f"{option} is {value!r}; give a number above 0, or leave it out")
        self.options: dict[str, Any] = {
            "pool": pool,
            "workers": workers,
            "max_body": max_body,
            "body_timeout": body_timeout,
            "stall_timeout": stall_timeout,
            # In the chain of a server its own way to answer errors is around it.
            "raise_errors": raise_errors or app is None,
        }
        self._gateway: WsgiGateway | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = self.owner(route_path(scope)) if scope["type"] == "http" else None
        if gateway is not None:
            await gateway(scope, receive, send)
        elif self.app is not None:
            await self.app(scope, receive, send)
        else:
            raise RuntimeError("WsgiGatewayMiddleware has no ASGI application behind it; make it with one.")

    def owner(self, path: str) -> WsgiGateway | None:
        """The gateway, when it is the one to answer a path (without root_path)."""
        wsgi_app = self.server.wsgi_app
        if wsgi_app is None:
            return None
        gateway = self._gateway
        if gateway is None or gateway.bridge.app is not wsgi_app:
            gateway = self._gateway_to(wsgi_app)
        return gateway if gateway.owns(path) else None

    @property
    def gateway(self) -> WsgiGateway | None:
        """The gateway to the WSGI application the server has now, if any."""
        wsgi_app = self.server.wsgi_app
        return None if wsgi_app is None else self._gateway_to(wsgi_app)

    @gateway.setter
    def gateway(self, gateway: WsgiGateway) -> None:
        # One of another class, with more to say than to pass on.
        self._gateway = gateway
        self.server.wsgi_app = gateway.wsgi_app

    def _gateway_to(self, wsgi_app: "WSGIApp") -> WsgiGateway:
        if self._gateway is None:
            self._gateway = WsgiGateway(wsgi_app, self.prefixes, **self.options)
        self._gateway.wsgi_app = wsgi_app
        return self._gateway

    async def shutdown(self) -> None:
        """Let running WSGI requests end and stop the threads."""
        if self._gateway is not None:
            await self._gateway.shutdown()


def _host_behind(app: Any) -> Any:
    """What has a `wsgi_app`, on the way from middleware to middleware down to the server."""
    at = app
    while at is not None:
        for host in (at, getattr(at, "server", None)):
            if hasattr(host, "wsgi_app"):
                return host
        at = getattr(at, "app", None)
    raise TypeError(f"WsgiGatewayMiddleware found no server with a wsgi_app behind {app!r}; pass server=.")


def __getattr__(name: str) -> Any:
    if name == "WSGIMiddleware":
        from genro_asgi.middleware.wsgi.bridge import WSGIMiddleware

        return WSGIMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
