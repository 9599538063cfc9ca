"""The way of a request to an application that answers by itself, with the server's hooks around it."""

import asyncio
from collections.abc import Awaitable
from time import time
from typing import TYPE_CHECKING, Any, ClassVar

from genro_asgi.exceptions import ClientDisconnect
from genro_asgi.request import HttpRequest, Request, current_request
from genro_asgi.response import Response
from genro_asgi.server.eager import task_of
from genro_asgi.server.http_endpoint import closing
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["PassingResponse", "pass_on"]


class PassingResponse(Response):
    """The head of an answer as hooks see it: status and headers can be changed, the body passes by."""

    is_streamed: ClassVar[bool] = True

    def __init__(self, status: int, raw_headers: list[tuple[bytes, bytes]]) -> None:
        self.status_code, self.raw_headers = status, raw_headers
        self.body = b""
        self.background: Any = None


class _Replaced(OSError):
    """A hook has answered instead. To the application it is a client that left."""


class _Sender:
    """The `send` of the application: the hooks see the start of its answer before the client does."""

    __slots__ = ("_request", "_send", "_server", "started")

    def __init__(self, server: "AsgiServer", request: HttpRequest, send: Send) -> None:
        self._server, self._request, self._send = server, request, send
        self.started = False

    def __call__(self, message: Message) -> Awaitable[None]:
        # No coroutine of its own: every piece of a stream would pay for it.
        if self.started:
            return self._send(message)
        if message["type"] == "http.response.start":
            if self._server.dispatcher.after or self._server.draining:
                return self._start(message)
            self.started = True
        return self._send(message)

    async def _start(self, message: Message) -> None:
        server, request = self._server, self._request
        passing = PassingResponse(message["status"], list(message.get("headers", ())))
        try:
            answer = await server.dispatcher.run_after(request, passing)
        except Exception as exc:
            # Not through the application: it would take an OSError for its client's leave.
            answer = await server.dispatcher.failed(request, exc)
        self.started = True
        if answer is not passing:
            await server._send_response(request, answer, self._send)
            raise _Replaced
        if server.draining:
            passing.raw_headers = closing(passing.raw_headers)
        request.sending, passing.started = passing, True
        await self._send({**message, "status": passing.status_code, "headers": passing.raw_headers})


class _Rest:
    """The `receive` of the application where a hook may have read: the body from its beginning all the same."""

    __slots__ = ("_told", "_view")

    def __init__(self, view: Request) -> None:
        self._view, self._told = view, False

    async def __call__(self) -> Message:
        if not self._told:
            self._told = True
            taken = await self._view.taken()
            if taken is not None:
                return taken
        return await self._view.pass_on()


async def pass_on(server: "AsgiServer", app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Have `app` answer a request that is listed, can be cancelled, and is seen by all hooks of the server.

    What `app` raises before its answer has begun is answered as if a handler had raised it.
    """
    request = server._request_class()
    request.scope, request._receive = scope, receive
    request.created_at, request.task = time(), task_of(server._loop)
    if request.task is None:
        server._adopt_loop(request)
    server._live[request] = request
    token = current_request.set(request)
    dispatcher = server.dispatcher
    sender = _Sender(server, request, send)
    error: BaseException | None = None
    try:
        try:
            if dispatcher.before or server._own_init:
                if await _answered(server, request, receive, send):
                    return
                if request.body_read or request._view is not None or request.watcher is not None:
                    receive = _Rest(request.request)
            else:
                _check_head(server, scope)
            # From here on it reads for itself, and its time is its own.
            request.phase = "passed"
            await app(scope, receive, sender)
            if isinstance(request.sending, PassingResponse):
                server._spawn_background(request, request.sending)
        except Exception as exc:
            error = exc
            await _failed(server, request, exc, sender, send)
    except asyncio.CancelledError as exc:
        error = exc
        if sender.started:
            request.phase = "sending"
        await server._cancelled(request, exc, send)
    finally:
        server._live.pop(request, None)
        current_request.reset(token)
        if request.extra:
            await server._finish(request, error)
        error = None  # its traceback knows this frame, and with it the request


def _check_head(server: "AsgiServer", scope: Scope) -> None:
    """What HttpEndpoint does with a head: most are known by their names, and only their size is left to be seen."""
    names, values = zip(*scope["headers"], strict=True) if scope["headers"] else ((), ())
    profile = server._profiles.get(names) or server._learn(names)
    size = profile.size + len(b"".join(values))
    if size > server._head_size or len(scope["path"]) + len(scope.get("query_string", b"")) > server._head_url:
        server._check_head(scope)


async def _answered(server: "AsgiServer", request: HttpRequest, receive: Receive, send: Send) -> bool:
    """Whether a hook has answered before the application was asked."""
    if server._own_init:
        await request.init(request.scope, receive, send, defer_body=True)
    _check_head(server, request.scope)
    answer = await server.dispatcher.run_before(request)
    if answer is not None:
        await server._send_value(request, answer, send)
    return answer is not None


async def _failed(server: "AsgiServer", request: HttpRequest, exc: Exception, sender: _Sender, send: Send) -> None:
    if isinstance(exc, _Replaced | ClientDisconnect):
        return
    if not sender.started or request.phase == "sending":
        await server._failed(request, exc, send)
        return
    raise exc  # a half-sent answer must not look whole: the server logs it, and breaks the connection off
