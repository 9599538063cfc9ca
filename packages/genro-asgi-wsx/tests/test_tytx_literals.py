"""Each literal has one spelling out, few ways in, and a clear refusal for the rest."""

from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.wsx.tytx import BUILTIN_TYPES, TytxError, from_tytx

ROME = timezone(timedelta(hours=2))
ODD = timezone(timedelta(hours=5, minutes=30, seconds=5))


class Nowhere(tzinfo):
    """A zone that does not say where it is."""

    def utcoffset(self, dt: datetime | None) -> None:
        return None

    def dst(self, dt: datetime | None) -> None:
        return None

    def tzname(self, dt: datetime | None) -> str:
        return "nowhere"


def written(value: Any) -> str:
    writer = BUILTIN_TYPES.json_writer_for(type(value))
    assert writer is not None
    return writer(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("100.50"), "100.50::N"),
        (Decimal("1E+10"), "1E+10::N"),
        (Decimal("-0"), "-0::N"),
        (date(2025, 1, 15), "2025-01-15::D"),
        (date(1, 1, 1), "0001-01-01::D"),
        (datetime(2025, 1, 15, 10, 30, 45, tzinfo=UTC), "2025-01-15T10:30:45.000Z::DHZ"),
        (datetime(2025, 1, 15, 10, 30, 45, 123000), "2025-01-15T10:30:45.123Z::DHZ"),
        (datetime(2025, 1, 15, 10, 30, 45, 123456), "2025-01-15T10:30:45.123456Z::DHZ"),
        (datetime(2025, 1, 15, 10, 30, 45, 5, tzinfo=ROME), "2025-01-15T08:30:45.000005Z::DHZ"),
        (datetime(2025, 1, 1, 0, 30, tzinfo=ROME), "2024-12-31T22:30:00.000Z::DHZ"),
        (datetime(2025, 1, 15, 10, 30, tzinfo=Nowhere()), "2025-01-15T10:30:00.000Z::DHZ"),
        (time(10, 30), "10:30:00.000::H"),
        (time(10, 30, 1, 5000), "10:30:01.005::H"),
        (time(10, 30, 1, 5001), "10:30:01.005001::H"),
        (time(10, 30, 1, 123000, tzinfo=UTC), "10:30:01.123+00:00::H"),
        (time(1, 2, 3, tzinfo=ODD), "01:02:03.000+05:30:05::H"),
        (b"hi", "aGk=::RAW"),
        (b"", "::RAW"),
        (bytearray(b"hi"), "aGk=::RAW"),
        (memoryview(b"hi"), "aGk=::RAW"),
    ],
)
def test_a_value_has_one_spelling(value: Any, text: str) -> None:
    assert written(value) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9.90::N", Decimal("9.90")),
        ("-1e3::N", Decimal("-1E+3")),
        ("1E+400::N", Decimal("1E+400")),
        ("1E-400::N", Decimal("1E-400")),
        ("9" * 4300 + "::N", Decimal("9" * 4300)),
        ("2025-01-15::D", date(2025, 1, 15)),
        ("2025-01-15T10:30:45.123Z::DHZ", datetime(2025, 1, 15, 10, 30, 45, 123000, tzinfo=UTC)),
        ("2025-01-15T10:30:45.123456Z::DHZ", datetime(2025, 1, 15, 10, 30, 45, 123456, tzinfo=UTC)),
        ("2025-01-15T10:30Z::DHZ", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("2025-01-15T10:30:45::DHZ", datetime(2025, 1, 15, 10, 30, 45, tzinfo=UTC)),
        ("2025-01-15T10:30:45+02:00::DHZ", datetime(2025, 1, 15, 8, 30, 45, tzinfo=UTC)),
        ("2025-01-15T10:30:45::DH", datetime(2025, 1, 15, 10, 30, 45)),
        ("2025-01-15T10:30:45Z::DH", datetime(2025, 1, 15, 10, 30, 45, tzinfo=UTC)),
        ("10:30::H", time(10, 30)),
        ("10:30:00.5::H", time(10, 30, 0, 500000)),
        ("10:30:00Z::H", time(10, 30, tzinfo=UTC)),
        ("01:02:03.000+05:30:05::H", time(1, 2, 3, tzinfo=ODD)),
        ("42::L", 42),
        ("-7::L", -7),
        ("9" * 4300 + "::L", int("9" * 4300)),
        ("3.14::R", 3.14),
        ("1e-05::R", 1e-05),
        ("true::B", True),
        ("false::B", False),
        ("::NN", None),
        ("::T", ""),
        ("12::D::T", "12::D"),
        ("x::T::T", "x::T"),
        ("aGk=::RAW", b"hi"),
        ("::RAW", b""),
    ],
)
def test_a_literal_is_read(text: str, value: Any) -> None:
    result = from_tytx({"text": text}["text"])
    assert result == value
    assert type(result) is type(value)
    if isinstance(value, datetime | time):
        assert result.utcoffset() == value.utcoffset()


