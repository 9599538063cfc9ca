"""WSX in process: what a socket to a server is answered, without a network."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from genro_asgi.applications.asgi import AsgiApplication
from genro_asgi.exceptions import ConfigError, HTTPException, HTTPForbidden, WebSocketException
from genro_asgi.middleware.base import Middleware
from genro_asgi.middleware.registry import register_middleware
from genro_asgi.request import MsgRequest, get_current_request
from genro_asgi.response import JSONResponse, PlainTextResponse
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient
from genro_asgi.testing.websocket import WebSocketDenied, WebSocketSession
from genro_asgi.websocket import WebSocket

USERS = {"basic": {"ann": {"password": "pw", "tags": "staff"}}, "bearer": {"bot": {"token": "t0ken", "tags": "bots"}}}


@dataclass
class Point:
    x: int
    y: Decimal


class Site(AsgiServer):
    """One handler of each kind."""

    ended: list[str]

    @route()
    async def echo(self, body_data: Any) -> Any:
        return body_data

    @route()
    def sync(self, n: int = 1) -> dict[str, int]:
        return {"n": n}

    @route(inline=True)
    def now(self) -> str:
        return "inline"

    @route(methods="GET")
    async def only_get(self) -> str:
        return "got"

    @route()
    async def add(self, a: int, b: int = 0) -> int:
        return a + b

    @route()
    async def point(self) -> Point:
        return Point(1, Decimal("2.50"))

    @route()
    async def typed(self, body_data: Any) -> Any:
        return {"same": body_data, "day": date(2026, 1, 2)}

    @route()
    async def boom(self) -> None:
        raise RuntimeError("secret: /etc/passwd")

    @route()
    async def teapot(self) -> None:
        raise HTTPException(418, "short and stout", code="TEAPOT")

    @route()
    async def full(self, request: MsgRequest) -> dict[str, Any]:
        request.response.status_code = 201
        request.response.set_header("x-a", "1")
        request.response.set_cookie("c", "v w", max_age=60, httponly=True)
        current = get_current_request()
        return {"transport": request.transport, "current": current is request, "id": request.external_id}

    @route()
    async def plain(self) -> Any:
        return PlainTextResponse("text", 202, headers={"x-b": "2"})

    @route()
    async def told(self) -> Any:
        return JSONResponse([1, 2], 203)

    @route(media_type="text/csv")
    async def table(self) -> str:
        return "a;b"

    @route()
    async def file(self) -> Path:
        return Path(__file__)

    @route()
    async def nothing(self) -> None:
        return None

    @route()
    async def count(self, n: int, request: MsgRequest) -> AsyncIterator[Any]:
        request.add_cleanup(lambda: self.ended.append("count"))
        for i in range(n):
            yield i

    @route()
    def sync_count(self, n: int) -> Any:
        yield from range(n)

    @route()
    async def half(self) -> AsyncIterator[int]:
        yield 1
        raise ValueError("secret")

    @route()
    async def endless(self, request: MsgRequest) -> AsyncIterator[int]:
        try:
            n = 0
            while True:
                yield n
                n += 1
                await asyncio.sleep(0)
        finally:
            self.ended.append("endless")

    @route()
    async def wait(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append("wait")

    @route(timeout=0.05)
    async def late(self) -> None:
        await asyncio.Event().wait()

    @route(on_disconnect="finish")
    async def finish(self) -> None:
        await asyncio.sleep(0.05)
        self.ended.append("finish")

    @route()
    async def shielded(self, request: MsgRequest) -> None:
        request.message.shielded = True
        await asyncio.sleep(0.05)
        self.ended.append("shielded")

    @route()
    async def misled(self) -> None:
        raise asyncio.CancelledError

    @route()
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([n async for n in numbers])

    @route()
    async def double(self, body_stream: Any) -> AsyncIterator[int]:
        async for n in body_stream:
            yield 2 * n

    @route(auth_rule="staff")
    async def staff(self, request: MsgRequest) -> Any:
        assert request.auth is not None
        return request.auth["identity"]

    @route(subscribe=True)
    async def prices(self, symbol: str) -> Any:
        if symbol == "secret":
            raise HTTPForbidden("not for you")
        return {"last": 1} if symbol == "acme" else None

    @route(subscribe="block")
    async def log(self) -> None:
        return None

    @route(subscribe="close")
    async def strict(self) -> None:
        return None

    @route(subscribe=True, presence=True)
    async def room(self, request: MsgRequest) -> None:
        request.present_as = (request.data or {}).get("name")

    @route(websocket=True)
    async def raw(self, websocket: WebSocket, name: str = "x") -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            if text == "die":
                raise RuntimeError("secret")
            if text == "leave":
                raise WebSocketException(4000, "as you wish")
            await websocket.send_text(f"{name}:{text}")

    @route(websocket=True, auth_rule="staff")
    async def raw_staff(self, websocket: Any) -> None:
        await websocket.accept()
        await websocket.send_text("in")

    @route(websocket=True)
    async def raw_refuses(self, websocket: Any) -> None:
        raise HTTPException(409, "not now")

    @route(websocket=True)
    async def raw_silent(self, websocket: Any) -> None:
        return


def make(**options: Any) -> Site:
    server = Site(auth=USERS, **options)
    server.ended = []
    return server


class Wsx:
    """The client's side of a socket."""

    def __init__(self, socket: WebSocketSession) -> None:
        self.socket = socket

    async def send(self, **fields: Any) -> None:
        await self.socket.send_text("WSX://" + json.dumps(fields))

    async def next(self) -> dict[str, Any]:
        text = await self.socket.receive_text()
        assert text.startswith("WSX://")
        answer: dict[str, Any] = json.loads(text[6:].removesuffix("::JS"))
        return answer

    async def call(self, path: str, data: Any = None, method: str = "POST", **fields: Any) -> dict[str, Any]:
        await self.send(id="c", method=method, path=path, data=data, **fields)
        answer = await self.next()
        assert answer.pop("id") == "c"
        return answer

    async def until_end(self) -> list[dict[str, Any]]:
        """The answers up to the first that is no item of a stream."""
        answers = [await self.next()]
        while answers[-1].get("stream"):
            answers.append(await self.next())
        return answers


