"""Routes with types of their own: over WSX and over HTTP, and beside routes that have none."""

from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from typing import Any, Self

import pytest

from genro_asgi.exceptions import ConfigError
from genro_asgi.routing import RoutingClass, route
from genro_asgi.server.coercion import coercion_for
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient
from genro_asgi.testing.websocket import WebSocketSession
from genro_asgi.websocket import WebSocket
from genro_asgi.wsx.tytx import DEFAULT_TYPES, TypeTable, decode, encode

with_msgpack = pytest.mark.skipif(find_spec("msgpack") is None, reason="needs msgpack")

POINTS = TypeTable()


@POINTS.register_class
class Point:
    """Two numbers, written `x,y`."""

    __tytx_suffix__ = "PT"

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    __hash__ = None  # type: ignore[assignment]

    def to_tytx(self) -> str:
        return f"{self.x},{self.y}"

    @classmethod
    def from_tytx(cls, text: str) -> Self:
        x, comma, y = text.partition(",")
        if not comma:
            raise ValueError("is no point")
        return cls(int(x), int(y))


@dataclass
class Money:
    """An amount of some currency, written `9.90 EUR`."""

    amount: Decimal
    currency: str


def read_money(text: str) -> Money:
    amount, currency = text.split(" ")
    return Money(Decimal(amount), currency)


PRICES = TypeTable()
PRICES.register(Money, "EUR", lambda value: f"{value.amount} {value.currency}", read_money)


