"""TYTX as XML: published forms, strict reading, no entities."""

import math
import sys
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.wsx.tytx import TypeTable, TytxError, decode, encode, from_tytx, to_tytx


def element(value: Any, **attrs: Any) -> dict[str, Any]:
    return {"a": {"attrs": attrs, "value": value}}


def document(body: str) -> str:
    return f'<?xml version="1.0" ?><tytx_root>{body}</tytx_root>'


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ({"p": Decimal("9.90"), "n": 1}, '{"p":"9.90::N","n":1}::JS'),
        ({"a": 5}, '{"a":5}'),
        (Decimal(1), "1::N"),
        ("x", '"x"'),
        (None, "null"),
        ({"a": "<&>"}, '{"a":"&lt;&amp;>"}'),
        ({"a": "]]>"}, '{"a":"]]&gt;"}'),
        ({"a": "\x01\ufffe\uffff"}, '{"a":"\\u0001\\ufffe\\uffff"}'),
        ("\x01::D", '"\\u0001::D::T"::JS'),
        ("\ufffe\r::D", '"\\ufffe\\r::D::T"::JS'),
        ("é", '"é"'),
        (element(Decimal(2), x=Decimal(1)), '<a x="1::N">2::N</a>'),
        (
            element(date(2025, 1, 1), s="s", b=True, n=None, i=5, f=1.5, t=time(1, 2)),
            '<a s="&quot;s&quot;" b="true::B" n="::NN" i="5::L" f="1.5::R" t="01:02:00.000::H">2025-01-01::D</a>',
        ),
        (element(datetime(2025, 1, 1, tzinfo=UTC)), "<a>2025-01-01T00:00:00.000Z::DHZ</a>"),
        (element([1, Decimal(1)]), '<a>[1,"1::N"]::JS</a>'),
        (element({"p": Decimal(1)}), '<a>{"p":"1::N"}::JS</a>'),
        (element("x>y<z&'\""), '<a>"x&gt;y&lt;z&amp;\'\\""</a>'),
        (element(1, x="a>b&'c\"\n\t"), '<a x="&quot;a&gt;b&amp;\'c\\&quot;\\n\\t&quot;">1</a>'),
        (element(1, x="\n\t::D"), '<a x="&#10;&#09;::D::T">1</a>'),
        (element(1, x=[1, Decimal(1)]), '<a x="[1,&quot;1::N&quot;]::JS">1</a>'),
        (element(True), "<a>true</a>"),
        (element(None), "<a>null</a>"),
        (element(""), '<a>""</a>'),
        (element("a::D", x="a::D"), '<a x="a::D::T">a::D::T</a>'),
        (element(2**64, x=2**64), '<a x="18446744073709551616::L">18446744073709551616::L</a>'),
        (element(math.nan, x=math.nan), '<a x="null">null</a>'),
        ({"a": {"value": 5}}, "<a>5</a>"),
        (element([element(1), {"b": {"attrs": {"x": 2}, "value": "y"}}]), '<a><a>1</a><b x="2::L">"y"</b></a>'),
        (element([]), "<a />"),
        (element([], x=1), '<a x="1::L" />'),
        (element([element(1), 5]), '<a>[{"a":{"attrs":{},"value":1}},5]</a>'),
        (element(element(1)), '<a>{"a":{"attrs":{},"value":1}}</a>'),
        ({"é": {"attrs": {}, "value": 1}}, "<é>1</é>"),
        ({"a": {"attrs": {}, "value": 1}, "b": 2}, '{"a":{"attrs":{},"value":1},"b":2}'),
        ({"a": {"attrs": {}, "value": 1, "z": 2}}, '{"a":{"attrs":{},"value":1,"z":2}}'),
        ({"a": {"attrs": {}}}, '{"a":{"attrs":{}}}'),
        ({"a": {"attrs": [], "value": 1}}, '{"a":{"attrs":[],"value":1}}'),
        ({"a": {"attrs": {"x y": 1}, "value": 1}}, '{"a":{"attrs":{"x y":1},"value":1}}'),
        ({"a b": {"attrs": {}, "value": 1}}, '{"a b":{"attrs":{},"value":1}}'),
        ({"a:b": {"attrs": {}, "value": 1}}, '{"a:b":{"attrs":{},"value":1}}'),
        ({"é/": {"attrs": {}, "value": 1}}, '{"é/":{"attrs":{},"value":1}}'),
        ({"é b='1'": {"attrs": {}, "value": 1}}, '{"é b=\'1\'":{"attrs":{},"value":1}}'),
        ({"\u00b2": {"attrs": {}, "value": 1}}, '{"\u00b2":{"attrs":{},"value":1}}'),
        ({1: {"attrs": {}, "value": 1}}, '{"1":{"attrs":{},"value":1}}'),
        ([element(1)], '[{"a":{"attrs":{},"value":1}}]'),
    ],
)
def test_documents_have_the_published_form(value: Any, body: str) -> None:
    assert to_tytx(value, "xml") == document(body)
    assert encode(value, "xml") == document(body).encode()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (document('{"p":"9.90::N"}::JS'), {"p": Decimal("9.90")}),
        (document('{"p":"9.90::N"}'), {"p": Decimal("9.90")}),
        (document(" 5 "), 5),
        (document("1::N"), Decimal(1)),
        (document('"5"'), "5"),
        (document("<a>1</a>"), element(1)),
        (document("\n<a>1</a>\n"), element(1)),
        (document("<a>1</a><b/>"), [element(1), {"b": {"attrs": {}, "value": None}}]),
        ("<tytx_root x='1'>5</tytx_root>", 5),
        ("<a x='1::N'>2025-01-01::D</a>", element(date(2025, 1, 1), x=Decimal(1))),
        ("  <a/>", element(None)),
        ("<a x=''/>", element(None, x="")),
        ("<a x='hello' y='5' z='007'>1.10</a>", element(1.1, x="hello", y=5, z="007")),
        ("<a>hello</a>", element("hello")),
        ("<a> hi </a>", element(" hi ")),
        ("<a>{bad</a>", element("{bad")),
        ("<a>null</a>", element(None)),
        ("<a>::NN</a>", element(None)),
        ("<a>::T</a>", element("")),
        ('<a>"q"</a>', element("q")),
        ('<a>""q""</a>', element('""q""')),
        ("<a><![CDATA[<5>]]></a>", element("<5>")),
        ("<a>5<!-- no -->6<?no pi?></a>", element(56)),
        ("<a>&#65;&amp;&lt;</a>", element("A&<")),
        ("<a><b>1</b></a>", element({"b": {"attrs": {}, "value": 1}})),
        ("<a>\n <b/> <c/>\n</a>", element([{"b": {"attrs": {}, "value": None}}, {"c": {"attrs": {}, "value": None}}])),
        ("<a xmlns='u'><b/></a>", {"{u}a": {"attrs": {}, "value": {"{u}b": {"attrs": {}, "value": None}}}}),
        ("<?xml version='1.0' encoding='ISO-8859-1'?><a>é</a>", element("é")),
        ("<a>" + "x" * 100_000 + "</a>", element("x" * 100_000)),
    ],
)
def test_documents_are_read(text: str, value: Any) -> None:
    assert from_tytx(text, "xml") == value
    assert decode(text.encode(), "xml") == value


