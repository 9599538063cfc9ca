"""A document is written in one pass by writers that are kept for the next one, whoever else is writing."""

import threading
from collections.abc import Callable
from datetime import UTC, date, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.jsoncodec import engine
from genro_asgi.wsx.tytx import BUILTIN_TYPES, TypeTable, TytxError, decode, encode
from genro_asgi.wsx.tytx.literals import read_datetime, read_datetime_utc

PRICE = Decimal("1.50")
# Values, and how they are written; a string that looks typed needs the careful way, and one with "::" a closer look.
DOCUMENTS: list[tuple[Any, bytes]] = [
    ({"a": 1}, b'{"a":1}'),
    ({"a": PRICE}, b'{"a":"1.50::N"}::JS'),
    ({"a": "1::N"}, b'{"a":"1::N::T"}::JS'),
    ({"a": "std::move"}, b'{"a":"std::move"}'),
    ({"a": PRICE, "b": "1::N"}, b'{"a":"1.50::N","b":"1::N::T"}::JS'),
    ({"a": PRICE, "b": "std::move"}, b'{"a":"1.50::N","b":"std::move"}::JS'),
    ([2**64, "http://[::1]/"], b'["18446744073709551616::L","http://[::1]/"]::JS'),
    ([{PRICE: 1}, date(2026, 5, 4)], b'[{"1.50":1},"2026-05-04::D"]::JS'),
]


class Parcel:
    """Its literal is a document."""

    def __init__(self, content: Any) -> None:
        self.content = content


def with_parcels(write: Callable[[Parcel], str]) -> TypeTable:
    types = TypeTable()
    types.register(Parcel, "PARCEL", write, lambda text: Parcel(text))
    return types


@pytest.mark.parametrize(("first", "second"), list(product(DOCUMENTS, repeat=2)))
def test_a_document_knows_nothing_of_the_one_before(first: tuple[Any, bytes], second: tuple[Any, bytes]) -> None:
    types = TypeTable()
    assert encode(first[0], types=types) == first[1]
    assert encode(second[0], types=types) == second[1]
    assert encode(first[0], types=types) == first[1]


@pytest.mark.parametrize(("content", "text"), DOCUMENTS)
def test_a_literal_may_be_a_document_itself(content: Any, text: bytes) -> None:
    types = with_parcels(lambda parcel: encode(parcel.content, types=types).hex())
    written = encode({"p": Parcel(content), "q": PRICE}, types=types)
    assert written == b'{"p":"%b::PARCEL","q":"1.50::N"}::JS' % text.hex().encode()
    assert encode([Parcel(content), "1::N"], types=types).endswith(b'::PARCEL","1::N::T"]::JS')


def test_a_document_that_fails_leaves_nothing_behind() -> None:
    def write(parcel: Parcel) -> str:
        raise ValueError("lost")

    types = with_parcels(write)
    for _ in range(3):
        with pytest.raises(TytxError, match="lost"):
            encode({"a": PRICE, "b": Parcel(1)}, types=types)
        assert encode({"a": "1::N"}, types=types) == b'{"a":"1::N::T"}::JS'
        assert encode({"a": PRICE, "b": "1::N"}, types=types) == b'{"a":"1.50::N","b":"1::N::T"}::JS'


def test_threads_do_not_count_for_each_other() -> None:
    # Two values are written here while two are written there, and two strings here look typed.
    first, second = threading.Barrier(2, timeout=30), threading.Barrier(2, timeout=30)
    done = threading.Event()

    def write(parcel: Parcel) -> str:
        wait, parcel.content = parcel.content, lambda: None
        wait()
        return "x"

    def work() -> None:
        there.append(encode([Parcel(first.wait), Parcel(lambda: second.wait() + done.wait(30))], types=types))

    types = with_parcels(write)
    encode([PRICE], types=types)
    there: list[bytes] = []
    thread = threading.Thread(target=work)
    thread.start()
    here = encode([Parcel(first.wait), Parcel(second.wait), "1::N", "2::N"], types=types)
    done.set()
    thread.join(30)
    assert here == b'["x::PARCEL","x::PARCEL","1::N::T","2::N::T"]::JS'
    assert there == [b'["x::PARCEL","x::PARCEL"]::JS']


@pytest.mark.skipif(engine != "orjson", reason="one pass is orjson's")
def test_as_many_writers_are_kept_as_wrote_at_once() -> None:
    types = with_parcels(lambda parcel: encode(parcel.content, types=types).hex())
    for _ in range(5):
        encode([1], types=types)
        encode([PRICE], types=types)
    assert len(types.idle) == 1
    encode([Parcel([PRICE])], types=types)
    assert len(types.idle) == 2
    assert types.copy().idle == []
    assert types.escaping(["X"]).idle == []


def test_more_dates_than_are_remembered() -> None:
    days = [date(2000, 1, 1) + timedelta(days=number) for number in range(3000)]
    assert encode(days) == b'["%b::D"]::JS' % b'::D","'.join(day.isoformat().encode() for day in days)
    assert decode(encode(days)) == days


@given(st.text("0123456789-T:.Z+W ,é", min_size=20, max_size=27))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_the_usual_spelling_of_a_time_is_read_as_strictly_as_any(text: str) -> None:
    check_datetime(text)


@given(
    st.datetimes(timezones=st.just(UTC)).map(lambda value: value.isoformat("T", "milliseconds")[:23] + "Z"),
    st.integers(0, 23),
    st.sampled_from("0123456789-T:.Z+Ww é٣"),
)
@settings(derandomize=True, deadline=None, max_examples=1000)
def test_a_time_with_one_wrong_character(text: str, at: int, char: str) -> None:
    check_datetime(text[:at] + char + text[at + 1 :])


def check_datetime(text: str) -> None:
    try:
        expected = read_datetime(text)
    except ValueError:
        with pytest.raises(ValueError, match="is not a date and time written"):
            read_datetime_utc(text)
        return
    if expected.tzinfo is None:
        expected = expected.replace(tzinfo=UTC)
    assert read_datetime_utc(text) == expected
    assert read_datetime_utc(text).tzinfo is UTC
    assert BUILTIN_TYPES.readers["DHZ"] is read_datetime_utc
