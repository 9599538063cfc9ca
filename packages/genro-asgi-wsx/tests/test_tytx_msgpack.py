"""TYTX as MessagePack: golden bytes, strict reading, the missing extra."""

import math
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.wsx.tytx import TypeTable, TytxError, decode, encode, from_tytx, to_tytx

msgpack = pytest.importorskip("msgpack")

ROME = timezone(timedelta(hours=2))


class Colour(Enum):
    RED = Decimal("1.5")


@dataclass
class Line:
    code: str
    price: Decimal


def test_the_published_document_has_these_bytes() -> None:
    document = {
        "p": Decimal("9.90"),
        "d": date(2025, 1, 15),
        "t": datetime(2025, 1, 15, 10, 30, 45, 123456, tzinfo=UTC),
        "h": time(10, 30, 0, 5000),
        "i": 1,
        "f": 1.5,
        "b": True,
        "n": None,
        "s": "x",
        "y": b"hi",
    }
    data = to_tytx(document, "msgpack")
    assert data == bytes.fromhex(
        "8aa170d601392e3930a164c70a02323032352d30312d3135a174d7ff1d6f280067878e55"
        "a168c70f0331303a33303a30302e303035303030a16901a166cb3ff8000000000000a162c3a16ec0a173a178a179c4026869"
    )
    assert from_tytx(data, "msgpack") == document


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (Decimal("1"), b"\xd4\x011"),
        (date(2025, 1, 1), b"\xc7\n\x022025-01-01"),
        (datetime(2025, 1, 15, 10, 30, 45), b"\xd6\xffg\x87\x8eU"),
        (datetime(2025, 1, 15, 10, 30, 45, tzinfo=ROME), b"\xd6\xffg\x87r5"),
        (time(10, 30), b"\xd7\x0310:30:00"),
        (b"hi", b"\xc4\x02hi"),
        (bytearray(b"hi"), b"\xc4\x02hi"),
        (2**64, b"\xc7\x16\x04L:18446744073709551616"),
        ({"a": 2**64}, b"\x81\xa1a\xc7\x16\x04L:18446744073709551616"),
        ("12::D", b"\xa512::D"),
        ((1, Decimal("2")), b"\x92\x01\xd4\x012"),
        ({Colour.RED}, b"\x91\xc7\x03\x011.5"),
        (UUID(int=5), b"\xd9$00000000-0000-0000-0000-000000000005"),
        (Line("a", Decimal("2")), b"\x82\xa4code\xa1a\xa5price\xd4\x012"),
        ([math.nan, 1.5], b"\x92\xc0\xcb?\xf8\x00\x00\x00\x00\x00\x00"),
        ({"x": "\x7f", "f": -math.inf}, b"\x82\xa1x\xa1\x7f\xa1f\xc0"),
    ],
)
def test_values_have_these_bytes(value: Any, data: bytes) -> None:
    assert encode(value, "msgpack") == data


def test_what_reads_back_differently() -> None:
    def both(value: Any) -> Any:
        return decode(encode(value, "msgpack"), "msgpack")

    assert both(datetime(2025, 1, 1)) == datetime(2025, 1, 1, tzinfo=UTC)
    assert both({1: 2}) == {"1": 2}
    assert both([math.nan]) == [None]
    assert both("12::D") == "12::D"


class Point:
    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y


class Pair(tuple[int, int]):
    pass


def test_registered_types_travel_with_their_suffix() -> None:
    types = TypeTable()
    types.register(Point, "PT", lambda p: f"{p.x},{p.y}", lambda text: Point(*map(int, text.split(","))))
    data = encode({"p": Point(1, 2)}, "msgpack", types=types)
    assert data == b"\x81\xa1p\xc7\x06\x04PT:1,2"
    point = decode(data, "msgpack", types=types)["p"]
    assert (point.x, point.y) == (1, 2)
    assert decode(data, "msgpack") == {"p": "1,2::PT"}
    with pytest.raises(TytxError) as caught:
        decode(b"\x81\xa1p\xc7\x06\x04PT:1;2", "msgpack", types=types)
    assert str(caught.value) == "'1;2::PT' invalid literal for int() with base 10: '1;2' (at /p)"
    types.register(Pair, "PR", lambda p: f"{p[0]}-{p[1]}", lambda text: Pair(map(int, text.split("-"))))
    data = encode([Pair((1, 2))], "msgpack", types=types)
    assert data == b"\x91\xc7\x06\x04PR:1-2"


def pack(value: Any) -> bytes:
    return bytes(msgpack.packb(value))


