"""An ASGI framework: one handler answers over HTTP, WebSocket RPC and NATS."""

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Any

__path__ = pkgutil.extend_path(__path__, __name__)
__version__ = "1.0.0"

if TYPE_CHECKING:
    from genro_asgi.datastructures.address import Address
    from genro_asgi.datastructures.headers import Headers, MutableHeaders, headers_from_scope
    from genro_asgi.datastructures.query_params import QueryParams, query_params_from_scope
    from genro_asgi.datastructures.state import State
    from genro_asgi.datastructures.url import URL
    from genro_asgi.exceptions import (
        ClientDisconnect,
        ConfigError,
        HTTPBadRequest,
        HTTPConflict,
        HTTPContentTooLarge,
        HTTPException,
        HTTPForbidden,
        HTTPGatewayTimeout,
        HTTPGone,
        HTTPHeaderFieldsTooLarge,
        HTTPMethodNotAllowed,
        HTTPNotFound,
        HTTPRequestTimeout,
        HTTPServiceUnavailable,
        HTTPTooManyRequests,
        HTTPUnauthorized,
        HTTPUnprocessableContent,
        HTTPUnsupportedMediaType,
        HTTPUriTooLong,
        Redirect,
        WebSocketDisconnect,
        WebSocketException,
    )
    from genro_asgi.limits import Limits
    from genro_asgi.server.server_config import ServerConfig
    from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

__all__ = [
    "URL",
    "ASGIApp",
    "Address",
    "ClientDisconnect",
    "ConfigError",
    "HTTPBadRequest",
    "HTTPConflict",
    "HTTPContentTooLarge",
    "HTTPException",
    "HTTPForbidden",
    "HTTPGatewayTimeout",
    "HTTPGone",
    "HTTPHeaderFieldsTooLarge",
    "HTTPMethodNotAllowed",
    "HTTPNotFound",
    "HTTPRequestTimeout",
    "HTTPServiceUnavailable",
    "HTTPTooManyRequests",
    "HTTPUnauthorized",
    "HTTPUnprocessableContent",
    "HTTPUnsupportedMediaType",
    "HTTPUriTooLong",
    "Headers",
    "Limits",
    "Message",
    "MutableHeaders",
    "QueryParams",
    "Receive",
    "Redirect",
    "Scope",
    "Send",
    "ServerConfig",
    "State",
    "WebSocketDisconnect",
    "WebSocketException",
    "headers_from_scope",
    "query_params_from_scope",
]

# Home modules are imported when a name is first asked for: `import genro_asgi` stays under a millisecond.
_HOMES = {
    "URL": "datastructures.url",
    "ASGIApp": "types",
    "Address": "datastructures.address",
    "ClientDisconnect": "exceptions",
    "ConfigError": "exceptions",
    "HTTPBadRequest": "exceptions",
    "HTTPConflict": "exceptions",
    "HTTPContentTooLarge": "exceptions",
    "HTTPException": "exceptions",
    "HTTPForbidden": "exceptions",
    "HTTPGatewayTimeout": "exceptions",
    "HTTPGone": "exceptions",
    "HTTPHeaderFieldsTooLarge": "exceptions",
    "HTTPMethodNotAllowed": "exceptions",
    "HTTPNotFound": "exceptions",
    "HTTPRequestTimeout": "exceptions",
    "HTTPServiceUnavailable": "exceptions",
    "HTTPTooManyRequests": "exceptions",
    "HTTPUnauthorized": "exceptions",
    "HTTPUnprocessableContent": "exceptions",
    "HTTPUnsupportedMediaType": "exceptions",
    "HTTPUriTooLong": "exceptions",
    "Headers": "datastructures.headers",
    "Limits": "limits",
    "Message": "types",
    "MutableHeaders": "datastructures.headers",
    "QueryParams": "datastructures.query_params",
    "Receive": "types",
    "Redirect": "exceptions",
    "Scope": "types",
    "Send": "types",
    "ServerConfig": "server.server_config",
    "State": "datastructures.state",
    "WebSocketDisconnect": "exceptions",
    "WebSocketException": "exceptions",
    "headers_from_scope": "datastructures.headers",
    "query_params_from_scope": "datastructures.query_params",
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
