"""Registering types of one's own, and what may not be registered."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Self

import pytest

from genro_asgi.wsx.tytx import (
    BUILTIN_TYPES,
    DEFAULT_TYPES,
    TypeTable,
    TytxError,
    decode,
    encode,
    from_tytx,
    register_class,
    register_type,
    to_tytx,
)


class Point:
    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class Pixel(Point):
    pass


@dataclass
class Money:
    amount: Decimal


class Word(str):
    pass


def text_of(point: Point) -> str:
    return point.text


@pytest.fixture
def default_types(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test adds to the table of the process is gone after it."""
    fresh = DEFAULT_TYPES.copy()
    before = vars(DEFAULT_TYPES).copy()
    vars(DEFAULT_TYPES).update(vars(fresh))
    yield
    vars(DEFAULT_TYPES).update(before)


@pytest.fixture
def types() -> TypeTable:
    table = TypeTable()
    table.register(Point, "PT", text_of, Point)
    return table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Point("a"), b"a::PT"),
        (Pixel("b"), b"b::PT"),
        ({"p": Point('q"\n')}, b'{"p":"q\\"\\n::PT"}::JS'),
        ([Pixel("a::N")], b'["a::N::PT"]::JS'),
        ({"p": "x::PT"}, b'{"p":"x::PT::T"}::JS'),
    ],
)
def test_a_registered_class_travels_under_its_suffix(types: TypeTable, value: Any, text: bytes) -> None:
    assert encode(value, types=types) == text
    result = decode(text, types=types)
    expected = Point(value.text) if isinstance(value, Pixel) else value
    assert result == ([Point("a::N")] if isinstance(value, list) else expected)


def test_only_the_table_in_use_knows_it(types: TypeTable) -> None:
    assert decode(b'{"p":"a::PT"}::JS') == {"p": "a::PT"}
    with pytest.raises(TytxError, match="Point has no TYTX form"):
        encode([Point("a")])
    with pytest.raises(TytxError, match="known suffix"):
        decode(b"a::PT")
    assert "PT" not in BUILTIN_TYPES.readers


def test_a_copy_goes_its_own_way(types: TypeTable) -> None:
    other = types.copy()
    other.register(Money, "MM", lambda money: str(money.amount), lambda text: Money(Decimal(text)))
    assert encode([Point("a"), Money(Decimal(5))], types=other) == b'["a::PT","5::MM"]::JS'
    assert decode(b'["a::PT","5::MM"]::JS', types=other) == [Point("a"), Money(Decimal(5))]
    assert encode([Money(Decimal(5))], types=types) == b'[{"amount":"5::N"}]::JS'


def test_classes_that_writers_know_by_themselves_are_asked_first(types: TypeTable) -> None:
    types.register(Word, "WW", str.__str__, Word)
    assert encode({"w": Word("a"), "s": "b", "p": Point("c")}, types=types) == b'{"w":"a::WW","s":"b","p":"c::PT"}::JS'


def test_a_json_native_type_has_no_suffix_in_a_text(types: TypeTable) -> None:
    types.register(Money, "MM", lambda money: str(money.amount), Money, json_native=True)
    assert encode({"m": Money(Decimal(5))}, types=types) == b'{"m":"5"}'
    assert encode(Money(Decimal(5)), types=types) == b'"5"'
    table = TypeTable()
    table.register(Point, "PT", text_of, Point, json_native=True)
    assert encode({"p": Point("a")}, types=table) == b'{"p":"a"}'
    assert encode({"p": Point("5::N")}, types=table) == b'{"p":"5::N::T"}::JS'


def test_registering_again_replaces(types: TypeTable) -> None:
    types.register(Point, "PP", lambda point: point.text.upper(), Point)
    assert encode([Point("a")], types=types) == b'["A::PP"]::JS'
    assert decode(b'["a::PT"]::JS', types=types) == ["a::PT"]
    types.register(Pixel, "PT", text_of, Pixel)
    assert encode([Point("a"), Pixel("b")], types=types) == b'["A::PP","b::PT"]::JS'
    types.register(Point, "PQ", text_of, Point, json_native=True)
    assert encode([Point("a"), Pixel("b")], types=types) == b'["a","b::PT"]::JS'