@asynccontextmanager
async def connected(server: AsgiServer, path: str = "/", **options: Any) -> AsyncIterator[Wsx]:
    async with AsyncClient(server) as client, client.websocket(path, ["wsx.1"], **options) as socket:
        yield Wsx(socket)


async def until(condition: Any) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to pass")


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ({"path": "/echo", "data": {"a": [1, None, "x"]}}, {"status": 200, "data": {"a": [1, None, "x"]}}),
        ({"path": "/echo", "data": 5}, {"status": 200, "data": 5}),
        ({"path": "/sync", "query": {"n": "4"}}, {"status": 200, "data": {"n": 4}}),
        ({"path": "/sync", "query": {"n": 4}}, {"status": 200, "data": {"n": 4}}),
        ({"path": "/now", "method": "GET"}, {"status": 200, "data": "inline"}),
        ({"path": "/add/2", "data": {"b": 3}}, {"status": 200, "data": 5}),
        ({"path": "/add/2/3", "method": "get"}, {"status": 200, "data": 5}),
        ({"path": "/point"}, {"status": 200, "data": {"x": 1, "y": "2.50"}}),
        ({"path": "/nothing"}, {"status": 200}),
        ({"path": "/plain"}, {"status": 202, "data": "text", "headers": {"x-b": "2"}}),
        ({"path": "/told"}, {"status": 203, "data": [1, 2]}),
        ({"path": "/table"}, {"status": 200, "data": "a;b", "headers": {"content-type": "text/csv; charset=utf-8"}}),
        (
            {"path": "/full"},
            {
                "status": 201,
                "data": {"transport": "websocket", "current": True, "id": "c"},
                "headers": {"x-a": "1"},
                "cookies": {"c": {"value": "v w", "max_age": 60, "path": "/", "httponly": True, "samesite": "lax"}},
            },
        ),
    ],
)
@pytest.mark.asyncio
async def test_calls_are_answered(call: dict[str, Any], answer: dict[str, Any]) -> None:
    async with connected(make()) as wsx:
        assert wsx.socket.accepted_subprotocol == "wsx.1"
        assert await wsx.call(**{"method": "POST", **call}) == answer


@pytest.mark.parametrize(
    ("call", "status", "code", "text"),
    [
        ({"path": "/nowhere"}, 404, "NOT_FOUND", "Not Found"),
        ({"path": "/only_get"}, 405, "BAD_METHOD", "/only_get does not answer POST."),
        ({"path": "/sync", "query": {"n": "x"}}, 400, "VALIDATION", "Parameter 'n' must be an integer."),
        ({"path": "/add"}, 400, "VALIDATION", "Parameter 'a' is missing."),
        ({"path": "/teapot"}, 418, "TEAPOT", "short and stout"),
        ({"path": "/boom"}, 500, "INTERNAL", "Internal Server Error"),
        ({"path": "/misled"}, 500, "INTERNAL", "Internal Server Error"),
        ({"path": "/late"}, 504, "DEADLINE", "Gateway Timeout"),
        ({"path": "/wait", "timeout": 20}, 504, "DEADLINE", None),
        ({"path": "/staff"}, 401, "UNAUTHENTICATED", "Credentials are needed"),
        ({"path": "/raw"}, 426, "ERROR_426", None),
        ({"path": "/prices/acme"}, 405, "BAD_METHOD", None),
    ],
)
@pytest.mark.asyncio
async def test_failures_have_the_one_body(call: dict[str, Any], status: int, code: str, text: str | None) -> None:
    async with connected(make()) as wsx:
        answer = await wsx.call(**call)
        data = answer["data"]
        assert (answer["status"], data["status"], data["code"], data["retry"]) == (status, status, code, False)
        assert data["error"] == data["detail"] == (text if text is not None else data["detail"])
        assert "secret" not in json.dumps(answer)
        assert (await wsx.call("/echo", 1))["data"] == 1


@pytest.mark.asyncio
async def test_typed_messages_are_answered_typed() -> None:
    async with connected(make()) as wsx:
        await wsx.socket.send_text('WSX://{"id":"1","method":"POST","path":"/typed","data":{"p":"9.90::N"}}::JS')
        text = await wsx.socket.receive_text()
    assert text == ('WSX://{"id":"1","status":200,"data":{"same":{"p":"9.90::N"},"day":"2026-01-02::D"}}::JS')


