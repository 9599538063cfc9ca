"""Everything a handler may ask about the exchange it is answering: HTTP requests, WSX messages and their registry.

BaseRequest (ABC)
 ├─ HttpRequest   an ASGI HTTP exchange
 └─ MsgRequest    one WSX message, over WebSocket or NATS (alias WsRequest)
HTTPConnection    (connection.py)
 └─ Request       a lazy, Starlette-compatible view over an ASGI scope (request_view.py)
"""

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from math import inf
from time import monotonic, time
from typing import TYPE_CHECKING, Any, ClassVar

from genro_asgi.base_response import Response
from genro_asgi.body import (
    check_length,
    content_length,
    decode_body,
    decode_json,
    fold_pairs,
    read_body,
    stream_body,
    too_large,
    tytx_transport,
)
from genro_asgi.budget import add_source
from genro_asgi.connection import HTTPConnection
from genro_asgi.datastructures.address import Address
from genro_asgi.datastructures.cookies import parse_cookies
from genro_asgi.datastructures.headers import Headers
from genro_asgi.datastructures.instances import TakenAsItIs
from genro_asgi.datastructures.query_params import QueryParams, parse_query, query_dict
from genro_asgi.datastructures.state import State
from genro_asgi.datastructures.url import URL, is_cut
from genro_asgi.delivery import Runner
from genro_asgi.exceptions import ClientDisconnect, HTTPBadRequest, HTTPUnsupportedMediaType
from genro_asgi.jsoncodec import dumps
from genro_asgi.limits import Limits
from genro_asgi.media_types import parse_parameters
from genro_asgi.request_view import Request
from genro_asgi.trace import TraceContext, add_source as add_trace_source, carried_headers, read_baggage, read_trace
from genro_asgi.types import Message, Receive, Scope, Send

if TYPE_CHECKING:
    from genro_asgi.datastructures.forms import FormData
    from genro_asgi.forms import FormPart
    from genro_asgi.spool import KeptBody
    from genro_asgi.wsx.tytx import TypeTable

__all__ = [
    "REQUEST_FACTORIES",
    "BaseRequest",
    "ClientDisconnect",
    "HTTPConnection",
    "HttpRequest",
    "MsgRequest",
    "Request",
    "RequestRegistry",
    "WsRequest",
    "current_request",
    "get_current_request",
    "set_current_request",
]

#: The request the running code answers; dispatchers set it, handlers read it through `get_current_request`.
current_request: ContextVar["BaseRequest | None"] = ContextVar("genro_asgi_current_request", default=None)

DEFAULT_LIMITS = Limits()
#: Bytes of a urlencoded body from which on it is not parsed on the loop.
LONG_FORM = 64 * 1024
#: The data of a request whose body nobody has decoded yet.
UNREAD: Any = object()


def get_current_request() -> "BaseRequest | None":
    """The request being answered, None outside of one."""
    return current_request.get()


def set_current_request(request: "BaseRequest | None") -> None:
    """Make `request` the one `get_current_request` gives in this context."""
    current_request.set(request)


def valid_request_id(value: str) -> bool:
    """Whether a client's x-request-id is kept: at most 128 printable ASCII characters."""
    return 0 < len(value) <= 128 and value.isascii() and value.isprintable()


