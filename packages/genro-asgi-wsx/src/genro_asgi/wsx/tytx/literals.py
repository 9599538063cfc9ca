"""How each TYTX type is written as text, and read back strictly."""

import binascii
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from functools import lru_cache

__all__ = [
    "MAX_DIGITS",
    "MAX_EXPONENT",
    "read_bool",
    "read_bytes",
    "read_date",
    "read_datetime",
    "read_datetime_utc",
    "read_decimal",
    "read_float",
    "read_int",
    "read_none",
    "read_text",
    "read_time",
    "write_bool",
    "write_bytes",
    "write_date",
    "write_datetime",
    "write_none",
    "write_time",
]

#: A Decimal is read with an exponent between -400 and 400, so that arithmetic on it stays cheap.
MAX_EXPONENT = 400
#: Digits of an integer or a Decimal; Python itself converts no more (sys.set_int_max_str_digits).
MAX_DIGITS = 4300

_DECIMAL_CHARS = "0123456789.-+eE"
_INT = re.compile(rf"[+-]?[0-9]{{1,{MAX_DIGITS}}}")
_FLOAT = re.compile(r"[+-]?[0-9]{1,400}(?:\.[0-9]{0,400})?(?:[eE][+-]?[0-9]{1,4})?")
_TIME_OF_DAY = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?"
_DATETIME = re.compile(rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{_TIME_OF_DAY}(?:Z|[+-][0-9]{{2}}:[0-9]{{2}})?")
_TIME = re.compile(rf"{_TIME_OF_DAY}(?:Z|[+-]{_TIME_OF_DAY})?")


# A document repeats its dates, and writing one costs four times as much as finding it.
write_date: Callable[[date], str] = lru_cache(maxsize=1024)(date.isoformat)


def write_datetime(value: datetime) -> str:
    """UTC with milliseconds, or with microseconds where they are not whole milliseconds; naive means UTC."""
    if value.tzinfo is not UTC:
        offset = value.utcoffset()
        if offset:
            value = value.replace(tzinfo=None) - offset
    clock = value.time().isoformat("microseconds")
    return f"{write_date(value.date())}T{clock[:12] if clock[12:] == '000' else clock}Z"


def write_time(value: time) -> str:
    """Like write_datetime, but the offset stays as it is."""
    text = value.isoformat("microseconds")
    return text[:12] + text[15:] if text[12:15] == "000" else text


def write_bool(value: bool) -> str:
    """`true` or `false`."""
    return "true" if value else "false"


def write_none(value: None) -> str:
    """Nothing: the suffix says it all."""
    return ""


def write_bytes(value: bytes) -> str:
    """Base64 with the standard alphabet (RFC 4648, 4)."""
    return binascii.b2a_base64(value, newline=False).decode()


def read_decimal(text: str) -> Decimal:
    """A finite decimal; ValueError when it is not one or is beyond the limits."""
    # Decimal() also takes blanks, underscores, NaN and the digits of every script.
    if text.strip(_DECIMAL_CHARS):
        raise ValueError("is not a decimal number")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError("is not a decimal number") from None
    if len(text) > MAX_EXPONENT or "E" in text or "e" in text:
        _check_size(value)
    return value


def _check_size(value: Decimal) -> None:
    _, digits, exponent = value.as_tuple()
    # A finite Decimal has an int there; NaN and infinity never get this far.
    if not isinstance(exponent, int) or abs(exponent) > MAX_EXPONENT or len(digits) > MAX_DIGITS:
        raise ValueError(f"has an exponent beyond {MAX_EXPONENT} or more than {MAX_DIGITS} digits")


def read_date(text: str) -> date:
    """YYYY-MM-DD; ValueError for anything else."""
    # fromisoformat() also takes the basic and the week form.
    if len(text) != 10 or text[7] != "-":
        raise ValueError("is not a date written YYYY-MM-DD")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("is not a date written YYYY-MM-DD") from None


def read_datetime(text: str) -> datetime:
    """YYYY-MM-DDTHH:MM[:SS[.ffffff]] with Z, an offset or nothing; without either it is naive."""
    if _DATETIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise ValueError("is not a date and time written YYYY-MM-DDTHH:MM:SS.sssZ")


def read_datetime_utc(text: str) -> datetime:
    """As read_datetime, always aware and in UTC."""
    if text[4:20:3] == "--T::." and len(text) == 24 and text[23] == "Z":  # as it is written: no need to look closer
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    value = read_datetime(text)
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is beyond the years 1 to 9999") from None


def read_time(text: str) -> time:
    """HH:MM[:SS[.ffffff]] with an optional offset."""
    if _TIME.fullmatch(text):
        try:
            return time.fromisoformat(text)
        except ValueError:
            pass
    raise ValueError("is not a time written HH:MM:SS.sss")


def read_int(text: str) -> int:
    """ASCII digits with an optional sign, at most 4300 of them."""
    if not _INT.fullmatch(text):
        raise ValueError(f"is not an integer of at most {MAX_DIGITS} digits")
    return int(text)


def read_float(text: str) -> float:
    """A finite number."""
    if _FLOAT.fullmatch(text):
        value = float(text)
        if math.isfinite(value):
            return value
    raise ValueError("is not a finite number")


def read_bool(text: str) -> bool:
    """`true` or `false`, nothing else."""
    if text == "true":
        return True
    if text == "false":
        return False
    raise ValueError("is neither true nor false")


def read_none(text: str) -> None:
    """The empty text."""
    if text:
        raise ValueError("is not empty, as the literal of None is")


def read_text(text: str) -> str:
    """The text itself, whatever it looks like."""
    return text


def read_bytes(text: str) -> bytes:
    """Base64 with its padding."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise ValueError("is not base64") from None
