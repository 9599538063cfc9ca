"""The HTTP endpoint: ASGI messages to a request, the dispatcher's answer back to ASGI messages."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import time
from types import AsyncGeneratorType, CoroutineType
from typing import Any

from genro_asgi.body import MalformedJson
from genro_asgi.delivery import Begun
from genro_asgi.exceptions import (
    HTTPException,
    HTTPGatewayTimeout,
    HTTPNotFound,
    HTTPRequestTimeout,
    HTTPServiceUnavailable,
)
from genro_asgi.executors.thread import ThreadExecutor
from genro_asgi.jsoncodec import MAX_DEPTH, JsonError, loads, quick_loads
from genro_asgi.limits import Limits
from genro_asgi.middleware.errors import log_failure
from genro_asgi.pieces import send_pieces
from genro_asgi.rendering import CONTENT_LENGTHS, ENCODERS, HeaderPair, encode
from genro_asgi.request import (
    UNREAD,
    BaseRequest,
    ClientDisconnect,
    HttpRequest,
    RequestRegistry,
    current_request,
)
from genro_asgi.response import Response, StreamingResponse, error_response
from genro_asgi.server.dispatcher import EVENT_STREAM, NOT_FOUND, Dispatcher
from genro_asgi.server.eager import task_of
from genro_asgi.server.routes import RouteTable
from genro_asgi.server.sweeper import Sweeper
from genro_asgi.sse import EventPieces
from genro_asgi.types import Receive, Scope, Send

__all__ = ["HttpEndpoint", "closing"]

set_current, reset_current = current_request.set, current_request.reset
new_request: Callable[[type[HttpRequest]], HttpRequest] = object.__new__

START = "http.response.start"
BODY = "http.response.body"
_CLOSE = (b"connection", b"close")

# Headers that make a request more than a path: a body, credentials, a deadline, typed values.
_SPECIAL = frozenset(
    (b"content-length", b"transfer-encoding", b"authorization", b"x-request-timeout", b"x-tytx-transport")
)

_WITH_BODY = frozenset(("POST", "PUT", "PATCH", "DELETE"))

# Headers that say nothing secret, whatever their values are.
_OPEN = frozenset((
    b"accept", b"accept-charset", b"accept-encoding", b"accept-language", b"cache-control", b"connection",
    b"content-length", b"content-type", b"host", b"keep-alive", b"origin", b"pragma", b"referer", b"sec-fetch-dest",
    b"sec-fetch-mode", b"sec-fetch-site", b"te", b"user-agent",
))  # fmt: skip

_NO_HEADERS: tuple[tuple[bytes, ...], tuple[bytes, ...]] = ((), ())

_not_found = error_response(HTTPNotFound())
NOT_FOUND_HEADERS, NOT_FOUND_BODY = tuple(_not_found.raw_headers), _not_found.body

_OCTETS = (b"content-type", b"application/octet-stream")
#: Stands for every stream that needs no response of its own, once it has begun.
_PIECES = StreamingResponse(())
_EVENTS = EventPieces(())
_PIECES.started = _EVENTS.started = True

#: What the reason of a cancellation tells the client, when there still is one.
_CANCELLED: dict[str, Callable[[], HTTPException]] = {
    "deadline": HTTPGatewayTimeout,
    "body": HTTPRequestTimeout,
    "shutdown": HTTPServiceUnavailable,
}


def closing(raw_headers: list[HeaderPair]) -> list[HeaderPair]:
    """The headers of an answer that asks its connection to close."""
    return [pair for pair in raw_headers if pair[0] != b"connection"] + [_CLOSE]


class HeadProfile:
    """What the names of a head say before any value is looked at."""

    __slots__ = ("json_body", "length_at", "open", "plain", "size", "type_at")

    def __init__(self, names: tuple[bytes, ...], max_count: int) -> None:
        special = _SPECIAL.intersection(names)
        #: Bytes of all names; beyond any limit when a name came twice or there are too many of them, so that the head
        #: is looked at closely.
        self.size = len(b"".join(names)) if len(set(names)) == len(names) <= max_count else 1 << 62
        #: Nothing asks for the longer way.
        self.plain = not special
        #: It may be compared with that of another client.
        self.open = _OPEN.issuperset(names)
        #: A body follows, and nothing else is special.
        self.json_body = special == {b"content-length"} and b"content-type" in names
        self.length_at = names.index(b"content-length") if self.json_body else 0
        self.type_at = names.index(b"content-type") if self.json_body else 0


class HttpEndpoint:
    """The part of a server that answers HTTP: one coroutine per request besides the handler's and the two sends.

    It is the server's own `__call__` and no object behind it, because each call between the two costs every request.
    """

    dispatcher: Dispatcher
    request_registry: RequestRegistry
    sweeper: Sweeper
    limits: Limits
    files: ThreadExecutor
    background: ThreadExecutor
    spawn: Callable[..., Any]
    #: The type of scope that goes straight to the routes: none, when something (a mount, classic middleware, a WSGI
    #: site) may take scopes before them.
    _straight: str | None = "http"
    draining: bool
    table: RouteTable
    _loop: asyncio.AbstractEventLoop | None
    _request_class: type[HttpRequest]
    _live: dict[BaseRequest, BaseRequest]
    #: The head that was read last: whether it asks for nothing but a path, and whether for a small JSON body.
    _head: list[tuple[bytes, bytes]] | None
    _head_kind: tuple[bool, bool]

    def _prepare_http(self) -> None:
        """Take what all requests have in common: the class of requests, the limits of heads, the hooks."""
        factory: Any = self.request_registry.factories.get("http", HttpRequest)
        shared = {"server": self, "limits": self.limits, "__doc__": factory.__doc__, "__module__": factory.__module__}
        # An empty __slots__ keeps the instances as they are.
        self._request_class = type(factory.__name__, (factory,), {"__slots__": (), **shared})
        self._own_init = factory.init is not HttpRequest.init or factory.__init__ is not HttpRequest.__init__
        self._live = self.request_registry.live
        self._profiles: dict[tuple[bytes, ...], HeadProfile] = {}
        self._head: list[tuple[bytes, bytes]] | None = None
        head = self.dispatcher.head
        no_limit = 1 << 62
        self._head_count = head.count if head is not None else no_limit
        self._head_size = head.size if head is not None else no_limit
        self._head_url = head.url if head is not None else no_limit
        self._max_body = self.limits.max_body
        depth = self.limits.json_depth
        self._read_json = quick_loads if depth >= MAX_DEPTH else partial(loads, max_depth=depth)
        # A Content-Length with fewer digits than the limit is below it.
        self._length_digits = len(str(self._max_body)) - 1
        self._set_draining(False)

    def _set_draining(self, draining: bool) -> None:
        """While draining, every answer asks its connection to close."""
        self.draining = draining
        dispatcher = self.dispatcher
        #: Whether nothing stands around the handlers that a request would have to stop for.
        self._plain = not (
            draining
            or self._own_init
            or dispatcher.before
            or (dispatcher.after and dispatcher.log is None)
            or dispatcher.always_slow
        )
        self._begin_first = self._own_init or bool(dispatcher.before)
        self._note = None if dispatcher.log is None else dispatcher.log.note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The hot path of the framework: what is written out here, a call would make several times as dear.
        if scope["type"] != self._straight and await self._detour(scope, receive, send):
            return
        request = new_request(self._request_class)
        request.scope = scope
        request._receive = receive
        request.created_at = time()
        request.task = task = task_of(self._loop)
        request.endpoint = request._response = request._tytx = None
        request.extra = request.body_read = False
        request.phase = "handler"
        request._body, request._data = b"", UNREAD
        if task is None:
            self._adopt_loop(request)
        live = self._live
        live[request] = request
        token = set_current(request)
        error: BaseException | None = None
        try:
            try:
                path, method, headers = scope["path"], scope["method"], scope["headers"]
                if headers == self._head:
                    plain, json_body = self._head_kind
                else:
                    names, values = zip(*headers) if headers else _NO_HEADERS  # noqa: B905
                    try:
                        profile = self._profiles[names]
                    except KeyError:
                        profile = self._learn(names)
                    plain = profile.plain
                    json_body = profile.json_body and self._is_json(values[profile.type_at], values[profile.length_at])
                    # Joining is the cheapest way to add up some lengths in Python.
                    if profile.size + len(b"".join(values)) > self._head_size:
                        self._check_head(scope)
                    elif profile.open:
                        # Clients send the same head with each request: the last one needs no second look. What is
                        # kept is a copy nobody can change, and holds no secret the time of a comparison could tell.
                        self._head, self._head_kind = list(zip(names, values, strict=True)), (plain, json_body)
                try:
                    query, root = scope["query_string"], scope["root_path"]
                except KeyError:
                    query, root = scope.get("query_string"), scope.get("root_path")
                # The path of an endpoint is short; how long another one is, is asked when it is looked for.
                if query and len(path) + len(query) > self._head_url:
                    self._check_head(scope)
                quick = True
                if self._plain and plain and method == "GET" and not root:
                    endpoint = self.table.gets.get(path)
                    if endpoint is not None:
                        request.endpoint = endpoint
                        bare = endpoint.bare
                        value = bare() if bare is not None else endpoint.calls[0](request, ())
                    else:
                        start, _, last = path.rpartition("/")
                        endpoint = self.table.heads.get(start)
                        if (
                            endpoint is not None
                            and endpoint.quick
                            and last
                            and last[0] != "@"
                            and len(path) <= self._head_url
                        ):
                            request.endpoint = endpoint
                            value = endpoint.calls[1](request, (last,))
                        else:
                            value = self.dispatcher.enter(request, path, method, False)
                elif (
                    json_body
                    and self._plain
                    and not root
                    and (endpoint := self.table.exact.get(path)) is not None
                    and method in endpoint.quick_body
                ):
                    # A small JSON body is the other common case: it is taken here, without a coroutine for it.
                    request.endpoint = endpoint
                    request.phase = "body"
                    message = await receive()
                    try:
                        body, more = message["body"], message["more_body"]
                    except KeyError:  # a server that says no more than it must, or a client that has left
                        body = message.get("body", b"")
                        more = message.get("more_body", False) or message["type"] != "http.request"
                    if more:
                        body = await request.read_rest(message)
                    request._body = body
                    request.body_read = True
                    request.phase = "handler"
                    read = self._read_json
                    try:
                        request._data = read(body) if body else None
                    except JsonError as exc:
                        raise MalformedJson(exc) from exc
                    value = endpoint.calls[0](request, ())
                else:
                    quick = False
                    if self._begin_first or not plain:
                        value = await self._run(request, scope, receive, send)
                    else:
                        slow = method in _WITH_BODY or self.dispatcher.always_slow
                        value = self.dispatcher.enter(request, request.path, method, slow)
                if value.__class__ is CoroutineType:
                    value = await value
                encoder = ENCODERS.get(value.__class__)
                if (
                    encoder is None
                    or request._response is not None
                    or request._tytx is not None
                    or not (quick or (self._plain and method != "HEAD"))
                ):
                    if value is NOT_FOUND and self._plain and method != "HEAD":
                        request.phase = "sending"
                        if self._note is not None:
                            self._note(request, 404)
                        await send({"type": START, "status": 404, "headers": list(NOT_FOUND_HEADERS)})
                        await send({"type": BODY, "body": NOT_FOUND_BODY})
                        return
                    if (
                        value.__class__ is AsyncGeneratorType
                        and quick
                        and request._response is None
                        and request._tytx is None
                    ):
                        await self._send_pieces(request, value, send)
                        return
                    await self._send_value(request, value, send)
                    return
                try:
                    body = encoder[0](value, encoder[2])
                except (TypeError, UnicodeEncodeError):
                    try:
                        body = encode(value)  # what the quick encoder of the class cannot take
                    except TypeError as unfit:
                        raise unfit from None
                length = len(body)
                request.phase = "sending"
                if self._note is not None:
                    self._note(request, 200)
                await send({
                    "type": START,
                    "status": 200,
                    "headers": [
                        request.endpoint.media_type_pair or encoder[1],
                        CONTENT_LENGTHS[length] if length < 1024 else (b"content-length", b"%d" % length),
                    ],
                })  # fmt: skip
                await send({"type": BODY, "body": body})
            except Exception as exc:
                error = exc
                await self._failed(request, exc, send)
        except asyncio.CancelledError as exc:
            error = exc
            await self._cancelled(request, exc, send)
        finally:
            live.pop(request, None)
            reset_current(token)
            if request.extra:
                await self._finish(request, error)
            error = None  # its traceback knows this frame, and with it the request and its body

    def _is_json(self, media_type: bytes, length: bytes) -> bool:
        return media_type == b"application/json" and length.isdigit() and len(length) <= self._length_digits

    def _learn(self, names: tuple[bytes, ...]) -> "HeadProfile":
        """The profile of a combination of header names; clients send the same one again and again."""
        profile = HeadProfile(names, self._head_count)
        if len(self._profiles) >= 1024:
            self._profiles.clear()
        if profile.size < 4096:
            self._profiles[names] = profile
        return profile

    def _check_head(self, scope: Scope) -> None:
        if self.dispatcher.head is not None:
            self.dispatcher.head.check(scope)

    async def _detour(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Hand the scope to whoever takes it before the routes do; False when nobody does."""
        raise NotImplementedError

    def _adopt_loop(self, request: BaseRequest) -> None:
        # The loop is kept because asking for it costs a system call on Python 3.11; it changes only between tests.
        self._loop = asyncio.get_running_loop()
        request.task = asyncio.current_task(self._loop)
        self.sweeper.start(self._loop)

    async def _run(self, request: HttpRequest, scope: Scope, receive: Receive, send: Send) -> Any:
        """The value for a request with something before its handler: an `init` of its own, typed values, hooks."""
        if self._own_init:
            task, created_at = request.task, request.created_at
            type(request).__init__(request)
            request.task, request.created_at = task, created_at
            await request.init(scope, receive, send, defer_body=True)
        if b"x-tytx-transport" in request.header_map:
            _ = request.tytx_transport  # an unknown one is refused before anything is done for it
        answer = await self.dispatcher.run_before(request)
        return self.dispatcher.enter(request, request.path, scope["method"], True) if answer is None else answer

    async def _send_pieces(self, request: HttpRequest, pieces: AsyncGeneratorType[Any, Any], send: Send) -> None:
        """A generator's pieces, where nobody wants to see a response first: what StreamingResponse.respond does."""
        # Whoever subscribes to events is told at once that they will come.
        kind: StreamingResponse = _EVENTS if request.endpoint.media_type == EVENT_STREAM else _PIECES
        first = b"" if kind is _EVENTS else await anext(pieces, b"")
        if request._response is not None:
            await self._send_value(request, Begun(first, pieces), send)
            return
        request.phase = "sending"
        if request.timer is not None:
            request.timer.cancel()
        if self._note is not None:
            self._note(request, 200)
        try:
            await send({"type": START, "status": 200, "headers": [request.endpoint.media_type_pair or _OCTETS]})
            request.sending = kind
            body = first if first.__class__ is bytes else kind.encode_piece(first)
            if body:
                await send({"type": BODY, "body": body, "more_body": True})

            async def emit(data: bytes) -> None:
                await send({"type": BODY, "body": data, "more_body": True})

            await send_pieces(pieces, kind.encode_piece, emit)
            await send({"type": BODY, "body": b"", "more_body": False})
        except OSError as error:
            if pieces.ag_frame is None:
                raise  # the generator's own failure
            raise ClientDisconnect("The client left before the answer was complete.") from error
        finally:
            if pieces.ag_frame is not None:
                await pieces.aclose()

    async def _send_value(self, request: HttpRequest, value: Any, send: Send) -> None:
        await self._send_response(request, await self.dispatcher.settle(request, value), send)

    async def _send_response(self, request: HttpRequest, response: Response, send: Send) -> None:
        request.phase, request.sending = "sending", response
        if request.timer is not None:
            request.timer.cancel()  # a deadline is for the handler: how long a download takes is the client's affair
        if self.draining:
            response.raw_headers = closing(response.raw_headers)
        if response.is_foreign:
            await response(request.scope, request._receive_again, send)
            return
        if not 200 <= response.status_code <= 599:
            raise ValueError(f"The status of an answer is 200 to 599, not {response.status_code}.")
        if response.is_streamed:
            if isinstance(response, StreamingResponse):
                response.gathers = True
            await response.respond(request.scope, send, self.files.run)
        else:
            status, headers, body = response.finish()
            response.started = True
            await send({"type": START, "status": status, "headers": headers})
            await send({"type": BODY, "body": b"" if request.scope["method"] == "HEAD" else body})
        self._spawn_background(request, response)

    def _spawn_background(self, request: BaseRequest, response: Response) -> None:
        if response.background is not None:
            run = getattr(response.background, "run", None)
            # Its blocking functions have threads of their own, so that they never stand before handlers.
            self.spawn(response.background() if run is None else run(self.background.run), request)

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
            if request.task is None or request.task.cancelling():
                raise exc  # the server's own will
            # The handler awaited something that was cancelled: that is its bug, and no reason to be silent.
            await self._failed(request, RuntimeError("the handler ended with CancelledError"), send)
            return
        if request.task is not None:
            request.task.uncancel()
        if reason == "ended":
            with suppress(OSError):
                await send({"type": BODY, "body": b"", "more_body": False})
            return
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