class BaseRequest(TakenAsItIs, ABC):
    """What every handler can ask, whatever carried the request.

    Attributes live on the class until somebody sets them: a request that nobody asks costs nothing.
    """

    auth: dict[str, Any] | None = None
    created_at: float = 0.0
    endpoint: Any = None
    server: Any = None
    task: "asyncio.Task[Any] | None" = None
    _response: "Response | None" = None
    _app_name: str | None = None
    _auth_tags: list[str] | None = None
    _env_capabilities: list[str] | None = None
    _external_id: str | None = None
    _cleanups: list[Callable[[], Any]] | None = None
    _onerrs: list[Callable[[BaseException], Any]] | None = None
    _tytx: str | None = None
    _ctx: Any = None
    _trace: Any = UNREAD
    #: Whether something must be undone when the request ends.
    extra: bool = False

    @property
    @abstractmethod
    def id(self) -> str:
        """The correlation id: the client's x-request-id when it is fit, else a UUID."""

    @property
    def given_id(self) -> str | None:
        """What the client itself calls the exchange: its x-request-id; None without one that is fit for a log."""
        asked = self.told("x-request-id")
        return asked if valid_request_id(asked) else None

    @property
    def log_id(self) -> str:
        """The id that names the request in logs: what the client calls it, else its own."""
        return self.given_id or self.id

    def use_types(self, types: "TypeTable") -> None:
        """The route has types of its own, for the values that come and for those of the answer."""

    def told(self, name: str) -> str:
        """What a header says, by its lower-case name; empty without it, and repeated ones are joined by commas."""
        return self.headers.get(name, "")

    @property
    def trace(self) -> TraceContext | None:
        """Where this exchange stands in the trace its caller is part of, with a span of its own; None in no trace.

        Calls of WSX clients made here carry it. It can be set: what was set is what they carry.
        """
        if self._trace is UNREAD:
            parent = self.told("traceparent")
            self._trace = read_trace(parent, self.told("tracestate")) if parent else None
        trace: TraceContext | None = self._trace
        return trace

    @trace.setter
    def trace(self, trace: TraceContext | None) -> None:
        self._trace = trace

    @property
    def baggage(self) -> dict[str, str]:
        """What the callers before tell everybody on the way, by name: the W3C header, which anybody can write."""
        return read_baggage(self.told("baggage"))

    @property
    @abstractmethod
    def method(self) -> str:
        """The method, upper case."""

    @property
    @abstractmethod
    def path(self) -> str:
        """The path, percent-decoded, without the query."""

    @property
    @abstractmethod
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case; of a repeated name the last value."""

    @property
    @abstractmethod
    def cookies(self) -> dict[str, str]:
        """The cookies by name."""

    @property
    @abstractmethod
    def query(self) -> dict[str, Any]:
        """The query; a repeated name holds the list of its values."""

    @property
    @abstractmethod
    def data(self) -> Any:
        """The decoded body, None when there is none."""

    @property
    @abstractmethod
    def transport(self) -> str:
        """`http`, `websocket` or `nats`."""

    @abstractmethod
    async def init(self, scope: Scope, receive: Receive, send: Send | None = None, **kwargs: Any) -> None:
        """Take the exchange in; reads and parses what came with it."""

    @property
    def response(self) -> "Response":
        """The answer under construction: status, headers and cookies set here are sent with the handler's result."""
        if self._response is None:
            self._response = Response(request=self)
        return self._response

    @property
    def auth_tags(self) -> list[str]:
        """The tags of this request: of its credentials, or what middleware has put into the scope."""
        return self._auth_tags if self._auth_tags is not None else self._of_scope("auth_tags")

    @auth_tags.setter
    def auth_tags(self, tags: list[str]) -> None:
        self._auth_tags = tags

    @property
    def message_credentials(self) -> str | None:
        """The credentials a message brings in its own headers; those of an HTTP request are in its scope."""
        return None

    @property
    def env_capabilities(self) -> list[str]:
        """The capabilities the environment offers to this request: those set here, else those of the scope."""
        return self._env_capabilities if self._env_capabilities is not None else self._of_scope("env_capabilities")

    @env_capabilities.setter
    def env_capabilities(self, capabilities: list[str]) -> None:
        self._env_capabilities = capabilities

    def _of_scope(self, key: str) -> list[str]:
        found = (getattr(self, "scope", None) or {}).get(key) or ()
        return found.split(",") if isinstance(found, str) else list(found)

    @property
    def app_name(self) -> str | None:
        """The name the application that answers is mounted at; None before routing, and for the server's handlers."""
        app = getattr(self.endpoint, "app", None)
        while self._app_name is None and app is not None:
            self._app_name = getattr(app, "mount_name", None) or None
            app = getattr(app, "_routing_parent", None)
        return self._app_name

    @app_name.setter
    def app_name(self, name: str | None) -> None:
        self._app_name = name

    @property
    def external_id(self) -> str | None:
        """The id the client itself gave: x-external-id, or the id of the message."""
        return self._external_id

    @external_id.setter
    def external_id(self, value: str | None) -> None:
        self._external_id = value

    @property
    def tytx_mode(self) -> bool:
        """Whether this exchange speaks TYTX, both ways."""
        return self.tytx_transport is not None

    @tytx_mode.setter
    def tytx_mode(self, on: bool) -> None:
        self.tytx_transport = (self.tytx_transport or "json") if on else None

    @property
    def tytx_transport(self) -> str | None:
        """`json`, `msgpack` or `xml` in TYTX mode, else None."""
        return self._tytx

    @tytx_transport.setter
    def tytx_transport(self, transport: str | None) -> None:
        self._tytx = transport

    @property
    def age(self) -> float:
        """Seconds since the request was created."""
        return time() - self.created_at

    @property
    def time_left(self) -> float | None:
        """Seconds until the handler is cancelled because its time is over; None when it may take any time."""
        timer: asyncio.TimerHandle | None = getattr(self, "timer", None)
        return None if timer is None else max(timer.when() - monotonic(), 0.0)

    @property
    def ctx(self) -> Any:
        """The execution context: request, response, app, server, db, session."""
        if self._ctx is None and self.server is not None:
            self._ctx = self.server.make_context(self)
        return self._ctx

    @property
    def session(self) -> Any:
        """The session of this client; RuntimeError where there is no SessionMiddleware."""
        raise RuntimeError("There is no session: server.add_middleware(SessionMiddleware, secret_key=...) makes one.")

    @property
    def db(self) -> Any:
        """The database of the application that answers (its `db_name`), else the server's default one."""
        app = getattr(self.endpoint, "app", None)
        return self.get_db(getattr(app, "db_name", None) or "default")

    def get_db(self, name: str) -> Any:
        """A registered database by name, its connection closed when the request ends; KeyError names the unknown."""
        if self.server is None:
            raise RuntimeError(f"get_db({name!r}) needs a server; this request was made without one.")
        db = self.server.get_db(name)
        close = getattr(db, "closeConnection", None)
        if close is not None and close not in (self._cleanups or ()):
            self.add_cleanup(close)
        return db

    def add_cleanup(self, callback: Callable[[], Any]) -> None:
        """Run `callback` when the request ends, however it ends; the last added runs first."""
        self.extra = True
        if self._cleanups is None:
            self._cleanups = []
        self._cleanups.append(callback)

    def add_onerr(self, callback: Callable[[BaseException], Any]) -> None:
        """Run `callback` with the exception when the request fails, before the cleanups; the last added runs first."""
        self.extra = True
        if self._onerrs is None:
            self._onerrs = []
        self._onerrs.append(callback)

    async def run_cleanups(self, error: BaseException | None = None) -> list[Exception]:
        """Run what `add_onerr` and `add_cleanup` collected, once; what a callback raises is collected, not raised."""
        onerrs, cleanups = self._onerrs or [], self._cleanups or []
        self._onerrs = self._cleanups = None
        calls: list[Callable[[], Any]] = []
        if error is not None:
            calls += [lambda callback=callback: callback(error) for callback in reversed(onerrs)]  # type: ignore[misc]
        calls += reversed(cleanups)
        failures: list[Exception] = []
        for call in calls:
            try:
                result = call()
                if isinstance(result, Awaitable):
                    await result
            except Exception as failure:
                failures.append(failure)
        return failures

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} id={self.id!r} method={self.method} path={self.path!r} transport={self.transport}>"
        )