class Site(AsgiServer):
    """Some routes with tables, and the same without."""

    seen: Any = None

    @route(types=POINTS)
    async def points(self, body_data: Any = None, at: Any = None) -> Any:
        self.seen = [body_data, at]
        return body_data if at is None else at

    @route()
    async def plain(self, body_data: Any = None, at: Any = None) -> Any:
        self.seen = [body_data, at]
        return body_data if at is None else at

    @route(types=PRICES)
    async def price(self, body_data: Any = None) -> Any:
        return body_data

    @route(types=POINTS)
    def threaded(self, at: Point) -> Point:
        return Point(at.x + 1, at.y)

    @route(types=POINTS, auth_rule="staff")
    async def guarded(self, body_data: Any = None) -> Any:
        return body_data

    @route(types=POINTS)
    async def walk(self, at: Point, steps: int = 2) -> AsyncIterator[Any]:
        for step in range(steps):
            yield Point(at.x + step, at.y)
            yield "x::PT"

    @route(types=POINTS)
    async def trace(self, items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in items:
            yield [item, item.x if isinstance(item, Point) else None]

    @route(types=POINTS, subscribe=True)
    async def positions(self, body_data: Any = None) -> Any:
        return body_data

    @route(types=POINTS, websocket=True)
    async def raw(self, websocket: WebSocket) -> None:
        await websocket.accept()
        value = await websocket.receive_typed()
        self.seen = value
        await websocket.send_typed([value, "x::PT"])
        await websocket.send_typed([value], "binary") if find_spec("msgpack") else None

    @route(types=POINTS)
    async def status(self) -> Any:
        return {"at": Point(1, 2), "text": "1,2", "price": Decimal("9.90")}


class Socket:
    def __init__(self, socket: WebSocketSession) -> None:
        self.socket = socket

    async def ask(self, text: str) -> str:
        await self.socket.send_text(text)
        return await self.socket.receive_text()


def call(path: str, data: str | None = None, mark: str = "::JS", **more: str) -> str:
    fields = "".join(f',"{name}":{text}' for name, text in ({"data": data} | more).items() if text is not None)
    return f'{{"id":"1","method":"POST","path":"{path}"{fields}}}{mark}'


def result(data: str, mark: str = "::JS") -> str:
    return f'{{"id":"1","status":200,"data":{data}}}{mark}'


@pytest.mark.parametrize(
    ("path", "sent", "value", "answer"),
    [
        ("/points", '["1,2::PT"]', [Point(1, 2)], result('["1,2::PT"]')),
        ("/points", '"1,2::PT"', Point(1, 2), result('"1,2::PT"')),
        ("/points", '["1,2::PT::T","9.90::N"]', ["1,2::PT", Decimal("9.90")], result('["1,2::PT::T","9.90::N"]')),
        ("/points", '["x::EUR"]', ["x::EUR"], result('["x::EUR::T"]')),
        ("/points", '["x::ZZ"]', ["x::ZZ"], result('["x::ZZ"]', "")),
        ("/plain", '["1,2::PT"]', ["1,2::PT"], result('["1,2::PT::T"]')),
        ("/plain", '["x::PT"]', ["x::PT"], result('["x::PT::T"]')),
        ("/plain", '["x::PT::T"]', ["x::PT"], result('["x::PT::T"]')),
        ("/plain", '["x::ZZ","9.90::N"]', ["x::ZZ", Decimal("9.90")], result('["x::ZZ","9.90::N"]')),
    ],
)
@pytest.mark.asyncio
async def test_over_wsx(path: str, sent: str, value: Any, answer: str) -> None:
    site = Site()
    async with AsyncClient(site) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        assert await Socket(socket).ask(call(path, sent)) == answer
    assert site.seen == [value, None]


@pytest.mark.asyncio
async def test_a_query_over_wsx() -> None:
    async with AsyncClient(Site()) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        text = call("/points", None, query='{"at":"1,2::PT"}')
        assert await Socket(socket).ask(text) == result('"1,2::PT"')


@pytest.mark.parametrize("path", ["/points", "/plain"])
@pytest.mark.asyncio
async def test_an_untyped_message_stays_one(path: str) -> None:
    async with AsyncClient(Site()) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        assert await Socket(socket).ask(call(path, '["1,2::PT"]', "")) == result('["1,2::PT"]', "")


@pytest.mark.asyncio
async def test_results_of_an_untyped_message_are_literals() -> None:
    expected = '{"at":"1,2","text":"1,2","price":"9.90"}'
    async with AsyncClient(Site()) as client:
        async with client.websocket("/", subprotocols=["wsx.1"]) as socket:
            assert await Socket(socket).ask(call("/status", None, "")) == result(expected, "")
        answer = await client.get("/status")
        assert (answer.text, answer.headers["content-type"]) == (expected, "application/json")


@pytest.mark.parametrize("data", ['{"a":["1::PT"]}', '{"a":["x,y::PT"]}'])
@pytest.mark.asyncio
async def test_a_bad_value_over_wsx(data: str) -> None:
    async with AsyncClient(Site()) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        answer = decode(await Socket(socket).ask(call("/points", data)))
        assert (answer["status"], answer["data"]["code"]) == (400, "BAD_VALUE")
        assert answer["data"]["error"].endswith("(at /data/a/0)")
        # For other routes it is a string like any other.
        assert (await Socket(socket).ask(call("/plain", data))).startswith('{"id":"1","status":200')


@pytest.mark.asyncio
async def test_a_thread_and_an_argument() -> None:
    async with AsyncClient(Site()) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        assert await Socket(socket).ask(call("/threaded", '{"at":"1,2::PT"}')) == result('"2,2::PT"')
        assert await Socket(socket).ask(call("/threaded", '{"at":"1,2"}', "")) == result('"2,2"', "")
        assert '"VALIDATION"' in await Socket(socket).ask(call("/threaded", '{"at":"1"}', ""))
        assert '"VALIDATION"' in await Socket(socket).ask(call("/threaded", '{"at":[1,2]}', ""))


@pytest.mark.parametrize(
    ("annotation", "sent", "value"),
    [
        (Point, "1,2", Point(1, 2)),
        (Point | None, "1,2", Point(1, 2)),
        (Point | None, None, None),
        (list[Point], ["1,2", Point(3, 4)], [Point(1, 2), Point(3, 4)]),
        (Money, "9.90 EUR", Money(Decimal("9.90"), "EUR")),
        (Money, {"amount": "9.90", "currency": "EUR"}, Money(Decimal("9.90"), "EUR")),
        (Money, '{"amount":"9.90","currency":"EUR"}', Money(Decimal("9.90"), "EUR")),
    ],
)
def test_arguments_without_types(annotation: Any, sent: Any, value: Any) -> None:
    table = POINTS.copy()
    table.register(Money, "EUR", str, read_money)
    convert = coercion_for(annotation, table).convert
    assert convert is not None
    assert convert(sent) == value


@pytest.mark.parametrize(("annotation", "sent"), [(Point, "1"), (Point, 1), (Money, "x EUR"), (Money, [])])
def test_arguments_that_are_none(annotation: Any, sent: Any) -> None:
    table = POINTS.copy()
    table.register(Money, "EUR", str, read_money)
    coercion = coercion_for(annotation, table)
    assert coercion.convert is not None
    assert coercion.expected == f"a {annotation.__name__}"
    with pytest.raises((ValueError, TypeError)):
        coercion.convert(sent)


@pytest.mark.asyncio
async def test_who_may_call_it_is_asked_as_ever() -> None:
    site = Site(auth={"basic": {"ann": {"password": "pw", "tags": "staff"}}})
    async with AsyncClient(site) as client:
        async with client.websocket("/", subprotocols=["wsx.1"]) as socket:
            assert '"status":401' in await Socket(socket).ask(call("/guarded", '["1,2::PT"]'))
        ann = {"authorization": "Basic " + b64encode(b"ann:pw").decode()}
        async with client.websocket("/", subprotocols=["wsx.1"], headers=ann) as socket:
            assert await Socket(socket).ask(call("/guarded", '["1,2::PT"]')) == result('["1,2::PT"]')


@pytest.mark.asyncio
async def test_items_of_a_stream() -> None:
    async with AsyncClient(Site()) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        frames = [await Socket(socket).ask(call("/walk", '{"at":"1,2::PT","steps":1}'))]
        frames += [await socket.receive_text() for _ in range(2)]
    assert frames == [
        '{"id":"1","status":200,"seq":0,"data":"1,2::PT","stream":true}::JS',
        '{"id":"1","status":200,"seq":1,"data":"x::PT::T","stream":true}::JS',
        '{"id":"1","status":200,"seq":2}',
    ]


@pytest.mark.asyncio
async def test_items_of_an_untyped_stream() -> None:
    async with AsyncClient(Site()) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        frame = await Socket(socket).ask(call("/walk", '{"at":"1,2","steps":1}', ""))
        assert frame == '{"id":"1","status":200,"seq":0,"data":"1,2","stream":true}'


@pytest.mark.asyncio
async def test_chunks_of_a_client() -> None:
    async with AsyncClient(Site()) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        await socket.send_text('{"id":"1","method":"POST","path":"/trace","stream":true}::JS')
        for seq, literal in enumerate(["1,2::PT", "1,2::PT::T"]):
            await socket.send_text(f'{{"id":"1","seq":{seq},"data":"{literal}","stream":true}}::JS')
        await socket.send_text('{"id":"1","seq":2,"stream":false}')
        frames = [decode(await socket.receive_text(), types=POINTS) for _ in range(3)]
    assert [frame.get("data") for frame in frames] == [[Point(1, 2), 1], ["1,2::PT", None], None]


@pytest.mark.asyncio
async def test_a_chunk_that_cannot_be_read_ends_the_call() -> None:
    site = Site()
    async with AsyncClient(site) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        await socket.send_text('{"id":"1","method":"POST","path":"/trace","stream":true}::JS')
        answer = decode(await Socket(socket).ask('{"id":"1","seq":0,"data":["x::PT"],"stream":true}::JS'))
        assert (answer["status"], answer["data"]["code"]) == (400, "BAD_VALUE")
        assert answer["data"]["error"] == "'x::PT' is no point (at /data/0)"
        # The handler is gone: the id is free, and nothing else comes.
        assert await Socket(socket).ask(call("/plain", "1")) == result("1", "")
        assert len(site.request_registry) == 0


@pytest.mark.asyncio
async def test_events_of_a_topic() -> None:
    site = Site()
    async with AsyncClient(site) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        await socket.send_text('{"id":"1","method":"SUBSCRIBE","path":"/positions","data":"1,2::PT"}::JS')
        frames = [await socket.receive_text() for _ in range(2)]
        assert '"event":"snapshot","topic":"/positions","data":"1,2::PT"' in frames[1]
        site.publish("/positions", [Point(3, 4), "x::PT"])
        assert '"data":["3,4::PT","x::PT::T"]' in await socket.receive_text()


@with_msgpack
@pytest.mark.asyncio
async def test_messagepack() -> None:
    async with AsyncClient(Site()) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        for path, value in (("/points", Point(1, 2)), ("/plain", "1,2::PT")):
            fields = {"id": "1", "method": "POST", "path": path, "data": [Point(1, 2), "1,2::PT"]}
            await socket.send_bytes(encode(fields, "msgpack", types=POINTS))
            answer = decode(await socket.receive_bytes(), "msgpack", types=POINTS)
            assert answer == {"id": "1", "status": 200, "data": [value, "1,2::PT"]}


@pytest.mark.asyncio
async def test_a_hello_is_told_the_suffixes() -> None:
    async with AsyncClient(Site()) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        answer = decode(await Socket(socket).ask('{"id":"h","method":"POST","path":"/_wsx/hello"}'))
        assert answer["data"]["types"] == ["EUR", "PT"]
    async with AsyncClient(AsgiServer()) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        answer = decode(await Socket(socket).ask('{"id":"h","method":"POST","path":"/_wsx/hello"}'))
        assert "types" not in answer["data"]


@pytest.mark.asyncio
async def test_what_is_said_to_everybody_is_marked_for_those_who_know_more() -> None:
    site = Site()
    async with AsyncClient(site) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        await Socket(socket).ask(call("/plain"))
        assert await site.wsx.broadcast(["x::PT", "x::ZZ"]) == 1
        assert await socket.receive_text() == 'WSX://{"id":"_broadcast","status":200,"data":["x::PT::T","x::ZZ"]}::JS'


@pytest.mark.asyncio
async def test_the_schema_names_the_format() -> None:
    class Described(AsgiServer):
        @route(types=POINTS, methods="GET")
        async def near(self, at: Point, through: list[Point] | None = None) -> dict[str, Point]:
            return {"at": at}

        @route(types=POINTS, methods="POST")
        async def walk(self, steps: AsyncIterator[Point | str]) -> AsyncIterator[Point]:
            async for step in steps:
                yield step  # type: ignore[misc]

        @route(methods="GET")
        async def other(self, at: Point) -> None:
            return None

    text = {"type": "string", "format": "PT"}
    async with AsyncClient(Described()) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        answer = decode(await Socket(socket).ask('{"id":"1","method":"GET","path":"/_wsx/schema"}'))
    paths = answer["data"]["paths"]
    near, walk = paths["/near"]["get"], paths["/walk"]["post"]
    at, through = near["parameters"]
    assert at == {"name": "at", "in": "query", "required": True, "schema": text}
    assert through["schema"]["anyOf"] == [{"type": "array", "items": text}, {"type": "null"}]
    result = near["responses"]["200"]["content"]["application/json"]["schema"]
    assert result == {"type": "object", "additionalProperties": text}
    assert near["x-wsx"]["types"] == ["PT"]
    body = walk["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"anyOf": [text, {"type": "string"}]}
    assert walk["responses"]["200"]["content"]["application/json"]["schema"] == text
    other = paths["/other"]["get"]
    assert (other["parameters"][0]["schema"], "types" in other["x-wsx"]) == ({}, False)


@pytest.mark.asyncio
async def test_a_route_that_comes_while_a_socket_is_open() -> None:
    class Bare(AsgiServer):
        @route()
        async def other(self) -> None:
            return None

    async def late(self: Any, body_data: Any) -> Any:
        return [type(body_data).__name__, body_data]

    site = Bare()
    async with AsyncClient(site) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        assert await Socket(socket).ask(call("/other")) == '{"id":"1","status":200}'
        site.route.add_entry(late, types=POINTS)
        assert await Socket(socket).ask(call("/late", '"1,2::PT"')) == result('["Point","1,2::PT"]')


class Leaf(RoutingClass):
    """A branch that is made when its first call comes."""

    @route(types=POINTS)
    async def here(self, body_data: Any) -> Any:
        return [type(body_data).__name__, body_data]


@pytest.mark.asyncio
async def test_a_branch_that_is_made_by_its_first_call() -> None:
    site = AsgiServer()
    site.add_branches({"name": "lazy", "cls": Leaf})
    async with AsyncClient(site) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        assert await Socket(socket).ask(call("/lazy/here", '"1,2::PT"')) == result('["Point","1,2::PT"]')
        assert await Socket(socket).ask(call("/_wsx/ping", '"x::PT"')) == result('"x::PT::T"')


@pytest.mark.asyncio
async def test_a_raw_socket() -> None:
    site = Site()
    async with AsyncClient(site) as client, client.websocket("/raw") as socket:
        await socket.send_text('{"at":"1,2::PT"}')
        assert await socket.receive_text() == '[{"at":"1,2::PT"},"x::PT::T"]::JS'
        if find_spec("msgpack"):
            assert decode(await socket.receive_bytes(), "msgpack", types=POINTS) == [{"at": Point(1, 2)}]
    assert site.seen == {"at": Point(1, 2)}


# -- over HTTP

TYTX = {"content-type": "application/vnd.tytx+json"}


@pytest.mark.parametrize(
    ("path", "sent", "value", "answer"),
    [
        ("/points", '{"a":"1,2::PT"}::JS', {"a": Point(1, 2)}, '"{"a":"1,2::PT"}::JS"'),
        ("/points", '{"a":"1,2::PT::T","n":"1::N"}', {"a": "1,2::PT", "n": Decimal(1)}, None),
        ("/points", "1,2::PT", Point(1, 2), '"1,2::PT"'),
        ("/plain", '{"a":"1,2::PT"}::JS', {"a": "1,2::PT"}, '"{"a":"1,2::PT"}"'),
        ("/price", '{"a":"9.90 x::EUR"}::JS', {"a": Money(Decimal("9.90"), "x")}, '"{"a":"9.90 x::EUR"}::JS"'),
        ("/price", '{"a":"1,2::PT"}::JS', {"a": "1,2::PT"}, '"{"a":"1,2::PT::T"}::JS"'),
    ],
)
@pytest.mark.asyncio
async def test_a_body_over_http(path: str, sent: str, value: Any, answer: str | None) -> None:
    site = Site()
    async with AsyncClient(site) as client:
        reply = await client.post(path, content=sent, headers=TYTX)
        assert reply.status_code == 200, reply.text
        assert reply.headers["content-type"] == "application/vnd.tytx+json"
        assert answer is None or reply.text == answer
        table = PRICES if path == "/price" else POINTS
        if path != "/plain":
            assert decode(reply.text, "json", types=table) == value
    if path != "/price":
        assert site.seen == [value, None]


@pytest.mark.parametrize("transport", ["xml", pytest.param("msgpack", marks=with_msgpack)])
@pytest.mark.asyncio
async def test_other_transports_over_http(transport: Any) -> None:
    site = Site()
    body = encode({"a": Point(1, 2), "b": "1,2::PT"}, transport, types=POINTS)
    async with AsyncClient(site) as client:
        reply = await client.post(
            "/points", content=body, headers={"content-type": f"application/vnd.tytx+{transport}"}
        )
        assert decode(reply.content, transport, types=POINTS) == {"a": Point(1, 2), "b": "1,2::PT"}
        await client.post("/plain", content=body, headers={"content-type": f"application/vnd.tytx+{transport}"})
    assert site.seen == [{"a": "1,2::PT", "b": "1,2::PT"}, None]


@pytest.mark.asyncio
async def test_a_query_over_http() -> None:
    site = Site()
    async with AsyncClient(site) as client:
        typed = {"x-tytx-transport": "json"}
        reply = await client.get("/points?at=1,2::PT", headers=typed)
        assert (reply.text, site.seen) == ('"1,2::PT"', [None, Point(1, 2)])
        reply = await client.get("/plain?at=1,2::PT", headers=typed)
        assert (reply.text, site.seen) == ("1,2::PT", [None, "1,2::PT"])
        reply = await client.get("/points?at=1::PT", headers=typed)
        assert (reply.status_code, reply.json()["code"]) == (400, "BAD_VALUE")
        assert reply.json()["detail"] == "The query holds a malformed TYTX value at /at."
        reply = await client.get("/threaded?at=1,2")
        assert (reply.text, reply.headers["content-type"]) == ("2,2", "text/plain; charset=utf-8")


@pytest.mark.asyncio
async def test_a_bad_value_over_http() -> None:
    async with AsyncClient(Site()) as client:
        reply = await client.post("/points", content='{"a":[1,"x::PT"]}::JS', headers=TYTX)
        assert (reply.status_code, reply.json()["code"]) == (400, "BAD_VALUE")
        assert reply.json()["detail"] == "The request body is not a valid TYTX json document at /a/1."
        reply = await client.post("/plain", content='{"a":[1,"x::PT"]}::JS', headers=TYTX)
        assert (reply.status_code, reply.text) == (200, '"{"a":[1,"x::PT"]}"')


@pytest.mark.asyncio
async def test_register_type_counts_where_a_route_has_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere = TypeTable()
    everywhere.register_class(Point)
    # What register_type() changes is left as it was after the test.
    monkeypatch.setattr(DEFAULT_TYPES, "__dict__", everywhere.__dict__)
    site = Site()
    async with AsyncClient(site) as client:
        reply = await client.post("/plain", content='{"a":"1,2::PT"}::JS', headers=TYTX)
        assert (reply.text, site.seen) == ('"{"a":"1,2::PT"}::JS"', [{"a": Point(1, 2)}, None])
        reply = await client.post("/price", content='{"a":"1,2::PT"}::JS', headers=TYTX)
        assert reply.text == '"{"a":"1,2::PT::T"}::JS"'


@pytest.mark.parametrize("types", [[Point], "PT", {"PT": Point}])
def test_what_is_no_table_is_refused(types: Any) -> None:
    class Wrong(AsgiServer):
        @route(types=types)
        async def wrong(self) -> None:
            return None

    with pytest.raises(ConfigError, match="is no table of types; use a TypeTable"):
        Wrong().table.refresh()
