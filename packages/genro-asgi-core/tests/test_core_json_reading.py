import json
import math
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import time
from decimal import Decimal
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from time import process_time
from typing import Any, Protocol

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi import jsoncodec
from genro_asgi.jsoncodec import JsonError, reading, writing
from genro_asgi.jsoncodec.errors import BIG_NUMBER, MALFORMED, MAX_DEPTH


class Engine(Protocol):
    name: str
    loads: Callable[..., Any]
    dumps: Callable[[Any], bytes]


def test_the_module_uses_the_fastest_there_is() -> None:
    assert jsoncodec.engine == ("orjson" if find_spec("orjson") else "stdlib")
    assert jsoncodec.quick_dumps([Decimal(1), time(0, 0, 0, 10_000)], jsoncodec.to_plain) == b'["1","00:00:00.010000"]'
    assert jsoncodec.loads(b'{"a":[1,2.5,"x",null,true]}') == {"a": [1, 2.5, "x", None, True]}
    assert jsoncodec.dumps({"a": 1}) == b'{"a":1}'
    assert issubclass(JsonError, ValueError)


def test_without_orjson_the_standard_library_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genro_asgi.jsoncodec.fast", None)
    found = spec_from_file_location("jsoncodec_without_orjson", jsoncodec.__file__)
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    assert (module.engine, module.loads, module.dumps) == ("stdlib", reading.loads, writing.dumps)
    assert module.quick_dumps({"a": Decimal(1)}, module.to_plain) == b'{"a":"1"}'
    assert module.quick_loads(b'{"a":1}') == {"a": 1}
    with pytest.raises(JsonError):
        module.quick_loads(b"[18446744073709551616]")


ACCEPTED: list[tuple[str, Any]] = [
    ("1", 1),
    (" \t\r\n1 ", 1),
    ("-0", 0),
    ("-0.0", -0.0),
    ("0e10", 0.0),
    ("1E5", 1e5),
    ("1e-400", 0.0),
    ("9007199254740993", 9007199254740993),
    ("18446744073709551615", 2**64 - 1),
    ("-9223372036854775808", -(2**63)),
    ("123456789012345678901234567890.5", 1.2345678901234568e29),
    ("12345678901234567890e-5", 123456789012345.67),
    ("12345678901234567890123E3", 1.2345678901234568e25),
    ("1.12345678901234567890123", 1.1234567890123457),
    ("1e-0000000000000000000001", 0.1),
    ("true", True),
    ("null", None),
    ('""', ""),
    ('"\x7f"', "\x7f"),
    ('"\\u0000\\/\\n"', "\0/\n"),
    ('"\\ud83d\\ude00"', "😀"),
    ('"\\\\ud800"', "\\ud800"),
    ('"é😀"', "é😀"),
    ("[]", []),
    ("{}", {}),
    ('[1,[2,{"a":[]}],{}]', [1, [2, {"a": []}], {}]),
    ('{"a":1,"b":2,"a":3}', {"a": 3, "b": 2}),
    ('{"":1}', {"": 1}),
    ('["123456789012345678901234567890"]', ["123456789012345678901234567890"]),
    ('{"id":"12345678-1234-1234-1234-123456789012"}', {"id": "12345678-1234-1234-1234-123456789012"}),
    ('["99999999999999999999, 99999999999999999999"]', ["99999999999999999999, 99999999999999999999"]),
]

REFUSED = [
    "",
    "  ",
    "nul",
    "NaN",
    "Infinity",
    "-Infinity",
    "[NaN]",
    "01",
    "1.",
    ".5",
    "+1",
    "-",
    "0x10",
    "1_000",
    "٣",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1",
    "[",
    "]",
    '{"a":1,}',
    '{"a"}',
    '{"a" 1}',
    '{"a":1 "b":2}',
    "{1:2}",
    '{"a":1',
    "{",
    '"a',
    "'a'",
    '"\t"',
    '"\n"',
    '"\\x"',
    '"\\u12"',
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '{"\\udfff":1}',
    '["\\ud83d\\u0041"]',
    "// no\n1",
    "1 2",
    "[1]x",
    "1\0",
    "\x0c1",
    "\u00a01",
    "\ufeff1",
    '"\ud800"',
]


@pytest.mark.parametrize(("text", "value"), ACCEPTED)
def test_json_is_read(engine: Engine, text: str, value: Any) -> None:
    for data in (text, text.encode(), bytearray(text.encode()), memoryview(text.encode())):
        result = engine.loads(data)
        assert (result, type(result)) == (value, type(value))
    if value == 0:
        assert math.copysign(1, engine.loads(text)) == math.copysign(1, value)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_json_is_refused(engine: Engine, text: str) -> None:
    with pytest.raises(JsonError) as caught:
        engine.loads(text)
    assert str(caught.value) == MALFORMED