BOMB = (
    '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><a>&c;</a>'
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the document is not well-formed XML"),
        ("{}", "the document is not well-formed XML"),
        ("<a>", "the document is not well-formed XML"),
        ("<a></b>", "the document is not well-formed XML"),
        ("<a/><b/>", "the document is not well-formed XML"),
        ("<a>&undefined;</a>", "the document is not well-formed XML"),
        ("<a x='1' x='2'/>", "the document is not well-formed XML"),
        ("<a:b/>", "the document is not well-formed XML"),
        ("<a>\ud800</a>", "the document is not well-formed XML"),
        (b"<a>\xff</a>", "the document is not well-formed XML"),
        ("<!DOCTYPE a><a/>", "the document has a DOCTYPE, which is not accepted"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "the document has a DOCTYPE, which is not accepted"),
        (BOMB, "the document has a DOCTYPE, which is not accepted"),
        ("<a>" * 257 + "</a>" * 257, "the document is nested deeper than 256 levels"),
        ("<a>x<b/>y</a>", "the element a mixes text and elements"),
        (document("{bad"), "JSON"),
        (document(""), "JSON"),
    ],
)
def test_broken_documents_are_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(TytxError) as caught:
        decode(text, "xml")
    assert reason in caught.value.text
    assert caught.value.code == "MALFORMED"


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        (document('{"a":["x::N"]}::JS'), "/a/0"),
        (document("x::N"), ""),
        ("<a>x::N</a>", "/a/value"),
        ('<a>{"b":["x::N"]}::JS</a>', "/a/value/b/0"),
        ("<a x='1'><b y='x::N'/></a>", "/a/value/b/attrs/y"),
        (document("<a><b>x::N</b></a>"), "/a/value/b/value"),
    ],
)
def test_bad_values_are_found(text: str, pointer: str) -> None:
    with pytest.raises(TytxError) as caught:
        decode(text, "xml")
    assert (caught.value.text, caught.value.pointer) == ("'x::N' is not a decimal number", pointer)


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        (element(object()), "/a/value"),
        (element([1, object()]), "/a/value/1"),
        (element(1, x=object()), "/a/attrs/x"),
        (element([element(1), element(object())]), "/a/value/a/value"),
        ([object()], "/0"),
    ],
)
def test_what_has_no_form_is_named(value: Any, pointer: str) -> None:
    with pytest.raises(TytxError) as caught:
        encode(value, "xml")
    assert caught.value.pointer == pointer


