"""The server: its configuration, the table of routes, the dispatcher, and how it is served."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genro_asgi.server.dispatcher import Dispatcher
    from genro_asgi.server.server import AsgiServer
    from genro_asgi.server.server_config import ServerConfig

__all__ = ["AsgiServer", "Dispatcher", "ServerConfig"]

# Imported when they are asked for: who wants one module of this package must not pay for all of them.
_HOMES = {"AsgiServer": "server", "Dispatcher": "dispatcher", "ServerConfig": "server_config"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