@pytest.mark.parametrize(
    ("data", "text", "pointer"),
    [
        (pack({"a": msgpack.ExtType(1, b"x")}), "'x::N' is not a decimal number", "/a"),
        (
            pack({"a": [1, msgpack.ExtType(1, b"1E+500")]}),
            "'1E+500::N' has an exponent beyond 400 or more than 4300 digits",
            "/a/1",
        ),
        (pack([{"~/": msgpack.ExtType(2, b"today")}]), "'today::D' is not a date written YYYY-MM-DD", "/0/~0~1"),
        (pack(msgpack.ExtType(3, b"\xff")), "extension type 3 does not hold UTF-8", ""),
        (pack([msgpack.ExtType(9, b"x")]), "extension type 9 is unknown", "/0"),
        (pack([msgpack.ExtType(4, b"abc")]), "extension type 4 must hold SUFFIX:literal", "/0"),
        (pack([msgpack.ExtType(4, b"\xff:")]), "extension type 4 does not hold UTF-8", "/0"),
        (pack([msgpack.ExtType(4, b"L:x")]), "'x::L' is not an integer of at most 4300 digits", "/0"),
        (pack([1, msgpack.Timestamp(2**40)]), "the timestamp is beyond the years 1 to 9999", "/1"),
    ],
)
def test_bad_values_are_found(data: bytes, text: str, pointer: str) -> None:
    with pytest.raises(TytxError) as caught:
        from_tytx(data, "msgpack")
    assert (caught.value.text, caught.value.pointer, caught.value.code) == (text, pointer, "BAD_VALUE")


BROKEN = "the document is not MessagePack with strings as keys"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", BROKEN),
        (b"\xc1", BROKEN),
        (b"\x81", BROKEN),
        (b"\xa1\xff", BROKEN),
        (pack({"a": 1}) + b"x", BROKEN),
        (b"\x81\x01\x02", BROKEN),
        (b"\x91" * 2000 + b"\x00", BROKEN),
        (b"\xdd\xff\xff\xff\xff", BROKEN),
        (b"\x81\x80\x01", BROKEN),
        (b"\x92\xd4\x01x", BROKEN),
        (b"\x91" * 257 + b"\x00", "the document is nested deeper than 256 levels"),
        (b"\x81\xc4\x01a\x01", "the document has a key that is not a string"),
        (pack({"a": [math.nan]}), "the document holds a number that is not finite"),
        (pack([-math.inf]), "the document holds a number that is not finite"),
        (b"\xca\x7f\x80\x00\x00", "the document holds a number that is not finite"),
    ],
)
def test_broken_documents_are_refused(data: bytes, text: str) -> None:
    with pytest.raises(TytxError) as caught:
        from_tytx(data, "msgpack")
    assert (caught.value.text, caught.value.code) == (text, "MALFORMED")


def test_text_is_not_msgpack() -> None:
    with pytest.raises(TytxError, match="the document is text, and MessagePack is bytes"):
        decode("{}", "msgpack")


def test_depth_and_suspicious_bytes_that_are_harmless() -> None:
    assert decode(b"\x91" * 256 + b"\x00", "msgpack") == decode("[" * 256 + "0" + "]" * 256)
    assert decode(b"\x91\x91\x00", "msgpack", max_depth=2) == [[0]]
    with pytest.raises(TytxError, match="deeper than 2 levels"):
        decode(b"\x91\x91\x91\x00", "msgpack", max_depth=2)
    text = "\u0440\u0435\u0440" * 100 + "\x7f"
    assert decode(encode({"a": [text, b"\xcb\x7f\xff\xc4"]}, "msgpack"), "msgpack") == {
        "a": [text, b"\xcb\x7f\xff\xc4"]
    }


def test_what_has_no_form_is_named() -> None:
    with pytest.raises(TytxError) as caught:
        encode({"a": [object()]}, "msgpack")
    assert caught.value.pointer == "/a/0"
    assert caught.value.text == "object has no TYTX form; register it with register_type()"


def test_a_reader_that_changes_its_mind_is_still_an_error() -> None:
    answers = iter([ValueError("no")])

    def read(text: str) -> str:
        for answer in answers:
            raise answer
        return text

    types = TypeTable()
    types.register(Point, "PT", str, read)
    with pytest.raises(TytxError, match="the document cannot be read"):
        decode(pack([msgpack.ExtType(4, b"PT:a")]), "msgpack", types=types)


@pytest.mark.parametrize("call", [lambda: encode(1, "msgpack"), lambda: decode(b"\x01", "msgpack")])
def test_the_missing_extra_is_named(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(ImportError, match=r'msgpack is not installed; run: pip install "genro-asgi-wsx\[msgpack\]"'):
        call()


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.just(UTC)),
    st.binary(max_size=8),
    st.decimals(-(10**20), 10**20, places=3),
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(documents)
def test_every_document_comes_back(value: Any) -> None:
    assert decode(encode(value, "msgpack"), "msgpack") == value


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(TytxError):
        decode(data, "msgpack")
