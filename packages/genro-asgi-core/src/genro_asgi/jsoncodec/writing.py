"""Writes JSON without any library: what orjson does not take, and everything where it is missing."""

import math
import re
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from json.encoder import encode_basestring
from pathlib import PurePath
from typing import Any
from uuid import UUID

from genro_asgi.jsoncodec.errors import JsonError

__all__ = ["OPTIONS", "dumps", "quick_dumps", "raw_dumps", "to_plain"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def dumps(value: Any) -> bytes:
    """A value as compact UTF-8 JSON, of any depth.

    TypeError for a value of a type JSON has nothing for, JsonError for one that holds itself. NaN and infinity become
    null, lone surrogates U+FFFD.
    """
    text = "".join(_write(value))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text).encode()


def quick_dumps(value: Any, default: Callable[[Any], Any]) -> bytes:
    """What stands for orjson's own function: dumps, which needs no `default`."""
    return dumps(value)


#: What raw_dumps is called with.
OPTIONS = 0


def raw_dumps(value: Any, default: Callable[[Any], Any], option: int) -> bytes:
    """The same, with what orjson is told besides."""
    return dumps(value)


def to_plain(value: Any) -> Any:
    """What a value is written as when JSON has no form of its own for it; TypeError when there is nothing."""
    convert = _BY_CLASS.get(type(value))
    if convert is not None:
        return convert(value)
    if isinstance(value, Enum):
        return value.value
    for kind, convert in _BY_BASE:
        if isinstance(value, kind):
            return convert(value)
    if hasattr(type(value), "model_dump"):  # pydantic, which is no dependency
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        names: Iterable[str] = vars(value) if hasattr(value, "__dict__") else (field.name for field in fields(value))
        return {name: getattr(value, name) for name in names if not name.startswith("_")}
    raise TypeError(f"{type(value).__name__} cannot be written as JSON; turn it into a dict, a list or a str.")


def _base64(value: bytes | bytearray | memoryview) -> str:
    return b64encode(value).decode()


def _datetime(value: datetime) -> str:
    text = value.isoformat()
    offset = value.utcoffset() if value.tzinfo is not None else None
    if offset is None or text[-6] in "+-":
        return text
    # RFC 3339 has no seconds in an offset: to the nearest minute, half away from zero, as orjson does.
    minutes = int(abs(offset).total_seconds() // 60 + (abs(offset).seconds % 60 >= 30))
    sign = "-" if offset < timedelta(0) else "+"
    return f"{value.replace(tzinfo=None).isoformat()}{sign}{minutes // 60:02}:{minutes % 60:02}"


_BY_CLASS: dict[type, Callable[[Any], Any]] = {
    Decimal: str,
    datetime: _datetime,
    date: date.isoformat,
    time: time.isoformat,
    UUID: str,
    set: list,
    frozenset: list,
    bytes: _base64,
}

_BY_BASE: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (dict, lambda value: dict(dict.items(value))),
    (list, lambda value: list(list.__iter__(value))),
    (tuple, list),
    (Decimal, str),
    (datetime, _datetime),
    (date | time, lambda value: value.isoformat()),
    (UUID | PurePath, str),
    (bytes | bytearray | memoryview, _base64),
    (Mapping, lambda value: dict(value.items())),
    (AbstractSet | deque, list),
)


def _float(value: float) -> str:
    if not math.isfinite(value):
        return "null"
    text = repr(value)
    if text[-4:-1] != "e-0":
        return text
    if text[-1] != "5":
        return f"{text[:-2]}{text[-1]}"  # 1e-07 is 1e-7
    sign, digits = ("-", text[1:-4]) if value < 0 else ("", text[:-4])
    return f"{sign}0.0000{digits.replace('.', '')}"


_SCALARS: dict[type, Callable[[Any], str]] = {
    str: encode_basestring,
    int: int.__repr__,
    float: _float,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
}


def _key(key: Any) -> str:
    while (scalar := _SCALARS.get(type(key))) is None:
        if isinstance(key, list | tuple | dict | set | frozenset | bytes):
            raise TypeError(f"{type(key).__name__} cannot be a key of a JSON object; use a str.")
        key = to_plain(key)
    text = scalar(key)
    return text if type(key) is str else f'"{text}"'


def _members(container: Any) -> Iterator[tuple[str, Any]]:
    before = ""
    if isinstance(container, dict):
        for key, value in container.items():
            yield f"{before}{_key(key)}:", value
            before = ","
    else:
        for value in container:
            yield before, value
            before = ","


def _write(root: Any) -> list[str]:
    """The pieces of the text; a stack of its own, because depth must not depend on the interpreter's."""
    pieces: list[str] = []
    opened: set[int] = set()
    stack: list[tuple[Iterator[tuple[str, Any]], str, int]] = [(iter([("", root)]), "", 0)]
    while stack:
        members, closing, identity = stack[-1]
        for before, value in members:
            pieces.append(before)
            plain = value
            while (scalar := _SCALARS.get(type(plain))) is None and type(plain) not in (dict, list, tuple):
                plain = to_plain(plain)
            if scalar is not None:
                pieces.append(scalar(plain))
                continue
            if id(value) in opened:
                raise JsonError("The value holds itself and cannot be written as JSON.")
            opened.add(id(value))
            pieces.append("{" if type(plain) is dict else "[")
            stack.append((_members(plain), "}" if type(plain) is dict else "]", id(value)))
            break
        else:
            pieces.append(closing)
            opened.discard(identity)
            stack.pop()
    return pieces
