"""An ASGI framework: typed handlers behind strict limits, fast, and small enough to read."""

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Any

__path__ = pkgutil.extend_path(__path__, __name__)
__version__ = "1.0.0"

if TYPE_CHECKING:
    from genro_asgi.applications.asgi import AsgiApplication
    from genro_asgi.authentication.basic import BasicAuthMixin, hash_password
    from genro_asgi.background import BackgroundTask, BackgroundTasks
    from genro_asgi.binder import AsgiServerEnabler, ServerBinder
    from genro_asgi.context import AsgiContext
    from genro_asgi.datastructures.address import Address
    from genro_asgi.datastructures.forms import FormData, UploadFile
    from genro_asgi.datastructures.headers import Headers, MutableHeaders, headers_from_scope
    from genro_asgi.datastructures.multidict import ImmutableMultiDict, MultiDict
    from genro_asgi.datastructures.query_params import QueryParams, query_params_from_scope
    from genro_asgi.datastructures.state import State
    from genro_asgi.datastructures.strings import CommaSeparatedStrings, Secret
    from genro_asgi.datastructures.url import URL, URLPath
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
    from genro_asgi.executors.base import BaseExecutor
    from genro_asgi.executors.errors import ExecutorError, ExecutorOverloadError
    from genro_asgi.executors.local import LocalExecutor
    from genro_asgi.executors.registry import ExecutorRegistry
    from genro_asgi.executors.thread import ThreadExecutor
    from genro_asgi.executors.threadpool import iterate_in_threadpool, run_in_threadpool
    from genro_asgi.lifespan import Lifespan, ServerLifespan
    from genro_asgi.limits import Limits
    from genro_asgi.middleware.base import Middleware
    from genro_asgi.middleware.base_http import BaseHTTPMiddleware
    from genro_asgi.middleware.body_limit import RequestBodyLimitMiddleware
    from genro_asgi.middleware.cors import CORSMiddleware
    from genro_asgi.middleware.exceptions import ExceptionMiddleware, ServerErrorMiddleware
    from genro_asgi.middleware.gzip import GZipMiddleware
    from genro_asgi.middleware.httpsredirect import HTTPSRedirectMiddleware
    from genro_asgi.middleware.sessions import SessionMiddleware
    from genro_asgi.middleware.trustedhost import TrustedHostMiddleware
    from genro_asgi.middleware.wsgi.bridge import WSGIMiddleware
    from genro_asgi.request import (
        REQUEST_FACTORIES,
        BaseRequest,
        HTTPConnection,
        HttpRequest,
        MsgRequest,
        Request,
        RequestRegistry,
        WsRequest,
        get_current_request,
        set_current_request,
    )
    from genro_asgi.response import (
        FileResponse,
        HTMLResponse,
        JSONResponse,
        PlainTextResponse,
        RedirectResponse,
        Response,
        SseEvent,
        SseResponse,
        StreamingResponse,
        make_cookie,
    )
    from genro_asgi.routers.static_router import StaticRouter
    from genro_asgi.routing import Router, RoutingClass, Section, route
    from genro_asgi.server.dispatcher import Dispatcher
    from genro_asgi.server.server import AsgiServer
    from genro_asgi.server.server_config import ServerConfig
    from genro_asgi.server.wsx_handler import WsxHandler
    from genro_asgi.server.wsx_registry import WsxConnectionInfo, WsxRegistry
    from genro_asgi.staticfiles import StaticFiles
    from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send
    from genro_asgi.websocket import WebSocket, WebSocketClose, WebSocketState


__all__ = [
    "REQUEST_FACTORIES",
    "URL",
    "ASGIApp",
    "Address",
    "AsgiApplication",
    "AsgiContext",
    "AsgiServer",
    "AsgiServerEnabler",
    "BackgroundTask",
    "BackgroundTasks",
    "BaseExecutor",
    "BaseHTTPMiddleware",
    "BaseRequest",
    "BasicAuthMixin",
    "CORSMiddleware",
    "ClientDisconnect",
    "CommaSeparatedStrings",
    "ConfigError",
    "Dispatcher",
    "ExceptionMiddleware",
    "ExecutorError",
    "ExecutorOverloadError",
    "ExecutorRegistry",
    "FileResponse",
    "FormData",
    "GZipMiddleware",
    "HTMLResponse",
    "HTTPBadRequest",
    "HTTPConflict",
    "HTTPConnection",
    "HTTPContentTooLarge",
    "HTTPException",
    "HTTPForbidden",
    "HTTPGatewayTimeout",
    "HTTPGone",
    "HTTPHeaderFieldsTooLarge",
    "HTTPMethodNotAllowed",
    "HTTPNotFound",
    "HTTPRequestTimeout",
    "HTTPSRedirectMiddleware",
    "HTTPServiceUnavailable",
    "HTTPTooManyRequests",
    "HTTPUnauthorized",
    "HTTPUnprocessableContent",
    "HTTPUnsupportedMediaType",
    "HTTPUriTooLong",
    "Headers",
    "HttpRequest",
    "ImmutableMultiDict",
    "JSONResponse",
    "Lifespan",
    "Limits",
    "LocalExecutor",
    "Message",
    "Middleware",
    "MsgRequest",
    "MultiDict",
    "MutableHeaders",
    "PlainTextResponse",
    "QueryParams",
    "Receive",
    "Redirect",
    "RedirectResponse",
    "Request",
    "RequestBodyLimitMiddleware",
    "RequestRegistry",
    "Response",
    "Router",
    "RoutingClass",
    "Scope",
    "Secret",
    "Section",
    "Send",
    "ServerBinder",
    "ServerConfig",
    "ServerErrorMiddleware",
    "ServerLifespan",
    "SessionMiddleware",
    "SseEvent",
    "SseResponse",
    "State",
    "StaticFiles",
    "StaticRouter",
    "StreamingResponse",
    "ThreadExecutor",
    "TrustedHostMiddleware",
    "URLPath",
    "UploadFile",
    "WSGIMiddleware",
    "WebSocket",
    "WebSocketClose",
    "WebSocketDisconnect",
    "WebSocketException",
    "WebSocketState",
    "WsRequest",
    "WsxConnectionInfo",
    "WsxHandler",
    "WsxRegistry",
    "get_current_request",
    "hash_password",
    "headers_from_scope",
    "iterate_in_threadpool",
    "make_cookie",
    "query_params_from_scope",
    "route",
    "run_in_threadpool",
    "set_current_request",
]

