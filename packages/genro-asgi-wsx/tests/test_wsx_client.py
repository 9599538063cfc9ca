"""The client against a small server: the same Connection and Session, at the other end of a real socket."""

import asyncio
import contextlib
import queue
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

pytest.importorskip("websockets")

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from genro_asgi.limits import Limits
from genro_asgi.wsx.client import Client, connect
from genro_asgi.wsx.connection import Connection
from genro_asgi.wsx.errors import WsxCallError, WsxError
from genro_asgi.wsx.incoming import Incoming
from genro_asgi.wsx.pump import iterate
from genro_asgi.wsx.session import Session
from genro_asgi.wsx.subscriptions import Topics


class Server:
    """What the tests call; `port` stays the same when it is started again."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.port = 0
        self.limits = limits or Limits()
        self.connections: list[Connection] = []
        self.topics = Topics()
        self.topics_seen: list[dict[str, str]] = []
        self.seen: list[Any] = []
        self.waiting = asyncio.Event()
        self.ended = asyncio.Event()
        names = ("echo", "count", "wait", "fail", "refuse", "sum", "double", "back", "note", "endless")
        self.handlers = {f"/{name}": getattr(self, f"on_{name}") for name in names}
        self._server: Any = None

    async def start(self) -> None:
        self._server = await serve(self.serve, "127.0.0.1", self.port, compression=None, subprotocols=None)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()
        self.connections.clear()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def serve(self, socket: Any) -> None:
        self.seen.append(socket.request.headers.get("authorization"))
        session = Session("server", limits=self.limits)
        connection = Connection(socket, session, self.handlers)
        connection._start = lambda call: self.start_call(connection, call)  # type: ignore[method-assign]
        self.connections.append(connection)
        with contextlib.suppress(ConnectionClosed):
            await socket.wait_closed()
        await connection.close()

    def start_call(self, connection: Connection, call: Incoming) -> None:
        """As a server does: credentials and subscriptions first."""
        session = connection.session
        if call.control:
            good = call.data.get("token", call.data.get("auth", {}).get("token")) == "good"
            session.tell(session.welcome(call, "anna", "anna") if good else call.fail(401))
        elif call.method == "SUBSCRIBE":
            try:
                self.topics_seen.append(call.headers)
                self.topics.subscribe(call, "drop_oldest")
                self.waiting.set()
            except WsxError as error:
                session.tell(call.refuse(error))
        else:
            Connection._start(connection, call)

    def on_echo(self, call: Incoming) -> Any:
        return {"data": call.data, "query": call.query, "method": call.method}

    async def on_count(self, call: Incoming) -> AsyncIterator[int]:
        for number in range(call.query["n"]):
            yield number

    async def on_endless(self, call: Incoming) -> AsyncIterator[int]:
        number = 0
        try:
            while True:
                self.seen.append(number)
                yield number
                number += 1
        finally:
            self.ended.set()

    async def on_wait(self, call: Incoming) -> None:
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    def on_fail(self, call: Incoming) -> None:
        raise RuntimeError("secret")

    def on_refuse(self, call: Incoming) -> None:
        raise WsxCallError(403, "You may not.", details=[1])

    async def on_sum(self, call: Incoming) -> int:
        assert call.chunks is not None
        return sum([item async for item in iterate(call.chunks)])

    async def on_double(self, call: Incoming) -> AsyncIterator[Any]:
        assert call.chunks is not None
        async for item in iterate(call.chunks):
            yield item * 2

    async def on_back(self, call: Incoming) -> Any:
        """Asks the client something while it answers it."""
        outgoing = call.session.call("POST", "/ask", call.data, now=0.0)
        done = asyncio.Event()
        outgoing.on_change = done.set
        await done.wait()
        if outgoing.error is not None:
            raise outgoing.error
        assert outgoing.response is not None
        return outgoing.response.data

    def on_note(self, call: Incoming) -> None:
        self.seen.append(call.data)
        self.waiting.set()


@asynccontextmanager
async def server(limits: Limits | None = None) -> AsyncIterator[Server]:
    made = Server(limits)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def both(limits: Limits | None = None, **options: Any) -> AsyncIterator[tuple[Server, Client]]:
    async with server(limits) as made, connect(made.url, first_delay=0.01, **options) as wsx:
        yield made, wsx


async def until(true: Any) -> None:
    """Wait for what the loop has still to do."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0)


