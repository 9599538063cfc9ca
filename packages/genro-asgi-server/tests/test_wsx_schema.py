"""GET /_wsx/schema: the OpenAPI document of a site, with what WSX adds to it."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Protocol

import pytest

from genro_asgi.applications.asgi import AsgiApplication
from genro_asgi.request import MsgRequest
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient

USERS = {"bearer": {"ann": {"token": "a", "tags": "staff"}}}


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Order:
    item: str
    price: Decimal
    parts: "list[Order]"


class Anything(Protocol):
    """Describes no data."""


class Shop(AsgiServer):
    """One route of each kind."""

    @route(methods="GET")
    async def add(self, a: int, b: int = 0) -> int:
        """The sum.

        What is written here is for those who read the code.
        """
        return a + b

    @route(methods="POST,PUT", auth_rule="staff", max_body=100)
    async def order(self, request: MsgRequest, order: Order, due: date | None = None) -> Order:
        return order

    @route()
    async def formats(self, n: Decimal, d: date, dt: datetime, t: time, b: bytes, s: Size, x: Anything) -> None:
        return None

    @route()
    async def free(self, n: int = 1) -> Any:
        return n

    @route(methods="POST", idempotent=True)
    async def again(self, body_data: list[int]) -> float:
        return 1.0

    @route()
    async def count(self, n: int) -> AsyncIterator[int]:
        yield n

    @route(methods="POST")
    async def total(self, numbers: AsyncIterator[Decimal], name: str = "sum") -> int:
        return 0

    @route(methods="POST")
    async def double(self, body_stream: Any) -> AsyncIterator[int]:
        yield 1

    @route(subscribe=True)
    async def prices(self, symbol: str, depth: int = 1) -> None:
        return None

    @route(methods="GET")
    def files(self, *path: str) -> bytes:
        return b""

    @route(websocket=True)
    async def raw(self, websocket: Any) -> None:
        return None


class Late(AsgiApplication):
    """Comes when the document has been made."""

    @route()
    async def hello(self) -> str:
        return "late"


async def ask(server: AsgiServer, auth: str | None = None, **headers: str) -> dict[str, Any]:
    known = {"authorization": auth} if auth else {}
    async with AsyncClient(server) as client, client.websocket("/", ["wsx.1"], headers=known) as socket:
        message = {"id": "1", "method": "GET", "path": "/_wsx/schema", "headers": headers}
        await socket.send_text("WSX://" + json.dumps(message))
        answer: dict[str, Any] = json.loads((await socket.receive_text()).removeprefix("WSX://"))
        return answer


async def document(server: AsgiServer) -> dict[str, Any]:
    answer = await ask(server)
    assert answer["status"] == 200
    found: dict[str, Any] = answer["data"]
    return found


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(references(value) for value in part.values()))
    return set().union(*(references(value) for value in part)) if isinstance(part, list) else set()


@pytest.mark.asyncio
async def test_the_document_is_whole() -> None:
    found = await document(Shop(auth=USERS, openapi={"title": "Shop", "version": "2.1"}))
    assert (found["openapi"], found["info"]) == ("3.1.0", {"title": "Shop", "version": "2.1"})
    assert set(found["paths"]) == {
        *("/add", "/order", "/formats", "/free", "/again", "/count", "/total", "/double"),
        *("/prices/{symbol}", "/files/{path}"),
    }
    assert found["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    names = [one["operationId"] for item in found["paths"].values() for one in item.values()]
    assert len(names) == len(set(names))
    for reference in references(found):
        assert reference.removeprefix("#/components/schemas/") in found["components"]["schemas"]
    assert "for those who read the code" not in json.dumps(found)


@pytest.mark.parametrize(
    ("path", "method", "stream", "subscribe", "idempotent", "errors"),
    [
        ("/add", "get", "none", False, True, {"VALIDATION"}),
        ("/order", "post", "none", False, False, {"VALIDATION", "UNAUTHENTICATED", "FORBIDDEN", "TOO_LARGE"}),
        ("/order", "put", "none", False, True, {"VALIDATION", "UNAUTHENTICATED", "FORBIDDEN", "TOO_LARGE"}),
        ("/free", "get", "none", False, False, {"VALIDATION"}),
        ("/again", "post", "none", False, True, set()),
        ("/count", "get", "server", False, False, {"VALIDATION"}),
        ("/total", "post", "client", False, False, {"VALIDATION"}),
        ("/double", "post", "bidi", False, False, set()),
        ("/prices/{symbol}", "x-subscribe", "none", True, True, {"VALIDATION"}),
    ],
)
@pytest.mark.asyncio
async def test_what_wsx_adds(
    path: str, method: str, stream: str, subscribe: bool, idempotent: bool, errors: set[str]
) -> None:
    operation = (await document(Shop(auth=USERS)))["paths"][path][method]
    told = operation["x-wsx"]
    assert (told["stream"], told["subscribe"], told["idempotent"]) == (stream, subscribe, idempotent)
    assert set(told["errors"]) == errors | {"INTERNAL", "DEADLINE"}
    assert operation.get("security") == ([{"bearer": []}] if "UNAUTHENTICATED" in errors else None)


@pytest.mark.asyncio
async def test_parameters_and_bodies() -> None:
    paths = (await document(Shop(auth=USERS)))["paths"]
    assert paths["/add"]["get"]["summary"] == "The sum."
    assert paths["/add"]["get"]["parameters"] == [
        {"name": "a", "in": "query", "required": True, "schema": {"type": "integer"}},
        {"name": "b", "in": "query", "required": False, "schema": {"type": "integer", "default": 0}},
    ]
    body = paths["/order"]["post"]["requestBody"]
    assert body["required"] is True
    fields = body["content"]["application/json"]["schema"]
    assert fields["required"] == ["order"]
    assert set(fields["properties"]) == {"order", "due"}
    assert paths["/total"]["post"]["requestBody"]["content"]["application/json"]["schema"]["format"] == "decimal"
    assert [one["name"] for one in paths["/total"]["post"]["parameters"]] == ["name"]
    assert [(one["name"], one["in"]) for one in paths["/prices/{symbol}"]["x-subscribe"]["parameters"]] == [
        ("symbol", "path"),
        ("depth", "query"),
    ]
    assert [(one["name"], one["in"]) for one in paths["/files/{path}"]["get"]["parameters"]] == [("path", "path")]
    answer = paths["/count"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"type": "integer"}


@pytest.mark.asyncio
async def test_the_formats_are_those_of_tytx() -> None:
    operation = (await document(Shop(auth=USERS)))["paths"]["/formats"]["post"]
    properties = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    formats = {name: schema.get("format") for name, schema in properties.items()}
    assert formats["n"] == "decimal"
    assert (formats["d"], formats["dt"], formats["t"], formats["b"]) == ("date", "date-time", "time", "byte")
    assert properties["x"] == {}


@pytest.mark.parametrize("known", ["{}", "W/{}", '"other", {}', "*"])
@pytest.mark.asyncio
async def test_who_has_it_already_gets_nothing(known: str) -> None:
    server = Shop(auth=USERS)
    etag = (await ask(server))["headers"]["etag"]
    answer = await ask(server, **{"if-none-match": known.format(etag)})
    assert answer == {"id": "1", "status": 304, "headers": {"etag": etag}}
    assert (await ask(server, **{"if-none-match": '"other"'}))["status"] == 200


@pytest.mark.asyncio
async def test_it_follows_the_routes() -> None:
    server = Shop(auth=USERS)
    before = await ask(server)

    server.mount("late", Late())
    after = await ask(server)
    assert set(after["data"]["paths"]) - set(before["data"]["paths"]) == {"/late/hello", "/late/index"}
    assert after["headers"]["etag"] != before["headers"]["etag"]


@pytest.mark.asyncio
async def test_where_nothing_is_open_it_is_not_either() -> None:
    server = Shop(auth={**USERS, "default_deny": True})
    answer = await ask(server)
    assert (answer["status"], answer["data"]["code"]) == (401, "UNAUTHENTICATED")
    assert (await ask(server, "Bearer a"))["status"] == 200
