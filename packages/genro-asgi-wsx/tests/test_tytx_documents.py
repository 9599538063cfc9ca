"""TYTX documents as text: golden forms, the escape, strict reading, pointers."""

import math
import runpy
import sys
from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.wsx.tytx import TytxError, codec, decode, encode, from_tytx, hydrate, to_tytx, tree, typed_copy

PRICE = {"p": Decimal("9.90"), "d": date(2025, 1, 15), "n": 1}


@pytest.fixture(params=["orjson", "stdlib"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways out: one pass of orjson, and the careful copy that stands in for it."""
    if request.param == "stdlib":
        monkeypatch.setattr(codec, "_dumps", None)
    elif codec._dumps is None:
        pytest.skip("orjson is not installed")
    return str(request.param)


class Colour(Enum):
    RED = "red"
    AMOUNT = Decimal("1.5")


class Level(IntEnum):
    HIGH = 3


class Name(str):
    pass


class Money(Decimal):
    pass


@dataclass
class Line:
    code: str
    price: Decimal


class Model:
    """Looks like a pydantic model."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def model_dump(self, mode: str = "python") -> dict[str, Any]:
        return self.values if mode == "python" else {name: str(value) for name, value in self.values.items()}


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (PRICE, '{"p":"9.90::N","d":"2025-01-15::D","n":1}::JS'),
        ({"n": 1}, '{"n":1}'),
        ({}, "{}"),
        ([], "[]"),
        ([Decimal(1)], '["1::N"]::JS'),
        ((1, Decimal(2)), '[1,"2::N"]::JS'),
        ({"a": {"b": [None, True, 1.5, b"hi"]}}, '{"a":{"b":[null,true,1.5,"aGk=::RAW"]}}::JS'),
        (
            {"t": time(10, 30), "w": datetime(2025, 1, 1, tzinfo=UTC)},
            '{"t":"10:30:00.000::H","w":"2025-01-01T00:00:00.000Z::DHZ"}::JS',
        ),
        (Decimal("1"), "1::N"),
        (Money("1"), "1::N"),
        (date(2025, 1, 1), "2025-01-01::D"),
        (b"hi", "aGk=::RAW"),
        ("x", '"x"'),
        (5, "5"),
        (None, "null"),
        (True, "true"),
        ("è", '"è"'),
        (2**64, "18446744073709551616::L"),
        ({"k::N": 1}, '{"k::N":1}'),
        ({"k::N": Decimal(1)}, '{"k::N":"1::N"}::JS'),
        (Colour.RED, '"red"'),
        ({"c": Colour.AMOUNT}, '{"c":"1.5::N"}::JS'),
        (Colour.AMOUNT, '"1.5::N"::JS'),
        ({"l": Level.HIGH}, '{"l":3}'),
        ({"s": Name("q")}, '{"s":"q"}'),
        ({"m": Money("2.50")}, '{"m":"2.50::N"}::JS'),
        ({"u": UUID(int=5)}, '{"u":"00000000-0000-0000-0000-000000000005"}'),
        (Line("a", Decimal("2")), '{"code":"a","price":"2::N"}::JS'),
        ({"s": {1}}, '{"s":[1]}'),
        ({"p": Point(1, Decimal(2))}, '{"p":[1,"2::N"]}::JS'),
        (OrderedDict(a=Decimal(1)), '{"a":"1::N"}::JS'),
        ({"u": UserDict(a=Decimal(1))}, '{"u":{"a":"1::N"}}::JS'),
        ({"f": PurePosixPath("a/b")}, '{"f":"a/b"}'),
        ({"m": Model(price=Decimal(1))}, '{"m":{"price":"1::N"}}::JS'),
        ({"m": Model(price=Decimal(1), other=object)}, '{"m":{"price":"1","other":"<class \'object\'>"}}'),
        ({"f": [math.nan, math.inf]}, '{"f":[null,null]}'),
        ({1: Decimal(1), None: 2}, '{"1":"1::N","null":2}::JS'),
        ({"i": 2**64}, '{"i":"18446744073709551616::L"}::JS'),
        ({"i": -(2**63) - 1}, '{"i":"-9223372036854775809::L"}::JS'),
        ({"i": [2**64 - 1, -(2**63)]}, '{"i":[18446744073709551615,-9223372036854775808]}'),
    ],
)
def test_documents_have_the_published_form(value: Any, text: str) -> None:
    assert encode(value) == text.encode()
    assert encode(value, "json") == f'"{text}"'.encode()
    assert to_tytx(value) == text
    assert to_tytx(value, "json") == f'"{text}"'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": "12::D"}, '{"a":"12::D::T"}::JS'),
        ({"a": "x::T"}, '{"a":"x::T::T"}::JS'),
        ({"a": "x::QS"}, '{"a":"x::QS::T"}::JS'),
        ({"a": "::"}, '{"a":"::"}'),
        ({"a": "std::string"}, '{"a":"std::string"}'),
        ({"a": "x::ZZ", "b": Decimal(1)}, '{"a":"x::ZZ","b":"1::N"}::JS'),
        ({"a": "x::N\n"}, '{"a":"x::N\\n"}'),
        ({"a": 'x::N"'}, '{"a":"x::N\\""}'),
        ({"a": "x::JS"}, '{"a":"x::JS"}'),
        (["5::N", Decimal(5)], '["5::N::T","5::N"]::JS'),
        ("a::D", "a::D::T"),
        ("a::JS", '"a::JS"'),
    ],
)
def test_plain_strings_that_look_typed_are_marked_as_text(value: Any, text: str) -> None:
    assert encode(value) == text.encode()
    for transport in (None, "json"):
        assert from_tytx(to_tytx(value, transport), transport) == value  # type: ignore[arg-type]
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    "text",
    ['{"p":"9.90::N"}::JS', '"{"p":"9.90::N"}::JS"', '{"p":"9.90::N"}', '"{"p":"9.90::N"}"', ' {"p":"9.90::N"}\n'],
)
@pytest.mark.parametrize("transport", [None, "json"])
@pytest.mark.parametrize("kind", [str, bytes])
def test_all_forms_of_a_text_are_read(text: str, transport: Any, kind: type) -> None:
    data = text if kind is str else text.encode()
    assert from_tytx(data, transport) == {"p": Decimal("9.90")}
    assert decode(data, transport) == {"p": Decimal("9.90") if transport or "::JS" in text else "9.90::N"}