@pytest.mark.asyncio
@pytest.mark.parametrize("form", ["text", "msgpack"])
async def test_calls_keep_their_types(form: str) -> None:
    if form == "msgpack":
        pytest.importorskip("msgpack")
    async with both(form=form) as (_, wsx):
        sent = {"price": Decimal("9.90"), "name": "12::D", "raw": b"x"}
        assert await wsx.post("/echo", sent) == {"data": sent, "query": {}, "method": "POST"}
        assert await wsx.get("/echo", {"at": Decimal(1)}) == {
            "data": None,
            "query": {"at": Decimal(1)},
            "method": "GET",
        }
        for name in ("put", "patch"):
            assert (await getattr(wsx, name)("/echo", 1))["method"] == name.upper()
        assert (await wsx.delete("/echo", {"id": 1}))["method"] == "DELETE"
        answer = await wsx.request("GET", "/echo")
        assert (answer.status, answer.headers) == (200, {})
        assert wsx.features == {"stream", "credit", "cancel", "sub", "batch"}


@pytest.mark.asyncio
async def test_many_calls_at_once() -> None:
    async with both(Limits(ws_in_flight=4)) as (made, wsx):
        answers = await asyncio.gather(*(wsx.post("/echo", n) for n in range(300)))
        assert [answer["data"] for answer in answers] == list(range(300))
        assert made.connections[0].session.running == 0
        assert made.connections[0].session.held == 0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "status", "code", "text"),
    [
        ("/refuse", 403, "FORBIDDEN", "You may not."),
        ("/fail", 500, "INTERNAL", "Internal Server Error"),
        ("/nowhere", 404, "NOT_FOUND", "Not Found"),
    ],
)
async def test_errors(path: str, status: int, code: str, text: str) -> None:
    async with both() as (_, wsx):
        with pytest.raises(WsxCallError) as failure:
            await wsx.get(path)
        error = failure.value
        assert (error.status, error.code, error.text, error.retry) == (status, code, text, False)
        assert error.details == ([1] if status == 403 else None)
        assert str(error) == f"{status} {code}: {text}"


@pytest.mark.asyncio
async def test_streams() -> None:
    async with both() as (_, wsx):
        assert [item async for item in wsx.stream("/count", {"n": 100})] == list(range(100))
        assert await wsx.get("/count", {"n": 100}) == list(range(100))
        assert await wsx.get("/count", {"n": 0}) is None
        assert [item async for item in wsx.stream("/echo")] == [{"data": None, "query": {}, "method": "GET"}]


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@pytest.mark.asyncio
async def test_streams_to_the_server_and_both_ways() -> None:
    async with both() as (_, wsx):
        assert await wsx.post("/sum", numbers(200)) == sum(range(200))
        doubles = [item async for item in wsx.stream("/double", data=numbers(200))]
        assert doubles == [2 * number for number in range(200)]


@pytest.mark.asyncio
async def test_source_of_a_stream_that_fails() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise KeyError("source")

    async with both() as (made, wsx):
        with pytest.raises(KeyError, match="source"):
            await wsx.post("/sum", broken())
        with pytest.raises(KeyError, match="source"):
            async for _ in wsx.stream("/double", data=broken()):
                pass
        await until(lambda: not made.connections[0].session.streams)
        assert await wsx.post("/sum", numbers(2)) == 1


@pytest.mark.asyncio
async def test_leaving_a_stream_cancels_it() -> None:
    async with both() as (made, wsx):
        async with aclosing(wsx.stream("/endless", window=4)) as items:
            async for item in items:
                if item == 2:
                    break
        await asyncio.wait_for(made.ended.wait(), 10)
        assert max(n for n in made.seen if n is not None) <= 8
        await until(lambda: not made.connections[0].session.streams)


@pytest.mark.asyncio
async def test_slow_reader_holds_the_generator() -> None:
    async with both() as (made, wsx), aclosing(wsx.stream("/endless", window=4)) as items:
        assert await anext(items) == 0
        assert (await wsx.post("/echo", 1))["data"] == 1
        assert max(n for n in made.seen if n is not None) <= 4