@pytest.mark.asyncio
async def test_messagepack_is_answered_in_messagepack() -> None:
    msgpack = pytest.importorskip("msgpack")
    async with connected(make()) as wsx:
        call = {"id": "1", "method": "POST", "path": "/point"}
        await wsx.socket.send_bytes(msgpack.packb(call))
        answer = msgpack.unpackb(await wsx.socket.receive_bytes(), ext_hook=lambda code, data: data)
    assert (answer["id"], answer["status"], answer["data"]["x"]) == ("1", 200, 1)


@pytest.mark.asyncio
async def test_a_file_is_an_answer_and_one_too_long_is_not() -> None:
    async with connected(make()) as wsx:
        answer = await wsx.call("/file")
        assert answer["data"] == base64.b64encode(Path(__file__).read_bytes()).decode() or answer["data"].startswith(
            '"""WSX in process'
        )
    async with connected(make(limits={"ws_message": 1000})) as wsx:
        answer = await wsx.call("/file")
        assert (answer["status"], answer["data"]["code"]) == (500, "REPLY_TOO_LARGE")


@pytest.mark.parametrize("path", ["/count", "/sync_count"])
@pytest.mark.asyncio
async def test_generators_stream(path: str) -> None:
    server = make()
    async with connected(server) as wsx:
        await wsx.send(id="1", method="GET", path=path, query={"n": 3})
        answers = await wsx.until_end()
        assert [(a["seq"], a.get("data"), a.get("stream", False)) for a in answers] == [
            (0, 0, True), (1, 1, True), (2, 2, True), (3, None, False),
        ]  # fmt: skip
        await until(lambda: len(server.request_registry) == 0)
    assert server.ended == (["count"] if path == "/count" else [])


@pytest.mark.asyncio
async def test_a_stream_that_fails_says_so_in_the_end() -> None:
    async with connected(make()) as wsx:
        await wsx.send(id="1", method="GET", path="/half")
        answers = await wsx.until_end()
    assert [a["status"] for a in answers] == [200, 500]
    assert "secret" not in json.dumps(answers)


@pytest.mark.asyncio
async def test_credit_holds_a_stream_and_cancel_ends_it() -> None:
    server = make()
    async with connected(server) as wsx:
        await wsx.send(id="1", method="GET", path="/endless", credit=2)
        assert [(await wsx.next())["seq"] for _ in range(2)] == [0, 1]
        assert await wsx.call("/echo", "between") == {"status": 200, "data": "between"}
        await wsx.send(id="1", credit=1)
        assert (await wsx.next())["seq"] == 2
        await wsx.send(method="POST", path="/_wsx/cancel", data={"id": "1"})
        end = await wsx.next()
        assert (end["id"], end["status"], end["data"]["code"]) == ("1", 499, "CANCELLED")
        await until(lambda: server.ended == ["endless"])
        assert len(server.request_registry) == 0


ENDLESS: dict[str, Any] = {"method": "GET", "path": "/endless", "credit": 1}
LISTENING: dict[str, Any] = {"method": "SUBSCRIBE", "path": "/log"}
TALKING: dict[str, Any] = {"method": "POST", "path": "/total", "stream": True}


@pytest.mark.parametrize(
    ("fields", "first", "status"),
    [
        (ENDLESS, True, 499),
        (ENDLESS | {"timeout": 5}, True, 504),
        (ENDLESS | {"credit": 0}, False, 499),
        (LISTENING, True, 499),
        (TALKING, False, 499),
        (TALKING | {"timeout": 5}, False, 504),
        ({"method": "GET", "path": "/half"}, True, 500),
        ({"method": "GET", "path": "/count/1"}, True, 200),
    ],
    ids=lambda value: " ".join(str(part) for part in value.values()) if isinstance(value, dict) else str(value),
)
@pytest.mark.asyncio
async def test_streams_that_have_ended_are_not_counted(fields: dict[str, Any], first: bool, status: int) -> None:
    """However they ended: of the next 256 none is one too many."""
    server = make(limits={"ws_streams": 3})
    async with connected(server) as wsx:
        for number in range(10):
            await wsx.send(id=str(number), **fields)
            if first:
                assert (await wsx.next())["status"] == 200
            if status == 499:
                await wsx.send(method="POST", path="/_wsx/cancel", data={"id": str(number)})
            assert (await wsx.next())["status"] == status
            await until(lambda: len(server.request_registry) == 0)


@pytest.mark.asyncio
async def test_the_client_streams_and_both_do() -> None:
    async with connected(make()) as wsx:
        for id, path in (("1", "/total"), ("2", "/double")):
            await wsx.send(id=id, method="POST", path=path, stream=True)
            for seq in range(3):
                await wsx.send(id=id, seq=seq, data=seq + 1, stream=seq < 2)
        one = await wsx.next()
        assert (one["id"], one["data"]) == ("1", 6)
        two = await wsx.until_end()
        assert [a.get("data") for a in two] == [2, 4, 6, None]
        assert await wsx.call("/total", None) == {"status": 200, "data": 0}


