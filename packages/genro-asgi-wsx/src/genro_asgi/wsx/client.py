"""The client for WSX over WebSocket: calls, streams and subscriptions on one connection that comes back by itself."""

import asyncio
import inspect
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import aclosing
from importlib.util import find_spec
from logging import getLogger
from time import monotonic
from typing import Any, Literal, Self

from genro_asgi.limits import Limits
from genro_asgi.trace import hand_on
from genro_asgi.wsx.answers import await_answer, await_items, milliseconds, seconds, within_budget
from genro_asgi.wsx.batch import MOST_BYTES
from genro_asgi.wsx.connection import Connection, Handler
from genro_asgi.wsx.credentials import Auth, AuthSource, ask, authorization
from genro_asgi.wsx.dial import dial
from genro_asgi.wsx.errors import WsxCallError
from genro_asgi.wsx.kinds import BINARY, TYPED_TEXT, Response
from genro_asgi.wsx.parsing import ParsedMessage
from genro_asgi.wsx.session import FEATURES, Session
from genro_asgi.wsx.streams import WINDOW
from genro_asgi.wsx.tytx.registry import BUILTIN_TYPES, TypeTable

__all__ = ["Auth", "Client", "WsxCallError", "connect"]

_log = getLogger("genro_asgi.wsx")

_MIB = 2**20
# Statuses of a handshake or hello that no second try changes.
_FINAL = frozenset({400, 401, 403, 404, 501})
# What a subscription ends with that went down with its connection.
_LOST = frozenset({"DISCONNECTED", "RESUME_LOST"})


def connect(url: str, auth: AuthSource = None, **options: Any) -> "Client":
    """A client for the server at a ws:// or http:// address; `async with` or await it. Options: see Client."""
    return Client(url, auth, **options)


