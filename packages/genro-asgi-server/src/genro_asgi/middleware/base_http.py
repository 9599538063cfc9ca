"""Middleware written as `dispatch(request, call_next)`, as Starlette has it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from genro_asgi.delivery import Runner, close_source, tell
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
        request = Request(scope, receive, send)
        runs: list[_Run] = []

        async def call_next(request_for_app: Request) -> Response:
            runs.append(_Run(self.app, request, send))
            return await runs[-1].begin(request_for_app.scope)

        try:
            response = await self.dispatch_func(request, call_next)
            await response(scope, receive, send)
            for run in runs:
                await run.let_finish()
        finally:
            for run in runs:
                await run.cancel()


class _Run:
    """The application behind the middleware at work: its messages are taken one by one, each when it is wanted."""

    def __init__(self, app: ASGIApp, request: Request, send: Send) -> None:
        self._app, self._request, self._send = app, request, send
        self._messages: asyncio.Queue[tuple[Message, asyncio.Event] | None] = asyncio.Queue()
        #: The sends of the application that have not returned.
        self._waiting: set[asyncio.Event] = set()
        #: The answer is out, or nobody wants it.
        self._over = asyncio.Event()
        self._taken_told = False
        self._error_raised = False
        self._task: asyncio.Task[None]

    async def begin(self, scope: Scope) -> Response:
        """Run the application up to the start of its answer; what it sends before that goes straight out."""
        self._task = asyncio.ensure_future(self._app(scope, self._receive, self._take))
        self._task.add_done_callback(lambda _: self._messages.put_nowait(None))
        while (arrived := await self._messages.get()) is not None:
            message, taken = arrived
            if message["type"] == "http.response.start":
                taken.set()
                response = _Relayed(self._body(), message["status"])
                response.raw_headers = list(message.get("headers", ()))
                return response
            await self._send(message)
            taken.set()
        self._raise()
        raise RuntimeError("No response returned.")

    async def _take(self, message: Message) -> None:
        """The application's send: it returns when the message is on its way."""
        if self._over.is_set():
            await asyncio.sleep(0)
            return
        taken = asyncio.Event()
        self._waiting.add(taken)
        self._messages.put_nowait((message, taken))
        await taken.wait()
        self._waiting.discard(taken)

    async def _receive(self) -> Message:
        if not self._taken_told:
            self._taken_told = True
            taken = await self._request.taken()
            if taken is not None:
                return taken
        arriving = asyncio.ensure_future(self._request.pass_on())
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait((arriving, over), return_when=asyncio.FIRST_COMPLETED)
            return arriving.result() if arriving.done() else {"type": "http.disconnect"}
        finally:
            arriving.cancel()
            over.cancel()

    async def _body(self) -> AsyncIterator[Any]:
        """The pieces of the body, and messages of other kinds as they are."""
        while (arrived := await self._messages.get()) is not None:
            message, taken = arrived
            is_body = message["type"] == "http.response.body"
            piece: Any = bytes(message.get("body", b"")) if is_body else message
            if piece:
                yield piece
            if message["type"] == "http.response.pathsend" or (is_body and not message.get("more_body", False)):
                return  # the application goes on when the answer is out
            taken.set()
        self._raise()

    def _raise(self) -> None:
        """Raise what the application raised, once."""
        if not self._error_raised:
            self._error_raised = True
            self._task.result()

    def _release(self) -> None:
        self._over.set()
        for taken in self._waiting:
            taken.set()

    async def let_finish(self) -> None:
        """Let the application do what it does after its answer, a background task for instance."""
        self._release()
        await asyncio.wait((self._task,))
        self._raise()

    async def cancel(self) -> None:
        """Leave no task behind."""
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,))


class _Relayed(StreamingResponse):
    """The answer of the application behind; it is the application that watches for the client."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.respond(scope, send)
        if self.background is not None:
            await self.background()

    async def respond(self, scope: Scope, send: Send, run: Runner = asyncio.to_thread) -> None:
        """Send status, headers and the pieces as they come."""
        pieces = aiter(self.body_iterator)
        self.started = whole = True
        try:
            await tell(send, {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope.get("method") != "HEAD":
                async for piece in pieces:
                    if isinstance(piece, Mapping):
                        whole = piece["type"] != "http.response.pathsend"
                        await tell(send, dict(piece))
                    else:
                        body = self.encode_piece(piece)
                        await tell(send, {"type": "http.response.body", "body": body, "more_body": True})
            if whole:
                await tell(send, {"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await close_source(pieces, self.body_iterator)