@pytest.mark.asyncio
async def test_a_gap_in_the_clients_stream_ends_the_call() -> None:
    async with connected(make()) as wsx:
        await wsx.send(id="1", method="POST", path="/total", stream=True)
        await wsx.send(id="1", seq=1, data=1, stream=True)
        answer = await wsx.next()
        assert (answer["status"], answer["data"]["code"]) == (500, "STREAM_GAP")


@pytest.mark.asyncio
async def test_a_client_that_goes_takes_its_calls_along() -> None:
    server = make()
    async with AsyncClient(server) as client:
        async with client.websocket("/", ["wsx.1"]) as socket:
            wsx = Wsx(socket)
            for id, path in (("1", "/wait"), ("2", "/endless"), ("3", "/finish")):
                await wsx.send(id=id, method="GET", path=path, credit=1)
            assert (await wsx.next())["id"] == "2"
        await until(lambda: len(server.ended) == 3)
        assert sorted(server.ended) == ["endless", "finish", "wait"]
        assert server.ended[-1] == "finish"
        assert (len(server.request_registry), len(server.wsx)) == (0, 0)


@pytest.mark.parametrize("fields", [{}, {"timeout": 10}])
@pytest.mark.asyncio
async def test_a_shielded_handler_runs_on_and_is_not_heard(fields: dict[str, Any]) -> None:
    server = make()
    async with connected(server) as wsx:
        await wsx.send(id="1", method="POST", path="/shielded", **fields)
        if not fields:
            await until(lambda: len(server.request_registry) == 1)
            await wsx.send(method="POST", path="/_wsx/cancel", data={"id": "1"})
        assert (await wsx.next())["status"] == (504 if fields else 499)
        await until(lambda: server.ended == ["shielded"])
        await until(lambda: len(server.request_registry) == 0)
        assert (await wsx.call("/echo", 1))["data"] == 1  # and nothing in between


@pytest.mark.asyncio
async def test_ten_slow_calls_do_not_delay_a_ping() -> None:
    async with connected(make(websocket={"max_in_flight": 10})) as wsx:
        for n in range(15):
            await wsx.send(id=f"w{n}", method="GET", path="/wait")
        assert await wsx.call("/_wsx/ping", {"t": 1}) == {"status": 200, "data": {"t": 1}}
        await wsx.send(method="POST", path="/_wsx/cancel", data={"id": "w0"})
        assert (await wsx.next())["id"] == "w0"
        await wsx.send(method="POST", path="/_wsx/cancel", data={"id": "w14"})
        assert (await wsx.next())["id"] == "w14"


@pytest.mark.asyncio
async def test_calls_that_waited_begin_one_after_the_other() -> None:
    async with connected(make(websocket={"max_in_flight": 400})) as wsx:
        for n in range(400):
            await wsx.send(id=f"w{n}", method="GET", path="/wait")
        for n in range(399):  # one more, and nothing would be read until there is a place
            await wsx.send(id=f"e{n}", method="POST", path="/echo", data=n)
        await wsx.send(method="POST", path="/_wsx/cancel", data={"id": "w0"})
        assert (await wsx.next())["id"] == "w0"
        assert [(await wsx.next())["data"] for _ in range(399)] == list(range(399))


@pytest.mark.parametrize(
    ("frame", "id", "status", "code"),
    [
        ("garbage", None, 400, "MALFORMED"),
        ("WSX://{", None, 400, "MALFORMED"),
        (b"\xff\x00", None, 400, "MALFORMED"),
        ('WSX://{"id":"7","method":"GET","path":"/' + "x" * 3000, "7", 413, "TOO_LARGE"),
        ('WSX://{"id":"7","method":"GET"', "7", 400, "MALFORMED"),
        ('{"id":"7","method":"BREW","path":"/"}', "7", 405, "BAD_METHOD"),
        ('{"id":"7","method":"GET","path":"/a/../b"}', "7", 400, "BAD_ENVELOPE"),
        ('{"id":"7","method":"GET","status":200}', "7", 400, "MALFORMED"),
        ('{"id":"7"}', "7", 400, "BAD_ENVELOPE"),
        ('{"id":7,"method":"GET"}', None, 400, "BAD_ENVELOPE"),
        ('WSX://{"id":"7","method":"POST","path":"/echo","data":"x::N"}::JS', "7", 400, "BAD_VALUE"),
        ("[" * 500, None, 400, "MALFORMED"),
        ("", None, 400, "MALFORMED"),
    ],
)
@pytest.mark.asyncio
async def test_what_is_no_good_is_answered_and_kills_nothing(
    frame: str | bytes, id: str | None, status: int, code: str
) -> None:
    async with connected(make(limits={"ws_message": 2000})) as wsx:
        send = wsx.socket.send_text if isinstance(frame, str) else wsx.socket.send_bytes
        await send(frame)  # type: ignore[arg-type]
        message = await wsx.socket.receive_message()
        text = message.get("text")
        if text is not None:
            answer = json.loads(text.removeprefix("WSX://"))
            assert (answer["id"], answer["status"], answer["data"]["code"]) == (id, status, code)
        assert await wsx.call("/echo", 1) == {"status": 200, "data": 1}