@pytest.mark.asyncio
async def test_cancelling_the_task_cancels_the_call() -> None:
    async with both() as (made, wsx):
        task = asyncio.create_task(wsx.get("/wait"))
        await asyncio.wait_for(made.waiting.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(made.ended.wait(), 10)
        await until(lambda: made.connections[0].session.idle)


@pytest.mark.asyncio
async def test_deadline_is_kept_by_the_server() -> None:
    async with both() as (made, wsx):
        with pytest.raises(WsxCallError) as failure:
            await wsx.get("/wait", timeout=0.05)
        assert (failure.value.status, failure.value.code) == (504, "DEADLINE")
        assert failure.value.text == "Gateway Timeout"
        await asyncio.wait_for(made.ended.wait(), 10)


@pytest.mark.asyncio
async def test_subscription() -> None:
    async with both() as (made, wsx):
        events: list[Any] = []

        async def follow() -> None:
            async for event in wsx.subscribe("prices/*"):
                events.append((event["topic"], event["event"], event["data"]))
                if len(events) == 2:
                    return

        task = asyncio.create_task(follow())
        await asyncio.wait_for(made.waiting.wait(), 10)
        made.topics.publish("prices/a", "changed", Decimal("9.90"))
        made.topics.publish("other", "changed", 0)
        made.topics.publish("prices/b", "changed", Decimal(1))
        await asyncio.wait_for(task, 10)
        assert events == [("prices/a", "changed", Decimal("9.90")), ("prices/b", "changed", Decimal(1))]
        await until(lambda: not made.connections[0].session.streams)
        with pytest.raises(WsxCallError) as failure:
            await anext(wsx.subscribe("/**/x"))
        assert failure.value.code == "VALIDATION"


@pytest.mark.asyncio
async def test_server_calls_the_client() -> None:
    async with both() as (_, wsx):
        wsx.handle("ask", lambda call: [call.data, "answered"])
        assert await wsx.post("/back", 7) == [7, "answered"]

        async def later(call: Incoming) -> Any:
            await asyncio.sleep(0)
            raise RuntimeError("secret")

        wsx.handle("/ask", later)
        with pytest.raises(WsxCallError) as failure:
            await wsx.post("/back", 7)
        assert failure.value.status == 500


@pytest.mark.asyncio
async def test_events_and_broadcasts() -> None:
    async with both() as (made, wsx):
        heard: list[Any] = []
        wsx.on_broadcast(heard.append)
        await wsx.event("/note", {"n": 1})
        await asyncio.wait_for(made.waiting.wait(), 10)
        assert made.seen[-1] == {"n": 1}
        session = made.connections[0].session
        session.say({"id": "_broadcast", "status": 200, "data": "all"}, session.form)
        await until(lambda: heard)
        assert heard == ["all"]


@pytest.mark.asyncio
async def test_receivers_of_broadcasts_that_fail(caplog: pytest.LogCaptureFixture) -> None:
    """The connection and the calls on it are not concerned."""
    async with both() as (made, wsx):
        session = made.connections[0].session
        heard: list[Any] = []

        def receiver(data: Any) -> None:
            heard.append(data)
            raise ZeroDivisionError

        async def slow(data: Any) -> None:
            await asyncio.sleep(0)
            receiver(data)

        for at, told in enumerate((receiver, slow)):
            wsx.on_broadcast(told)
            session.say({"id": "_broadcast", "status": 200, "data": at}, session.form)
            assert (await wsx.get("/echo"))["method"] == "GET"
            await until(lambda at=at: len(heard) == at + 1 == len(caplog.records))
        assert [record.getMessage() for record in caplog.records] == ["the receiver of broadcasts failed"] * 2
        assert len(made.connections) == 1


@pytest.mark.asyncio
async def test_credentials() -> None:
    async with both(auth=("anna", "x")) as (made, wsx):
        assert made.seen == ["Basic YW5uYTp4"]
        assert wsx.identity is None
        await wsx.authenticate({"token": "good"})
        assert wsx.identity == "anna"
    async with both(auth=lambda: {"token": "good"}) as (_, wsx):
        assert wsx.identity == "anna"
    async with server() as made:
        with pytest.raises(WsxCallError) as failure:
            await connect(made.url, auth={"token": "bad"})
        assert failure.value.code == "UNAUTHENTICATED"


@pytest.mark.asyncio
async def test_lost_connection_is_made_again() -> None:
    async with both() as (made, wsx):
        task = asyncio.create_task(wsx.post("/wait"))
        await asyncio.wait_for(made.waiting.wait(), 10)
        made.connections[0].socket.transport.abort()
        with pytest.raises(WsxCallError) as failure:
            await task
        assert (failure.value.status, failure.value.code, failure.value.retry) == (503, "DISCONNECTED", False)
        assert (await wsx.post("/echo", 1))["data"] == 1
        assert len(made.connections) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [None, 1001, 1012])