def test_depth_while_writing() -> None:
    value: Any = element(1)
    for _ in range(255):
        value = element([value])
    assert encode(value, "xml").count(b"<a>") == 256
    with pytest.raises(TytxError, match="nested too deeply"):
        encode(element([value]), "xml")

    def deep_down(frames: int) -> Any:
        return deep_down(frames - 1) if frames else encode(value, "xml")

    with pytest.raises(TytxError, match="nested too deeply"):
        deep_down(sys.getrecursionlimit() - 200)
    with pytest.raises(TytxError, match="deeper than 2 levels"):
        decode("<a><b><c/></b></a>", "xml", max_depth=2)


def test_registered_types() -> None:
    class Point:
        pass

    types = TypeTable()
    types.register(Point, "PT", lambda point: "1<2", lambda text: text.split("<"))
    assert (
        encode(element(Point(), x=Point()), "xml", types=types) == document('<a x="1&lt;2::PT">1&lt;2::PT</a>').encode()
    )
    assert decode("<a>1&lt;2::PT</a>", "xml", types=types) == element(["1", "2"])


names = st.one_of(st.sampled_from(["a", "b-1", "_c.d", "é", "a b", "x:y"]), st.text(max_size=3))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=6), st.decimals(-1000, 1000, places=2), st.dates()
)
elements = st.deferred(
    lambda: st.builds(
        lambda tag, attrs, value: {tag: {"attrs": attrs, "value": value}},
        names,
        st.dictionaries(names, scalars, max_size=2),
        st.one_of(scalars, st.lists(scalars, min_size=1, max_size=3), st.lists(elements, min_size=2, max_size=3)),
    )
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.one_of(scalars, st.dictionaries(st.text(max_size=3), scalars), elements))
def test_every_document_comes_back(value: Any) -> None:
    assert decode(encode(value, "xml"), "xml") == value


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.one_of(
        st.text(),
        st.lists(st.sampled_from(["<a>", "</a>", "<b x='", "'/>", "5::N", "&lt;", "<!--", "-->"])).map("".join),
    )
)
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(TytxError):
        decode(text, "xml")
