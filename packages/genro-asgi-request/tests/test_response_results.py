"""What a handler's value becomes: bytes and Content-Type by its class."""

import datetime as dt
import io
from collections import OrderedDict, UserDict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest

from genro_asgi.rendering import ENCODERS, encode, encoder_for
from genro_asgi.response import FileResponse, JSONResponse, Response, StreamingResponse, as_response

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
BINARY = "application/octet-stream"


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Mode(StrEnum):
    FAST = "fast"


class StrColor(str, Enum):  # noqa: UP042 - the older spelling, which str() writes differently
    RED = "red"


class DictEnum(dict, Enum):  # type: ignore[type-arg]
    ONE = {"a": 1}  # noqa: RUF012 - the member


@dataclass
class Point:
    x: int
    y: Decimal


class Model:
    def model_dump(self, mode: str = "python") -> dict[str, Any]:
        return {"m": mode}


class Text(str):
    pass


@pytest.mark.parametrize(
    ("value", "metadata", "content_type", "body"),
    [
        ({"a": 1, "è": "é"}, {}, JSON, '{"a":1,"è":"é"}'.encode()),
        ([1, 2], {}, JSON, b"[1,2]"),
        ({}, {}, JSON, b"{}"),
        ({"a": 1}, {"mime_type": "application/problem+json"}, "application/problem+json", b'{"a":1}'),
        ("ciao", {}, TEXT, b"ciao"),
        ("<b>", {"mime_type": "text/html"}, "text/html; charset=utf-8", b"<b>"),
        ("<b>", {"media_type": "text/html"}, "text/html; charset=utf-8", b"<b>"),
        ("<b>", {"media_type": "text/html; charset=UTF-8"}, "text/html; charset=UTF-8", b"<b>"),
        (b"\x00", {}, BINARY, b"\x00"),
        (bytearray(b"ab"), {}, BINARY, b"ab"),
        (memoryview(b"ab"), {}, BINARY, b"ab"),
        (None, {}, TEXT, b""),
        (5, {}, TEXT, b"5"),
        (True, {}, TEXT, b"True"),
        (1.5, {}, TEXT, b"1.5"),
        ((1, 2), {}, TEXT, b"(1, 2)"),
        ({1}, {}, TEXT, b"{1}"),
        (frozenset(), {}, TEXT, b"frozenset()"),
        (Decimal("9.90"), {}, TEXT, b"9.90"),
        (dt.date(2025, 1, 15), {}, TEXT, b"2025-01-15"),
        (range(3), {}, TEXT, b"range(0, 3)"),
        (Text("sub"), {}, TEXT, b"sub"),
        ("\ud800x", {}, TEXT, b"?x"),
        (OrderedDict(a=1), {}, JSON, b'{"a":1}'),
        (MappingProxyType({"a": 1}), {}, JSON, b'{"a":1}'),
        (UserDict(a=1), {}, JSON, b'{"a":1}'),
        (Point(1, Decimal("2.50")), {}, JSON, b'{"x":1,"y":"2.50"}'),
        (Model(), {}, JSON, b'{"m":"json"}'),
        (Color.RED, {}, TEXT, b"red"),
        (Level.HIGH, {}, TEXT, b"3"),
        (Mode.FAST, {}, TEXT, b"fast"),
        (StrColor.RED, {}, TEXT, b"red"),
        (DictEnum.ONE, {}, JSON, b'{"a":1}'),
        (type("Bytes", (bytes,), {})(b"x"), {}, BINARY, b"x"),
        (type("List", (list,), {})([1]), {}, JSON, b"[1]"),
    ],
)
def test_golden_table(value: Any, metadata: dict[str, str], content_type: str, body: bytes) -> None:
    response = Response()
    response.set_result(value, metadata)
    assert response.finish() == (
        200,
        [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))],
        body,
    )
    # The same bytes without a response around them.
    assert encode(value) == body


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ({"d": Decimal("9.90")}, b'{"d":"9.90"}'),
        ({"d": dt.date(2025, 1, 15)}, b'{"d":"2025-01-15"}'),
        ({"u": UUID(int=0)}, b'{"u":"00000000-0000-0000-0000-000000000000"}'),
        ({"e": Color.RED}, b'{"e":"red"}'),
        ({"s": {1}}, b'{"s":[1]}'),
        ([Point(1, Decimal(2))], b'[{"x":1,"y":"2"}]'),
        ({"m": Model()}, b'{"m":{"m":"json"}}'),
        ({"n": float("nan")}, b'{"n":null}'),
        ({"big": 2**70}, b'{"big":1180591620717411303424}'),
        ({"t": "\ud800"}, '{"t":"�"}'.encode()),
    ],
)
def test_values_inside_json_never_break_it(value: Any, body: bytes) -> None:
    response = Response()
    response.set_result(value)
    assert response.body == body