async def test_a_server_that_was_started_anew_while_the_loop_stood_still(code: int | None) -> None:
    """As by a program that waits for it: no call is lost on a connection that is none any more."""
    urls: queue.Queue[str] = queue.Queue()
    stop, again = threading.Event(), threading.Event()

    async def serve() -> None:
        async with server() as made:
            urls.put(made.url)
            await asyncio.to_thread(stop.wait, 10)
            if code is None:
                made.connections[0].socket.transport.abort()
            else:
                made.connections[0].socket.close_timeout = 0.05  # it is not answered
                await made.connections[0].socket.close(code)
            await made.stop()
            await made.start()
            urls.put(made.url)
            await asyncio.to_thread(again.wait, 10)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        async with connect(urls.get(timeout=10), first_delay=0.01) as wsx:
            assert (await wsx.post("/echo", 1))["data"] == 1
            stop.set()
            urls.get(timeout=10)
            time.sleep(0.01)  # noqa: ASYNC251 (this is what it is about)
            assert (await wsx.post("/echo", 2, timeout=10))["data"] == 2
    finally:
        stop.set()
        again.set()
        thread.join(10)


@pytest.mark.asyncio
async def test_call_waits_for_a_server_that_comes_back() -> None:
    async with both(max_delay=0.02) as (made, wsx):
        await made.stop()
        with pytest.raises(WsxCallError) as failure:
            await wsx.post("/echo", 1, timeout=0.1)
        assert (failure.value.code, failure.value.retry) == ("DEADLINE", True)
        task = asyncio.create_task(wsx.post("/echo", 2))
        await made.start()
        assert (await asyncio.wait_for(task, 10))["data"] == 2


@pytest.mark.asyncio
async def test_subscription_survives_a_lost_connection() -> None:
    async with both() as (made, wsx), aclosing(wsx.subscribe("t")) as events:
        first = asyncio.ensure_future(anext(events))
        await asyncio.wait_for(made.waiting.wait(), 10)
        made.topics.publish("t", "e", 1)
        assert (await first)["data"] == 1
        made.waiting.clear()
        second = asyncio.ensure_future(anext(events))
        made.connections[0].socket.transport.abort()
        await asyncio.wait_for(made.waiting.wait(), 10)
        made.topics.publish("t", "e", 2)
        assert (await second)["data"] == 2


@pytest.mark.asyncio
async def test_goaway_finishes_here_and_goes_on_there() -> None:
    async with both() as (made, wsx):
        stream = wsx.stream("/double", data=forever())
        assert await anext(stream) == 0
        old = made.connections[0].session
        old.drain(asyncio.get_running_loop().time(), after_ms=1, grace_ms=5000)
        assert (await wsx.post("/echo", 1))["data"] == 1
        assert await anext(stream) == 2
        assert (len(made.connections), old.streams) == (2, 1)
        await stream.aclose()
        await asyncio.wait_for(made.connections[0].socket.wait_closed(), 10)


async def forever() -> AsyncIterator[int]:
    number = 0
    while True:
        yield number
        number += 1
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_without_reconnecting() -> None:
    async with both(reconnect=False) as (made, wsx):
        made.connections[0].socket.transport.abort()
        await until(lambda: wsx._error is not None)
        with pytest.raises(WsxCallError) as failure:
            await wsx.get("/echo")
        assert failure.value.code == "DISCONNECTED"


@pytest.mark.asyncio
async def test_after_close() -> None:
    async with both() as (made, wsx):
        task = asyncio.create_task(wsx.get("/wait"))
        await until(lambda: wsx._connection is not None and wsx._connection.session.outgoing)
        await wsx.close()
        for call in (task, wsx.get("/echo")):
            with pytest.raises(WsxCallError) as failure:
                await call
            assert failure.value.code == "DISCONNECTED"
        with pytest.raises(WsxCallError, match="the client was closed; connect a new one"):
            await wsx.open()
        assert len(made.connections) == 1


@pytest.mark.asyncio
async def test_opened_by_two_at_once() -> None:
    async with server() as made:
        wsx = connect(made.url)
        assert list(await asyncio.gather(wsx.open(), wsx.open())) == [wsx, wsx]
        assert len(made.connections) == 1
        await wsx.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("span", [0, -1, float("nan")])
async def test_a_timeout_that_is_none(span: float) -> None:
    with pytest.raises(ValueError, match=rf"^timeout is {span!r}; give seconds above 0, or None"):
        connect("ws://127.0.0.1:1", timeout=span)
    async with both() as (_, wsx):
        for call in (wsx.get("/echo", timeout=span), anext(wsx.stream("/count", {"n": 1}, timeout=span))):
            with pytest.raises(ValueError, match=r"^timeout is "):
                await call