@pytest.mark.parametrize(
    ("text", "plain", "wrapped"),
    [
        ('"5"', "5", 5),
        ("5", 5, 5),
        ('""x""', "x", "x"),
        ('"x"', "x", "x"),
        ('""', "", ""),
        ('"null"', "null", None),
        ('"[1]"', "[1]", [1]),
        ('"a\\"b"', 'a"b', 'a"b'),
        ('"x::JS"', "x::JS", "x::JS"),
        ('""x::JS""', "x::JS", "x::JS"),
        ("1::N", Decimal(1), Decimal(1)),
        ('"1::N"', Decimal(1), Decimal(1)),
        ('"1::N"::JS', Decimal(1), Decimal(1)),
        ("null", None, None),
        ('{"a":"x::ZZ"}', {"a": "x::ZZ"}, {"a": "x::ZZ"}),
        ('{"a":"1::n"}::JS', {"a": "1::n"}, {"a": "1::n"}),
        ('{"a":"x::JS"}::JS', {"a": "x::JS"}, {"a": "x::JS"}),
        ('{"a":"a::QS"}::JS', {"a": "a::QS"}, {"a": "a::QS"}),
        ('{"a":1,"a":2}', {"a": 2}, {"a": 2}),
    ],
)
def test_a_text_may_be_wrapped(text: str, plain: Any, wrapped: Any) -> None:
    assert from_tytx(text) == plain
    assert from_tytx(text, "json") == wrapped


