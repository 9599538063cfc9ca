"""The other names of genro-tytx: one transport each, records one by one, query strings, documents without types."""

import math
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, overload

from genro_asgi.jsoncodec import dumps, loads
from genro_asgi.wsx.errors import TytxError
from genro_asgi.wsx.tytx.codec import decode, encode, typed_copy
from genro_asgi.wsx.tytx.plain import to_plain
from genro_asgi.wsx.tytx.registry import DEFAULT_TYPES, NATIVE_ENTRIES
from genro_asgi.wsx.tytx.tree import hydrate, join_pointer

__all__ = [
    "from_msgpack", "from_qs", "from_tytx_iter", "from_xml", "json_dumps", "json_loads", "to_msgpack", "to_qs",
    "to_raw", "to_tytx_iter", "to_xml",
]  # fmt: skip

_XML_HEAD, _XML_TAIL = '<?xml version="1.0" ?><tytx_root>', "</tytx_root>"


def to_msgpack(value: Any) -> bytes:
    """A value as MessagePack, typed."""
    return encode(value, "msgpack")


def from_msgpack(data: bytes) -> Any:
    """The value of a typed MessagePack document; TytxError when it is malformed."""
    return decode(data, "msgpack")


def to_xml(value: Any) -> str:
    """A value as XML, typed, without the declaration and the root that a document has."""
    return encode(value, "xml").decode()[len(_XML_HEAD) : -len(_XML_TAIL)]


def from_xml(data: str | bytes) -> Any:
    """The value of an XML document, or of an element alone; TytxError when it is malformed."""
    return decode(data, "xml")


def json_dumps(value: Any) -> bytes:
    """A value as plain JSON: a Decimal or a date is a string there."""
    return dumps(value)


def json_loads(data: str | bytes) -> Any:
    """The value of plain JSON; JsonError when it is none."""
    return loads(data)


def to_raw(value: Any, transport: str | None = None) -> str | bytes:
    """A value as JSON or MessagePack without types; ValueError for XML, which has no such form."""
    if transport == "msgpack":
        from genro_asgi.wsx.tytx.msgpack_codec import load_msgpack

        return bytes(load_msgpack().packb(value, default=to_plain))
    if transport in (None, "json"):
        return dumps(value).decode()
    if transport == "xml":
        raise ValueError("raw=True is not supported for XML; use json or msgpack.")
    raise ValueError(f"Unknown transport {transport!r} of TYTX; use json or msgpack.")


@overload
def to_tytx_iter(records: Iterable[Any]) -> Iterator[Any]: ...
@overload
def to_tytx_iter(records: AsyncIterable[Any]) -> AsyncIterator[Any]: ...
def to_tytx_iter(records: Iterable[Any] | AsyncIterable[Any]) -> Iterator[Any] | AsyncIterator[Any]:
    """Each record as plain JSON data, its typed values as strings such as `9.90::N`: one line each for JSON Lines."""
    turned: Iterator[Any] | AsyncIterator[Any] = _each(records, typed_copy)
    return turned


@overload
def from_tytx_iter(records: Iterable[Any]) -> Iterator[Any]: ...
@overload
def from_tytx_iter(records: AsyncIterable[Any]) -> AsyncIterator[Any]: ...
def from_tytx_iter(records: Iterable[Any] | AsyncIterable[Any]) -> Iterator[Any] | AsyncIterator[Any]:
    """Each record with its typed strings turned into values; those given stay as they are."""
    turned: Iterator[Any] | AsyncIterator[Any] = _each(records, lambda record: hydrate(_copy(record)))
    return turned


def _each(records: Any, turn: Callable[[Any], Any]) -> Any:
    return _each_later(records, turn) if isinstance(records, AsyncIterable) else map(turn, records)


async def _each_later(records: AsyncIterable[Any], turn: Callable[[Any], Any]) -> AsyncIterator[Any]:
    async for record in records:
        yield turn(record)


def _copy(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if kind is list or kind is tuple else value


def to_qs(value: Any) -> str:
    """A flat dict as `a=1::L&b=x`, a list as `a&b`; TytxError for anything else, the format has no escapes."""
    if isinstance(value, dict):
        items = [f"{_part(key, key, '&=')}={_part(key, _scalar(key, item), '&')}" for key, item in value.items()]
    elif isinstance(value, list | tuple):
        items = [_part(place, _scalar(place, item), "&=") for place, item in enumerate(value)]
    else:
        raise TytxError(f"{type(value).__name__} cannot be a query string; use a dict or a list of scalars")
    return "&".join(items)


def from_qs(text: str) -> dict[str, Any] | list[Any]:
    """The dict or list of a query string (without `::QS`); TytxError when it cannot be read."""
    try:
        return DEFAULT_TYPES.read_qs(text)
    except Exception as error:  # a registered reader may raise anything
        raise TytxError(f"the query string cannot be read: {error}") from error


def _scalar(key: object, value: Any) -> str:
    if type(value) is str:
        return f"{value}::T" if DEFAULT_TYPES.looks_typed(value) else value
    entry = NATIVE_ENTRIES.get(type(value)) or DEFAULT_TYPES.entry_for(type(value))
    if entry is None or (type(value) is float and not math.isfinite(value)):
        raise TytxError(f"{value!r:.40} has no form in a query string", join_pointer(key, ""))
    return f"{entry.write(value)}::{entry.suffix}"


def _part(key: object, text: Any, signs: str) -> str:
    if not isinstance(text, str) or any(sign in text for sign in signs):
        raise TytxError(f"{text!r:.40} cannot stand in a query string", join_pointer(key, ""))
    return text