@pytest.mark.parametrize(
    "data",
    [b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b"\xef\xbb\xbf1", b"\xff\xfe1\0", b'"\xf5\x80\x80\x80"', b"\x80"],
)
def test_what_is_no_utf_8_is_refused(engine: Engine, data: bytes) -> None:
    with pytest.raises(JsonError, match="not valid JSON"):
        engine.loads(data)


@pytest.mark.parametrize(
    "digits",
    ["18446744073709551616", "-9223372036854775809", "9" * 20, "-1" + "0" * 19, "1" * 30, "-" + "1" * 400, "1" * 5000],
    ids=range(7),
)
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "[{}]",
        '{{"a":{}}}',
        '["x",{},1.5]',
        '{{"text": "' + "n" * 900 + '","n": {}}}',
        '["' + "n" * 3000 + '",\t{}]',
        "[" + "1234567," * 500 + "{}]",
        "[" + "0.12345678901234567," * 200 + "{}]",
        "[" + '"2025-01-15T10:30:45","8d0cf5a1-3c2e-4f6b-9f60-2b6e1d5c7a90",' * 30 + "{}]",
        "[" + '"123456789012345678",' * 30 + "{}]",
        '["99999999999999999999",' + " " * 40 + "{}]",
        '["' + "n" * 9000 + '"' + ',"12345678901234567"' * 2 + ",{}]",
        '["' + "n" * 9000 + '","1234567890123","2-3-4-5-6-7-8-9-0-1","' + "n" * 99 + '",{}]',
    ],
    ids=range(13),
)
def test_integers_beyond_64_bits_are_refused(engine: Engine, digits: str, around: str) -> None:
    with pytest.raises(JsonError) as caught:
        engine.loads(around.format(digits))
    assert str(caught.value) == BIG_NUMBER


@pytest.mark.parametrize("pad", range(24))
@pytest.mark.parametrize("fill", [0, 400, 900, 2500])
def test_no_big_integer_slips_through_a_sample(engine: Engine, pad: int, fill: int) -> None:
    before = "[" + " " * pad + '"' + "x" * fill + '",'
    assert engine.loads(f"{before}18446744073709551615,-9223372036854775808]")[1:] == [2**64 - 1, -(2**63)]
    for number in ("18446744073709551616", "-9223372036854775809"):
        with pytest.raises(JsonError, match="a number beyond 64 bits"):
            engine.loads(f"{before}{number}]")


@pytest.mark.parametrize("text", ["1e999", "-1e999", "[1.7976931348623159e308]", '{"a":1E400}', "9" * 400 + ".5"])
def test_floats_that_overflow_are_refused(engine: Engine, text: str) -> None:
    with pytest.raises(JsonError, match="a number beyond 64 bits"):
        engine.loads(text)