class Client:
    """A connection to a WSX server, made anew whenever it is lost.

    A call that is under way when the connection is lost goes on over the next one where the server keeps sessions: it
    runs once. Else it fails with 503 DISCONNECTED, or 410 RESUME_LOST, because it may have run; a call made meanwhile
    waits for the next connection. WsxCallError is every error answer, and every answer that is none.
    """

    def __init__(
        self,
        url: str,
        auth: AuthSource = None,
        *,
        form: Literal["text", "msgpack"] = "text",
        timeout: float | None = None,
        reconnect: bool = True,
        resume: bool = True,
        first_delay: float = 0.5,
        max_delay: float = 30.0,
        max_message: int = 16 * _MIB,
        types: TypeTable = BUILTIN_TYPES,
        **options: Any,
    ) -> None:
        """`timeout` is seconds for each call that has none of its own, and none for streams.

        `auth` may be a function, async or not, that is asked at each connect. With `resume` calls go on over the next
        connection when one is lost; without, the server cancels them at once. The pause before the n-th new try is a
        random part of `first_delay` * 2**n, at most of `max_delay`. `types` are those of the values of all calls that
        have none of their own. Other options are those of `websockets.connect`.
        """
        if form not in ("text", "msgpack"):
            raise ValueError(f"Form {form!r} is unknown; use 'text' or 'msgpack'.")
        self.url = "ws" + url[4:] if url.startswith("http") else url
        self.timeout = seconds(timeout)
        #: what the server says who we are, and what it can do
        self.identity: Any = None
        self.features: frozenset[str] = frozenset()
        self._auth = auth
        self._types = types
        self._form = BINARY if form == "msgpack" else TYPED_TEXT
        self._reconnect = reconnect
        can = {
            "resume": reconnect and resume,
            "msgpack": find_spec("msgpack") is not None,
            "deflate": options.get("compression") is not None,
        }
        self._offered = FEATURES | {name for name, there in can.items() if there}
        self._delays = (first_delay, max_delay)
        self._limits = Limits(ws_message=max_message)
        self._options = {"max_size": max_message, "compression": None, **options}
        self._handlers: dict[str, Handler] = {}
        self._on_broadcast: Callable[[Any], Awaitable[None] | None] | None = None
        self._telling: set[asyncio.Future[None]] = set()
        self._connection: Connection | None = None
        self._ready = asyncio.Event()
        self._opening = asyncio.Lock()
        self._error: WsxCallError | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._old: set[Connection] = set()
        self._schema: tuple[str, dict[str, Any]] = ("", {})
        self._renewing: asyncio.Future[None] | None = None

    # -- the connection ----------------------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, Self]:
        return self.open().__await__()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> Self:
        """Connect; OSError when nobody is there, WsxCallError when the server will not have us.

        ValueError for an address that is none, ImportError without the extra `client`.
        """
        async with self._opening:
            if self._error is not None:
                raise self._error
            if self._keeper is None:
                self._connection = await self._connect()
                self._ready.set()
                self._keeper = asyncio.create_task(self._keep(self._connection), name="wsx-client-keep")
        return self

    async def close(self) -> None:
        """Close the connection; calls under way fail with 503 DISCONNECTED."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        self._give_up(WsxCallError(503, "the client was closed; connect a new one", code="DISCONNECTED"))
        for connection in {*self._old, *([self._connection] if self._connection else [])}:
            await connection.close()
            connection.give_up()
        self._old.clear()
        self._connection = None

    async def _connect(self, elder: Connection | None = None) -> Connection:
        auth = await ask(self._auth)
        options = dict(self._options)
        if isinstance(auth, str | tuple):
            options["additional_headers"] = [
                *_pairs(options.get("additional_headers")),
                ("authorization", authorization(auth)),
            ]
        socket = await dial(self.url, options)
        if elder is not None and elder.session.parked:
            session = elder.session
            session.reconnect()
        else:
            elder = None
            session = Session("client", limits=self._limits, types=self._types, form=self._form, default_timeout=None)
            session.on_unasked = self._unasked
        connection = Connection(socket, session, self._handlers, elder)
        try:
            await self._hello(connection, auth if isinstance(auth, dict) else None)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _hello(self, connection: Connection, auth: dict[str, Any] | None) -> None:
        data: dict[str, Any] = {"v": 1, "features": sorted(self._offered)}
        if auth is not None:
            data["auth"] = auth
        acks = connection.session.acks()
        if connection.elder is not None and connection.elder.kept is not None:
            data |= {"session": connection.elder.kept[0], "acks": acks}
        outgoing = connection.call("POST", "/_wsx/hello", data, timeout=10_000)
        try:
            answer = (await await_answer(outgoing)).data or {}
        except WsxCallError as error:
            if error.status != 404:  # an older server, which knows no hello
                raise
            answer = {}
        self.identity = answer.get("identity")
        self.features = connection.session.features = frozenset(answer.get("features") or ())
        most = (answer.get("limits") or {}).get("message")
        if type(most) is int:
            # A character is four bytes at most, and a frame over the limit is refused with all that is in it.
            connection.batch = min(MOST_BYTES, most // 4)
        suffixes = answer.get("types")
        if isinstance(suffixes, list):
            connection.session.escape(suffix for suffix in suffixes if isinstance(suffix, str))
        name, seconds = answer.get("session"), answer.get("resume_s")
        kept = None
        if "resume" in self.features and isinstance(name, str) and isinstance(seconds, int | float):
            kept = (name, float(seconds))
        connection.settle(kept, answer.get("resumed") is True, acks)

    async def _keep(self, connection: Connection) -> None:
        while True:
            await connection.leaving.wait()
            self._ready.clear()
            if not connection.session.parked:
                self._old.add(connection)
            if not self._reconnect:
                self._give_up(WsxCallError(503, "the connection was lost", code="DISCONNECTED"))
                return
            goaway = connection.session.peer_goaway
            await asyncio.sleep((goaway.after_ms / 1000 if goaway else 0) + random.uniform(0, self._delays[0]))
            try:
                connection = await self._connect_again(connection)
            except WsxCallError as error:
                connection.give_up()
                self._give_up(error)
                return
            self._old = {old for old in self._old if old.session.outgoing}
            self._connection = connection
            self._ready.set()

    async def _connect_again(self, elder: Connection) -> Connection:
        from websockets.exceptions import WebSocketException  # an extra; there has been a connection, so it is here

        first, most = self._delays
        for attempt in range(1_000_000):
            if attempt:
                # Full jitter: many clients of one server come back at as many times.
                await asyncio.sleep(random.uniform(0, min(first * 2 ** min(attempt, 30), most)))
            try:
                return await self._connect(elder)
            except WsxCallError as error:
                if error.status in _FINAL:
                    raise
            except (OSError, TimeoutError, WebSocketException):
                pass
            except Exception:
                # What `auth` raises may pass, as when it asks a server of its own.
                _log.exception("the client cannot connect to %s, and will try again", self.url)
        raise WsxCallError(503, "the server does not come back", code="DISCONNECTED")

    def _give_up(self, error: WsxCallError) -> None:
        self._error = error
        self._ready.set()

    async def _usable(self, timeout: float | None) -> Connection:  # noqa: ASYNC109 (it is that of the call)
        """The connection to make a call on, waited for where there is none."""
        while True:
            if self._error is not None:
                raise self._error
            if self._connection is None and not self._ready.is_set() and self._keeper is None:
                raise RuntimeError("The client is not connected; use `async with connect(...)`, or await it.")
            if self._connection is not None and await self._connection.lasts():
                return self._connection
            self._ready.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._ready.wait()
            except TimeoutError:
                raise WsxCallError(504, "there was no connection in time", retry=True) from None

    # -- calls -------------------------------------------------------------------------------------------------------

    async def get(self, path: str, query: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """The data of the answer to a GET; WsxCallError for an error. Options: see request."""
        return await self.call("GET", path, query=query, **options)

    async def post(self, path: str, data: Any = None, **options: Any) -> Any:
        """The data of the answer to a POST; data that is an async iterator is streamed."""
        return await self.call("POST", path, data, **options)

    async def put(self, path: str, data: Any = None, **options: Any) -> Any:
        """The data of the answer to a PUT."""
        return await self.call("PUT", path, data, **options)

    async def patch(self, path: str, data: Any = None, **options: Any) -> Any:
        """The data of the answer to a PATCH."""
        return await self.call("PATCH", path, data, **options)

    async def delete(self, path: str, query: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """The data of the answer to a DELETE."""
        return await self.call("DELETE", path, query=query, **options)

    async def call(self, method: str, path: str, data: Any = None, **options: Any) -> Any:
        """The data of the answer; a list of the items if the answer is a stream. Options: see request."""
        return (await self.request(method, path, data, **options)).data

    async def request(
        self,
        method: str,
        path: str,
        data: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (the server keeps it too)
        types: TypeTable | None = None,
    ) -> Response:
        """The whole answer, with status and headers; `timeout` is seconds, `types` what the values of both may be.

        The server has that time from when the call reaches it; one second later it is given up here. In a handler it is
        at most what is left to that. A call that the server refused unrun is made again: on the next connection if it
        goes away, after `auth` was asked for others if our credentials have ended. Cancelling the task cancels the
        call.
        """
        timeout = within_budget(self.timeout if timeout is None else seconds(timeout))
        given_up = None if timeout is None else monotonic() + timeout
        streamed = hasattr(data, "__aiter__")
        ends: list[WsxCallError] = []
        while True:
            connection = await self._usable(timeout)
            outgoing = connection.call(
                method,
                path,
                None if streamed else data,
                query=query,
                headers=hand_on(headers),
                cookies=cookies,
                timeout=milliseconds(timeout),
                stream=streamed,
                types=types,
            )
            try:
                return await await_answer(outgoing, data if streamed else None)
            except WsxCallError as error:
                ends.append(error)
                if streamed or path == "/_wsx/auth" or not await self._unrun(connection, ends):
                    raise
                timeout = None if given_up is None else max(given_up - monotonic(), 0.001)

    async def _unrun(self, connection: Connection, ends: list[WsxCallError]) -> bool:
        """Whether a call that ended so did not run, and what it lacked is there now."""
        error = ends[-1]
        if error.retry and error.code == "DRAINING":
            connection.leaving.set()
            return True
        # With new credentials that are refused, too, there is nothing left to try.
        if not error.retry or error.status != 401 or [end.status for end in ends].count(401) > 1:
            return False
        return await self._renew()

    async def stream(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        data: Any = None,
        *,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (the server keeps it too)
        window: int = WINDOW,
        types: TypeTable | None = None,
    ) -> AsyncGenerator[Any, None]:
        """The items of a streamed answer as they come; at most `window` of them wait here.

        The method is GET, or POST when there is data; data that is an async iterator is streamed too. Leaving the
        iteration cancels the call (with contextlib.aclosing() at once).
        """
        streamed = hasattr(data, "__aiter__")
        timeout = within_budget(seconds(timeout))
        ends: list[WsxCallError] = []
        begun = False
        while True:
            connection = await self._usable(timeout)
            outgoing = connection.call(
                method or ("GET" if data is None else "POST"),
                path,
                None if streamed else data,
                query=query,
                headers=hand_on(headers),
                timeout=milliseconds(timeout),
                stream=streamed,
                credit=window,
                types=types,
            )
            try:
                async with aclosing(await_items(outgoing, data if streamed else None)) as items:
                    async for item in items:
                        begun = True
                        yield item
                return
            except WsxCallError as error:
                ends.append(error)
                if begun or streamed or not await self._unrun(connection, ends):
                    raise

    async def subscribe(
        self,
        topic: str,
        filter: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        window: int = WINDOW,
        resubscribe: bool = True,
        types: TypeTable | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a topic, as {"event", "topic", "data"}; `*` is one segment of it and `**` the rest.

        Where the session does not go on over a new connection, the topic is subscribed to again on that, unless
        `resubscribe` is false; events that fell in between are lost then.
        """
        ends: list[WsxCallError] = []
        while True:
            connection = await self._usable(None)
            outgoing = connection.call("SUBSCRIBE", topic, filter, headers=hand_on(headers), credit=window, types=types)
            try:
                async with aclosing(await_items(outgoing)) as events:
                    async for event in events:
                        ends.clear()
                        if type(event) is dict and "event" in event:
                            yield event
                return
            except WsxCallError as error:
                ends.append(error)
                if await self._unrun(connection, ends):
                    continue
                if error.code not in _LOST or not resubscribe or self._error is not None:
                    raise
                connection.leaving.set()

    async def event(
        self, path: str, data: Any = None, method: str = "POST", *, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a message that is not answered."""
        (await self._usable(self.timeout)).session.event(method, path, data, headers=hand_on(headers))

    async def authenticate(self, auth: Auth) -> None:
        """Renew the credentials of the open connection, and of those that follow."""
        await self._show(await ask(auth))
        self._auth = auth

    async def _show(self, auth: Auth | None) -> None:
        if auth is None:
            raise WsxCallError(401, "there are no credentials to show")
        told = auth if isinstance(auth, dict) else {"authorization": authorization(auth)}
        answer = await self.call("POST", "/_wsx/auth", told)
        self.identity = answer.get("identity") if isinstance(answer, dict) else self.identity

    async def _show_anew(self) -> None:
        await self._show(await ask(self._auth))

    async def _renew(self) -> bool:
        """Show the server what `auth` gives now, once for all calls that find out at one moment that they have to."""
        if not callable(self._auth):
            return False
        if self._renewing is None:
            self._renewing = asyncio.ensure_future(self._show_anew())
            self._renewing.add_done_callback(self._renewed)
        try:
            await asyncio.shield(self._renewing)
        except WsxCallError:
            return False
        return True

    def _renewed(self, done: "asyncio.Future[None]") -> None:
        self._renewing = None
        if not done.cancelled():
            done.exception()  # those who wait are told; there may be none left

    async def schema(self) -> dict[str, Any]:
        """The server's OpenAPI document, with `x-wsx` at each operation; fetched again only when it has changed."""
        etag, known = self._schema
        answer = await self.request("GET", "/_wsx/schema", headers={"if-none-match": etag} if etag else None)
        if answer.status != 304:
            known = answer.data
            self._schema = (answer.headers.get("etag", ""), known)
        return known

    def on_broadcast(self, receiver: Callable[[Any], Awaitable[None] | None]) -> None:
        """Call a function, async or not, with what the server sends without being asked; the last one given counts."""
        self._on_broadcast = receiver

    def _unasked(self, message: ParsedMessage) -> None:
        if self._on_broadcast is None:
            return
        # The connection is not at fault.
        try:
            told = self._on_broadcast(message.data)
        except Exception:
            _log.exception("the receiver of broadcasts failed")
            return
        if inspect.isawaitable(told):
            task = asyncio.ensure_future(told)
            self._telling.add(task)
            task.add_done_callback(self._told)

    def _told(self, done: "asyncio.Future[None]") -> None:
        self._telling.discard(done)
        error = None if done.cancelled() else done.exception()
        if error is not None:
            _log.error("the receiver of broadcasts failed", exc_info=error)

    def handle(self, path: str, handler: Handler) -> None:
        """Let a function answer the calls and events the server sends to a path; it is given the call."""
        self._handlers[path if path.startswith("/") else f"/{path}"] = handler


def _pairs(headers: Any) -> list[tuple[str, str]]:
    return list(headers.items() if isinstance(headers, Mapping) else headers or ())