@pytest.mark.asyncio
async def test_what_needs_no_answer_gets_none() -> None:
    server = make()
    async with connected(server) as wsx:
        await wsx.send(method="POST", path="/echo", data=1)
        await wsx.send(method="POST", path="/boom")
        await wsx.send(id="unknown", status=200, data=1)
        await wsx.send(id="unknown", credit=1)
        await wsx.send(id="unknown", seq=0, data=1)
        await wsx.send(method="POST", path="/_wsx/cancel", data={"id": "unknown"})
        assert await wsx.call("/echo", 1) == {"status": 200, "data": 1}
        await until(lambda: len(server.request_registry) == 0)


@pytest.mark.asyncio
async def test_an_open_id_is_taken() -> None:
    async with connected(make()) as wsx:
        await wsx.send(id="c", method="GET", path="/wait")
        answer = await wsx.call("/echo", 1)
        assert (answer["status"], answer["data"]["code"]) == (409, "DUPLICATE_ID")
        await wsx.send(method="POST", path="/_wsx/cancel", data={"id": "c"})
        assert (await wsx.next())["status"] == 499


@pytest.mark.asyncio
async def test_legacy_clients_are_served_without_a_subprotocol() -> None:
    async with AsyncClient(make()) as client, client.websocket("/any/path", ["chat"]) as socket:
        assert socket.accepted_subprotocol is None
        data = '"{"a":1}"'
        await socket.send_text(json.dumps({"id": "1", "path": "/echo", "method": "WSK", "data": data}))
        assert json.loads(await socket.receive_text()) == {"id": "1", "status": 200, "data": data}


# Who may connect, and as whom


