"""An ASGI framework: one handler answers over HTTP, WebSocket RPC and NATS."""

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Any

__path__ = pkgutil.extend_path(__path__, __name__)
__version__ = "1.0.0"

if TYPE_CHECKING:
    from genro_asgi.exceptions import (
        ConfigError,
        HTTPBadRequest,
        HTTPException,
        HTTPForbidden,
        HTTPNotFound,
        HTTPServiceUnavailable,
        HTTPUnauthorized,
        Redirect,
        WebSocketDisconnect,
        WebSocketException,
    )
    from genro_asgi.limits import Limits
    from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

__all__ = [
    "ASGIApp",
    "ConfigError",
    "HTTPBadRequest",
    "HTTPException",
    "HTTPForbidden",
    "HTTPNotFound",
    "HTTPServiceUnavailable",
    "HTTPUnauthorized",
    "Limits",
    "Message",
    "Receive",
    "Redirect",
    "Scope",
    "Send",
    "WebSocketDisconnect",
    "WebSocketException",
]

# Home modules are imported when a name is first asked for: `import genro_asgi` stays under a millisecond.
_HOMES = {
    "ASGIApp": "types",
    "ConfigError": "exceptions",
    "HTTPBadRequest": "exceptions",
    "HTTPException": "exceptions",
    "HTTPForbidden": "exceptions",
    "HTTPNotFound": "exceptions",
    "HTTPServiceUnavailable": "exceptions",
    "HTTPUnauthorized": "exceptions",
    "Limits": "limits",
    "Message": "types",
    "Receive": "types",
    "Redirect": "exceptions",
    "Scope": "types",
    "Send": "types",
    "WebSocketDisconnect": "exceptions",
    "WebSocketException": "exceptions",
}


if not TYPE_CHECKING:  # a checker that sees __getattr__ believes that every name exists

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