class HttpRequest(BaseRequest):
    """An HTTP exchange as handlers see it; nothing of it is decoded before somebody asks."""

    transport: ClassVar[str] = "http"  # pyright: ignore[reportIncompatibleMethodOverride]

    # What the dispatcher touches in every request. CPython specialises slots, and cannot specialise an attribute
    # that has a default on the class: that alone is a fifth of the price of a request.
    __slots__ = (
        "_body", "_data", "_receive", "_response", "_tytx", "body_read", "created_at", "endpoint", "extra",
        "phase", "scope", "task",
    )  # fmt: skip

    limits: Limits = DEFAULT_LIMITS
    max_body: int | None = None
    disconnected: bool = False
    #: Why the server cancels this request: `disconnected`, `deadline`, `body`, `ended` or `shutdown`.
    cancelled: str | None = None
    #: How many rounds of the sweeper the phase it saw last has lasted.
    ticks: int = 0
    swept_phase: str = ""
    chunks: int = 0
    sending: "Response | None" = None
    watcher: "asyncio.Task[None] | None" = None
    _told_again: bool = False
    timer: asyncio.TimerHandle | None = None
    _id: str | None = None
    _path: str | None = None
    _header_map: dict[bytes, bytes] | None = None
    _headers: dict[str, str] | None = None
    _cookies: dict[str, str] | None = None
    _query: dict[str, Any] | None = None
    _view: "Request | None" = None
    _form: "FormData | None" = None
    #: The raw body of a form that was parsed while it came.
    _kept: "KeptBody | None" = None
    _tytx_known: bool = False

    def __init__(self) -> None:
        # The HTTP endpoint writes the same lines out instead of calling this.
        self.scope: Scope = {}
        self._receive: Receive | None = None
        self.created_at: float = 0.0
        self.task: asyncio.Task[Any] | None = None
        self.endpoint: Any = None
        self.extra = False
        #: Where the exchange stands: `body` while it is read, `handler`, or `sending`.
        self.phase: str = "handler"
        self.body_read = False
        self._body: bytes = b""
        self._data: Any = UNREAD
        self._response: Response | None = None
        self._tytx: str | None = None

    def attach(self, scope: Scope, receive: Receive) -> None:
        """Take scope and receive, reading nothing yet."""
        self.scope = scope
        self._receive = receive

    async def init(
        self, scope: Scope, receive: Receive, send: Send | None = None, *, defer_body: bool = False, **kwargs: Any
    ) -> None:
        """Take the exchange in and, unless `defer_body`, read and parse its body (400, 413, ClientDisconnect)."""
        self.attach(scope, receive)
        self.created_at = self.created_at or time()
        if not defer_body:
            await self.load_body()
            self.parse_body()

    @property
    def id(self) -> str:
        """The client's x-request-id when it is fit, else a UUID made on first use."""
        if self._id is None:
            self._id = self.given_id or str(uuid.uuid4())
        return self._id

    @property
    def given_id(self) -> str | None:
        """As BaseRequest.given_id; of a repeated header the last counts."""
        raw = None
        if self._header_map is not None:
            raw = self._header_map.get(b"x-request-id")
        else:
            # Each line of the access log asks: to look costs a third of what the map of all headers would.
            for name, value in self.scope.get("headers") or ():
                if name == b"x-request-id":
                    raw = value
        if raw is None:
            return None
        asked = raw.decode("latin-1")
        return asked if valid_request_id(asked) else None

    @property
    def method(self) -> str:
        """The method, upper case."""
        method: str = self.scope.get("method", "GET")
        return method.upper()

    @property
    def path(self) -> str:
        """The path below the mount point (`root_path`) of the application."""
        if self._path is None:
            self._path = route_path(self.scope)
        return self._path

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case; of a repeated name the last value."""
        if self._headers is None:
            self._headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in self.header_map.items()}
        return self._headers

    @property
    def header_map(self) -> dict[bytes, bytes]:
        """The headers as the server gave them, in bytes; of a repeated name the last value."""
        if self._header_map is None:
            self._header_map = dict(self.scope.get("headers") or ())
        return self._header_map

    def told(self, name: str) -> str:
        """As BaseRequest.told."""
        key = name.encode("latin-1")
        if key not in self.header_map:
            return ""
        return ",".join(value.decode("latin-1") for field, value in self.scope["headers"] if field == key)

    def header(self, name: bytes, default: str = "") -> str:
        """One header by its lower-case name, without decoding the others."""
        value = self.header_map.get(name)
        return default if value is None else value.decode("latin-1")

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies of all Cookie headers, by name."""
        if self._cookies is None:
            lines = [v for k, v in self.scope["headers"] if k == b"cookie"] if b"cookie" in self.header_map else []
            self._cookies = parse_cookies(b"; ".join(lines).decode("latin-1"))
        return self._cookies

    @property
    def query(self) -> dict[str, Any]:
        """The query; a repeated name holds the list of its values, typed in TYTX mode."""
        if self._query is None:
            pairs = fold_pairs(parse_query(self.scope.get("query_string", b""), self.limits.query_pairs))
            if pairs and self.tytx_transport is not None:
                from genro_asgi.tytx_body import hydrate_query

                pairs = hydrate_query(pairs, getattr(self.endpoint, "types", None))
            self._query = pairs
            return pairs
        return self._query

    def query_values(self) -> dict[str, Any]:
        """The query as a binder wants it: of a repeated name the last value.

        Dispatchers ask for `tytx_transport` before, where there is anything to ask.
        """
        if self._tytx is not None:
            return {name: value[-1] if isinstance(value, list) else value for name, value in self.query.items()}
        raw = self.scope.get("query_string")
        return query_dict(raw, self.limits.query_pairs) if raw else {}

    @property
    def tytx_transport(self) -> str | None:
        """`json`, `msgpack` or `xml` when the request opted into TYTX; an unknown transport is a 400."""
        if not self._tytx_known:
            self._tytx_known = True
            asked = self.header_map.get(b"x-tytx-transport")
            self._tytx = tytx_transport(
                None if asked is None else asked.decode("latin-1"), self.header(b"content-type").lower()
            )
        return self._tytx

    @tytx_transport.setter
    def tytx_transport(self, transport: str | None) -> None:
        self._tytx_known = True
        self._tytx = transport

    @property
    def external_id(self) -> str | None:
        """The x-external-id header, or what was set."""
        return self._external_id or self.header(b"x-external-id") or None

    @external_id.setter
    def external_id(self, value: str | None) -> None:
        self._external_id = value

    @property
    def content_type(self) -> str | None:
        """The Content-Type header, None without one."""
        return self.header(b"content-type") or None

    def may_have_body(self) -> bool:
        """Whether a body can follow: by its headers, or by the method where HTTP/2 needs no header for it."""
        headers = self.header_map
        if b"content-length" in headers:
            return headers[b"content-length"] != b"0"
        return b"transfer-encoding" in headers or self.scope["method"] in ("POST", "PUT", "PATCH", "DELETE")

    async def load_body(self, max_body: int | None = None, raw: bool = False) -> None:
        """Read the body once; 413 over `max_body` (bytes, default `limits.max_body`), ClientDisconnect if cut.

        A multipart form is parsed while it arrives, unless `raw`: its large files are on disk then, and so is the
        body itself until somebody asks for it. 400, 413 and 431 for a malformed form or one over its limits.
        A long urlencoded form is parsed in a thread.
        """
        receive = self._receive
        if self.body_read or receive is None:
            return
        self.phase = "body"
        limit = self.limits.max_body if max_body is None else max_body
        headers = self.header_map
        if b"content-length" in headers:
            check_length(headers[b"content-length"], limit)
        if not raw and headers.get(b"content-type", b"")[:10].lower() == b"multipart/":
            await self._load_multipart(receive, limit)
        else:
            # The first message nearly always is the whole body: it is taken here, without a coroutine for it.
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                self._body = message.get("body") or b""
                if len(self._body) > limit:
                    raise too_large(limit)
            else:
                self._body = await read_body(receive, limit, on_chunk=self._count_chunk, first=message)
            if not raw and len(self._body) > LONG_FORM:
                await self._parse_long_form()
        self.body_read = True
        self.phase = "handler"

    async def _parse_long_form(self) -> None:
        from genro_asgi.forms import URLENCODED, parse_urlencoded

        if parse_parameters(self.header(b"content-type"))[0] == URLENCODED:
            # Undoing percent signs is slow, and a body may consist of them.
            self._data = fold_pairs(await self._runner(parse_urlencoded, self._body, self.limits))

    async def _load_multipart(self, receive: Receive, limit: int) -> None:
        from genro_asgi.forms import form_decoder, read_form
        from genro_asgi.spool import KeptBody

        decoder = form_decoder(self.header(b"content-type"), self.limits)
        if decoder is None:  # another kind of multipart is nothing we decode
            self._body = await read_body(receive, limit, on_chunk=self._count_chunk)
            return
        self._kept = keep = KeptBody(self.limits.upload_memory)
        self.add_cleanup(keep.close)
        async with aclosing(stream_body(receive, limit, on_chunk=self._count_chunk)) as chunks:
            self._take_form(await read_form(chunks, decoder, self.limits, self._runner, keep))

    def _take_form(self, form: "FormData") -> dict[str, Any]:
        self._form = form
        self.add_cleanup(form.close)
        self._data = fields = fold_pairs(form.multi_items())
        return fields

    @property
    def _runner(self) -> Runner:
        run: Runner = getattr(getattr(self.server, "files", None), "run", asyncio.to_thread)
        return run

    async def read_rest(self, first: Message) -> bytes:
        """The body whose first message was received already."""
        assert self._receive is not None
        return await read_body(self._receive, self.limits.max_body, self._count_chunk, first)

    def _count_chunk(self) -> None:
        self.chunks += 1

    def parse_body(self) -> None:
        """Decode the body now, so that malformed input is a 400 before the handler has done anything."""
        if self._body and self._data is UNREAD:
            self._data = self._decode()

    async def stream(self, max_body: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives, buffering nothing."""
        if self.body_read:
            if self._kept is not None and not self._body:
                self._body = await self._runner(self._kept.read)
            if self._body:
                yield self._body
            return
        limit = max_body or self.max_body or self.limits.max_body
        length = content_length(self.header_map.get(b"content-length"))
        assert self._receive is not None
        chunks = stream_body(self._receive, limit, length, self._count_chunk)
        while True:
            # While the client is waited for, its time runs and not the handler's; an answer on its way stays one.
            waiting = self.phase == "handler"
            if waiting:
                self.phase = "body"
            try:
                chunk = await anext(chunks, None)
            finally:
                if waiting:
                    self.phase = "handler"
            if chunk is None:
                break
            yield chunk
        self.body_read = True

    def form_stream(
        self,
        *,
        max_files: int | float | None = None,
        max_fields: int | float | None = None,
        max_part_size: int | None = None,
    ) -> AsyncGenerator["FormPart", None]:
        """Yield the fields and files of the form, while they arrive where the route takes its body as a stream.

        Limits and errors as in `Request.form_stream`.
        """
        from genro_asgi.forms import form_limits, stream_form

        limits = form_limits(self.limits, max_files, max_fields, max_part_size)
        return stream_form(self.stream(), self.header(b"content-type"), limits, self._runner)

    def keep(self, message: Message) -> None:
        """Take a body message that came while nobody was reading."""
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            self.body_read = True

    def start_deadline(self, seconds: float | None) -> None:
        """Cancel the handler after `seconds`, or after what the client asked for with x-request-timeout if sooner."""
        asked = self.header_map.get(b"x-request-timeout")
        if asked is not None:
            if not asked.isdigit() or len(asked) > 12 or int(asked) < 1:
                raise HTTPBadRequest("x-request-timeout must be a whole number of milliseconds above 0.")
            wanted = min(int(asked) / 1000, self.limits.max_request_timeout)
            seconds = wanted if seconds is None else min(wanted, seconds)
        if seconds is not None and self.task is not None:
            self.extra = True
            self.timer = self.task.get_loop().call_later(seconds, self.cancel, "deadline")

    def cancel(self, reason: str) -> None:
        """Cancel the task that answers this request, once."""
        if self.cancelled is None and self.task is not None:
            self.cancelled = reason
            self.task.cancel()

    @property
    def time_left(self) -> float | None:
        """Seconds until the handler is cancelled because its time is over; None when it may take any time."""
        limit = self.limits.handler_timeout
        if self.timer is not None or limit is None or self.phase != "handler":
            return super().time_left
        return max(limit - self.age, 0.0)

    @property
    def has_deadline(self) -> bool:
        """Whether the client said how long it waits."""
        return b"x-request-timeout" in self.header_map

    @property
    def has_credentials(self) -> bool:
        """Whether the client sent an Authorization header."""
        return b"authorization" in self.header_map

    def auth_scope(self) -> Scope:
        """The scope an authenticator reads."""
        return self.scope

    @property
    def body(self) -> bytes:
        """The raw bytes of the body; they are kept after parsing, those of a large multipart form on disk."""
        if self._kept is not None and not self._body:
            self._body = self._kept.read()
        return self._body

    @property
    def data(self) -> Any:
        """The decoded body: values of JSON or TYTX, the dict of a form, text, bytes, or None."""
        if self._data is UNREAD:
            self._data = self._decode()
        return self._data

    def _decode(self) -> Any:
        content_type = self.header(b"content-type")
        if content_type == "application/json" and self.tytx_transport is None and self._body:
            return decode_json(self._body, self.limits.json_depth)
        if self._body and content_type[:10].lower() == "multipart/":
            from genro_asgi.forms import form_decoder, form_of_bytes

            decoder = form_decoder(content_type, self.limits)
            if decoder is not None:
                return self._take_form(form_of_bytes(self._body, decoder, self.limits))
        return decode_body(self._body, content_type, self.tytx_transport, self.limits, self.endpoint)

    def use_types(self, types: "TypeTable") -> None:
        """Read and write the typed values of the exchange with the table of its route."""
        if self.tytx_transport is not None:
            self._query = None  # a hook may have read it before the route was known
        self.response.types = types

    @property
    def request(self) -> "Request":
        """The Starlette-compatible view of the same exchange."""
        if self._view is None:
            view = self._view = Request(self.scope, self._receive_again)
            view.run = self._runner
            view.limits, view.max_body = self.limits, self.max_body or self.limits.max_body
            if self.body_read:
                view._form, view._kept = self._form, self._kept
                if self._kept is None:
                    view._body = self._body
        return self._view

    async def _receive_again(self) -> Message:
        assert self._receive is not None
        if self.watcher is None:
            return await self._receive()
        # The watcher has taken what came; from here on only the end can come.
        if not self._told_again:
            self._told_again = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await asyncio.wait((self.watcher,))
        return {"type": "http.disconnect"}

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        scheme: str = self.scope.get("scheme", "http")
        return scheme

    @property
    def url(self) -> URL:
        """The full URL of the request."""
        return URL(scope=self.scope)

    @property
    def headers_obj(self) -> Headers:
        """The headers as a case-insensitive multidict."""
        return Headers(scope=self.scope)

    @property
    def query_params(self) -> QueryParams:
        """The query as a multidict of strings."""
        return QueryParams(self.scope.get("query_string", b""))

    @property
    def client(self) -> Address | None:
        """The peer's address, None over a Unix socket."""
        client = self.scope.get("client")
        return None if client is None else Address(*client)

    @property
    def state(self) -> State:
        """A bag for this request, filled with what the lifespan left in its state."""
        return State(self.scope.setdefault("state", {}))

    @property
    def session(self) -> Any:
        """The session of this client; RuntimeError where no session middleware is configured."""
        if "session" not in self.scope:
            return super().session
        return self.scope["session"]


def route_path(scope: Mapping[str, Any]) -> str:
    """The path below `root_path`, cut on a segment boundary only."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if not root or not path.startswith(root) or path[len(root) : len(root) + 1] not in ("", "/"):
        return path
    if is_cut(scope, root):
        return path  # by a mount
    return path[len(root) :] or "/"


class MsgRequest(BaseRequest):
    """One WSX message: it arrives complete, over a WebSocket or NATS; only the items of a client's stream follow."""

    # As in HttpRequest: what each call touches stands in slots.
    __slots__ = (
        "_parsed", "_response", "_tytx", "created_at", "endpoint", "extra", "phase", "scope", "task", "websocket",
    )  # fmt: skip

    limits: Limits = DEFAULT_LIMITS
    max_body: int | None = None
    transport_type: str = "websocket"
    body_read: bool = True
    #: Why the server cancels this call: `deadline` or `shutdown`.
    cancelled: str | None = None
    ticks: int = 0
    swept_phase: str = ""
    timer: asyncio.TimerHandle | None = None
    #: Who authenticated when the connection was made, or later on it.
    connection_auth: dict[str, Any] | None = None
    #: As whom a subscriber is shown to the others of its topic; its identity when nothing is set.
    present_as: Any = None
    #: Whether the authenticator is asked for each call, and not only for the connection.
    has_credentials: bool = False
    #: Deadlines of messages are kept by the session they came in.
    has_deadline: bool = False
    _id: str | None = None

    def __init__(self) -> None:
        # The WSX handler writes the same lines out instead of calling this.
        #: The message itself: its fields, and for calls of a session the way to answer them.
        self._parsed: Any = None
        self.scope: Scope | None = None
        self.websocket: Any = None
        self.created_at: float = 0.0
        self.task: asyncio.Task[Any] | None = None
        self.endpoint: Any = None
        self.extra = False
        #: `new` before its task has begun, then `handler`, then `sending`.
        self.phase: str = "handler"
        self._response: Response | None = None
        self._tytx: str | None = None

    async def init(
        self,
        scope: Scope | None = None,
        receive: Receive | None = None,
        send: Send | None = None,
        *,
        message: Any = None,
        websocket: Any = None,
        transport_type: str = "websocket",
        server: Any = None,
        **kwargs: Any,
    ) -> None:
        """Parse `message` (str or bytes, or an already parsed WSX message); ValueError without id or method."""
        from genro_asgi.wsx.messages import parse_message

        if message is None:
            raise ValueError("MsgRequest requires 'message' kwarg")
        if isinstance(message, bytearray | memoryview):
            message = bytes(message)
        parsed = parse_message(message) if isinstance(message, str | bytes) else message
        for name in ("method",) if getattr(parsed, "is_event", False) else ("id", "method"):
            if not getattr(parsed, name):
                raise ValueError(f"WSX message missing required '{name}' field")
        self.scope, self.websocket, self.transport_type = scope, websocket, transport_type
        self.server = server if server is not None else self.server
        self.created_at = self.created_at or time()
        self._parsed = parsed
        if parsed.typed:
            self._tytx = parsed.transport

    @property
    def message(self) -> Any:
        """The message as it was parsed."""
        return self._parsed

    @property
    def id(self) -> str:
        """The message's x-request-id when it is fit, else a UUID made on first use; its own id is `external_id`."""
        if self._id is None:
            asked = self.headers.get("x-request-id", "")
            self._id = asked if valid_request_id(asked) else str(uuid.uuid4())
        return self._id

    @property
    def given_id(self) -> str | None:
        """What the client itself calls it: its x-request-id if that is fit, else the id of the message, escaped."""
        own: str | None = self._parsed.id
        return super().given_id or (own if own is None or valid_request_id(own) else ascii(own)[1:-1])

    @property
    def external_id(self) -> str | None:
        """The id of the message, or what was set."""
        return self._external_id or self._parsed.id

    @external_id.setter
    def external_id(self, value: str | None) -> None:
        self._external_id = value

    @property
    def response(self) -> "Response":
        """The answer under construction: status, headers and cookies set here are sent with the handler's result."""
        if self._response is None:
            from genro_asgi.msg_response import MsgResponse

            self._response = MsgResponse()
        return self._response

    @property
    def client(self) -> Any:
        """The peer's address as the scope has it."""
        return None if self.scope is None else self.scope.get("client")

    @property
    def method(self) -> str:
        """The method, upper case."""
        method: str = self._parsed.method
        return method.upper()

    @property
    def path(self) -> str:
        """The path of the message."""
        return self._parsed.path or "/"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the message."""
        return self._parsed.headers or {}

    @property
    def message_credentials(self) -> str | None:
        """The `authorization` of the message itself."""
        return self.headers.get("authorization")

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies of the message."""
        return self._parsed.cookies or {}

    @property
    def query(self) -> dict[str, Any]:
        """The query of the message."""
        return self._parsed.query or {}

    def query_values(self) -> dict[str, Any]:
        """The query as a binder wants it."""
        return self._parsed.query or {}

    @property
    def data(self) -> Any:
        """The data of the message."""
        return self._parsed.fields.get("data")  # as its own `data` does, which would be one more call

    @property
    def body(self) -> bytes:
        """The data as bytes: those of bytes and texts, else JSON; empty without data."""
        data = self._parsed.data
        if data is None or isinstance(data, bytes):
            return data or b""
        return data.encode() if isinstance(data, str) else dumps(data)

    async def stream(self) -> AsyncIterator[Any]:
        """Yield the items of the client's stream as they come; without a stream the data, when there is any."""
        chunks = getattr(self._parsed, "chunks", None)
        if chunks is None:
            if self._parsed.data is not None:
                yield self._parsed.data
            return
        from genro_asgi.wsx.pump import iterate

        async for item in iterate(chunks):
            yield item

    def form_stream(self, **limits: Any) -> AsyncGenerator["FormPart", None]:
        """HTTPUnsupportedMediaType: messages bring no forms."""
        raise HTTPUnsupportedMediaType("A form can be sent over HTTP only.")

    @property
    def time_left(self) -> float | None:
        """Seconds until the handler is cancelled because its time is over; None when it may take any time."""
        ends = getattr(self._parsed, "deadline", None)
        of_route = super().time_left
        of_message = None if ends is None or ends == inf else max(ends - monotonic(), 0.0)
        return of_message if of_route is None else of_route if of_message is None else min(of_route, of_message)

    def may_have_body(self) -> bool:
        """Whether the data have to be looked at, which are here already: where the route limits them."""
        return self.endpoint is not None and self.endpoint.max_body is not None

    async def load_body(self, max_body: int | None = None, raw: bool = False) -> None:
        """413 when the data are over `max_body` bytes."""
        if max_body is not None and len(self.body) > max_body:
            raise too_large(max_body)

    def parse_body(self) -> None:
        """Nothing is left to be decoded."""

    def use_types(self, types: "TypeTable") -> None:
        """Write the answer with the table of the route; what came was read with it already."""
        if self._parsed.form.types is None:
            self._parsed.form = self._parsed.form._replace(types=types)

    def auth_scope(self) -> Scope:
        """The scope an authenticator reads: that of the handshake."""
        return self.scope or {"type": "websocket", "headers": []}

    def start_deadline(self, seconds: float | None) -> None:
        """Cancel the handler after `seconds`."""
        if seconds is not None and self.task is not None:
            self.extra = True
            self.timer = self.task.get_loop().call_later(seconds, self.cancel, "deadline")

    def cancel(self, reason: str) -> None:
        """Cancel the task that answers this call, once."""
        if self.cancelled is None and self.task is not None:
            self.cancelled = reason
            # A task that is cancelled before it began never runs, and would leave everything as it is.
            if self.phase != "new":
                self.task.cancel()

    @property
    def session(self) -> Any:
        """The session of this client; RuntimeError where no session middleware is configured."""
        if self.scope is None or "session" not in self.scope:
            return super().session
        return self.scope["session"]

    @property
    def transport(self) -> str:
        """`websocket` or `nats`."""
        return self.transport_type


WsRequest = MsgRequest


def _time_left() -> float | None:
    """What is left to the request that is being answered; what runs on after it has no limit."""
    request = current_request.get()
    if request is None or request.server is None or request not in request.server.request_registry.live:
        return None
    return request.time_left


add_source(_time_left)


def _trace_headers() -> dict[str, str] | None:
    """What calls carry that are made for the request that is being answered, and by what runs on after it."""
    request = current_request.get()
    return None if request is None else carried_headers(request.trace, request.told("baggage"))


add_trace_source(_trace_headers)

REQUEST_FACTORIES: dict[str, type[BaseRequest]] = {"http": HttpRequest, "websocket": MsgRequest}


class RequestRegistry:
    """Makes requests and knows the ones in flight.

    Two live requests that chose the same id are both listed.
    """

    def __init__(self, factories: Mapping[str, type[BaseRequest]] | None = None, server: Any = None) -> None:
        self.factories: dict[str, type[BaseRequest]] = dict(REQUEST_FACTORIES if factories is None else factories)
        self.current = current_request
        self.server = server
        #: In flight, oldest first. The key is the object itself: the ids are the clients' and may come twice.
        self.live: dict[BaseRequest, BaseRequest] = {}
        #: Called when a factory was registered: a server keeps what it has worked out of them.
        self.on_change: Callable[[], None] | None = None

    def register_factory(self, scope_type: str, factory: type[BaseRequest]) -> None:
        """Make requests of `scope_type` with `factory()` from now on."""
        self.factories[scope_type] = factory
        if self.on_change is not None:
            self.on_change()

    async def create(self, scope: Scope, receive: Receive, send: Send | None = None, **kwargs: Any) -> BaseRequest:
        """Make, initialise and register a request, and make it the current one; ValueError for an unknown type."""
        factory = self.factories.get(scope["type"])
        if factory is None:
            raise ValueError(f"No factory for scope type: {scope['type']!r}")
        request = factory()
        request.created_at = time()
        request.server = self.server
        await request.init(scope, receive, send, **kwargs)
        self.register(request)
        current_request.set(request)
        return request

    def register(self, request: BaseRequest) -> None:
        """List a request as in flight."""
        self.live[request] = request

    def unregister(self, request: BaseRequest | None = None) -> BaseRequest | None:
        """Take a request (default: the current one) off the list and give it back; None when there is none."""
        request = request if request is not None else current_request.get()
        if request is None:
            return None
        if current_request.get() is request:
            current_request.set(None)
        return self.live.pop(request, None)

    def get(self, request_id: str, default: BaseRequest | None = None) -> BaseRequest | None:
        """The newest live request with this id."""
        for request in reversed(list(self.live)):
            if request.id == request_id:
                return request
        return default

    def count_by_app(self, app_name: str) -> int:
        """How many requests in flight an application has."""
        return sum(request.app_name == app_name for request in self.live)

    def __len__(self) -> int:
        return len(self.live)

    def __iter__(self) -> Iterator[BaseRequest]:
        return iter(list(self.live))

    def __contains__(self, request_id: object) -> bool:
        return isinstance(request_id, str) and self.get(request_id) is not None

    def __repr__(self) -> str:
        return f"RequestRegistry(active={len(self.live)})"