def authorization(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.asyncio
async def test_credentials_of_the_handshake() -> None:
    async with connected(make(), headers=authorization("ann", "pw")) as wsx:
        assert await wsx.call("/staff") == {"status": 200, "data": "ann"}
    async with connected(make(), headers={"authorization": "Bearer t0ken"}) as wsx:
        assert (await wsx.call("/staff"))["status"] == 403
    with pytest.raises(WebSocketDenied) as denied:
        async with connected(make(), headers=authorization("ann", "wrong")):
            pass
    assert denied.value.status_code == 403


@pytest.mark.parametrize(
    ("auth", "status"),
    [
        ({"username": "ann", "password": "pw"}, 200),
        ({"authorization": authorization("ann", "pw")["authorization"]}, 200),
        ({"token": "t0ken"}, 403),
        ({"token": "wrong"}, 401),
        ({"what": 1}, 401),
    ],
)
@pytest.mark.parametrize("path", ["/_wsx/hello", "/_wsx/auth"])
@pytest.mark.asyncio
async def test_credentials_of_a_message(path: str, auth: Any, status: int) -> None:
    server = make()
    async with connected(server) as wsx:
        answer = await wsx.call(path, {"v": 1, "features": [], "auth": auth} if path.endswith("hello") else auth)
        known = status in (200, 403)
        assert answer["status"] == (200 if known else 401)
        if known:
            who = "ann" if status == 200 else "bot"
            assert answer["data"]["identity"] == who
            assert [info.identity for info in server.wsx] == [who]
            assert len(server.wsx.find_by_identity(who)) == 1
        assert (await wsx.call("/staff"))["status"] == status


@pytest.mark.asyncio
async def test_a_hello_is_told_what_there_is() -> None:
    async with connected(make()) as wsx:
        answer = await wsx.call("/_wsx/hello", {"v": 1, "features": ["stream", "telepathy"]})
        assert answer["data"]["v"] == 1
        assert answer["data"]["features"] == ["stream"]
        assert answer["data"]["heartbeat_s"] == 20
        assert answer["data"]["limits"]["streams"] == 256
        assert answer["data"]["limits"]["in_flight"] == 64


@pytest.mark.parametrize(("compression", "told"), [(True, {"deflate"}), (False, set[str]())])
@pytest.mark.asyncio
async def test_a_hello_is_told_of_forms_and_compression(compression: bool, told: set[str]) -> None:
    if find_spec("msgpack") is not None:
        told = {*told, "msgpack"}
    async with connected(make(websocket={"compression": compression})) as wsx:
        answer = await wsx.call("/_wsx/hello", {"v": 1, "features": ["msgpack", "deflate", "zstd"]})
        assert answer["data"]["features"] == sorted(told)


@pytest.mark.parametrize(
    ("origin", "host", "origins", "allowed"),
    [
        (None, "site", None, True),
        ("http://site", "site", None, True),
        ("https://SITE", "site", None, True),
        ("http://site:80", "site", None, True),
        ("http://site:8000", "site:8000", None, True),
        ("http://site:8000", "site:8001", None, False),
        ("http://evil", "site", None, False),
        ("http://site.evil", "site", None, False),
        ("http://evil/site", "site", None, False),
        ("null", "site", None, False),
        ("http://site:x", "site", None, False),
        ("http://[::1", "site", None, False),
        ("https://app.example", "site", ["https://app.example"], True),
        ("https://app.example:443", "site", ["https://APP.example/"], True),
        ("http://app.example", "site", ["https://app.example"], False),
        ("http://evil", "site", ["*"], True),
    ],
)
@pytest.mark.asyncio
async def test_origins(origin: str | None, host: str, origins: Any, allowed: bool) -> None:
    server = make(**({"websocket": {"origins": origins}} if origins else {}))
    headers = {"host": host} | ({"origin": origin} if origin else {})
    for path in ("/", "/raw"):
        if allowed:
            async with connected(server, path, headers=headers):
                pass
        else:
            with pytest.raises(WebSocketDenied) as denied:
                async with connected(server, path, headers=headers):
                    pass
            assert denied.value.status_code == 403


class Users(AsgiApplication):
    """An application with users of its own."""

    def authenticate(self, scope: Any) -> Any:
        value = next((v for k, v in scope["headers"] if k == b"authorization"), b"")
        return {"identity": "own", "tags": ["staff"]} if value == b"Own key" else None

    @route(auth_rule="staff")
    async def inside(self, request: MsgRequest) -> Any:
        return request.ctx.avatar["identity"]


@pytest.mark.parametrize(("key", "status"), [("Own key", 200), ("Own other", 401), (None, 401)])
@pytest.mark.asyncio
async def test_an_application_asks_for_its_own_credentials(key: str | None, status: int) -> None:
    server = AsgiServer()
    server.mount("users", Users())
    async with connected(server, headers={"authorization": key} if key else {}) as wsx:
        assert (await wsx.call("/users/inside"))["status"] == status


# Hooks


@register_middleware
class Watching(Middleware):
    """Notes what passes."""

    name = "wsx_watching"
    transports = frozenset({"websocket"})

    def __init__(self, server: Any = None) -> None:
        super().__init__(server)
        self.seen: list[Any] = []

    async def before(self, request: Any) -> Any:
        self.seen.append(request.path)
        return PlainTextResponse("stopped", 299) if request.headers.get("x-stop") else None

    def after(self, request: Any, response: Any) -> Any:
        self.seen.append((response.status_code, response.body))
        response.set_header("x-watched", "1")

    def on_error(self, request: Any, exc: Exception) -> Any:
        return PlainTextResponse("mended", 298) if isinstance(exc, RuntimeError) else None


@pytest.mark.asyncio
async def test_hooks_of_the_transport_see_every_call() -> None:
    server = make(middleware={"wsx_watching": {}})
    hook = next(one for one in server.middleware if isinstance(one, Watching))
    async with connected(server) as wsx:
        watched = {"headers": {"x-watched": "1"}}
        assert await wsx.call("/echo", {"a": 1}) == {"status": 200, "data": {"a": 1}, **watched}
        assert hook.seen == ["/echo", (200, b'{"a":1}')]
        assert await wsx.call("/echo", 1, headers={"X-Stop": "1"}) == {"status": 299, "data": "stopped", **watched}
        assert await wsx.call("/boom") == {"status": 298, "data": "mended", **watched}
    async with AsyncClient(server) as client:
        assert "x-watched" not in (await client.get("/now")).headers


# Topics


@pytest.mark.asyncio
async def test_subscribers_hear_of_what_is_published() -> None:
    server = make()
    async with connected(server) as wsx:
        await wsx.send(id="1", method="SUBSCRIBE", path="/prices/acme")
        assert (await wsx.next())["data"] == {"sub": "1"}
        assert (await wsx.next())["data"] == {"event": "snapshot", "topic": "/prices/acme", "data": {"last": 1}}
        assert await server.publish("/prices/acme", {"last": 2}) == 1
        assert await server.publish("/prices/other", 0) == 0
        event = await wsx.next()
        assert (event["id"], event["seq"], event["stream"]) == ("1", 2, True)
        assert event["data"] == {"event": "message", "topic": "/prices/acme", "data": {"last": 2}}
        await wsx.send(id="2", method="SUBSCRIBE", path="/prices/*")
        assert (await wsx.next())["data"] == {"sub": "2"}
        assert await (await asyncio.to_thread(server.publish, "/prices/b", 7, "tick")) == 1
        assert (await wsx.next())["data"] == {"event": "tick", "topic": "/prices/b", "data": 7}
        await wsx.send(method="POST", path="/_wsx/cancel", data={"id": "1"})
        assert (await wsx.next())["status"] == 499
        assert await server.publish("/prices/acme", 3) == 1
        assert len(server.request_registry) == 0


@pytest.mark.parametrize(
    ("path", "status"), [("/prices/secret", 403), ("/echo", 405), ("/none", 404), ("/prices/**/x", 404)]
)
@pytest.mark.asyncio
async def test_not_every_topic_is_for_everybody(path: str, status: int) -> None:
    async with connected(make()) as wsx:
        assert (await wsx.call(path, method="SUBSCRIBE"))["status"] == status


@pytest.mark.asyncio
async def test_a_topic_without_a_route_is_a_mistake() -> None:
    with pytest.raises(LookupError, match="No route with subscribe=True answers '/nothing'"):
        make().publish("/nothing", 1)
    with pytest.raises(LookupError):
        make().publish("/echo", 1)


@pytest.mark.asyncio
async def test_who_is_present_is_told() -> None:
    server = make()
    async with AsyncClient(server) as client, client.websocket("/", ["wsx.1"]) as one:
        first = Wsx(one)
        await first.send(id="1", method="SUBSCRIBE", path="/room", data={"name": "ann"})
        assert (await first.next())["data"] == {"sub": "1", "presence": ["ann"]}
        async with client.websocket("/", ["wsx.1"]) as two:
            second = Wsx(two)
            await second.send(id="1", method="SUBSCRIBE", path="/room", data={"name": "bob"})
            assert (await second.next())["data"] == {"sub": "1", "presence": ["ann", "bob"]}
            assert (await first.next())["data"] == {"event": "join", "topic": "/room", "data": "bob"}
        assert (await first.next())["data"] == {"event": "leave", "topic": "/room", "data": "bob"}


@pytest.mark.asyncio
async def test_who_has_missed_something_is_told_anew_who_is_present() -> None:
    server = make()
    async with connected(server) as wsx:
        await wsx.send(id="1", method="SUBSCRIBE", path="/room", data={"name": "ann"}, credit=1)
        assert (await wsx.next())["data"] == {"sub": "1", "presence": ["ann"]}
        async with connected(server) as other:
            await other.send(id="1", method="SUBSCRIBE", path="/room", data={"name": "bob"})
            await other.next()
            for n in range(70):
                server.publish("/room", n)
            await wsx.send(id="1", credit=100)
            events = [await wsx.next() for _ in range(65)]
        # The join of bob was the first to be lost.
        assert events[0]["headers"] == {"wsx-dropped": "7"}
        assert [event["data"]["data"] for event in events[:64]] == list(range(6, 70))
        assert events[64]["data"] == {"event": "sync", "topic": "/room", "data": ["ann", "bob"]}
        assert (await wsx.next())["data"]["event"] == "leave"


@pytest.mark.parametrize(
    ("id", "headers", "logged"),
    [
        ("order-17", {}, "order-17"),
        ("order-17", {"x-request-id": "trace 9"}, "trace 9"),
        ("order-17", {"x-request-id": "trace\u00e9"}, "order-17"),
        ("a\nb\u00e9", {}, "a\\nb\\xe9"),
    ],
)
@pytest.mark.asyncio
async def test_failures_are_logged_by_a_name_the_client_knows(
    id: str, headers: dict[str, str], logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(make()) as wsx:
        await wsx.send(id=id, method="POST", path="/boom", headers=headers)
        assert (await wsx.next())["status"] == 500
    (record,) = [one for one in caplog.records if one.exc_info]
    assert record.getMessage() == f"POST /boom failed (request {logged})"


@pytest.mark.asyncio
async def test_a_failing_event_is_logged_and_not_answered(caplog: pytest.LogCaptureFixture) -> None:
    async with connected(make()) as wsx:
        await wsx.send(method="POST", path="/teapot")
        await wsx.send(method="POST", path="/nowhere", headers={"x-request-id": "order-17"})
        assert (await wsx.call("/echo", 1))["data"] == 1
        await until(lambda: len(caplog.records) == 2)
    assert [one.getMessage() for one in caplog.records] == [
        "Event POST /teapot failed with 418",
        "Event POST /nowhere failed with 404 (request order-17)",
    ]


@pytest.mark.asyncio
async def test_a_publisher_may_wait_for_slow_subscribers() -> None:
    server = make()
    async with connected(server) as wsx:
        await wsx.send(id="1", method="SUBSCRIBE", path="/log", credit=1)
        assert (await wsx.next())["data"] == {"sub": "1"}
        published = [server.publish("/log", n) for n in range(70)]
        assert [future.done() for future in published].index(False) == 64
        await wsx.send(id="1", credit=70)
        assert [(await wsx.next())["data"]["data"] for _ in range(70)] == list(range(70))
        assert await asyncio.gather(*published) == [1] * 70


@pytest.mark.asyncio
async def test_subscribers_that_block_for_good_are_ended() -> None:
    server = make()
    async with connected(server) as wsx:
        await wsx.send(id="1", method="SUBSCRIBE", path="/log", credit=1)
        await wsx.next()
        published = [server.publish("/log", n) for n in range(1100)]
        end = await wsx.next()
        assert (end["status"], end["data"]["code"]) == (429, "RATE_LIMITED")
        assert all(future.done() for future in published)
        await wsx.send(id="2", method="SUBSCRIBE", path="/strict", credit=1)
        await wsx.next()
        for n in range(70):
            server.publish("/strict", n)
        assert (await wsx.next())["status"] == 429


# The registry


@pytest.mark.asyncio
async def test_the_server_speaks_first() -> None:
    server = make()
    async with AsyncClient(server) as client:
        ann = client.websocket("/", ["wsx.1"], headers=authorization("ann", "pw"))
        async with ann as one, client.websocket("/", ["wsx.1"]) as two:
            await until(lambda: len(server.wsx) == 2)
            assert await server.wsx.broadcast({"p": Decimal("1.5")}) == 2
            for socket in (one, two):
                assert await socket.receive_text() == 'WSX://{"id":"_broadcast","status":200,"data":{"p":"1.5::N"}}::JS'
            (info,) = server.wsx.find_by_identity("ann")
            assert await server.wsx.broadcast(1, exclude=info.connection_id) == 1
            assert await two.receive_text() == 'WSX://{"id":"_broadcast","status":200,"data":1}'
            assert await server.wsx.send_to("ann", [1]) == 1
            assert await one.receive_text() == 'WSX://{"id":"_directed","status":200,"data":[1]}'
            assert await server.wsx.send_to("nobody", 1) == 0
            assert info.connection_id in server.wsx
            assert server.wsx.get(info.connection_id) is info
            assert sorted(str(each.identity) for each in server.wsx) == ["None", "ann"]
        await until(lambda: len(server.wsx) == 0)
        assert await server.wsx.broadcast(1) == 0


# Raw sockets


@pytest.mark.asyncio
async def test_a_raw_route_owns_its_path() -> None:
    server = make()
    async with AsyncClient(server) as client:
        async with client.websocket("/raw?name=bob") as socket:
            await socket.send_text("hi")
            assert await socket.receive_text() == "bob:hi"
            assert len(server.request_registry) == 1
        await until(lambda: len(server.request_registry) == 0)
        for text, code, reason in (("die", 1011, ""), ("leave", 4000, "as you wish")):
            async with client.websocket("/raw") as socket:
                await socket.send_text(text)
                await until(lambda socket=socket: socket.close_code is not None)
                assert (socket.close_code, socket.close_reason) == (code, reason)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/raw_refuses", {}, 409),
        ("/raw_silent", {}, 403),
        ("/raw_staff", {}, 401),
        ("/raw_staff", {"authorization": "Bearer t0ken"}, 403),
        ("/raw_staff", {"authorization": "Bearer wrong"}, 403),
    ],
)
@pytest.mark.asyncio
async def test_raw_handshakes_are_refused(path: str, headers: dict[str, str], status: int) -> None:
    with pytest.raises(WebSocketDenied) as denied:
        async with connected(make(), path, headers=headers):
            pass
    assert denied.value.status_code == status