def nested(depth: int, opening: str = "[", closing: str = "]", inner: str = "1") -> str:
    return opening * depth + inner + closing * depth


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), (' [ {"a" : ', " } ] ")])
def test_depth_is_limited(engine: Engine, opening: str, closing: str) -> None:
    levels = opening.count("[") + opening.count("{")
    value = engine.loads(nested(MAX_DEPTH // levels, opening, closing))
    for _ in range(MAX_DEPTH):
        value = value[0] if isinstance(value, list) else value["a"]
    assert value == 1
    with pytest.raises(JsonError, match="nested deeper than 1024 levels"):
        engine.loads(nested(MAX_DEPTH // levels + 1, opening, closing))


@pytest.mark.parametrize("depth", [100_000, 300_000])
def test_a_very_deep_text_is_refused(engine: Engine, depth: int) -> None:
    for text in ("[" * depth, nested(depth), '{"a":' * depth):
        with pytest.raises(JsonError, match="nested deeper than 1024 levels"):
            engine.loads(text)


@pytest.mark.parametrize("max_depth", [1, 2, 64, 1023])
def test_depth_can_be_limited_further(engine: Engine, max_depth: int) -> None:
    assert engine.loads(nested(max_depth), max_depth=max_depth) is not None
    with pytest.raises(JsonError, match=f"nested deeper than {max_depth} levels"):
        engine.loads(nested(max_depth + 1), max_depth=max_depth)
    wide = "[" + ",".join(["{}"] * 2000) + "]"
    if max_depth > 1:
        assert engine.loads(wide, max_depth=max_depth) == [{}] * 2000
    brackets = json.dumps("[{" * 2000 + '"\\')
    assert engine.loads(f"[{brackets}]", max_depth=max_depth) == ["[{" * 2000 + '"\\']


def test_no_list_is_allowed_at_depth_0(engine: Engine) -> None:
    assert engine.loads("1", max_depth=0) == 1
    with pytest.raises(JsonError, match="nested deeper than 0 levels"):
        engine.loads("[]", max_depth=0)


def test_a_limit_above_the_parsers_is_the_parsers(engine: Engine) -> None:
    assert engine.loads(nested(1024), max_depth=5000) is not None
    with pytest.raises(JsonError, match="nested deeper than 1024 levels"):
        engine.loads(nested(1025), max_depth=5000)


@pytest.mark.parametrize("text", ["1],[2", "[1],[2]", "],[", "[]]", "[[]", "[1,2],[3]", "[[1],[2]", '[],"a"', "[[1]]]"])
def test_a_limit_on_depth_opens_no_other_way(engine: Engine, text: str) -> None:
    with pytest.raises(JsonError):
        engine.loads(text, max_depth=1)
    with pytest.raises(JsonError):
        engine.loads(text, max_depth=0)


DEEP = nested(1000)


@pytest.mark.parametrize(
    "inner",
    [
        "x",
        "1 2",
        "1,",
        '{"a"}',
        '{"a":}',
        "{1:2}",
        '{"a":1,}',
        '"',
        "01",
        '{"a":1]',
        "NaN",
        "1]",
        "{]",
        "[}",
        '{"a":1,2}',
    ],
)
def test_what_is_wrong_deep_down_is_refused(engine: Engine, inner: str) -> None:
    with pytest.raises(JsonError):
        engine.loads(nested(1000, inner=inner))


def test_what_is_right_deep_down_is_read(engine: Engine) -> None:
    inner = '{"a" : [1, -2.5e3, {}, [ ], "\\u00e9"], "b":{"c":null,"c":true} , "d" : [[],[{}]]}'
    value = engine.loads(" " + nested(1000, inner=inner) + "\n")
    for _ in range(1000):
        (value,) = value
    assert value == {"a": [1, -2500.0, {}, [], "é"], "b": {"c": True}, "d": [[], [{}]]}
    with pytest.raises(JsonError):
        engine.loads(DEEP + "x")


def test_where_it_is_wrong_is_told(engine: Engine) -> None:
    with pytest.raises(JsonError) as caught:
        engine.loads('{"a":1 "b":2}')
    assert caught.value.pos == 7


@pytest.mark.parametrize(
    "text",
    [
        '"' + '\\"' * 200_000,
        '["' + "\\u" * 200_000,
        "[" + "1" * 400_000,
        '{"a":' * 200_000,
        "[" + '"",' * 200_000,
        "[" + "-" * 400_000,
        '"' * 400_000,
        "[" + "12345678901234567890.5," * 20_000 + "1]",
        '["' + '\\ud800\\"' * 60_000,
    ],
    ids=range(9),
)
def test_junk_takes_no_time(engine: Engine, text: str) -> None:
    start = process_time()
    for max_depth in (64, 1024):
        with suppress(JsonError):
            engine.loads(text, max_depth=max_depth)
    assert process_time() - start < 3  # what is not linear takes minutes


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
DOCUMENTS = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=20,
)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(DOCUMENTS, st.booleans())
def test_documents_of_the_standard_library_are_read(document: Any, ascii_only: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=1 if ascii_only else None)
    assert reading.loads(text) == document
    assert reading._parse_deep(text) == document
    assert jsoncodec.loads(text) == document


PIECES = st.sampled_from(
    ["[", "]", "{", "}", ",", ":", '"', "\\", "1", "-", "0", "9" * 10, "e", ".", "true", "null", '"a"', '"a":1', "\\u"]
) | st.sampled_from(
    ["d800", "\\ud83d\\ude00", "é", "18446744073709551615", "NaN", "1e999", "[1]", "{}", " ", "\n", "\t"]
)


def outcome(loads: Callable[..., Any], text: str, **options: Any) -> tuple[bool, str]:
    try:
        return True, repr(loads(text, **options))
    except JsonError:
        return False, ""


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.lists(PIECES, max_size=8).map("".join), st.sampled_from([0, 1, 2, 1024]), st.booleans())
def test_the_readers_agree_on_anything(text: str, max_depth: int, listed: bool) -> None:
    text = f"[{text}]" if listed else text
    expected = outcome(reading.loads, text, max_depth=max_depth)
    assert outcome(jsoncodec.loads, text, max_depth=max_depth) == expected
    if max_depth == MAX_DEPTH:
        deep = outcome(lambda deep: reading.loads("[" * 500 + deep + "]" * 500), text)
        assert deep[0] == outcome(lambda flat: reading.loads(f"[{flat}]"), text)[0]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.binary(max_size=20))
def test_the_readers_agree_on_bytes(data: bytes) -> None:
    assert outcome(reading.loads, data) == outcome(jsoncodec.loads, data)  # type: ignore[arg-type]


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS, max_size=30))
def test_the_readers_agree_on_numbers(document: list[Any]) -> None:
    text = json.dumps(document, indent=1)
    assert outcome(reading.loads, text) == outcome(jsoncodec.loads, text)
    assert writing.dumps(document) == jsoncodec.dumps(document)
