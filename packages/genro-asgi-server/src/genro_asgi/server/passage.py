"""The way of a request to an application that answers by itself, with the server's hooks around it."""

import asyncio
from collections.abc import Awaitable
from time import time
from typing import TYPE_CHECKING, Any, ClassVar

from genro_asgi.exceptions import ClientDisconnect
from genro_asgi.request import HttpRequest, Request, current_request
from genro_asgi.response import Response
from genro_asgi.server.eager import task_of
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["PassingResponse", "pass_on"]

_CLOSE = (b"connection", b"close")


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
    """The `send` of the application: the hooks see each answer's start before the client does."""

    __slots__ = ("_request", "_send", "_server", "started")

    def __init__(self, server: "AsgiServer", request: HttpRequest, send: Send) -> None:
        self._server, self._request, self._send = server, request, send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if not self.started and message["type"] == "http.response.start":
            if self._server.dispatcher.after or self._server.draining:
                message = await self._seen(message)
            self.started = True
        await self._send(message)

    async def _seen(self, message: Message) -> Message:
        """The start after the hooks have looked at it."""
        server, request = self._server, self._request
        passing = PassingResponse(message["status"], list(message.get("headers", ())))
        try:
            answer = await server.dispatcher.run_after(request, passing)
        except Exception as exc:
            # Not through the application: it would take an OSError for its client's leave.
            answer = await server.dispatcher.failed(request, exc)
        if answer is not passing:
            self.started = True
            await server._send_response(request, answer, self._send)
            raise _Replaced
        if server.draining:
            passing.raw_headers = [pair for pair in passing.raw_headers if pair[0] != b"connection"] + [_CLOSE]
        request.sending, passing.started = passing, True
        return {**message, "status": passing.status_code, "headers": passing.raw_headers}


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
    request.attach(scope, receive)
    request.created_at, request.task = time(), task_of(server._loop)
    if request.task is None:
        server._adopt_loop(request)
    server._live[request] = request
    token = current_request.set(request)
    sender = _Sender(server, request, send)
    error: BaseException | None = None
    try:
        try:
            await _walk(server, app, request, receive, sender, send)
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


async def _walk(
    server: "AsgiServer", app: ASGIApp, request: HttpRequest, receive: Receive, sender: _Sender, send: Send
) -> None:
    if server._own_init:
        await request.init(request.scope, receive, send, defer_body=True)
    if server.dispatcher.head is not None:
        server.dispatcher.head.check(request.scope)
    for hook in server.dispatcher.before:
        answer = hook(request)
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer is not None:
            await server._send_value(request, answer, send)
            return
    if request.body_read or request._view is not None or request.watcher is not None:
        receive = _Rest(request.request)
    # From here on it reads for itself, and its time is its own.
    request.phase = "passed"
    await app(request.scope, receive, sender)
    passing = request.sending
    if isinstance(passing, PassingResponse) and passing.background is not None:
        run = getattr(passing.background, "run", None)
        server.spawn(passing.background() if run is None else run(server.background.run), request)


async def _failed(server: "AsgiServer", request: HttpRequest, exc: Exception, sender: _Sender, send: Send) -> None:
    if isinstance(exc, _Replaced | ClientDisconnect):
        return
    if not sender.started or request.phase == "sending":
        await server._failed(request, exc, send)
        return
    raise exc  # a half-sent answer must not look whole: the server logs it, and breaks the connection off