@pytest.mark.asyncio
async def test_a_raw_route_with_credentials() -> None:
    async with connected(make(), "/raw_staff", headers=authorization("ann", "pw")) as wsx:
        assert await wsx.socket.receive_text() == "in"


@pytest.mark.asyncio
async def test_a_mount_gets_its_handshakes() -> None:
    async def chat(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept", "subprotocol": None})
            await send({"type": "websocket.send", "text": scope["path"]})
            await receive()

    server = make()
    server.mount("chat", chat)
    async with AsyncClient(server) as client, client.websocket("/chat/room", headers={"origin": "http://else"}) as one:
        assert await one.receive_text() == "/room"


def with_route(**options: Any) -> Any:
    def handler(self: Any, websocket: Any = None) -> None:
        """Does nothing."""

    return type("Wrong", (AsgiServer,), {"handler": route(**options)(handler)})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"websocket": True}, "Route /handler: websocket=True needs an async handler with a parameter websocket."),
        (
            {"subscribe": "often"},
            "Route /handler: subscribe='often' is unknown; use True or block, drop_oldest, latest",
        ),
    ],
)
def test_a_route_that_cannot_work_stops_the_boot(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        with_route(**options)().check()


# The end


@pytest.mark.asyncio
async def test_draining_says_goodbye_and_lets_calls_end() -> None:
    server = make()
    async with AsyncClient(server) as client:
        async with (
            client.websocket("/", ["wsx.1"]) as idle,
            client.websocket("/", ["wsx.1"]) as busy,
            client.websocket("/raw") as raw,
        ):
            wsx = Wsx(busy)
            await wsx.send(id="1", method="POST", path="/finish")
            await wsx.send(id="2", method="GET", path="/wait")
            await until(lambda: len(server.request_registry) == 3)
            drained = asyncio.ensure_future(server.drain(1))
            for one in (Wsx(idle), wsx):
                goaway = await one.next()
                assert (goaway["method"], goaway["path"], goaway["data"]["grace_ms"]) == ("POST", "/_wsx/goaway", 1000)
            await until(lambda: idle.close_code == raw.close_code == 1012)
            assert busy.close_code is None
            await wsx.send(id="3", method="POST", path="/echo", data=1)
            answers = {answer["id"]: answer for answer in [await wsx.next(), await wsx.next()]}
            refused = answers["3"]
            assert (refused["status"], refused["data"]["code"], refused["data"]["retry"]) == (503, "DRAINING", True)
            assert answers["1"]["status"] == 200
            await drained
            assert busy.close_code == 1012
        with pytest.raises(WebSocketDenied) as denied:
            async with client.websocket("/", ["wsx.1"]):
                pass
        assert denied.value.status_code == 503
    assert server.ended == ["finish", "wait"]


@pytest.mark.parametrize("path", ["/", "/raw", "/raw_refuses", "/raw_staff"])
@pytest.mark.asyncio
async def test_sockets_are_bounded_and_their_places_are_free_again(path: str) -> None:
    server = make(limits={"ws_connections": 1})
    async with connected(server):
        with pytest.raises(WebSocketDenied) as denied:
            async with connected(server, path):
                pass
        assert denied.value.status_code == 503
    # A handshake that is refused for what it is takes no place either.
    for target, status in (("/raw_refuses", 409), ("/raw_staff", 401)):
        with pytest.raises(WebSocketDenied) as denied:
            async with connected(server, target):
                pass
        assert denied.value.status_code == status
    await until(lambda: server.websockets.sockets == 0)
    async with connected(server, "/raw") as wsx:
        await wsx.socket.send_text("hi")
        assert await wsx.socket.receive_text() == "x:hi"
        assert server.websockets.sockets == 1
    await until(lambda: server.websockets.sockets == 0)
