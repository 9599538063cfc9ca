"""Reads JSON with the standard library, as strictly as orjson does."""

import json
import math
import re
from collections.abc import Callable
from itertools import accumulate
from typing import Any

from genro_asgi.jsoncodec.errors import (
    BIG_NUMBER,
    INTEGER_MAX,
    INTEGER_MIN,
    MALFORMED,
    MAX_DEPTH,
    JsonError,
    too_deep,
)

__all__ = ["as_bytes", "loads", "quick_loads"]

# Possessive, and an unclosed string runs to the end: both keep it linear on junk.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_scan_string: Callable[[str, int, bool], tuple[str, int]] = json.decoder.scanstring  # type: ignore[attr-defined]
_SPACE = re.compile(r"[ \t\n\r]*")


def as_bytes(data: bytes | bytearray | memoryview | str) -> bytes:
    """A document as UTF-8; JsonError for a str with lone surrogates."""
    if not isinstance(data, str):
        return bytes(data)
    try:
        return data.encode()
    except UnicodeEncodeError as error:
        raise JsonError(MALFORMED, error.start) from None


def loads(data: bytes | bytearray | memoryview | str, max_depth: int = MAX_DEPTH) -> Any:
    """A JSON text as Python values; JsonError when it is malformed, too deep, or holds what no 64 bits hold."""
    try:
        text = str(as_bytes(data), "utf-8")
    except UnicodeDecodeError as error:
        raise JsonError(MALFORMED, error.start) from None
    max_depth = min(max_depth, MAX_DEPTH)
    if text.count("[") + text.count("{") > max_depth and _depth(text) > max_depth:
        raise too_deep(max_depth)
    try:
        value = _parse(text)
    except json.JSONDecodeError as error:
        raise JsonError(MALFORMED, error.pos) from None
    if _SURROGATE.search(text):
        _refuse_lone_surrogates(text)
    return value


def quick_loads(body: bytes) -> Any:
    """What `loads` gives for bytes, where nothing else is asked for."""
    return loads(body)


def _depth(text: str) -> int:
    return max(accumulate(_STEPS.get(char, 0) for char in _STRING.sub("", text)), default=0)


def _refuse_lone_surrogates(text: str) -> None:
    for match in _STRING.finditer(text):
        if "\\u" in match[0]:
            try:
                _scan_string(text, match.start() + 1, True)[0].encode()
            except UnicodeEncodeError:
                raise JsonError(MALFORMED, match.start()) from None


def _integer(digits: str) -> int:
    # The length first: Python refuses to convert thousands of digits, with an error of its own.
    if len(digits) > 20 or not INTEGER_MIN <= (value := int(digits)) <= INTEGER_MAX:
        raise JsonError(BIG_NUMBER)
    return value


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise JsonError(BIG_NUMBER)
    return value


def _constant(_: str) -> None:
    raise JsonError(MALFORMED)


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_constant)
_scan_once: Callable[[str, int], tuple[Any, int]] = _DECODER.scan_once  # type: ignore[attr-defined]


def _parse(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except RecursionError:  # json recurses once per level, on a stack whose rest we do not know
        return _parse_deep(text)


def _parse_deep(text: str) -> Any:
    """The same with a stack of its own, for the few texts that need it."""
    containers: list[Any] = []
    keys: list[str] = []
    index = _skip(text, 0)
    while True:
        char = text[index : index + 1]
        value: Any
        if char in ("[", "{"):
            value = [] if char == "[" else {}
            index = _skip(text, index + 1)
            if text[index : index + 1] not in ("]", "}"):
                containers.append(value)
                index = _key(text, index, keys) if char == "{" else index
                continue
            index = _close(text, index, value)
        else:
            value, index = _scalar(text, index)
        while containers:
            top = containers[-1]
            if isinstance(top, list):
                top.append(value)
            else:
                top[keys.pop()] = value
            index = _skip(text, index)
            if text[index : index + 1] == ",":
                index = _skip(text, index + 1)
                index = _key(text, index, keys) if isinstance(top, dict) else index
                break
            index = _close(text, index, top)
            value = containers.pop()
        else:
            if _skip(text, index) != len(text):
                raise JsonError(MALFORMED, index)
            return value


def _skip(text: str, index: int) -> int:
    match = _SPACE.match(text, index)
    return match.end() if match else index


def _close(text: str, index: int, container: Any) -> int:
    if text[index : index + 1] != ("]" if isinstance(container, list) else "}"):
        raise JsonError(MALFORMED, index)
    return index + 1


def _key(text: str, index: int, keys: list[str]) -> int:
    if text[index : index + 1] != '"':
        raise JsonError(MALFORMED, index)
    key, index = _scan_string(text, index + 1, True)
    index = _skip(text, index)
    if text[index : index + 1] != ":":
        raise JsonError(MALFORMED, index)
    keys.append(key)
    return _skip(text, index + 1)


def _scalar(text: str, index: int) -> tuple[Any, int]:
    try:
        return _scan_once(text, index)
    except StopIteration:
        raise JsonError(MALFORMED, index) from None
