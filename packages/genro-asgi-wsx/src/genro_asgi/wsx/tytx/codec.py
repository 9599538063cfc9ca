"""TYTX documents as text: `{"price":"9.90::N"}::JS`; the other transports are called from here."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

from genro_asgi.jsoncodec import JsonError, dumps, engine, loads, quick_loads
from genro_asgi.wsx.errors import TytxError
from genro_asgi.wsx.tytx.plain import INT64_MIN, UINT64_MAX, PlainCopy, to_plain
from genro_asgi.wsx.tytx.registry import DEFAULT_TYPES, TypeTable
from genro_asgi.wsx.tytx.tree import MAX_DEPTH, hydrate, read_literal

__all__ = [
    "Transport",
    "decode",
    "encode",
    "from_tytx",
    "plain_copy",
    "read_text",
    "to_tytx",
    "typed_copy",
]

Transport = Literal["json", "msgpack", "xml"]

_BRACE, _BRACKET, _QUOTE = b'}]"'

_dumps: Callable[[Any, Callable[[Any], Any], int], bytes] | None = None
_OPTION = 0
if engine == "orjson":
    from genro_asgi.jsoncodec.fast import DATES_TO_DEFAULT as _OPTION, raw_dumps as _dumps


# A parameter that is keyword-only makes every call dearer; these two functions have none for that reason.
def encode(
    value: Any,
    transport: Transport | None = None,
    types: TypeTable = DEFAULT_TYPES,
    careful: Callable[[Any, TypeTable], Any] | None = None,
) -> bytes:
    """A value as the bytes of a TYTX document.

    Without a transport this is a text such as `{"price":"9.90::N"}::JS`; the mark at its end says that there are
    typed values in it, and a typed value on its own is `9.90::N`. With "json" all of it stands in one more pair of
    quotes, which is how it travels over HTTP; with "xml" it stands in an element. `careful` is what makes a copy in
    plain JSON types of a value that cannot be written in one pass: typed_copy, unless part of it is not to be typed.
    TytxError for a value that has no form, ValueError for an unknown transport.
    """
    if transport is not None:
        return _encode_as(value, transport, types)
    kind = type(value)
    if kind is not dict and kind is not list:
        scalar = _encode_scalar(value, types)
        if scalar is not None:
            return scalar
    if _dumps is None or types.shadows_native:
        return _encode_copy(value, types, careful)
    idle = types.idle
    try:
        writer = idle.pop()
    except IndexError:
        writer = _Writer(types)
    try:
        body = _dumps(value, writer.default, _OPTION)
    except TypeError:  # the careful way can do more, or says what is wrong and where
        return _encode_copy(value, types, careful)
    typed = writer.typed
    if typed:
        writer.typed = 0
        idle.append(writer)
        if body.count(b"::") == typed:
            return body + b"::JS"
    else:
        idle.append(writer)
        if not body.rpartition(b"::")[1]:  # the cheapest way to ask, and not slow in any build of Python
            return body
    # Some string holds "::" by itself; most of those do not end in a suffix.
    if len(types.typed_strings.findall(body)) == typed:
        return body + b"::JS" if typed else body
    return _encode_copy(value, types, careful)


class _Writer:
    """Writes what JSON has nothing for, in one document at a time.

    Making what counts the typed values of a document would cost as much as writing a small one: hence those that
    `TypeTable.idle` holds, each for whoever takes it out. One that is in there has counted nothing.
    """

    __slots__ = ("default", "typed", "types", "writers")

    def __init__(self, types: TypeTable) -> None:
        self.types = types
        self.writers = types.json_writers
        #: how many typed values were written
        self.typed = 0
        self.default = self._default  # bound once

    def _default(self, item: Any) -> Any:
        self.typed += 1
        kind = type(item)
        if kind is Decimal:
            return str(item) + "::N"
        writer = self.writers.get(kind) or self.types.json_writer_for(kind)
        if writer is None:
            self.typed -= 1
            return to_plain(item)
        return writer(item)


def _encode_as(value: Any, transport: str, types: TypeTable) -> bytes:
    if transport == "json":
        return b'"%b"' % encode(value, types=types)
    if transport == "msgpack":
        from genro_asgi.wsx.tytx.msgpack_codec import encode_msgpack

        return encode_msgpack(value, types)
    if transport == "xml":
        from genro_asgi.wsx.tytx.xml_codec import encode_xml

        return encode_xml(value, types)
    raise _unknown(transport)


def _encode_scalar(value: Any, types: TypeTable) -> bytes | None:
    kind = type(value)
    if kind is str:
        return f"{value}::T".encode() if types.looks_typed(value) else None
    if kind is int:
        return None if INT64_MIN <= value <= UINT64_MAX else f"{value}::L".encode()
    writer = types.json_writer_for(kind)
    if writer is None:
        return None
    try:
        return writer(value).encode()
    except Exception as error:
        raise TytxError(f"{kind.__name__} cannot be written: {error}") from error


def typed_copy(value: Any, types: TypeTable = DEFAULT_TYPES) -> Any:
    """The value as plain JSON types, with typed values as strings such as `9.90::N`."""
    return PlainCopy(types, lambda entry, item: f"{entry.write(item)}::{entry.suffix}", escape=True).of(value)


def plain_copy(value: Any, types: TypeTable = DEFAULT_TYPES) -> Any:
    """The value as plain JSON types, with typed values as their literals: `9.90`."""
    return PlainCopy(types, lambda entry, item: entry.write(item), escape=False).of(value)


def _encode_copy(value: Any, types: TypeTable, careful: Callable[[Any, TypeTable], Any] | None) -> bytes:
    body = dumps((careful or typed_copy)(value, types))
    return body + b"::JS" if types.typed_strings.search(body) else body


def decode(
    data: str | bytes,
    transport: Transport | None = None,
    types: TypeTable = DEFAULT_TYPES,
    max_depth: int | None = None,
) -> Any:
    """The value of a TYTX document.

    A text may be wrapped in quotes or not, and end in `::JS` or not. Its typed strings become values when it ends so,
    or when a transport is named: somebody has said then that this is TYTX, and not just JSON.
    TytxError when it is malformed, or names the value that cannot be read; ValueError for an unknown transport.
    """
    if transport is not None:
        return _decode_as(data, transport, types, max_depth)
    body = data if type(data) is bytes else _utf8(data)
    tail = body[-1] if body else 0
    if tail == _BRACE or tail == _BRACKET:  # noqa: SIM109 - plain JSON: nothing to look for
        try:
            return quick_loads(body) if max_depth is None else loads(body, max_depth)
        except JsonError as error:
            raise TytxError(str(error), code="MALFORMED") from None
    if tail == _QUOTE:
        return _decode_quoted(body, types, max_depth)
    return _read(body, types, max_depth)


def _decode_as(data: str | bytes, transport: str, types: TypeTable, max_depth: int | None) -> Any:
    if transport == "json":
        body = data if isinstance(data, bytes) else _utf8(data)
        return _decode_quoted(body, types, max_depth, wrapped=True, always=True)
    if transport == "msgpack":
        from genro_asgi.wsx.tytx.msgpack_codec import decode_msgpack

        if isinstance(data, str):
            raise TytxError("the document is text, and MessagePack is bytes", code="MALFORMED")
        return decode_msgpack(data, types, max_depth=max_depth or MAX_DEPTH)
    if transport == "xml":
        from genro_asgi.wsx.tytx.xml_codec import decode_xml

        return decode_xml(data, types, max_depth=max_depth or MAX_DEPTH)
    raise _unknown(transport)


def _utf8(data: str | bytes | bytearray | memoryview) -> bytes:
    try:
        return data.encode() if isinstance(data, str) else bytes(data)
    except UnicodeEncodeError:
        raise TytxError("the text holds half of a surrogate pair", code="MALFORMED") from None


def _decode_quoted(
    body: bytes, types: TypeTable, max_depth: int | None, *, wrapped: bool = False, always: bool = False
) -> Any:
    """Read a text that may be in quotes; `"5"` is a string and a wrapped number, `wrapped` says what it is first."""
    if len(body) > 1 and body[:1] == body[-1:] == b'"':
        readings = (body[1:-1], body) if wrapped else (body, body[1:-1])
        try:
            return _read(readings[0], types, max_depth, always)
        except TytxError as error:
            if error.code != "MALFORMED":
                raise
        body = readings[1]
    return _read(body, types, max_depth, always)


def read_text(body: bytes, types: TypeTable) -> Any:
    """The value of a text that is not in quotes, its typed strings read whether it is marked or not."""
    return _read(body, types, None, always=True)


def _read(body: bytes, types: TypeTable, max_depth: int | None, always: bool = False) -> Any:
    # Only a mark or a suffix ends in a capital letter; JSON does not.
    if b"A" <= body[-1:] <= b"Z":
        if not body.endswith(b"::JS"):
            return _read_scalar(body, types)
        body = body[:-4]
        always = True
    try:
        value = quick_loads(body) if max_depth is None else loads(body, max_depth)
    except JsonError as error:
        raise TytxError(str(error), code="MALFORMED") from None
    if always and body.rfind(b"::") >= 0:
        return hydrate(value, types, max_depth=max_depth or MAX_DEPTH)
    return value


def _read_scalar(body: bytes, types: TypeTable) -> Any:
    literal, mark, suffix = body.decode(errors="replace").rpartition("::")
    if mark and suffix in types.readers:
        return read_literal(literal, suffix, types)
    raise TytxError("the text is neither JSON nor a literal with a known suffix", code="MALFORMED")


def to_tytx(value: Any, transport: Transport | None = None, *, raw: bool = False, qs: bool = False) -> str | bytes:
    """As encode, but a text is returned as str.

    `raw` is plain JSON or MessagePack, without types; `qs` is a flat dict or a list as `a=1::L&b=x::QS`.
    """
    if raw or qs:
        from genro_asgi.wsx.tytx.shorthands import to_qs, to_raw

        return f"{to_qs(value)}::QS" if qs else to_raw(value, transport)
    document = encode(value, transport)
    return document if transport == "msgpack" else document.decode()


def from_tytx(data: str | bytes | None, transport: Transport | None = None) -> Any:
    """As decode, but typed strings become values whether the text ends in `::JS` or not; None stays None."""
    if data is None:
        return None
    if transport is not None:
        return _decode_as(data, transport, DEFAULT_TYPES, None)
    body = data if type(data) is bytes else _utf8(data)
    read = _decode_quoted if body[-1:] == b'"' else _read
    return read(body, DEFAULT_TYPES, None, always=True)


def _unknown(transport: object) -> ValueError:
    return ValueError(f"Unknown transport {transport!r} of TYTX; use json, msgpack or xml.")