BAD = [
    ("", "N", "is not a decimal number"),
    ("NaN", "N", "is not a decimal number"),
    ("-Infinity", "N", "is not a decimal number"),
    ("sNaN", "N", "is not a decimal number"),
    ("1_0", "N", "is not a decimal number"),
    (" 1", "N", "is not a decimal number"),
    ("\u0661", "N", "is not a decimal number"),
    ("--1", "N", "is not a decimal number"),
    ("1.2.3", "N", "is not a decimal number"),
    ("1E+401", "N", "has an exponent beyond 400 or more than 4300 digits"),
    ("1e-401", "N", "has an exponent beyond 400 or more than 4300 digits"),
    ("1E+999999999", "N", "has an exponent beyond 400 or more than 4300 digits"),
    ("9" * 4301, "N", "has an exponent beyond 400 or more than 4300 digits"),
    ("0." + "0" * 401 + "1", "N", "has an exponent beyond 400 or more than 4300 digits"),
    ("12", "D", "is not a date written YYYY-MM-DD"),
    ("20250115", "D", "is not a date written YYYY-MM-DD"),
    ("2025-W03-1", "D", "is not a date written YYYY-MM-DD"),
    ("2025-13-01", "D", "is not a date written YYYY-MM-DD"),
    ("2025-01-15T00", "D", "is not a date written YYYY-MM-DD"),
    ("2025-01-15", "DHZ", "is not a date and time written YYYY-MM-DDTHH:MM:SS.sssZ"),
    ("2025-01-15 10:30:00Z", "DHZ", "is not a date and time written YYYY-MM-DDTHH:MM:SS.sssZ"),
    ("2025-01-15T25:30:00Z", "DHZ", "is not a date and time written YYYY-MM-DDTHH:MM:SS.sssZ"),
    ("2025-01-15T10:30:00.1234567Z", "DHZ", "is not a date and time written YYYY-MM-DDTHH:MM:SS.sssZ"),
    ("0001-01-01T00:00:00+02:00", "DHZ", "is beyond the years 1 to 9999"),
    ("today", "DH", "is not a date and time written YYYY-MM-DDTHH:MM:SS.sssZ"),
    ("103000", "H", "is not a time written HH:MM:SS.sss"),
    ("10", "H", "is not a time written HH:MM:SS.sss"),
    ("10:61", "H", "is not a time written HH:MM:SS.sss"),
    ("1_000", "L", "is not an integer of at most 4300 digits"),
    (" 5", "L", "is not an integer of at most 4300 digits"),
    ("9" * 4301, "L", "is not an integer of at most 4300 digits"),
    ("nan", "R", "is not a finite number"),
    ("1e999", "R", "is not a finite number"),
    ("0x10", "R", "is not a finite number"),
    ("1", "B", "is neither true nor false"),
    ("True", "B", "is neither true nor false"),
    ("x", "NN", "is not empty, as the literal of None is"),
    ("aGk", "RAW", "is not base64"),
    ("aG k=", "RAW", "is not base64"),
    ("_-8=", "RAW", "is not base64"),
    ("\u00e9", "RAW", "is not base64"),
]


@pytest.mark.parametrize(("literal", "suffix", "reason"), BAD)
@pytest.mark.parametrize("where", ["alone", "object", "array"])
def test_a_bad_literal_is_refused_and_found(literal: str, suffix: str, reason: str, where: str) -> None:
    text = f"{literal}::{suffix}"
    document, pointer = {
        "alone": (text, ""),
        "object": (f'{{"a":{{"b":"{text}"}}}}::JS', "/a/b"),
        "array": (f'{{"a":[1,"{text}"]}}::JS', "/a/1"),
    }[where]
    with pytest.raises(TytxError) as caught:
        from_tytx(document)
    shown = repr(text if len(text) <= 40 else text[:37] + "...")
    assert caught.value.text == f"{shown} {reason}"
    assert caught.value.pointer == pointer
    assert caught.value.code == "BAD_VALUE"


@settings(derandomize=True, deadline=None)
@given(
    st.one_of(
        st.decimals(allow_nan=False, allow_infinity=False).filter(lambda d: abs(d.as_tuple().exponent) <= 400),  # type: ignore[arg-type]
        st.dates(),
        st.times(),
        st.times(timezones=st.sampled_from([UTC, ROME, ODD])),
        st.datetimes(timezones=st.just(UTC)),
        st.binary(),
    )
)
def test_what_is_written_is_read_back(value: Any) -> None:
    result = from_tytx(written(value))
    assert result == value
    assert type(result) is type(value)
    assert str(result) == str(value)


@settings(derandomize=True, deadline=None)
@given(st.text(), st.sampled_from(sorted(BUILTIN_TYPES.readers)))
def test_any_literal_is_read_or_refused(literal: str, suffix: str) -> None:
    try:
        result = from_tytx(f"{literal}::{suffix}")
    except TytxError:
        return
    assert suffix == "T" or result is None or literal.isascii()