@pytest.mark.parametrize(
    ("cls", "suffix", "text"),
    [
        (Point, "pt", "TYTX suffix 'pt' is invalid; write upper-case ASCII letters, and not JS."),
        (Point, "P2", "TYTX suffix 'P2' is invalid; write upper-case ASCII letters, and not JS."),
        (Point, "", "TYTX suffix '' is invalid; write upper-case ASCII letters, and not JS."),
        (Point, "JS", "TYTX suffix 'JS' is invalid; write upper-case ASCII letters, and not JS."),
        (Point, "N", "TYTX suffix 'N' is already registered; choose another one for Point."),
        (Point, "QS", "TYTX suffix 'QS' is already registered; choose another one for Point."),
        (Point, "T", "TYTX suffix 'T' is already registered; choose another one for Point."),
        (str, "SS", "str has a fixed TYTX form; register a class of your own."),
        (int, "II", "int has a fixed TYTX form; register a class of your own."),
        (Decimal, "Z", "Decimal has a fixed TYTX form; register a class of your own."),
        (object, "OO", "object has a fixed TYTX form; register a class of your own."),
    ],
)
def test_what_may_not_be_registered(cls: type, suffix: str, text: str) -> None:
    with pytest.raises(ValueError, match=text.replace(".", r"\.")):
        TypeTable().register(cls, suffix, str, str)


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("a=1::L&b=x&c=", {"a": 1, "b": "x", "c": ""}),
        ("a=x=y", {"a": "x=y"}),
        ("alfa&1::L", ["alfa", 1]),
        ("alfa", ["alfa"]),
        ("", []),
        ("d=2025-01-15::D&p=a::PT", {"d": date(2025, 1, 15), "p": Point("a")}),
    ],
)
def test_query_strings_are_read_where_they_are_allowed(types: TypeTable, literal: str, value: Any) -> None:
    text = f'{{"q":"{literal}::QS"}}::JS'
    assert decode(text, types=types) == {"q": f"{literal}::QS"}
    types.allow_qs()
    assert decode(text, types=types) == {"q": value}
    assert decode(text, types=types.copy()) == {"q": value}
    assert encode({"q": f"{literal}::QS"}, types=types) == f'{{"q":"{literal}::QS::T"}}::JS'.encode()


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ("a=1&b", "'a=1&b::QS' mixes names with values and names without (at /q)"),
        ("a=x::L", "'a=x::L::QS' is not an integer of at most 4300 digits (at /q)"),
    ],
)
def test_query_strings_are_read_strictly(types: TypeTable, literal: str, text: str) -> None:
    types.allow_qs()
    with pytest.raises(TytxError) as caught:
        decode(f'{{"q":"{literal}::QS"}}::JS', types=types)
    assert str(caught.value) == text


def test_a_reader_may_raise_anything(types: TypeTable) -> None:
    def explode(text: str) -> Any:
        raise KeyError(f"secret of {text}")

    def refuse(text: str) -> Any:
        raise TytxError("is not to my taste", "/inner")

    types.register(Money, "MM", str, explode)
    types.register(Word, "WW", str, refuse)
    with pytest.raises(TytxError) as caught:
        decode('{"a":["5::MM"]}::JS', types=types)
    assert str(caught.value) == "'5::MM' is not a value of its type (at /a/0)"
    with pytest.raises(TytxError) as caught:
        decode('{"a":["5::WW"]}::JS', types=types)
    assert str(caught.value) == "is not to my taste (at /a/0/inner)"


def test_a_writer_that_fails_is_named() -> None:
    def explode(value: Any) -> str:
        raise RuntimeError("broken")

    types = TypeTable()
    types.register(Point, "PT", explode, Point)
    with pytest.raises(TytxError) as caught:
        encode({"a": [Point("x")]}, types=types)
    assert str(caught.value) == "Point cannot be written as PT: broken (at /a/0)"


@pytest.mark.usefixtures("default_types")
def test_register_type_serves_to_and_from_tytx() -> None:
    register_type(Point, "PT", text_of, Point)
    assert to_tytx({"p": Point("a")}, "json") == '"{"p":"a::PT"}::JS"'
    assert from_tytx('{"p":"a::PT"}') == {"p": Point("a")}


@pytest.mark.usefixtures("default_types")
def test_register_class_reads_the_hooks_of_the_class() -> None:
    @register_class
    class Bag:
        __tytx_suffix__ = "X"

        def __init__(self, text: str) -> None:
            self.text = text

        def to_tytx(self) -> str:
            return self.text

        @classmethod
        def from_tytx(cls, text: str) -> Self:
            return cls(text)

    assert to_tytx([Bag("a")]) == '["a::X"]::JS'
    (bag,) = from_tytx('["a::X"]')
    assert (type(bag), bag.text) == (Bag, "a")
