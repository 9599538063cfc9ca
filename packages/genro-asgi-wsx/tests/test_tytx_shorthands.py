"""The other names of genro-tytx: one transport each, records, query strings, and documents without types."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.wsx.tytx import (
    TytxError,
    from_msgpack,
    from_qs,
    from_tytx_iter,
    from_xml,
    json_dumps,
    json_loads,
    register_class,
    to_msgpack,
    to_qs,
    to_tytx,
    to_tytx_iter,
    to_xml,
)
from genro_asgi.wsx.tytx.registry import TypeTable

RECORD = {"id": 1, "price": Decimal("12.50"), "rows": [date(2026, 1, 1), {"t": "5::N"}], "none": None}
ENCODED = {"id": 1, "price": "12.50::N", "rows": ["2026-01-01::D", {"t": "5::N::T"}], "none": None}


def test_one_transport_each() -> None:
    element = {"a": {"attrs": {"x": 1}, "value": Decimal("1.5")}}
    assert to_xml(element) == '<a x="1::L">1.5::N</a>'
    assert from_xml(to_xml(element)) == element == from_xml(to_tytx(element, "xml"))
    assert to_xml(5) == "5"
    assert json_loads(json_dumps({"a": "5::N", "d": Decimal("1.5")})) == {"a": "5::N", "d": "1.5"}


def test_without_types() -> None:
    assert to_tytx({"a": 1, "d": Decimal("1.5")}, raw=True) == '{"a":1,"d":"1.5"}'
    assert to_tytx([1], "json", raw=True) == "[1]"
    with pytest.raises(ValueError, match="raw=True is not supported for XML"):
        to_tytx({"a": 1}, "xml", raw=True)
    with pytest.raises(ValueError, match="Unknown transport 'yaml'"):
        to_tytx({"a": 1}, "yaml", raw=True)  # type: ignore[arg-type]


def test_messagepack() -> None:
    pytest.importorskip("msgpack")
    assert from_msgpack(to_msgpack(RECORD)) == RECORD
    assert to_tytx({"a": [1, 2]}, "msgpack", raw=True) == b"\x81\xa1a\x92\x01\x02"


def test_records_one_by_one() -> None:
    taken: list[int] = []

    def source() -> Any:
        for n in range(3):
            taken.append(n)
            yield RECORD

    records = to_tytx_iter(source())
    assert next(records) == ENCODED
    assert taken == [0]
    lines = [json.dumps(record) for record in records]
    given = [json.loads(line) for line in lines]
    assert list(from_tytx_iter(given)) == [RECORD, RECORD]
    assert given == [ENCODED, ENCODED]  # as they were
    with pytest.raises(TytxError, match="abc::N"):
        list(from_tytx_iter([{"p": "abc::N"}]))


@pytest.mark.asyncio
async def test_records_that_come_one_by_one() -> None:
    async def source() -> AsyncIterator[Any]:
        yield RECORD
        yield {"id": 2}

    assert [record async for record in from_tytx_iter(to_tytx_iter(source()))] == [RECORD, {"id": 2}]


def test_query_strings() -> None:
    value = {"a": 33, "d": date(2025, 1, 2), "s": "x", "n": None, "b": True, "f": 1.5, "t": "5::N"}
    text = "a=33::L&d=2025-01-02::D&s=x&n=::NN&b=true::B&f=1.5::R&t=5::N::T"
    assert to_qs(value) == text
    assert to_tytx(value, qs=True) == text + "::QS"
    assert from_qs(text) == value
    assert (to_qs(["a", "b", 5]), from_qs("a&b&5::L"), from_qs("")) == ("a&b&5::L", ["a", "b", 5], [])


SCALARS = st.one_of(
    st.text(st.characters(exclude_characters="&=", exclude_categories=["Cs"])), st.integers(-(2**70), 2**70),
    st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False), st.dates(),
    st.decimals(allow_nan=False, allow_infinity=False, places=3), st.datetimes().map(lambda at: at.replace(tzinfo=UTC)),
)  # fmt: skip
NAMES = st.text(st.characters(exclude_characters="&=", exclude_categories=["Cs"]), min_size=1)


@given(st.dictionaries(NAMES, SCALARS, min_size=1) | st.lists(SCALARS, min_size=2))
@settings(derandomize=True, deadline=None)
def test_query_strings_come_back(value: Any) -> None:
    assert from_qs(to_qs(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        5,
        "a",
        {"a": [1]},
        {"a": {}},
        {"a": "x&y"},
        {"a&b": 1},
        {"a=b": 1},
        {1: "a"},
        ["a=b"],
        [float("nan")],
        [object()],
    ],
)
def test_what_no_query_string_holds(value: Any) -> None:
    with pytest.raises(TytxError, match=r"quer[yi]"):
        to_qs(value)


@pytest.mark.parametrize("text", ["a=1&b", "a=x::N", "x::D"])
def test_query_strings_that_cannot_be_read(text: str) -> None:
    with pytest.raises(TytxError, match="the query string cannot be read"):
        from_qs(text)


def test_classes_without_what_it_takes_are_refused_at_once() -> None:
    class Half:
        __tytx_suffix__ = "HALF"

        @classmethod
        def from_tytx(cls, text: str) -> "Half":
            return cls()

    with pytest.raises(AttributeError, match="to_tytx"):
        register_class(Half)
    Half.to_tytx = "text"  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r"Half\.to_tytx is no method"):
        register_class(Half)
    for suffix in (None, 7, datetime):
        with pytest.raises(ValueError, match="is invalid"):
            TypeTable().register(Half, suffix, str, Half.from_tytx)  # type: ignore[arg-type]
