"""TYTX as MessagePack: extension types for what MessagePack lacks (needs the extra `msgpack`)."""

import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from genro_asgi.wsx.errors import TytxError, missing_extra
from genro_asgi.wsx.tytx.plain import PlainCopy
from genro_asgi.wsx.tytx.registry import DEFAULT_TYPES, TypeEntry, TypeTable
from genro_asgi.wsx.tytx.tree import MAX_DEPTH, join_pointer, read_literal

__all__ = ["decode_msgpack", "encode_msgpack", "load_msgpack", "peek", "read_held"]

# The codes of genro-tytx. A datetime is the Timestamp of MessagePack itself, -1.
_CODES = {"N": 1, "D": 2, "H": 3}
_SUFFIXES = {code: suffix for suffix, code in _CODES.items()}
_TIME = 3
_SUFFIXED = 4

# Bytes that cannot begin a map or an array: a message without them is no shorter than it is deep.
_NO_CONTAINER = bytes(byte for byte in range(256) if not (0x80 <= byte <= 0x9F or 0xDC <= byte <= 0xDF))
# Where there may be a float that is not finite, or a binary, which MessagePack would also take as a key.
_SUSPECT = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]|\xca[\x7f\xff][\x80-\xff]|[\xc4-\xc6]", re.DOTALL)
_BROKEN = "the document is not MessagePack with strings as keys"
_NOT_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]", re.DOTALL)


def load_msgpack() -> Any:
    """The library; ImportError says how it is installed."""
    try:
        import msgpack  # type: ignore[import-untyped]
    except ImportError:
        raise missing_extra("msgpack", "msgpack") from None
    return msgpack


def encode_msgpack(value: Any, types: TypeTable = DEFAULT_TYPES) -> bytes:
    """A document as MessagePack; TytxError for a value that has no TYTX form."""
    msgpack = load_msgpack()
    copy = PlainCopy(types, _leaf_writer(msgpack.ExtType), escape=False)
    if not types.shadows_native:
        try:
            body = bytes(msgpack.packb(value, default=copy.of, datetime=True))
            # MessagePack writes keys of any class, and reading is the fastest way to see that they are all strings.
            msgpack.unpackb(body, timestamp=0, ext_hook=_ignore)
            if not _NOT_FINITE.search(body):
                return body
        except Exception:  # the careful way can do more, or says what is wrong and where
            pass
    return bytes(msgpack.packb(copy.of(value), datetime=True))


def _ignore(code: int, payload: bytes) -> None:
    """Reads nothing of an extension type."""


def _leaf_writer(ext: Callable[[int, bytes], Any]) -> Callable[[TypeEntry, Any], Any]:
    def leaf(entry: TypeEntry, item: Any) -> Any:
        if entry.cls is datetime:
            return _in_utc(item)
        if entry.suffix == "RAW":
            return bytes(item)
        code = _CODES.get(entry.suffix)
        if code is None:
            return ext(_SUFFIXED, f"{entry.suffix}:{entry.write(item)}".encode())
        # A time is written as Python writes it, which is not how it stands in a text.
        return ext(code, (item.isoformat() if code == _TIME else entry.write(item)).encode())

    return leaf


def _in_utc(value: datetime) -> datetime:
    offset = value.utcoffset()
    plain = value.replace(tzinfo=None)
    return (plain - offset if offset else plain).replace(tzinfo=UTC)


class Held(NamedTuple):
    """Stands in a document for a value whose suffix is to be read later."""

    literal: str
    suffix: str


def decode_msgpack(
    data: bytes, types: TypeTable = DEFAULT_TYPES, *, max_depth: int = MAX_DEPTH, hold: bool = False
) -> Any:
    """Read a document; TytxError when it is malformed, or names the value that cannot be read.

    With `hold` values whose suffix is unknown are left for read_held().
    """
    msgpack = load_msgpack()
    unknown = Held if hold else _as_text
    try:
        value = msgpack.unpackb(
            data, timestamp=3, ext_hook=lambda code, literal: _read_ext(code, literal, types, unknown)
        )
    except (TytxError, OverflowError) as error:  # the second is a timestamp beyond the year 9999
        raise _explain(msgpack, data, types) from error
    except Exception:
        raise TytxError(_BROKEN, code="MALFORMED") from None
    if len(data.translate(None, _NO_CONTAINER)) > max_depth or _SUSPECT.search(data):
        _check(value, max_depth)
    return value


