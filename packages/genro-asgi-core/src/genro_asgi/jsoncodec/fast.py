"""Reads and writes JSON with orjson, and sees to what orjson lets pass or refuses."""

import re
from collections.abc import Callable
from datetime import time
from typing import Any

import orjson

from genro_asgi.jsoncodec import writing
from genro_asgi.jsoncodec.errors import (
    BIG_NUMBER,
    INTEGER_MAX,
    INTEGER_MIN,
    MALFORMED,
    MAX_DEPTH,
    JsonError,
    too_deep,
)
from genro_asgi.jsoncodec.reading import as_bytes

__all__ = ["DATES_TO_DEFAULT", "OPTIONS", "dumps", "loads", "quick_dumps", "quick_loads", "raw_dumps"]

# Bound once: a global name is cheaper than an attribute of a module, and every body pays for it.
_loads, _dumps, _to_plain = orjson.loads, orjson.dumps, writing.to_plain

#: orjson's own function, to be called with a value, a `default` and an option: whoever writes small documents by the
#: million cannot afford a wrapper. TypeError when `default` raises anything, and for what is out of the ordinary: keys
#: that are not strings, integers beyond 64 bits, lone surrogates, more than 254 levels.
raw_dumps: Callable[[Any, Callable[[Any], Any], int], bytes] = orjson.dumps
#: The option with which dates and times are asked of `default` like any class JSON has nothing for.
DATES_TO_DEFAULT = orjson.OPT_PASSTHROUGH_DATETIME

# orjson up to 3.13 at least writes the microseconds of a time from 10000 to 99999 with five digits, which is another
# time. Where it does, dates and times are ours to write; there is no option for times alone.
#: The options of raw_dumps with which it writes as dumps does.
OPTIONS = 0 if _dumps(time(microsecond=10_000)) == b'"00:00:00.010000"' else DATES_TO_DEFAULT

_SHORT_TIME = re.compile(rb'"[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{5}"')

# Digits become zeros, so that a run of them is found like any other bytes.
_DIGITS = bytes(48 if code in b"0123456789" else 32 for code in range(256))
_SIGNS_TOO = bytes(48 if code in b"0123456789-" else 32 for code in range(256))
_RUN = b"0" * 20
_SIXTH, _FOURTH = slice(None, None, 6), slice(None, None, 4)

# Strings are stepped over whole; what is left of the long integers is neither fraction nor exponent.
_INTEGERS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|(?<![0-9.eE+\-])(-?[0-9]{19,}+)(?![.eE])', re.DOTALL)


def loads(data: bytes | bytearray | memoryview | str, max_depth: int = MAX_DEPTH) -> Any:
    """A JSON text as Python values; JsonError when it is malformed, too deep, or holds what no 64 bits hold."""
    body = data if type(data) is bytes else as_bytes(data)
    # What is taken out is counted several times as fast as count() counts, which has no use for memchr.
    if (
        max_depth >= MAX_DEPTH
        or 2 * len(body) - len(body.replace(b"[", b"", max_depth + 1)) - len(body.replace(b"{", b"", max_depth + 1))
        <= max_depth
    ):
        return quick_loads(body)
    try:
        value = _loads_within(body, max_depth)
    except orjson.JSONDecodeError as error:
        raise _refusal(error, max_depth) from None
    _check_integers(body)
    return value


def quick_loads(body: bytes) -> Any:
    """What `loads` gives for bytes, where nothing else is asked for: servers read small documents by the million."""
    try:
        value = _loads(body)
    except orjson.JSONDecodeError as error:
        raise _refusal(error, MAX_DEPTH) from None
    # orjson makes a float of an integer beyond 64 bits. Such a one has 19 digits in a row at least, which a sample of
    # every sixth byte hits three times: at 1 KB this look is a sixth of the parsing.
    # rpartition() is the cheapest way to ask whether something is in bytes: the others look at more arguments, and
    # not every build of Python goes forward as fast as backward.
    if body[_SIXTH].translate(_DIGITS).rpartition(b"000")[1]:
        _check_sample(body)
    return value


def _check_sample(data: bytes) -> None:
    # Of every fourth byte it hits four, which ids do now and then and times, with what separates their digits, never.
    sample = data[_FOURTH].translate(_DIGITS)
    at = sample.rfind(b"0000")
    # Between the hits of such a number there are digits only, which settles what only looks like one. In a small text,
    # and where there are many of those, looking at everything is cheaper than at each.
    for _ in range(len(data) // 2048):
        if at < 0:
            return
        first = at * 4
        if data[first + 1 : first + 12].isdigit() and _is_run(data[max(first - 4, 0) : first + 20]):
            break
        at = sample.rfind(b"0000", 0, at + 3)
    if at >= 0:
        _check_integers(data)


def _check_integers(data: bytes) -> None:
    if not _is_run(data):
        return
    for match in _INTEGERS.finditer(data):
        digits = match[1]
        if digits and (len(digits) > 20 or not INTEGER_MIN <= int(digits) <= INTEGER_MAX):
            raise JsonError(BIG_NUMBER, match.start())


def _is_run(data: bytes) -> bool:
    # 20 digits, or a sign and 19 of them.
    return data.translate(_SIGNS_TOO).find(_RUN) >= 0


def _loads_within(data: bytes, max_depth: int) -> Any:
    # orjson's own limit does the counting: inside so many brackets of ours, only max_depth of the text's are left.
    around = MAX_DEPTH - max_depth
    value = _loads(b"[" * around + data + b"]" * around)
    for _ in range(around):
        if len(value) != 1:  # the text closed a bracket of ours, or was empty, or two
            raise JsonError(MALFORMED)
        value = value[0]
    return value


def _refusal(error: orjson.JSONDecodeError, max_depth: int) -> JsonError:
    if "depth" in error.msg or "ecursion" in error.msg:
        return too_deep(min(max_depth, MAX_DEPTH))
    return JsonError(BIG_NUMBER if "infinity" in error.msg else MALFORMED, error.pos)


def dumps(value: Any) -> bytes:
    """A value as compact UTF-8 JSON, of any depth.

    TypeError for a value of a type JSON has nothing for, JsonError for one that holds itself. NaN and infinity become
    null, lone surrogates U+FFFD.
    """
    try:
        return _dumps(value, _to_plain, OPTIONS)
    except TypeError:
        pass  # what is raised below is not about this
    return _dumps_rest(value)


def _dumps_plainly(value: Any, default: Callable[[Any], Any]) -> bytes:
    # Not a `partial`: putting its keyword in costs twice what this call does.
    return _dumps(value, default, OPTIONS)


#: The quickest there is, orjson's own function where it may be; TypeError for what is out of the ordinary.
quick_dumps: Callable[[Any, Callable[[Any], Any]], bytes] = _dumps_plainly if OPTIONS else _dumps


def _dumps_rest(value: Any) -> bytes:
    try:
        text = _dumps(value, _to_plain, OPTIONS | orjson.OPT_NON_STR_KEYS)
    except TypeError:  # depth, big integers, lone surrogates, cycles, unknown types
        text = None
    # As a key orjson writes a time itself whatever the options.
    return writing.dumps(value) if text is None or _SHORT_TIME.search(text) else text
