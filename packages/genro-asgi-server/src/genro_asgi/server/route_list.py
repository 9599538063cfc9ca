"""The routes of a server as people read them: for the command line and the page of the server."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genro_asgi.server.routes import ANY_METHOD, Endpoint
from genro_asgi.server.server_app import TRANSPORTS

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["RouteInfo", "list_routes"]


@dataclass(frozen=True, slots=True)
class RouteInfo:
    """One line of `genro-asgi routes`."""

    methods: tuple[str, ...]
    path: str
    handler: str
    auth: str
    transports: tuple[str, ...]


def list_routes(server: "AsgiServer") -> Iterator[RouteInfo]:
    """Own entries, those of applications, then what is mounted."""
    server.table.refresh()
    for endpoint in server.table.endpoints():
        methods = tuple(m for m in (*ANY_METHOD, "HEAD", "SUBSCRIBE") if m in endpoint.methods)
        topic_only = endpoint.methods == {"SUBSCRIBE"}
        transports = ("websocket",) if endpoint.websocket or topic_only else TRANSPORTS
        yield RouteInfo(methods, _pattern(endpoint), endpoint.handler_name, endpoint.rule, transports)
    for name, mount in server.mounts.items():
        home = type(mount.app)
        yield RouteInfo(("*",), f"/{name}/...", f"{home.__module__}.{home.__qualname__}", "", ("http", "websocket"))


def _pattern(endpoint: Endpoint) -> str:
    """The path of an endpoint with its positional parameters in braces."""
    required = [p.name for p in endpoint.binder.path_names if p.default is inspect.Parameter.empty]
    return "/".join([endpoint.path, *(f"{{{name}}}" for name in required)])
