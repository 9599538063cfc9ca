"""The HTTP endpoint: ASGI messages to a request, the dispatcher's answer back to ASGI messages."""

import asyncio
from time import time
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from genro_asgi.exceptions import (
    HTTPException,
    HTTPGatewayTimeout,
    HTTPNotFound,
    HTTPRequestTimeout,
    HTTPServiceUnavailable,
)
from genro_asgi.middleware.errors import log_failure
from genro_asgi.rendering import CONTENT_LENGTHS, ENCODERS
from genro_asgi.request import BaseRequest, ClientDisconnect, HttpRequest, current_request, route_path
from genro_asgi.response import Response, error_response
from genro_asgi.server.dispatcher import NOT_FOUND, Dispatcher
from genro_asgi.types import Receive, Scope, Send

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["HttpEndpoint"]

START = "http.response.start"
BODY = "http.response.body"
_CLOSE = (b"connection", b"close")
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})

_not_found = error_response(HTTPNotFound())
NOT_FOUND_HEADERS, NOT_FOUND_BODY = tuple(_not_found.raw_headers), _not_found.body

#: What the reason of a cancellation tells the client, when there still is one.
_CANCELLED: dict[str, type[HTTPException]] = {
    "deadline": HTTPGatewayTimeout,
    "body": HTTPRequestTimeout,
    "shutdown": HTTPServiceUnavailable,
}


class HttpEndpoint:
    """Serves HTTP scopes. One coroutine per request besides the handler's own and the server's sends."""

    def __init__(self, server: "AsgiServer", dispatcher: Dispatcher) -> None:
        self.server = server
        self.dispatcher = dispatcher
        self.registry = server.request_registry
        self.sweeper = server.sweeper
        self.loop: asyncio.AbstractEventLoop | None = None
        self.draining = False
        factory: Any = self.registry.factories.get("http", HttpRequest)
        self.factory: type[HttpRequest] = factory
        self.own_init = factory.init is not HttpRequest.init

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The hot path of the framework: what is written out here, a call would make several times as dear.
        dispatcher, registry = self.dispatcher, self.registry
        request = self.factory()
        request.scope = scope
        request.header_map = headers = dict(scope["headers"])
        request._receive = receive
        request.server = self.server
        request.created_at = time()
        request.task = asyncio.current_task(self.loop) if self.loop is not None else None
        if request.task is None or not self.sweeper.running:
            self._adopt_loop(request)
        request._seq = seq = registry.next_seq()
        registry.live[seq] = request
        token = current_request.set(request)
        error: BaseException | None = None
        try:
            try:
                if self.own_init:
                    await request.init(scope, receive, send, defer_body=True)
                for position, hook in enumerate(dispatcher.before):
                    value = hook(request)
                    if value is not None:
                        value = await self._hooked(request, position, value)
                        break
                else:
                    method = scope["method"]
                    path = route_path(scope) if scope.get("root_path") else scope["path"]
                    value = dispatcher.enter(
                        request,
                        path,
                        method,
                        method in _BODY_METHODS
                        or b"content-length" in headers
                        or b"transfer-encoding" in headers
                        or b"authorization" in headers
                        or b"x-request-timeout" in headers
                        or dispatcher.always_slow,
                    )
                    if value.__class__ is CoroutineType:
                        value = await value
                encoder = ENCODERS.get(value.__class__)
                if (
                    encoder is None
                    or request._response is not None
                    or dispatcher.after
                    or request._tytx is not None
                    or b"x-tytx-transport" in headers
                    or scope["method"] == "HEAD"
                    or self.draining
                ):
                    await self._send_value(request, value, send)
                    return
                body = encoder[0](value)
                length = len(body)
                raw = [
                    request.endpoint.media_type_pair or encoder[1],
                    CONTENT_LENGTHS[length] if length < 1024 else (b"content-length", b"%d" % length),
                ]
                request.phase = "sending"
                await send({"type": START, "status": 200, "headers": raw})
                await send({"type": BODY, "body": body})
            except Exception as exc:
                error = exc
                await self._failed(request, exc, send)
        except asyncio.CancelledError as exc:
            error = exc
            await self._cancelled(request, exc, send)
        finally:
            del registry.live[seq]
            current_request.reset(token)
            if request.extra:
                await self._finish(request, error)

    def _adopt_loop(self, request: BaseRequest) -> None:
        # The loop is kept because asking for it costs a system call on Python 3.11; it changes only between tests.
        self.loop = asyncio.get_running_loop()
        request.task = asyncio.current_task(self.loop)
        self.sweeper.start(self.loop)

    async def _hooked(self, request: HttpRequest, position: int, answer: Any) -> Any:
        response = await self.dispatcher.continue_before(request, position, answer)
        if response is not None:
            return response
        value = self.dispatcher.enter(request, request.path, request.scope["method"], True)
        return await value if value.__class__ is CoroutineType else value

    async def _send_value(self, request: HttpRequest, value: Any, send: Send) -> None:
        if value is NOT_FOUND and not (self.dispatcher.after or self.draining or request.scope["method"] == "HEAD"):
            request.phase = "sending"
            await send({"type": START, "status": 404, "headers": list(NOT_FOUND_HEADERS)})
            await send({"type": BODY, "body": NOT_FOUND_BODY})
            return
        await self._send_response(request, await self.dispatcher.settle(request, value), send)

    async def _send_response(self, request: HttpRequest, response: Response, send: Send) -> None:
        request.phase, request.sending = "sending", response
        if self.draining:
            response.raw_headers = [pair for pair in response.raw_headers if pair[0] != b"connection"] + [_CLOSE]
        if response.is_foreign:
            await response(request.scope, request._receive_again, send)
            return
        if response.is_streamed:
            await response.respond(request.scope, send, self.server.files.run)
        else:
            status, headers, body = response.finish()
            response.started = True
            await send({"type": START, "status": status, "headers": headers})
            await send({"type": BODY, "body": b"" if request.scope["method"] == "HEAD" else body})
        if response.background is not None:
            self.server.spawn(response.background(), request)

    async def _failed(self, request: HttpRequest, exc: Exception, send: Send) -> None:
        if isinstance(exc, ClientDisconnect):
            return
        if request.phase == "sending":
            response = request.sending
            if response is None or (response.started and not response.is_streamed):
                return  # the answer was complete; it is the client who went while it was sent
            if response.started:
                # A half-sent answer must not look whole: the server breaks the connection off.
                log_failure(request, exc)
                raise exc
        await self._send_response(request, await self.dispatcher.failed(request, exc), send)

    async def _cancelled(self, request: HttpRequest, exc: asyncio.CancelledError, send: Send) -> None:
        reason = request.cancelled
        if reason is None:
            raise exc  # the server's own will
        if request.task is not None:
            request.task.uncancel()
        answer = _CANCELLED.get(reason)
        if answer is None or request.phase == "sending":
            return
        request.cancelled = "answered"
        await self._send_response(request, await self.dispatcher.failed(request, answer()), send)

    async def _finish(self, request: HttpRequest, error: BaseException | None) -> None:
        if request.timer is not None:
            request.timer.cancel()
        if request.watcher is not None:
            request.watcher.cancel()
        if request._cleanups or request._onerrs:
            await self.dispatcher.clean_up(request, error)