@pytest.mark.asyncio
@pytest.mark.parametrize("form", ["text", "msgpack"])
@pytest.mark.parametrize("span", [float("inf"), 1e300, 1e12])
async def test_a_timeout_of_ages(form: str, span: float) -> None:
    if form == "msgpack":
        pytest.importorskip("msgpack")
    async with both(form=form) as (_, wsx):
        assert (await wsx.get("/echo", timeout=span))["method"] == "GET"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "url", ["foo", "ws://", "ws://[::1", "ws://h:99999", "ws://h:x", "ws://a@b@h", f"ws://{'h' * 300}"]
)
async def test_no_address(url: str) -> None:
    with pytest.raises(ValueError, match="is no address of a server; write ws://host:port or wss://host") as error:
        await connect(url)
    assert repr(url) in str(error.value)


@pytest.mark.asyncio
async def test_no_such_host() -> None:
    with pytest.raises(OSError, match=r"ws://user.invalid cannot be reached .*start the server, or correct") as error:
        await connect("ws://user:secret@user.invalid")
    assert "secret" not in str(error.value)


@pytest.mark.asyncio
async def test_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(TimeoutError, match=f"^{url} does not answer in time"):
            await connect(url, open_timeout=0.05)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("auth", "error", "text"),
    [
        (5, TypeError, "auth is int; give a text, a pair of user and password, or a dict"),
        (("a", 1), TypeError, "give user and password, both as text"),
        (("a",), TypeError, "give user and password, both as text"),
        ("Bearer secret\n", ValueError, "auth holds a control character, such as a line break; strip it"),
    ],
)
async def test_what_are_no_credentials(auth: Any, error: type[Exception], text: str) -> None:
    """They are not taken for none, and not told to anybody."""
    async with both() as (made, wsx):
        for given in (auth, lambda: auth):
            with pytest.raises(error, match=text) as failure:
                await connect(made.url, given)
            assert "secret" not in str(failure.value)
        with pytest.raises(error, match=text):
            await wsx.authenticate(auth)


@pytest.mark.asyncio
async def test_credentials_may_be_waited_for() -> None:
    async def auth() -> dict[str, str]:
        await asyncio.sleep(0)
        return {"token": "good"}

    async with server() as made, connect(made.url, auth) as wsx:
        assert wsx.identity == "anna"


@pytest.mark.asyncio
async def test_credentials_that_cannot_be_had_are_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[str] = []

    def auth() -> str:
        tries.append("once more")
        if 1 < len(tries) < 4:
            raise LookupError("the keys are somewhere else")
        return "Bearer x"

    async with server() as made, connect(made.url, auth, first_delay=0.01, max_delay=0.02) as wsx:
        made.connections[0].socket.transport.abort()
        await until(lambda: len(tries) > 1)
        assert (await asyncio.wait_for(wsx.post("/echo", 1), 10))["data"] == 1
    assert len(tries) == 4
    assert [record.exc_text for record in caplog.records if "LookupError" not in (record.exc_text or "")] == []
    assert len(caplog.records) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/_wsx/auth", "/echo"])
async def test_calls_and_streams_that_were_not_run_are_made_again(path: str, monkeypatch: Any) -> None:
    """Once for credentials that have ended; to show new ones is no such call."""
    shown: list[Any] = []

    def auth() -> dict[str, Any]:
        shown.append(1)
        return {"token": "good"}

    async with server() as made, connect(made.url, auth) as wsx:
        refused: list[Any] = []
        start = made.start_call

        def start_call(connection: Connection, call: Incoming) -> None:
            if call.path == path and len(refused) < (9 if path == "/_wsx/auth" else 1):
                refused.append(call.path)
                connection.session.tell(call.fail(401, retry=True))
            else:
                start(connection, call)

        made.start_call = start_call  # type: ignore[method-assign]
        if path == "/_wsx/auth":
            with pytest.raises(WsxCallError):
                await asyncio.wait_for(wsx.authenticate({"token": "good"}), 5)
            assert (len(refused), len(shown)) == (1, 1)
        else:
            assert (await wsx.get(path))["method"] == "GET"
            refused.clear()
            assert [item async for item in wsx.stream(path)] == [{"data": None, "query": {}, "method": "GET"}]
            assert len(shown) == 3


