"""Exceptions around plain ASGI applications, as Starlette has them."""

import html
import logging
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from genro_asgi.background import is_async_callable
from genro_asgi.exceptions import HTTPException, WebSocketException
from genro_asgi.executors.threadpool import run_in_threadpool
from genro_asgi.middleware.body_limit import BodyTooLarge
from genro_asgi.request import Request
from genro_asgi.response import HTMLResponse, PlainTextResponse, Response, plain_error
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ExceptionMiddleware", "ServerErrorMiddleware"]

logger = logging.getLogger("genro_asgi")
Handler = Callable[..., Any]


class _Noticing:
    """A send that knows whether the answer has begun."""

    def __init__(self, send: Send) -> None:
        self.started = False
        self._send = send

    async def __call__(self, message: Message) -> None:
        self.started = self.started or message["type"] in ("http.response.start", "websocket.accept")
        await self._send(message)


async def _call(handler: Handler, *args: Any) -> Any:
    """Call a handler, a sync one in a thread."""
    return await handler(*args) if is_async_callable(handler) else await run_in_threadpool(handler, *args)


class ExceptionMiddleware:
    """Turns HTTPException into its answer and WebSocketException into a close; `handlers` by class or status."""

    def __init__(self, app: ASGIApp, handlers: Mapping[Any, Handler] | None = None, debug: bool = False) -> None:
        self.app = app
        self.debug = debug
        self._handlers: dict[Any, Handler] = {
            HTTPException: self.http_exception,
            WebSocketException: self.websocket_exception,
        }
        for key, handler in (handlers or {}).items():
            self.add_exception_handler(key, handler)

    def add_exception_handler(self, key: int | type[Exception], handler: Handler) -> None:
        """Handle a class of exceptions, or HTTPExceptions of a status."""
        self._handlers[key] = handler

    async def http_exception(self, request: Request, exc: Exception) -> Response:
        """The answer to an HTTPException nobody else handles: its text."""
        assert isinstance(exc, HTTPException)
        return plain_error(exc)

    async def websocket_exception(self, websocket: Any, exc: Exception) -> None:
        """Close with the code and the reason of a WebSocketException nobody else handles."""
        assert isinstance(exc, WebSocketException)
        await websocket.close(code=exc.code, reason=exc.reason)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        noticing = _Noticing(send)
        try:
            await self.app(scope, receive, noticing)
        except Exception as exc:
            handler = self._handler_of(exc)
            if handler is None:
                raise
            if noticing.started and scope["type"] == "http":
                raise RuntimeError("Caught handled exception, but response already started.") from exc
            await self._answer(handler, exc, scope, receive, noticing)
            # Instances that are raised again would drag along all that held them.
            exc.__traceback__ = None

    def _handler_of(self, exc: Exception) -> Handler | None:
        if isinstance(exc, HTTPException) and exc.status_code in self._handlers:
            return self._handlers[exc.status_code]
        return next((self._handlers[cls] for cls in type(exc).__mro__ if cls in self._handlers), None)

    async def _answer(self, handler: Handler, exc: Exception, scope: Scope, receive: Receive, send: _Noticing) -> None:
        if scope["type"] == "http":
            response = await _call(handler, Request(scope, receive, send), exc)
            if response is not None:
                await response(scope, receive, send)
            return
        from genro_asgi.websocket import WebSocket

        response = await _call(handler, WebSocket(scope, receive, send), exc)
        if response is None:
            return
        # The answer to a handshake; an accepted socket can only be closed.
        if not send.started and "websocket.http.response" in (scope.get("extensions") or {}):
            await response(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008 if not send.started else 1011, "reason": ""})


class ServerErrorMiddleware:
    """Answers 500 to whatever nobody handled, logs it, and raises it again for the server's own log and for tests."""

    def __init__(self, app: ASGIApp, handler: Handler | None = None, debug: bool = False) -> None:
        self.app = app
        self.handler = handler
        self.debug = debug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        noticing = _Noticing(send)
        try:
            await self.app(scope, receive, noticing)
        except BodyTooLarge:
            raise  # no error of the application: the limit around us has the answer
        except Exception as exc:
            # A handler is told in any case: it may keep a record.
            response = await self._response(Request(scope, receive, send), exc)
            if not noticing.started:
                await response(scope, receive, send)
            raise

    async def _response(self, request: Request, exc: Exception) -> Response:
        if self.debug:
            return self.debug_response(request, exc)
        if self.handler is None:
            return self.error_response(request, exc)
        response: Response = await _call(self.handler, request, exc)
        return response

    def debug_response(self, request: Request, exc: Exception) -> Response:
        """The traceback, as a page for browsers."""
        text = "".join(traceback.format_exception(exc))
        if "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse(text, status_code=500)
        title = html.escape(f"500: {type(exc).__name__}: {exc}")
        return HTMLResponse(f"<!doctype html><title>{title}</title><h1>{title}</h1><pre>{html.escape(text)}</pre>", 500)

    def error_response(self, request: Request, exc: Exception) -> Response:
        """What everybody else gets."""
        return plain_error(HTTPException(500))