def test_only_a_marked_or_declared_document_is_typed() -> None:
    assert decode('{"p":"9.90::N"}') == {"p": "9.90::N"}
    assert decode('"9.90::N"') == "9.90::N"
    assert decode('{"name":"12::D"}') == {"name": "12::D"}
    assert decode('{"p":"9.90::N"}::JS') == {"p": Decimal("9.90")}
    assert decode('{"p":"9.90::N"}', "json") == {"p": Decimal("9.90")}
    assert from_tytx(None) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{bad",
        "[1::N]",
        '{"a":1}::JS ',
        "<x/>",
        '"',
        '"{',
        '{"a":NaN}',
        "1e400",
        "Infinity",
        '"\\ud800"',
        "::JS",
        "{}{}",
    ],
)
@pytest.mark.parametrize("transport", [None, "json"])
def test_malformed_texts_are_refused(text: str, transport: Any) -> None:
    for data in (text, text.encode()):
        for read in (from_tytx, decode):
            with pytest.raises(TytxError) as caught:
                read(data, transport)
            assert (caught.value.pointer, caught.value.code) == ("", "MALFORMED")
            assert "JSON" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("x::ZZ", "the text is neither JSON nor a literal with a known suffix"),
        ("HELLO", "the text is neither JSON nor a literal with a known suffix"),
        ("x::JS", "JSON"),
        ("\ud800", "the text holds half of a surrogate pair"),
        (b"\xff", "JSON"),
        (b"\xff::ZZ", "the text is neither JSON nor a literal with a known suffix"),
        ("[18446744073709551616]", "beyond 64 bits"),
        ("[" * 1025 + "]" * 1025, "deeper than 1024 levels"),
    ],
)
def test_other_broken_documents(data: Any, text: str) -> None:
    with pytest.raises(TytxError) as caught:
        from_tytx(data)
    assert text in caught.value.text
    assert caught.value.code == "MALFORMED"


def test_depth_is_bounded() -> None:
    def nested(levels: int) -> str:
        return "[" * levels + '"1::N"' + "]" * levels

    with pytest.raises(TytxError, match="nested too deeply") as caught:
        from_tytx(nested(257))
    assert caught.value.code == "MALFORMED"
    value = from_tytx(nested(256))
    for _ in range(256):
        value = value[0]
    assert value == Decimal(1)
    assert decode("[[1]]", max_depth=2) == [[1]]
    with pytest.raises(TytxError, match="nested deeper than 2 levels"):
        decode("[[[1]]]", max_depth=2)
    with pytest.raises(TytxError, match="nested deeper than 2 levels"):
        decode('[[["1::N"]]]::JS', max_depth=2)


def test_a_stack_that_runs_out_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TytxError, match="nested too deeply"):
        hydrate([[["1::N"]]], max_depth=2)
    document: list[Any] = []
    document.append(document)
    with pytest.raises(TytxError, match="nested too deeply") as caught:
        hydrate(document, max_depth=10**6)
    assert caught.value.code == "MALFORMED"


def test_pointers_name_the_bad_value() -> None:
    document = {"ok": "1::N", "a/b": [{"~x": "bad::N"}], "later": "bad::D"}
    with pytest.raises(TytxError) as caught:
        hydrate(document, pointer="/data")
    assert caught.value.pointer == "/data/a~1b/0/~0x"
    assert str(caught.value) == "'bad::N' is not a decimal number (at /data/a~1b/0/~0x)"
    with pytest.raises(TytxError) as caught:
        hydrate("bad::N", pointer="/query")
    assert caught.value.pointer == "/query"


def test_a_bad_value_in_quotes_is_not_mistaken_for_a_broken_text() -> None:
    with pytest.raises(TytxError) as caught:
        from_tytx('"{"a":"x::N"}::JS"', "json")
    assert (caught.value.pointer, caught.value.code) == ("/a", "BAD_VALUE")


def test_hydrate_works_in_place() -> None:
    document = {"a": ["1::N", {"b": "x::T"}], "n": 5}
    assert hydrate(document) is document
    assert document == {"a": [Decimal(1), {"b": "x"}], "n": 5}
    assert hydrate("2::N") == Decimal(2)
    assert hydrate("plain") == "plain"
    assert hydrate("x::ZZ") == "x::ZZ"
    assert hydrate(5) == 5
    assert hydrate(None) is None


def test_remembered_values_are_bounded() -> None:
    tree._seen.clear()
    amounts = {str(number): f"{number}.50::N" for number in range(tree._SEEN_MAX - 1)}
    assert hydrate(amounts | {"d": "2025-01-01::D"})["7"] == Decimal("7.50")
    assert len(tree._seen) == tree._SEEN_MAX
    again = hydrate({"a": "7.50::N", "d": "2025-01-01::D"})
    assert again == {"a": Decimal("7.50"), "d": date(2025, 1, 1)}
    assert str(again["a"]) == "7.50"
    hydrate({"a": "-1::N"})
    assert not tree._seen


