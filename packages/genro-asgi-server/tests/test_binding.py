"""Handlers get their parameters from path, query and body, converted to their annotations."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel, Field

from genro_asgi.request import BaseRequest, HttpRequest, Request, get_current_request
from genro_asgi.routing import route
from genro_asgi.server.binding import Binder
from genro_asgi.server.coercion import coercion_for
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Item(BaseModel):
    name: str
    price: Decimal = Field(gt=0)


@dataclass
class Point:
    x: int
    y: int = 0


class Handlers(AsgiServer):
    @route()
    async def typed(
        self,
        i: int = 0,
        f: float = 0.0,
        b: bool = False,
        d: Decimal = Decimal(0),
        day: date | None = None,
        at: datetime | None = None,
        clock: time | None = None,
        uid: UUID | None = None,
        color: Color = Color.RED,
        size: Literal["s", "m"] = "s",
        many: list[int] | None = None,
        either: int | str = "",
        small: Annotated[int, Field(le=10)] = 1,
    ) -> dict[str, Any]:
        return {k: v for k, v in locals().items() if k != "self"}

    @route()
    async def path(self, first: int, second: str = "none", *rest: str) -> list[Any]:
        return [first, second, list(rest)]

    @route()
    async def extras(self, name: str = "", **kwargs: Any) -> dict[str, Any]:
        return {"name": name, **kwargs}

    @route()
    async def keyword(self, *, only: int) -> int:
        return only

    @route(methods="POST")
    async def fields(self, name: str, count: int = 1) -> list[Any]:
        return [name, count]

    @route(methods="POST")
    async def whole(self, body_data: Any) -> Any:
        return {"data": body_data}

    @route(methods="POST")
    async def raw(self, body_raw: bytes) -> int:
        return len(body_raw)

    @route(methods="POST")
    async def streamed(self, body_stream: AsyncIterator[bytes]) -> list[int]:
        return [len(chunk) async for chunk in body_stream]

    @route(methods="POST")
    async def model(self, item: Item, point: Point) -> dict[str, Any]:
        return {"name": item.name, "price": item.price, "x": point.x, "y": point.y}

    @route(methods="POST")
    async def model_body(self, body_data: Item) -> str:
        return type(body_data).__name__

    @route()
    async def asks(self, request: Any, typed: BaseRequest, view: Request) -> list[bool]:
        current = get_current_request()
        return [request is current, typed is current, isinstance(request, HttpRequest), view.scope is request.scope]

    @route()
    def in_thread(self, n: int) -> bool:
        current = get_current_request()
        return current is not None and current.query == {"n": str(n)}


@pytest.fixture
async def client():  # type: ignore[no-untyped-def]
    async with AsyncClient(Handlers()) as client:
        yield client


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("query", "name", "value"),
    [
        ("i=-12", "i", -12),
        ("i=%2B7", "i", 7),
        ("f=1.5", "f", 1.5),
        ("b=Yes", "b", True),
        ("b=off", "b", False),
        ("d=10.50", "d", "10.50"),
        ("day=2025-01-31", "day", "2025-01-31"),
        ("at=2025-01-31T10:00:00", "at", "2025-01-31T10:00:00"),
        ("clock=10:30", "clock", "10:30:00"),
        ("uid=12345678123456781234567812345678", "uid", "12345678-1234-5678-1234-567812345678"),
        ("color=blue", "color", "blue"),
        ("size=m", "size", "m"),
        ("many=1&many=2", "many", [1, 2]),
        ("many=3", "many", [3]),
        ("either=3", "either", 3),
        ("either=three", "either", "three"),
        ("i=1&i=2", "i", 2),
        ("small=10", "small", 10),
    ],
)
async def test_query_values_become_what_the_annotation_says(query: str, name: str, value: Any) -> None:
    async with AsyncClient(Handlers()) as client:
        answer = await client.get(f"/typed?{query}")
        assert answer.status_code == 200, answer.text
        assert answer.json()[name] == value


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("i=1.5", "'i' must be an integer"),
        ("i=1_000", "'i' must be an integer"),
        ("i=%D9%A3", "'i' must be an integer"),
        ("i=", "'i' must be an integer"),
        ("f=nan", "'f' must be a number"),
        ("b=maybe", "'b' must be true or false"),
        ("d=x", "'d' must be a decimal number"),
        ("d=1e999", "'d' must be a decimal number"),
        ("day=2025-02-30", "'day' must be a date"),
        ("color=green", "'color' must be one of red, blue"),
        ("size=xl", "'size' must be one of s, m"),
        ("many=1&many=x", "'many' must be a list of integers"),
        ("small=11", "'small'"),
    ],
)
async def test_a_bad_value_is_a_400_that_names_the_parameter(query: str, text: str) -> None:
    async with AsyncClient(Handlers()) as client:
        answer = await client.get(f"/typed?{query}")
        assert answer.status_code == 400
        assert text in answer.json()["detail"]
        assert answer.json()["code"] == "VALIDATION"
        assert answer.json()["details"][0]["parameter"] == query.partition("=")[0]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "status", "value"),
    [
        ("/path/1", 200, [1, "none", []]),
        ("/path/1/b", 200, [1, "b", []]),
        ("/path/1/b/c/d", 200, [1, "b", ["c", "d"]]),
        ("/path/1?second=q", 200, [1, "q", []]),
        ("/path/1/p?second=q", 200, [1, "p", []]),
        ("/path?first=4", 200, [4, "none", []]),
        ("/path/x", 400, None),
        ("/path", 400, None),
        ("/keyword?only=2", 200, 2),
        ("/keyword/2", 404, None),
        ("/path/1/@b", 404, None),
        ("/extras?name=n&x=1&x=2&self=me&_hidden=1&_coerce=1", 200, {"name": "n", "x": ["1", "2"]}),
        ("/typed?unknown=1", 200, None),
        ("/typed?self=1&_coerce=1", 200, None),
    ],
)
async def test_path_segments_come_first_then_the_query(path: str, status: int, value: Any) -> None:
    async with AsyncClient(Handlers()) as client:
        answer = await client.get(path)
        assert answer.status_code == status, answer.text
        if value is not None:
            assert (int(answer.text) if isinstance(value, int) else answer.json()) == value


@pytest.mark.asyncio
async def test_fields_of_a_body_fill_what_the_query_leaves_open() -> None:
    async with AsyncClient(Handlers()) as client:
        assert (await client.post("/fields", json={"name": "a", "count": 2, "more": 1})).json() == ["a", 2]
        assert (await client.post("/fields?name=q", json={"name": "a"})).json() == ["q", 1]
        assert (await client.post("/fields", data={"name": "a b", "count": "3"})).json() == ["a b", 3]
        assert (await client.post("/fields", content=b'{"name": "no type"}')).json() == ["no type", 1]
        missing = await client.post("/fields", json={"count": 2})
        assert (missing.status_code, missing.json()["detail"]) == (400, "Parameter 'name' is missing.")
        wrong = await client.post("/fields", json={"name": 5})
        assert (wrong.status_code, wrong.json()["detail"]) == (400, "Parameter 'name' must be a string.")
        listed = await client.post("/fields", json=[1])
        assert (listed.status_code, "JSON object" in listed.json()["detail"]) == (400, True)
        image = await client.post("/fields", content=b"\x89PNG", headers={"content-type": "image/png"})
        assert (image.status_code, "image/png" in image.json()["detail"]) == (415, True)
        broken = await client.post("/fields", content=b"{", headers={"content-type": "application/json"})
        assert (broken.status_code, broken.json()["detail"]) == (400, "The request body is not valid JSON.")


@pytest.mark.asyncio
async def test_the_body_whole_raw_and_streamed() -> None:
    async with AsyncClient(Handlers()) as client:
        assert (await client.post("/whole", json=[1, {"a": None}])).json() == {"data": [1, {"a": None}]}
        assert (await client.post("/whole")).json() == {"data": None}
        assert (await client.post("/raw", content=b"{not json", headers=JSON_HEADERS)).text == "9"

        async def pieces() -> AsyncIterator[bytes]:
            yield b"ab"
            yield b"cde"

        assert (await client.post("/streamed", content=pieces())).json() == [2, 3]


JSON_HEADERS = {"content-type": "application/json"}


@pytest.mark.asyncio
async def test_models_and_dataclasses() -> None:
    async with AsyncClient(Handlers()) as client:
        good = await client.post("/model", json={"item": {"name": "n", "price": "1.50"}, "point": {"x": 3}})
        assert good.json() == {"name": "n", "price": "1.50", "x": 3, "y": 0}
        bad = await client.post("/model", json={"item": {"name": "n", "price": -1}, "point": {"x": 3}})
        assert bad.status_code == 400
        assert bad.json()["details"] == [{"parameter": "item.price", "message": "Input should be greater than 0"}]
        assert (await client.post("/model_body", json={"name": "n", "price": 2})).text == "Item"


@pytest.mark.asyncio
async def test_the_request_is_injected_and_current_everywhere() -> None:
    async with AsyncClient(Handlers()) as client:
        assert (await client.get("/asks")).json() == [True, True, True, True]
        assert (await client.get("/in_thread?n=4")).text == "True"
        assert get_current_request() is None


class _Fake:
    """A request as a binder sees it."""

    def __init__(self, query: dict[str, Any], data: Any = None) -> None:
        self.query, self.data, self.body, self.content_type = query, data, b"", None

    def query_values(self) -> dict[str, Any]:
        return {k: v[-1] if isinstance(v, list) else v for k, v in self.query.items()}


names = st.sampled_from(("a", "b", "c", "extra"))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=3), max_size=2), st.dictionaries(names, st.text(max_size=3), max_size=4))
def test_the_compiled_call_is_the_call_one_would_write(path: list[str], query: dict[str, str]) -> None:
    def handler(a: str = "A", b: str = "B", *, c: str = "C") -> tuple[str, str, str]:
        return a, b, c

    got = Binder(handler).call_for(len(path))(_Fake(query), tuple(path))
    positional = dict(zip(("a", "b"), path, strict=False))
    assert got == handler(**{**{k: v for k, v in query.items() if k != "extra"}, **positional})


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from((int, float, bool, Decimal, date, datetime, time, UUID, Color, list[int])), st.text(max_size=30))
def test_coercion_of_any_text_gives_a_value_or_a_value_error(annotation: Any, text: str) -> None:
    convert = coercion_for(annotation).convert
    assert convert is not None
    try:
        value = convert(text)
    except (ValueError, TypeError):
        return
    assert isinstance(value, list if annotation == list[int] else annotation)
