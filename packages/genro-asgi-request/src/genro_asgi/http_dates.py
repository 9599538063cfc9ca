"""Dates as HTTP writes and reads them (RFC 9110, 5.6.7)."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from time import gmtime

__all__ = ["http_date", "parse_http_date"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME = r"([0-9]{2}):([0-9]{2}):([0-9]{2})"
_IMF = re.compile(rf"[A-Z][a-z]{{2}}, ([0-9]{{2}}) ([A-Z][a-z]{{2}}) ([0-9]{{4}}) {_TIME} GMT")
_RFC850 = re.compile(rf"[A-Z][a-z]{{5,8}}, ([0-9]{{2}})-([A-Z][a-z]{{2}})-([0-9]{{2}}) {_TIME} GMT")
_ASCTIME = re.compile(rf"[A-Z][a-z]{{2}} ([A-Z][a-z]{{2}}) ([ 0-9][0-9]) {_TIME} ([0-9]{{4}})")


# The library's formatdate costs as much as opening the file whose date it writes.
@lru_cache(maxsize=1024)
def http_date(seconds: int) -> str:
    """A moment in seconds of the epoch, such as `Sun, 06 Nov 1994 08:49:37 GMT`."""
    year, month, day, hour, minute, second, weekday, _, _ = gmtime(seconds)
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT"


def parse_http_date(text: str) -> int | None:
    """The seconds of the epoch a date in one of HTTP's three forms means; None for anything else."""
    if match := _IMF.fullmatch(text):
        day, month, year, *clock = match.groups()
    elif match := _RFC850.fullmatch(text):
        day, month, short_year, *clock = match.groups()
        year = str(_full_year(int(short_year)))
    elif match := _ASCTIME.fullmatch(text):
        month, day, *clock, year = match.groups()
    else:
        return None
    try:
        hour, minute, second = map(int, clock)
        moment = datetime(int(year), _MONTHS.index(month) + 1, int(day), hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp())


def _full_year(short: int) -> int:
    # A year that seems more than 50 years ahead is the most recent past one with those digits.
    now = datetime.now(UTC).year
    year = now - now % 100 + short
    return year - 100 if year > now + 50 else year
