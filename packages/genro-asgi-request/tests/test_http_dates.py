"""Dates as HTTP writes and reads them."""

from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import given, settings, strategies as st

import genro_asgi.http_dates as http_dates
from genro_asgi.http_dates import http_date, parse_http_date

MOMENT = 784111777  # the example of RFC 9110


@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_the_three_forms(text: str) -> None:
    assert parse_http_date(text) == MOMENT


@given(st.integers(0, 253402300799))
@settings(derandomize=True, deadline=None)
def test_a_date_is_written_like_the_library_does_and_read_back(seconds: int) -> None:
    assert http_date(seconds) == formatdate(seconds, usegmt=True)
    assert parse_http_date(http_date(seconds)) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "now", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 31 Feb 1994 08:49:37 GMT",
     "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT", " Sun, 06 Nov 1994 08:49:37 GMT",
     "Sun, 06 Nov 0000 08:49:37 GMT", "Sun, ٠٦ Nov 1994 08:49:37 GMT", "x" * 100_000],
)  # fmt: skip
def test_what_is_no_date(text: str) -> None:
    assert parse_http_date(text) is None


def test_a_leap_second_is_read() -> None:
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT") == parse_http_date("Sat, 31 Dec 2016 23:59:59 GMT")


def test_a_short_year_is_not_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Clock":
            return cls(2030, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(http_dates, "datetime", Clock)
    assert parse_http_date("Sunday, 01-Jan-80 00:00:00 GMT") == int(datetime(2080, 1, 1, tzinfo=UTC).timestamp())
    assert parse_http_date("Sunday, 01-Jan-81 00:00:00 GMT") == int(datetime(1981, 1, 1, tzinfo=UTC).timestamp())
