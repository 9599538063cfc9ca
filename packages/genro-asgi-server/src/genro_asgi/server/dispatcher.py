"""The dispatcher: which handler gets a request, and how its value becomes the answer, whatever carried the request.

`enter` is the synchronous core: resolve, check, bind, call. It knows no ASGI message. What cannot be decided without
waiting (a body to read, a password to hash, a thread to run in) it hands back as a coroutine.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from genro_routes import is_result_wrapper
from genro_routes.core.routing import ResultWrapper
from genro_toolbox import tags_match

from genro_asgi.delivery import begin
from genro_asgi.exceptions import (
    HTTPBadRequest,
    HTTPException,
    HTTPForbidden,
    HTTPMethodNotAllowed,
    HTTPNotFound,
    HTTPServiceUnavailable,
    HTTPUnauthorized,
    HTTPUriTooLong,
)
from genro_asgi.executors.job import Job
from genro_asgi.middleware.base import Middleware, hooks_of
from genro_asgi.middleware.errors import ErrorsMiddleware, answer_for, log_failure
from genro_asgi.middleware.limits import LimitsMiddleware
from genro_asgi.middleware.logging import LoggingMiddleware
from genro_asgi.rendering import ENCODERS, encode, encoder_for
from genro_asgi.request import BaseRequest
from genro_asgi.response import Response, as_response
from genro_asgi.server.handshake import authenticate, credentials_scope
from genro_asgi.server.progress import progress_of, wants_progress
from genro_asgi.server.routes import Endpoint, RouteTable

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["EVENT_STREAM", "NOT_FOUND", "ROUTER_ERRORS", "Dispatcher"]

logger = logging.getLogger("genro_asgi")

#: What genro-routes' error codes mean to a client.
ROUTER_ERRORS: dict[str, Callable[[], HTTPException]] = {
    "not_found": HTTPNotFound,
    "not_authorized": HTTPForbidden,
    "not_authenticated": HTTPUnauthorized,
    "not_available": HTTPServiceUnavailable,
    "validation_error": HTTPBadRequest,
    "signature_error": HTTPBadRequest,
}


class _NotFound:
    """A class of its own: one that handlers may return objects of would get an encoder."""


#: The value of a path nobody answers; no exception is made for it, it is the commonest answer of all.
NOT_FOUND: Any = _NotFound()

#: Its generators begin their answer before their first piece.
EVENT_STREAM = "text/event-stream"

_GENERATORS = frozenset((AsyncGeneratorType, GeneratorType))

# These are no plain values: they must never be taken for text.
ENCODERS[ResultWrapper] = ENCODERS[_NotFound] = None


class Dispatcher:
    """Answers requests of one transport: its hooks around the one table of routes."""

    def __init__(self, server: "AsgiServer", table: RouteTable, middleware: list[Middleware], transport: str) -> None:
        self.server = server
        self.table = table
        self.transport = transport
        #: The limits of heads are checked by the endpoint itself, in line: every request pays for them.
        self.head = next((m for m in middleware if type(m) is LimitsMiddleware and transport in m.transports), None)
        self.before = hooks_of([m for m in middleware if m is not self.head], "before", transport)
        self.after = hooks_of(middleware, "after", transport)[::-1]
        #: The access log, where it is all that looks at answers: it needs no response to be made for it.
        log = next((m for m in middleware if type(m) is LoggingMiddleware and transport in m.transports), None)
        self.log = log if log is not None and self.after == [log.after] else None
        self.on_error = hooks_of(middleware, "on_error", transport)[::-1]
        #: Only the built-in errors hook looks at failures: a 404 needs no exception to carry it.
        self.plain_errors = all(type(m) is ErrorsMiddleware for m in middleware if _overrides(m, "on_error"))
        #: Whether every request takes the longer way, because credentials may hide anywhere in it.
        self.always_slow = server.always_authenticate

    def enter(self, request: BaseRequest, path: str, method: str, slow: bool) -> Any:
        """Resolve and call: the handler's value, or an awaitable of it. `slow` is a request with more than a path."""
        table = self.table
        if table.stale:
            table.refresh()
        endpoint = table.exact.get(path)
        args: tuple[str, ...] = ()
        if endpoint is None:
            self.check_path(path)
            found = table.resolve(path)
            if found is None:
                return self.missing(request, path)
            endpoint, args = found
        request.endpoint = endpoint
        if method not in endpoint.methods:
            return self.other_method(endpoint, method)
        if slow or not endpoint.plain:
            return self.admit(request, endpoint, args)
        return (endpoint.calls[len(args)] if len(args) < len(endpoint.calls) else endpoint.calls[-1])(request, args)

    def check_path(self, path: str) -> None:
        """414 for a path no endpoint can have."""
        if self.head is not None and len(path) > self.head.url:
            raise HTTPUriTooLong(f"The URL is longer than {self.head.url} bytes.")

    def missing(self, request: BaseRequest, path: str) -> Any:
        """What a path without an endpoint gets: the front page for `/`, else 404."""
        if path.strip("/") == "":
            return self.front_page(request)
        if self.plain_errors:
            return NOT_FOUND
        raise HTTPNotFound

    def front_page(self, request: BaseRequest) -> Any:
        """What the server has at `/`, for those who only look."""
        if request.method in ("GET", "HEAD"):
            return self.server.front_page(request)
        allow = [("Allow", "GET, HEAD, OPTIONS")]
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=allow)
        raise HTTPMethodNotAllowed(f"/ does not answer {request.method[:20]}.", headers=allow)

    def other_method(self, endpoint: Endpoint, method: str) -> Response:
        """OPTIONS says what is allowed; any other method is a 405 that says the same."""
        allow = [("Allow", endpoint.allow)]
        if method == "OPTIONS":
            return Response(status_code=204, headers=allow)
        raise HTTPMethodNotAllowed(f"{endpoint.path} does not answer {method[:20]}.", headers=allow)

    async def admit(self, request: Any, endpoint: Endpoint, args: tuple[str, ...]) -> Any:
        """The longer way to the handler: deadline, credentials, body, thread; refused requests cost no body."""
        if endpoint.timeout is not None or request.has_deadline:
            request.start_deadline(endpoint.timeout)
        if endpoint.websocket:
            raise HTTPException(426, "This place speaks WebSocket only.", headers=[("Upgrade", "websocket")])
        if endpoint.guarded or self.always_slow or request.has_credentials or endpoint.message_auth:
            await self.authorise(request, endpoint)
        if endpoint.types is not None:
            request.use_types(endpoint.types)
        if endpoint.body_stream:
            request.max_body = endpoint.max_body
        elif request.may_have_body():
            await request.load_body(endpoint.max_body, raw=endpoint.binder.body_raw)
            if not endpoint.binder.body_raw:
                request.parse_body()
        if endpoint.threaded:
            return await self.server.handlers.run(endpoint.call, request, args)
        value = endpoint.call(request, args)
        return await value if value.__class__ is CoroutineType else value

    async def authorise(self, request: BaseRequest, endpoint: Endpoint) -> None:
        """Find out who is asking, and refuse who may not: 401 without valid credentials, 403 with others."""
        try:
            await self.identify(request, endpoint)
        except HTTPUnauthorized:
            if endpoint.guarded:
                raise
        if endpoint.rule:
            if request.auth is None and not request.auth_tags:  # tags may also be a hook's, who knows better
                raise self.server.challenge()
            if endpoint.rule != "*" and not tags_match(endpoint.rule, set(request.auth_tags)):
                raise HTTPForbidden(f"{endpoint.path} is not for these credentials.")
        if endpoint.deny:
            self._ask_plugins(request, endpoint)

    async def identify(self, request: Any, endpoint: Endpoint) -> None:
        """Ask the application, else the server, for the identity behind the credentials of a request."""
        owner = endpoint.app if hasattr(endpoint.app, "authenticate") else self.server
        own = request.message_credentials if endpoint.message_auth else None
        scope = request.auth_scope() if own is None else credentials_scope(request.auth_scope(), own)
        if own is not None:
            request.auth, request.auth_tags = None, []
        elif request.auth is not None:
            if owner is self.server or request.auth is not getattr(request, "connection_auth", None):
                return
            # An application with users of its own does not take the server's word for who has connected.
            request.auth, request.auth_tags = None, []
        info = await authenticate(self.server, owner, scope)
        if info is not None:
            request.auth = info
            request.auth_tags = list(info.get("tags") or ())

    def _ask_plugins(self, request: BaseRequest, endpoint: Endpoint) -> None:
        tags = ",".join(tag for tag in request.auth_tags if "," not in tag)
        reason = endpoint.router._entry_invalid_reason(
            endpoint.entry,
            auth_tags=tags or ("*" if endpoint.rule == "*" else ""),
            env_capabilities=",".join(request.env_capabilities),
            channel_channel=request.headers.get("x-channel", ""),
        )
        if reason and not (reason in ("not_authenticated", "not_authorized") and endpoint.rule):
            raise ROUTER_ERRORS.get(reason, HTTPForbidden)()

    def to_response(self, request: BaseRequest, value: Any) -> Response:
        """The response a handler's value stands for, with what the handler set on `request.response`."""
        if value is NOT_FOUND:
            raise HTTPNotFound
        endpoint: Endpoint | None = request.endpoint
        encoder = ENCODERS.get(value.__class__) if self.transport == "http" and request._response is None else None
        if encoder is not None and request.tytx_transport is None:
            # Most handlers have set nothing, and most values are plain.
            pair = endpoint.media_type_pair if endpoint is not None else None
            request._response = response = Response.of(encode(value), pair or encoder[1])
            return response
        metadata: dict[str, Any] = endpoint.metadata if endpoint is not None else {}
        if is_result_wrapper(value):
            metadata = {**metadata, **value.metadata}
            value = value.value
        if isinstance(value, Response):
            return value
        if encoder_for(value) is not None:
            request.response.set_result(value, metadata)
            return request.response
        response = as_response(value, metadata.get("media_type") or metadata.get("mime_type"))
        if request._response is not None and response is not request._response:
            response.status_code = request._response.status_code
            # Unless the handler said otherwise, the length there is that of an empty body.
            said = [pair for pair in request._response.raw_headers if pair != (b"content-length", b"0")]
            names = {name for name, _ in said}
            response.raw_headers = [*(pair for pair in response.raw_headers if pair[0] not in names), *said]
        return response

    async def settle(self, request: BaseRequest, value: Any) -> Response:
        """The response of a value, after the hooks have seen it."""
        if value.__class__ is Job:
            if wants_progress(request):
                value = progress_of(self, request, value)
            else:
                value = await value
                if self.transport == "http":
                    request.response.append_header("vary", "Accept")
        endpoint = request.endpoint  # a hook may have answered before there was one
        if value.__class__ in _GENERATORS and (endpoint is None or endpoint.media_type != EVENT_STREAM):
            value = await begin(value, self.server.handlers.run)
        response = self.to_response(request, value)
        return await self.run_after(request, response) if self.after else response

    async def run_before(self, request: BaseRequest) -> Any:
        """What the first before hook that answers has said; None when all let the request pass."""
        for hook in self.before:
            answer = hook(request)
            if answer is not None and isinstance(answer, Awaitable):
                answer = await answer
            if answer is not None:
                return answer
        return None

    async def run_after(self, request: BaseRequest, response: Response) -> Response:
        """Let the after hooks look at a response, the inner ones first."""
        for hook in self.after:
            answer = hook(request, response)
            if answer is not None and isinstance(answer, Awaitable):
                answer = await answer
            if answer is not None:
                response = answer
        return response

    async def failed(self, request: BaseRequest, exc: Exception) -> Response:
        """The response of an exception: of the first on_error hook that answers, else the standard one."""
        response: Response | None = None
        for hook in self.on_error:
            try:
                answer = hook(request, exc)
                response = await answer if isinstance(answer, Awaitable) else answer
            except Exception as worse:
                log_failure(request, exc)
                exc = worse
            if response is not None:
                break
        if response is None:
            response = answer_for(request, exc)
        try:
            return await self.run_after(request, response)
        except Exception as worse:
            return answer_for(request, worse)

    async def clean_up(self, request: BaseRequest, error: BaseException | None) -> None:
        """Run the cleanups of a request to their end, also when its task is being cancelled; failures are logged."""
        work = asyncio.ensure_future(request.run_cleanups(error))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await work
            raise
        finally:
            for failure in work.result() if work.done() and not work.cancelled() else ():
                log_failure(request, failure)


def _overrides(middleware: Middleware, hook: str) -> bool:
    return getattr(type(middleware), hook) is not getattr(Middleware, hook)