def test_a_content_type_the_handler_set_stays() -> None:
    response = Response()
    response.set_header("Content-Type", "application/ld+json")
    response.set_result({"a": 1}, {"media_type": "text/html"})
    assert response.headers["content-type"] == "application/ld+json"


def test_the_media_type_of_one_result_does_not_stick() -> None:
    response = Response()
    response.set_result("<b>", {"media_type": "text/html"})
    del response.headers["content-type"]
    response.set_result({"a": 1})
    assert response.headers["content-type"] == "application/json"
    assert response.headers.getlist("content-length") == ["7"]


def test_the_media_type_of_the_constructor_counts_without_metadata() -> None:
    response = Response(media_type="application/vnd.api+json")
    response.raw_headers.clear()
    response.set_result({})
    assert response.headers["content-type"] == "application/vnd.api+json"


@pytest.mark.parametrize("status", [100, 204, 304])
def test_a_status_without_body_sends_none(status: int) -> None:
    response = Response(status_code=status)
    response.set_result({"a": 1})
    code, headers, body = response.finish()
    assert (code, body) == (status, b"")
    assert (b"content-length", b"7") not in headers
    assert dict(headers).get(b"content-type") == (b"application/json" if status == 304 else None)


def test_202_and_none_is_an_empty_answer() -> None:
    response = Response(status_code=202)
    response.set_result(None)
    assert response.finish() == (
        202,
        [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"0")],
        b"",
    )


@pytest.mark.parametrize("value", [Path("a.txt"), PurePosixPath("a"), iter([1]), Response(), io.BytesIO(b"x")])
def test_what_is_sent_piece_by_piece_is_refused_by_set_result(value: Any) -> None:
    response = Response()
    with pytest.raises(TypeError, match=f"A {type(value).__name__} is not sent at once; return it from the handler"):
        response.set_result(value)
    assert encoder_for(value) is None
    assert encode(value) == str(value).encode()


def test_a_media_type_that_is_no_header_is_refused() -> None:
    response = Response()
    with pytest.raises(ValueError, match="content-type"):
        response.set_result("x", {"media_type": "text/html\r\nX-Evil: 1"})


def test_classes_made_at_run_time_do_not_fill_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5000):
        monkeypatch.setitem(ENCODERS, type(f"Filler{number}", (), {}), None)
    one = type("OneMore", (), {"__str__": lambda self: "one"})()
    assert encode(one) == b"one"
    assert type(one) not in ENCODERS


async def _pieces() -> AsyncIterator[bytes]:
    yield b"a"


def _sync_pieces() -> Iterator[bytes]:
    yield b"a"


@pytest.mark.parametrize("source", [_pieces, _sync_pieces])
def test_an_iterator_becomes_a_stream(source: Any) -> None:
    response = as_response(source())
    assert isinstance(response, StreamingResponse)
    assert response.headers["content-type"] == "application/octet-stream"
    assert as_response(source(), "text/csv").headers["content-type"] == "text/csv; charset=utf-8"


def test_a_path_becomes_a_file_and_a_response_stays() -> None:
    response = as_response(PurePosixPath("a.txt"))
    assert isinstance(response, FileResponse)
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert as_response(Path("a.txt"), "text/csv").headers["content-type"] == "text/csv; charset=utf-8"
    ready = JSONResponse({})
    assert as_response(ready) is ready
