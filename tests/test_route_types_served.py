"""Routes with types of their own, served: the Python clients in text and MessagePack, and typed bodies over HTTP."""

import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest

from genro_asgi.wsx.client import connect
from genro_asgi.wsx.errors import WsxCallError
from genro_asgi.wsx.sync_client import connect as connect_blocking
from genro_asgi.wsx.tytx import TypeTable, decode

TYPES = TypeTable()


@TYPES.register_class
class Place:
    """What the site calls Point; the suffix is what both sides know."""

    __tytx_suffix__ = "PT"

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and other.text == self.text

    __hash__ = None  # type: ignore[assignment]

    def to_tytx(self) -> str:
        return self.text

    @classmethod
    def from_tytx(cls, text: str) -> "Place":
        return cls(text)


@pytest.fixture
def url(wsx_site: Any) -> str:
    return str(wsx_site.url.replace("http", "ws"))


async def each(*items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item


@pytest.mark.parametrize("form", ["text", "msgpack"])
@pytest.mark.asyncio
async def test_types_of_a_connection(url: str, form: Any) -> None:
    async with connect(url, form=form, types=TYPES, timeout=20) as wsx:
        moved = await wsx.post("/move", {"at": Place("1,2"), "by": 2})
        assert moved == {"from": Place("1,2"), "to": Place("3,2"), "text": "1,2::PT"}
        # This route has no such type: a string it is, and stays.
        assert await wsx.post("/echo", ["x::PT", "1::PT::T", Place("1,2")]) == ["x::PT", "1::PT::T", "1,2::PT"]
        items = [item async for item in wsx.stream("/path", data=each(Place("1,2"), "3,4::PT"))]
        assert items == [Place("1,-2"), "3,4::PT"]


@pytest.mark.parametrize("form", ["text", "msgpack"])
@pytest.mark.asyncio
async def test_types_of_a_call(url: str, form: Any) -> None:
    async with connect(url, form=form, timeout=20) as wsx:
        moved = await wsx.post("/move", {"at": Place("1,2")}, types=TYPES)
        assert moved["to"] == Place("2,2")
        assert (await wsx.request("POST", "/move", {"at": Place("1,2")}, types=TYPES)).data["from"] == Place("1,2")
        items = [item async for item in wsx.stream("/path", data=each(Place("1,2")), types=TYPES)]
        assert items == [Place("1,-2")]
        # Who knows nothing of them sends and gets strings.
        assert await wsx.post("/move", {"at": "1,2"}) == {"from": "1,2::PT", "to": "2,2::PT", "text": "1,2::PT"}
        assert [item async for item in wsx.stream("/path", data=each("1,2::PT"))] == ["1,2::PT"]


@pytest.mark.asyncio
async def test_what_the_server_cannot_read(url: str) -> None:
    async with connect(url, types=TYPES, timeout=20) as wsx:
        with pytest.raises(WsxCallError) as caught:
            await wsx.post("/move", {"at": [0, Place("nowhere")]})
        assert (caught.value.status, caught.value.code) == (400, "BAD_VALUE")
        assert caught.value.text.endswith("(at /data/at/1)")
        assert await wsx.post("/echo", [Place("nowhere")]) == ["nowhere::PT"]


def test_the_blocking_client(url: str) -> None:
    with connect_blocking(url, types=TYPES) as wsx:
        assert wsx.post("/move", {"at": Place("1,2")})["to"] == Place("2,2")


def test_over_http(wsx_site: Any) -> None:
    request = urllib.request.Request(
        f"{wsx_site.url}/move",
        b'"{"at":"1,2::PT","by":4}::JS"',
        {"content-type": "application/json", "x-tytx-transport": "json"},
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        text = reply.read().decode()
    assert text == '"{"from":"1,2::PT","to":"5,2::PT","text":"1,2::PT::T"}::JS"'
    assert decode(text, "json", types=TYPES)["to"] == Place("5,2")
    with urllib.request.urlopen(f"{wsx_site.url}/move?at=1,2", timeout=20) as reply:
        assert reply.read() == b'{"from":"1,2","to":"2,2","text":"1,2::PT"}'