# Home modules are imported when a name is first asked for: `import genro_asgi` costs about a millisecond.
_HOMES = {
    "REQUEST_FACTORIES": "request",
    "URL": "datastructures.url",
    "ASGIApp": "types",
    "Address": "datastructures.address",
    "AsgiApplication": "applications.asgi",
    "AsgiContext": "context",
    "AsgiServer": "server.server",
    "AsgiServerEnabler": "binder",
    "BackgroundTask": "background",
    "BackgroundTasks": "background",
    "BaseExecutor": "executors.base",
    "BaseHTTPMiddleware": "middleware.base_http",
    "BaseRequest": "request",
    "BasicAuthMixin": "authentication.basic",
    "CORSMiddleware": "middleware.cors",
    "ClientDisconnect": "exceptions",
    "CommaSeparatedStrings": "datastructures.strings",
    "ConfigError": "exceptions",
    "Dispatcher": "server.dispatcher",
    "ExceptionMiddleware": "middleware.exceptions",
    "ExecutorError": "executors.errors",
    "ExecutorOverloadError": "executors.errors",
    "ExecutorRegistry": "executors.registry",
    "FileResponse": "response",
    "FormData": "datastructures.forms",
    "GZipMiddleware": "middleware.gzip",
    "HTMLResponse": "response",
    "HTTPBadRequest": "exceptions",
    "HTTPConflict": "exceptions",
    "HTTPConnection": "request",
    "HTTPContentTooLarge": "exceptions",
    "HTTPException": "exceptions",
    "HTTPForbidden": "exceptions",
    "HTTPGatewayTimeout": "exceptions",
    "HTTPGone": "exceptions",
    "HTTPHeaderFieldsTooLarge": "exceptions",
    "HTTPMethodNotAllowed": "exceptions",
    "HTTPNotFound": "exceptions",
    "HTTPRequestTimeout": "exceptions",
    "HTTPSRedirectMiddleware": "middleware.httpsredirect",
    "HTTPServiceUnavailable": "exceptions",
    "HTTPTooManyRequests": "exceptions",
    "HTTPUnauthorized": "exceptions",
    "HTTPUnprocessableContent": "exceptions",
    "HTTPUnsupportedMediaType": "exceptions",
    "HTTPUriTooLong": "exceptions",
    "Headers": "datastructures.headers",
    "HttpRequest": "request",
    "ImmutableMultiDict": "datastructures.multidict",
    "JSONResponse": "response",
    "Lifespan": "lifespan",
    "Limits": "limits",
    "LocalExecutor": "executors.local",
    "Message": "types",
    "Middleware": "middleware.base",
    "MsgRequest": "request",
    "MultiDict": "datastructures.multidict",
    "MutableHeaders": "datastructures.headers",
    "PlainTextResponse": "response",
    "QueryParams": "datastructures.query_params",
    "Receive": "types",
    "Redirect": "exceptions",
    "RedirectResponse": "response",
    "Request": "request",
    "RequestBodyLimitMiddleware": "middleware.body_limit",
    "RequestRegistry": "request",
    "Response": "response",
    "Router": "routing",
    "RoutingClass": "routing",
    "Scope": "types",
    "Secret": "datastructures.strings",
    "Section": "routing",
    "Send": "types",
    "ServerBinder": "binder",
    "ServerConfig": "server.server_config",
    "ServerErrorMiddleware": "middleware.exceptions",
    "ServerLifespan": "lifespan",
    "SessionMiddleware": "middleware.sessions",
    "SseEvent": "response",
    "SseResponse": "response",
    "State": "datastructures.state",
    "StaticFiles": "staticfiles",
    "StaticRouter": "routers.static_router",
    "StreamingResponse": "response",
    "ThreadExecutor": "executors.thread",
    "TrustedHostMiddleware": "middleware.trustedhost",
    "URLPath": "datastructures.url",
    "UploadFile": "datastructures.forms",
    "WSGIMiddleware": "middleware.wsgi.bridge",
    "WebSocket": "websocket",
    "WebSocketClose": "websocket",
    "WebSocketDisconnect": "exceptions",
    "WebSocketException": "exceptions",
    "WebSocketState": "websocket",
    "WsRequest": "request",
    "WsxConnectionInfo": "server.wsx_registry",
    "WsxHandler": "server.wsx_handler",
    "WsxRegistry": "server.wsx_registry",
    "get_current_request": "request",
    "hash_password": "authentication.basic",
    "headers_from_scope": "datastructures.headers",
    "iterate_in_threadpool": "executors.threadpool",
    "make_cookie": "response",
    "query_params_from_scope": "datastructures.query_params",
    "route": "routing",
    "run_in_threadpool": "executors.threadpool",
    "set_current_request": "request",
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