def peek(data: bytes) -> Any:
    """A document whose values could not all be read, without those of extension types."""
    return load_msgpack().unpackb(data, timestamp=0, ext_hook=_ignore)


def read_held(value: Any, types: TypeTable) -> Any:
    """The value with everything read in it that was held, in place; TytxError names what cannot be read."""
    kind = type(value)
    if kind is Held:
        return read_literal(value.literal, value.suffix, types) if value.suffix in types.readers else _as_text(*value)
    if kind is dict or kind is list:
        for key, item in value.items() if kind is dict else enumerate(value):
            try:
                value[key] = read_held(item, types)
            except TytxError as error:
                error.pointer = join_pointer(key, error.pointer)
                raise
    return value


def _as_text(literal: str, suffix: str) -> str:
    # As in a text, a suffix nobody registered leaves a plain string.
    return f"{literal}::{suffix}"


def _read_ext(code: int, payload: bytes, types: TypeTable, unknown: Callable[[str, str], Any] = _as_text) -> Any:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise TytxError(f"extension type {code} does not hold UTF-8") from None
    if code in _SUFFIXES:
        return read_literal(text, _SUFFIXES[code], types)
    if code != _SUFFIXED:
        raise TytxError(f"extension type {code} is unknown")
    suffix, colon, literal = text.partition(":")
    if not colon:
        raise TytxError("extension type 4 must hold SUFFIX:literal")
    return read_literal(literal, suffix, types) if suffix in types.readers else unknown(literal, suffix)


class _Unread:
    """Stands in a document where a value could not be read."""

    def __init__(self, error: TytxError) -> None:
        self.error = error


def _explain(msgpack: Any, data: bytes, types: TypeTable) -> TytxError:
    """Read a document that failed once more, to tell a broken one from one with a bad value, and find that."""

    def mark(code: int, payload: bytes) -> Any:
        try:
            return _read_ext(code, payload, types)
        except TytxError as bad:
            return _Unread(bad)

    try:
        value = msgpack.unpackb(data, timestamp=0, ext_hook=mark)
    except Exception:
        return TytxError(_BROKEN, code="MALFORMED")
    for pointer, item in _leaves(value):
        if isinstance(item, _Unread):
            item.error.pointer = pointer
            return item.error
        if isinstance(item, msgpack.Timestamp):
            try:
                item.to_datetime()
            except (ArithmeticError, ValueError):
                return TytxError("the timestamp is beyond the years 1 to 9999", pointer)
    return TytxError("the document cannot be read", code="MALFORMED")


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    stack = [("", value)]
    while stack:
        pointer, node = stack.pop()
        if isinstance(node, (dict, list)):
            pairs = node.items() if isinstance(node, dict) else enumerate(node)
            stack += reversed([(pointer + join_pointer(key, ""), item) for key, item in pairs])
        else:
            yield pointer, node


def _check(value: Any, max_depth: int) -> None:
    """Refuse what a JSON text cannot hold: deep nesting, keys that are not strings, floats that are not finite."""
    level = [value]
    for _ in range(max_depth + 1):
        deeper: list[Any] = []
        for node in level:
            if type(node) is dict:
                if set(map(type, node)) - {str}:
                    raise TytxError("the document has a key that is not a string", code="MALFORMED")
                deeper += node.values()
            elif type(node) is list:
                deeper += node
            elif type(node) is float and not math.isfinite(node):
                raise TytxError("the document holds a number that is not finite", code="MALFORMED")
        if not deeper:
            return
        level = deeper
    raise TytxError(f"the document is nested deeper than {max_depth} levels", code="MALFORMED")