def test_typed_copy_leaves_the_value_alone() -> None:
    value = {"a": Decimal(1), "b": ["12::D", (1, 2)]}
    assert typed_copy(value) == {"a": "1::N", "b": ["12::D::T", [1, 2]]}
    assert value == {"a": Decimal(1), "b": ["12::D", (1, 2)]}


class Unknown:
    pass


@pytest.mark.parametrize(
    ("value", "text", "pointer"),
    [
        ({"a": [1, Unknown()]}, "Unknown has no TYTX form; register it with register_type()", "/a/1"),
        (Unknown(), "Unknown has no TYTX form; register it with register_type()", ""),
        ({"a": frozenset({Unknown})}, "type has no TYTX form; register it with register_type()", "/a/0"),
        ({"a": {(1, 2): 3}}, "tuple cannot be a key; use a str", "/a"),
        (
            {"a": datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2)))},
            "datetime cannot be written as DHZ: date value out of range",
            "/a",
        ),
    ],
)
def test_what_has_no_form_is_named(value: Any, text: str, pointer: str) -> None:
    with pytest.raises(TytxError) as caught:
        encode(value)
    assert (caught.value.text, caught.value.pointer) == (text, pointer)


def test_a_scalar_that_cannot_be_written_is_an_error() -> None:
    with pytest.raises(TytxError, match="datetime cannot be written: date value out of range"):
        encode(datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))))


def test_a_value_that_holds_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["me"] = value
    with pytest.raises(TytxError, match="nested too deeply, or holds itself"):
        encode(value)


def test_lone_surrogates_do_not_break_a_document() -> None:
    assert encode({"a": "\ud800", "p": Decimal(1)}) == '{"a":"\ufffd","p":"1::N"}::JS'.encode()


@pytest.mark.parametrize("call", [lambda: encode(1, "xls"), lambda: decode("1", "xls")])  # type: ignore[arg-type]
def test_unknown_transports_are_named(call: Any) -> None:
    with pytest.raises(ValueError, match="Unknown transport 'xls' of TYTX; use json, msgpack or xml"):
        call()


def test_errors_survive_a_process_boundary() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(TytxError("text", "/a", "MALFORMED")))
    assert (error.text, error.pointer, error.code, str(error)) == ("text", "/a", "MALFORMED", "text (at /a)")


suffixes = st.sampled_from(["::N", "::D", "::T", "::QS", "::JS", "::", ":", "::ZZ", '::N"', ""])
strings = st.builds(lambda head, tail: head + tail, st.text(max_size=8), suffixes)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(allow_nan=False, allow_infinity=False),
    strings,
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.just(UTC)),
    st.binary(max_size=8),
    st.decimals(-(10**20), 10**20, places=3),
)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=4), max_leaves=15
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(documents)
def test_every_document_comes_back(value: Any) -> None:
    for transport in (None, "json"):
        text = to_tytx(value, transport)  # type: ignore[arg-type]
        assert from_tytx(text, transport) == value  # type: ignore[arg-type]
    assert decode(encode(value)) == value
    fast = encode(value)
    codec_fast, codec._dumps = codec._dumps, None
    try:
        assert encode(value) == fast
    finally:
        codec._dumps = codec_fast


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.one_of(st.text(), st.binary(), strings), st.sampled_from([None, "json"]))
def test_any_text_is_read_or_refused(data: Any, transport: Any) -> None:
    for read in (from_tytx, decode):
        try:
            read(data, transport)
        except TytxError:
            continue


def from_deep_down(frames: int, call: Any) -> Any:
    return from_deep_down(frames - 1, call) if frames else call()


def test_a_stack_that_runs_out_while_writing_is_a_refusal() -> None:
    value: Any = {1: Decimal(1)}
    for _ in range(200):
        value = [value]
    assert from_tytx(encode(value)) is not None
    with pytest.raises(TytxError, match="nested too deeply, or holds itself"):
        from_deep_down(sys.getrecursionlimit() - 250, lambda: encode(value))


def test_without_orjson_there_is_no_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genro_asgi.jsoncodec.engine", "stdlib")
    assert runpy.run_path(codec.__file__)["_dumps"] is None
