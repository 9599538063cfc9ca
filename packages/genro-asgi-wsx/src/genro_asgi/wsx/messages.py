"""WSX messages: their kinds, their plain text form, and reading one into its fields."""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from genro_asgi.jsoncodec import JsonError, loads
from genro_asgi.limits import Limits
from genro_asgi.wsx.envelope import check_envelope, readable_id
from genro_asgi.wsx.errors import TytxError, WsxError
from genro_asgi.wsx.tytx.codec import typed_copy
from genro_asgi.wsx.tytx.registry import BUILTIN_TYPES, TypeTable
from genro_asgi.wsx.tytx.tree import hydrate

__all__ = [
    "WSX_PREFIX",
    "Chunk",
    "Event",
    "Grant",
    "ParsedMessage",
    "Request",
    "Response",
    "build_wsx_message",
    "build_wsx_response",
    "is_wsx_message",
    "parse_message",
    "parse_wsx_message",
]

WSX_PREFIX = "WSX://"

_TYPED_FIELDS = ("query", "data", "cookies")
_DEFAULT_LIMITS = Limits()
# A MessagePack map says so in its first byte: fixmap, map 16 or map 32.
_MSGPACK_MAPS = frozenset(bytes([byte]) for byte in (*range(0x80, 0x90), 0xDE, 0xDF))
# The id of a text that is otherwise broken is only believed where it comes first.
_LEADING_ID = re.compile(r'\s*\{\s*"id"\s*:\s*"([^"\\\x00-\x1f]{1,128})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a request and an event have in common.

    `timeout` is milliseconds from the arrival of the message; `page_id` and `reply_path` are of older peers and
    only pass through.
    """

    method: str
    path: str = "/"
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, Any] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    data: Any = None
    timeout: int | None = None
    sender: str | None = None
    page_id: str | None = None
    reply_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Call):
    """A call that is answered by one response, or by a stream of them.

    `stream` says that chunks follow; `credit` is how many items of the answer the caller takes before it grants
    more.
    """

    id: str
    stream: bool = False
    credit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Call):
    """A call without an id: it is never answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer, or with `stream` one item of it (`seq` counts from 0)."""

    id: str | None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, Any] = field(default_factory=dict)
    data: Any = None
    stream: bool = False
    seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One item of a client stream; the last one has `stream` false."""

    id: str
    seq: int
    data: Any = None
    stream: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The receiver of a stream takes `credit` more items."""

    id: str
    credit: int


class ParsedMessage(NamedTuple):
    """A message as its fields; what `transport`, `typed` and `prefixed` say is also the form of its answer."""

    fields: dict[str, Any]
    #: whether query, data and cookies hold typed values
    typed: bool
    transport: Literal["json", "msgpack"]
    #: whether the text began with WSX://
    prefixed: bool

    @property
    def id(self) -> str | None:
        """What the answer is to be called by; None in an event."""
        return self.fields.get("id")

    @property
    def method(self) -> str | None:
        """The method of a request, upper case; None in any other kind."""
        return self.fields.get("method")

    @property
    def path(self) -> str:
        """The path, with its leading slash."""
        return self.fields.get("path") or "/"

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case."""
        return self.fields.get("headers") or {}

    @property
    def cookies(self) -> dict[str, Any]:
        """The cookies by name."""
        return self.fields.get("cookies") or {}

    @property
    def query(self) -> dict[str, Any]:
        """The query by name."""
        return self.fields.get("query") or {}

    @property
    def data(self) -> Any:
        """The payload; None when there is none."""
        return self.fields.get("data")


def is_wsx_message(data: str | bytes) -> bool:
    """Whether a text begins with the prefix of WSX."""
    return data.startswith(WSX_PREFIX) if isinstance(data, str) else data.startswith(b"WSX://")


def parse_wsx_message(data: str | bytes) -> dict[str, Any]:
    """The fields of a message as they were sent, typed values read; WsxError when it is malformed."""
    return _read(data, _DEFAULT_LIMITS, BUILTIN_TYPES).fields


def parse_message(
    data: str | bytes, *, limits: Limits = _DEFAULT_LIMITS, types: TypeTable = BUILTIN_TYPES
) -> ParsedMessage:
    """Read one message: text with or without prefix and ::JS, or a MessagePack map.

    Known fields are checked and brought to their one spelling. Whether `id`, `method` or `status` are there is
    for the caller to see. Whatever is wrong raises WsxError, with the id of the message where it can be read.
    """
    message = _read(data, limits, types)
    check_envelope(message.fields, limits)
    return message


def _read(data: str | bytes, limits: Limits, types: TypeTable) -> ParsedMessage:
    # Length comes first: nothing oversized is copied or decoded.
    if len(data) > limits.ws_message:
        raise _too_large(data, limits)
    if isinstance(data, str):
        try:
            body = data.encode()
        except UnicodeEncodeError:
            raise WsxError("the text holds half of a surrogate pair", id=_leading_id(data)) from None
        if len(body) > limits.ws_message:
            raise _too_large(data, limits)
    else:
        body = bytes(data)
    if body[:1] in (b"W", b"{"):
        return _read_text(body, limits, types)
    if isinstance(data, str):
        raise WsxError("the text begins neither with WSX:// nor with {")
    return _read_msgpack(body, limits, types)


def _too_large(data: str | bytes, limits: Limits) -> WsxError:
    text = f"the message is longer than {limits.ws_message} bytes"
    return WsxError(text, status=413, code="TOO_LARGE", id=_leading_id(data))


def _leading_id(data: str | bytes) -> str | None:
    start = data[:512]
    text = start if isinstance(start, str) else str(start, "utf-8", "replace")
    match = _LEADING_ID.match(text.removeprefix(WSX_PREFIX))
    return match[1] if match else None


def _read_text(body: bytes, limits: Limits, types: TypeTable) -> ParsedMessage:
    prefixed = body.startswith(b"WSX://")
    typed = body.endswith(b"::JS")
    if prefixed or typed:
        body = body[6 if prefixed else 0 : -4 if typed else None]
    try:
        fields = loads(body, max_depth=limits.ws_depth)
    except JsonError as error:
        raise WsxError(str(error), id=_leading_id(body)) from None
    if type(fields) is not dict:
        raise WsxError("the message is not a JSON object")
    typed = typed or fields.get("tytx") is True or _says_tytx(fields.get("headers"))
    if typed and body.rfind(b"::") >= 0:
        _hydrate(fields, types, limits)
    return ParsedMessage(fields, typed, "json", prefixed)


def _says_tytx(headers: Any) -> bool:
    if type(headers) is dict:
        for name, value in headers.items():
            if name.lower() == "content-type":
                return type(value) is str and "tytx" in value.lower()
    return False


def _hydrate(fields: dict[str, Any], types: TypeTable, limits: Limits) -> None:
    for name in _TYPED_FIELDS:
        if name in fields:
            try:
                fields[name] = hydrate(fields[name], types, pointer=f"/{name}", max_depth=limits.ws_depth)
            except TytxError as error:
                raise _as_wsx(error, fields) from None


def _as_wsx(error: TytxError, fields: dict[str, Any]) -> WsxError:
    return WsxError(error.text, code=error.code, pointer=error.pointer, id=readable_id(fields))


def _read_msgpack(data: bytes, limits: Limits, types: TypeTable) -> ParsedMessage:
    if data[:1] not in _MSGPACK_MAPS:
        raise WsxError("the message is neither text nor a MessagePack map")
    from genro_asgi.wsx.tytx.msgpack_codec import decode_msgpack

    try:
        fields = decode_msgpack(data, types, max_depth=limits.ws_depth)
    except TytxError as error:
        raise WsxError(error.text, code=error.code, pointer=error.pointer) from None
    return ParsedMessage(fields, True, "msgpack", False)


def build_wsx_message(
    *,
    id: str,
    method: str,
    path: str = "/",
    headers: dict[str, str] | None = None,
    cookies: dict[str, Any] | None = None,
    query: dict[str, Any] | None = None,
    data: Any = None,
    tytx: bool = False,
) -> str:
    """The text of a request; empty fields are left out. With `tytx` its values are typed."""
    fields: dict[str, Any] = {"id": id, "method": method, "path": path}
    for name, value in (("headers", headers), ("cookies", cookies), ("query", query)):
        if value:
            fields[name] = value
    if data is not None:
        fields["data"] = data
    if tytx:
        for name in _TYPED_FIELDS:
            if name in fields:
                fields[name] = typed_copy(fields[name])
        fields["tytx"] = True
    return _text(fields)


def build_wsx_response(
    *,
    id: str,
    status: int = 200,
    headers: dict[str, str] | None = None,
    cookies: dict[str, Any] | None = None,
    data: Any = None,
) -> str:
    """The text of a response; empty headers and cookies and a data of None are left out."""
    fields: dict[str, Any] = {"id": id, "status": status}
    if headers:
        fields["headers"] = headers
    if cookies:
        fields["cookies"] = cookies
    if data is not None:
        fields["data"] = data
    return _text(fields)


def _text(fields: dict[str, Any]) -> str:
    # The published texts are those of json.dumps as it comes: ASCII, and a blank after colon and comma.
    return WSX_PREFIX + json.dumps(fields, allow_nan=False)
