"""Middleware written as `dispatch(request, call_next)`, as Starlette has it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from genro_asgi.request import Request
from genro_asgi.response import Response, StreamingResponse
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["BaseHTTPMiddleware"]

CallNext = Callable[[Request], Awaitable[Response]]
Dispatch = Callable[[Request, CallNext], Awaitable[Response]]


class BaseHTTPMiddleware:
    """Subclass it and write `dispatch`, or pass one; the answer of `call_next` streams as the application sends it.

    The application runs in a task of its own with a copy of the context: a plain ASGI middleware, or a hook of the
    server, shares its context and costs less.
    """

    def __init__(self, app: ASGIApp, dispatch: Dispatch | None = None) -> None:
        self.app = app
        self.dispatch_func: Dispatch = self.dispatch if dispatch is None else dispatch

    async def dispatch(self, request: Request, call_next: CallNext) -> Response:
        """Look at the request, `await call_next(request)`, look at the response."""
        raise NotImplementedError("Write dispatch(request, call_next), or pass one to the middleware.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        inner = _Inner(self.app, Request(scope, receive, send))
        try:
            response = await self.dispatch_func(inner.request, inner.call_next)
            await response(scope, inner.receive_after, send)
            inner.raise_late()
        finally:
            await inner.end()


class _Inner:
    """The application behind the middleware, and its answer on the way."""

    def __init__(self, app: ASGIApp, request: Request) -> None:
        self.app, self.request = app, request
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(maxsize=1)
        self._task: asyncio.Task[None] | None = None
        self._body_told = False

    async def call_next(self, request: Request) -> Response:
        """Run the application; its status and headers at once, its body as it comes."""
        self._task = asyncio.ensure_future(self._run(request.scope))
        start = await self._messages.get()
        if start is None:
            self._task.result()
            raise RuntimeError("No response returned.")
        response = StreamingResponse(self._body(), start["status"])
        response.raw_headers = list(start.get("headers", ()))
        return response

    async def _run(self, scope: Scope) -> None:
        try:
            await self.app(scope, self._receive, self._messages.put)
        finally:
            await self._messages.put(None)

    async def _receive(self) -> Message:
        # What the middleware has read of the body is given to the application again.
        body: bytes | None = getattr(self.request, "_body", None)
        if body is not None and not self._body_told:
            self._body_told = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await self.request.receive()

    async def receive_after(self) -> Message:
        """The client's end while the answer is sent."""
        while True:
            message = await self.request.receive()
            if message["type"] == "http.disconnect":
                return message

    async def _body(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._messages.get()
            if message is None:
                self.raise_late()
                return
            body: Any = message.get("body", b"")
            if body:
                yield bytes(body)
            if not message.get("more_body", False):
                return

    def raise_late(self) -> None:
        """Raise what the application raised after its answer had begun."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()

    async def end(self) -> None:
        """Leave no task behind."""
        if self._task is None:
            return
        while not self._task.done():
            # An application with something after its answer (a background task) is let finish.
            await asyncio.wait((self._task, asyncio.ensure_future(self._messages.get())), timeout=30,
                               return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