@pytest.mark.asyncio
async def test_nobody_there() -> None:
    async with server() as made:
        url = made.url
    with pytest.raises(ConnectionRefusedError, match=f"{url} cannot be reached .*; start the server, or"):
        await connect(url)
    with pytest.raises(RuntimeError, match="not connected"):
        await connect(url).get("/x")
    with pytest.raises(ValueError, match="'xml' is unknown"):
        connect(url, form="xml")


@pytest.mark.asyncio
async def test_large_messages() -> None:
    async with both(Limits(ws_message=2**22, ws_queue=2**16)) as (_, wsx):
        text = "x" * 900_000
        answers = await asyncio.gather(*(wsx.post("/echo", text) for _ in range(10)))
        assert [len(answer["data"]) for answer in answers] == [900_000] * 10


@pytest.mark.asyncio
async def test_what_is_sent_together_is_not_too_long_for_the_server() -> None:
    async with both(Limits(ws_message=4000)) as (_, wsx):
        answers = await asyncio.gather(*(wsx.post("/echo", "é" * 300) for _ in range(40)))
        assert [answer["data"] for answer in answers] == ["é" * 300] * 40


@pytest.mark.asyncio
async def test_calls_made_for_a_call_have_no_more_time() -> None:
    """The server asks the client, which asks the server again: the time is that of the first."""
    async with both() as (made, wsx):
        seen: list[int | None] = []
        made.handlers["/budget"] = lambda call: seen.append(call.fields.get("timeout"))

        async def ask(call: Incoming) -> None:
            await wsx.get("/budget")
            await wsx.get("/budget", timeout=0.5)

        wsx.handle("/ask", ask)
        await wsx.get("/budget")
        asked = made.connections[0].call("POST", "/ask", None, timeout=3000)
        async with asyncio.timeout(10):
            while not asked.done:
                await asyncio.sleep(0.01)
        assert asked.error is None
        assert seen[0] is None
        assert seen[1] is not None
        assert 1000 < seen[1] <= 3000
        assert seen[2] == 500


@pytest.mark.asyncio
async def test_calls_made_for_a_call_belong_to_its_trace() -> None:
    """The server asks the client, which asks the server in every way it can."""
    async with both() as (made, wsx):
        seen: list[dict[str, str]] = []
        places: list[Any] = []
        made.handlers["/place"] = lambda call: seen.append(call.headers)

        async def ask(call: Incoming) -> None:
            places.append(call.trace)
            assert call.trace is places[0]
            assert call.baggage == {"user": "ann"}
            await wsx.get("/place")
            await wsx.post("/place", headers={"x-kind": "mine", "traceparent": "mine"})
            async with aclosing(wsx.stream("/place")) as items:
                assert [item async for item in items] == []
            await wsx.event("/place", headers={"x-kind": "mine"})
            async with aclosing(wsx.subscribe("/news", headers={"x-kind": "mine"})) as events:
                taken = asyncio.ensure_future(anext(events))
                await made.waiting.wait()
                taken.cancel()
                await asyncio.wait([taken])

        wsx.handle("/ask", ask)
        wsx.handle("/plain", lambda call: places.append(call.trace))
        await wsx.get("/place")
        headers = {
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "tracestate": "congo=t61",
            "baggage": "user=ann;seen",
        }
        for path in ("/ask", "/plain"):
            asked = made.connections[0].call("POST", path, None, headers=headers if path == "/ask" else None)
            await until(lambda asked=asked: asked.done)
            assert asked.error is None
        place = places[0]
        assert (place.trace_id, place.parent_id) == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
        carried = {
            "traceparent": f"00-4bf92f3577b34da6a3ce929d0e0e4736-{place.span_id}-01",
            "tracestate": "congo=t61",
            "baggage": "user=ann;seen",
        }
        own = {"baggage": "user=ann;seen", "x-kind": "mine", "traceparent": "mine"}
        assert seen == [{}, carried, own, carried, carried | {"x-kind": "mine"}]
        assert made.topics_seen == [carried | {"x-kind": "mine"}]
        assert places[1:] == [None]


@pytest.mark.asyncio
async def test_no_call_is_made_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async with both() as (made, wsx):
        monkeypatch.setattr("genro_asgi.wsx.answers.time_left", lambda: 0.0)
        with pytest.raises(WsxCallError) as error:
            await wsx.get("/note")
        assert (error.value.status, error.value.code, error.value.retry) == (504, "DEADLINE", True)
        with pytest.raises(WsxCallError):
            await anext(wsx.stream("/count", {"n": 1}))
        assert made.seen == [None]
