"""The ASGI face of a WSGI application."""

import asyncio
import io
import logging

from genro_asgi.exceptions import (
    HTTPBadRequest,
    HTTPContentTooLarge,
    HTTPException,
    HTTPGatewayTimeout,
    HTTPServiceUnavailable,
)
from genro_asgi.executors.errors import ExecutorError, ExecutorOverloadError, ExecutorTimeoutError
from genro_asgi.executors.thread import ThreadExecutor
from genro_asgi.middleware.wsgi.call import WSGIApp, WsgiCall, plain_head
from genro_asgi.middleware.wsgi.environ import BadRequest, body_of, build_environ
from genro_asgi.middleware.wsgi.exchange import Hub, ResponseAborted
from genro_asgi.types import Receive, Scope, Send

__all__ = ["WSGIMiddleware"]

#: Threads of a pool of our own: applications wait for databases more than they compute.
DEFAULT_WORKERS = 32
#: Threads beyond those that stand in for some that wait for their clients.
MAX_PARKED = 256

logger = logging.getLogger("genro_asgi.wsgi")


class WSGIMiddleware:
    """Serves a WSGI application (PEP 3333) over ASGI.

    Each request is called, iterated and closed in one thread of a pool. Bodies stream both ways and are never held
    whole; a client that leaves ends the iteration.

    pool:          the threads to use; without it one named "wsgi" is made
    workers:       the threads of that one; who waits for a slow client is replaced, and does not count
    max_body:      bytes of a request body (413); None is no limit
    body_timeout:  seconds the application waits for the next piece of a body (408); None waits for ever
    stall_timeout: seconds a client may take nothing of a streamed answer before it is dropped; None waits for ever
    raise_errors:  raise what went wrong before an answer began, for those around to answer, instead of answering here
    """

    def __init__(
        self,
        app: WSGIApp,
        *,
        pool: ThreadExecutor | None = None,
        workers: int | None = None,
        max_body: int | None = None,
        body_timeout: float | None = 60.0,
        stall_timeout: float | None = 60.0,
        raise_errors: bool = False,
    ) -> None:
        if not callable(app):
            raise TypeError(f"WSGIMiddleware got {app!r}; give it a WSGI application, a callable")
        if pool is not None and workers is not None:
            raise ValueError(f"WSGIMiddleware got a pool and workers={workers}; give one of them")
        if pool is not None and pool.bypass:
            raise ValueError(f"pool {pool.name!r} runs calls on the event loop; WSGI needs threads: switch bypass off")
        self.app = app
        self.max_body = max_body
        self.body_timeout = body_timeout
        self.stall_timeout = stall_timeout
        self.raise_errors = raise_errors
        self._workers = DEFAULT_WORKERS if workers is None else workers
        self._owns_pool = pool is None
        self.pool = self._new_pool() if pool is None else pool
        self._hub: Hub | None = None

    def _new_pool(self) -> ThreadExecutor:
        # No limit of its own on waiting requests: how many connections are taken is for the server to say.
        pool = ThreadExecutor("wsgi", max_workers=self._workers, max_pending=None, max_parked=MAX_PARKED)
        # In bypass, which the environment can ask for, a request would wait on the loop for what only the loop brings.
        pool.bypass = False
        return pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._refuse(scope, receive, send)
            return
        try:
            environ = build_environ(scope)
            has_body, length = body_of(environ)
        except BadRequest as error:
            await self._answer(scope, send, HTTPBadRequest(str(error)))
            return
        if self.max_body is not None and length is not None and length > self.max_body:
            await self._answer(scope, send, HTTPContentTooLarge("The request body is too large."))
            return
        loop = asyncio.get_running_loop()
        hub = self._hub
        if hub is None or hub.loop is not loop:
            hub = self._hub = Hub(loop, self.pool, self.stall_timeout, self.raise_errors)
        call = WsgiCall(hub, scope, receive, send)
        if has_body:
            polite = "HTTP_EXPECT" in environ
            environ["wsgi.input"] = call.open_input(length, self.max_body, self.body_timeout, polite)
        else:
            environ["wsgi.input"] = io.BytesIO()
        try:
            job = self.pool.run(call.run, self.app, environ)
            hub.enter(call)
            if has_body and ("CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ):
                call.watch()  # most of the body is on its way: have it here when it is asked for
            await job
            if call.error is not None:
                call.raise_error()
            if call.pump_task is None and not call.gone:
                await call.pump()
            if call.pump_task is not None or call.gone:
                await call.finish()
        except ExecutorError as error:
            await self._fail(call, send, error)
        finally:
            call.release()

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await self._live(receive, send)
        elif kind == "websocket":
            await _refuse_websocket(scope, receive, send)
        else:
            raise ValueError(f"a WSGI application does not answer ASGI scopes of type {kind!r}; only 'http'")

    async def _answer(self, scope: Scope, send: Send, refusal: HTTPException) -> None:
        """Refuse a request in a few words, or leave it to those around us."""
        if self.raise_errors:
            raise refusal
        body = refusal.detail.encode()
        headers = plain_head(refusal.status_code, body)[1]
        await send({"type": "http.response.start", "status": refusal.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _fail(self, call: WsgiCall, send: Send, error: ExecutorError) -> None:
        """The pool took no request, or gave this one up: it was stopped, is full, or has a timeout."""
        timed_out = isinstance(error, ExecutorTimeoutError)
        if self.raise_errors and call.pump_task is None and (timed_out or isinstance(error, ExecutorOverloadError)):
            raise error
        logger.error("the WSGI request %s was not served: %s", call.what, error)
        if call.pump_task is not None:
            raise ResponseAborted("the pool gave a request up while its response was being sent") from None
        await self._answer(call.scope, send, HTTPGatewayTimeout() if timed_out else HTTPServiceUnavailable())

    def startup(self) -> None:
        """Get ready to serve again after shutdown()."""
        if self._owns_pool and self.pool.closed:
            self.pool = self._new_pool()
            self._hub = None

    async def shutdown(self) -> None:
        """Let running requests end and stop the threads, if the pool is ours."""
        if self._owns_pool:
            await self.pool.shutdown()

    async def _live(self, receive: Receive, send: Send) -> None:
        """WSGI knows no lifespan; it is answered because our threads have one."""
        await receive()
        self.startup()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.shutdown()
        await send({"type": "lifespan.shutdown.complete"})


async def _refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    if message["type"] != "websocket.connect":
        return
    if "websocket.http.response" in (scope.get("extensions") or {}):
        text = b"WebSocket is not served here."
        _, headers, _ = plain_head(403, text)
        await send({"type": "websocket.http.response.start", "status": 403, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": text})
    else:
        await send({"type": "websocket.close", "code": 1000})
