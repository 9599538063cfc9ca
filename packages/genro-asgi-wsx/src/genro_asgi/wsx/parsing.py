"""Reading WSX messages: limits first, then the text or MessagePack, the envelope, and the typed values."""

import re
from typing import Any, Literal

from genro_asgi.jsoncodec import JsonError, loads
from genro_asgi.limits import Limits
from genro_asgi.wsx.call_types import CallTypes
from genro_asgi.wsx.envelope import check_envelope, is_plain, readable_id
from genro_asgi.wsx.errors import TytxError, WsxError
from genro_asgi.wsx.kinds import BINARY, TEXT, TYPED_TEXT, UNPREFIXED, Form
from genro_asgi.wsx.tytx.codec import decode
from genro_asgi.wsx.tytx.registry import BUILTIN_TYPES, TypeTable
from genro_asgi.wsx.tytx.tree import hydrate

__all__ = [
    "DEFAULT_LIMITS",
    "TYPED_FIELDS",
    "VERSION",
    "WSX_PREFIX",
    "ParsedMessage",
    "is_batch",
    "is_utf8",
    "parse_batch",
    "parse_fields",
    "parse_message",
    "read_message",
]

WSX_PREFIX = "WSX://"
#: The version of the protocol, as a hello tells it.
VERSION = 1
#: The fields of a message that hold typed values; nothing else in it ever does.
TYPED_FIELDS = ("query", "data", "cookies")
DEFAULT_LIMITS = Limits()

_TYPED_UNPREFIXED = Form(typed=True, prefixed=False)
# By whether a text is marked as typed, and whether it has the prefix.
_FORMS = {(True, True): TYPED_TEXT, (True, False): _TYPED_UNPREFIXED, (False, True): TEXT, (False, False): UNPREFIXED}
# MessagePack tells a map and an array in its first byte: the short form, 16 bits of length, 32 bits.
_MSGPACK_MAPS = frozenset(bytes([byte]) for byte in (*range(0x80, 0x90), 0xDE, 0xDF))
_MSGPACK_ARRAYS = frozenset(bytes([byte]) for byte in (*range(0x90, 0xA0), 0xDC, 0xDD))
# Where there may be an extension type 4, a value with its suffix.
_SUFFIXED = re.compile(rb"(?:[\xd4-\xd8]|\xc7.|\xc8..|\xc9....)\x04", re.DOTALL)
# The id of a message that is otherwise broken is only believed where it comes first.
_LEADING_ID = re.compile(rb'(?:WSX://)?\s*\{\s*"id"\s*:\s*"([^"\\\x00-\x1f]{1,512})"')
_LEADING_MSGPACK_ID = re.compile(rb"(?:[\x80-\x8f]|\xde..|\xdf....)\xa2id(?:[\xa1-\xbf]|\xd9.)", re.DOTALL)


class ParsedMessage:
    """A message as its fields, and the form it came in."""

    __slots__ = ("fields", "form")

    def __init__(self, fields: dict[str, Any], form: Form) -> None:
        self.fields = fields
        self.form = form

    @property
    def typed(self) -> bool:
        """Whether query, data and cookies hold typed values."""
        return self.form.typed

    @property
    def transport(self) -> Literal["json", "msgpack"]:
        """What the message was written in."""
        return self.form.transport

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


def parse_fields(data: str | bytes) -> dict[str, Any]:
    """The fields of a message as they were sent, typed values read; WsxError when it is malformed."""
    fields: dict[str, Any]
    fields, form, body = _read(data, DEFAULT_LIMITS, BUILTIN_TYPES, batch=False)
    if _is_typed(fields, form):
        _hydrate(fields, body, BUILTIN_TYPES, DEFAULT_LIMITS)
    return fields


def parse_message(
    data: str | bytes, *, limits: Limits = DEFAULT_LIMITS, types: TypeTable = BUILTIN_TYPES, legacy: bool = False
) -> ParsedMessage:
    """Read one message: text with or without prefix and ::JS, or a MessagePack map.

    Known fields are checked and brought to their one spelling. Whether `id`, `method` or `status` are there is
    for the caller to see. With `legacy`, a `data` that is a string in quotes is read as the TYTX text that peers of
    0.46 put there. Whatever is wrong raises WsxError, with the id of the message where it can be read; so does
    MessagePack where the extra is not installed (501).
    """
    fields, form, _ = read_message(data, limits, types, legacy)
    return ParsedMessage(fields, form)


def read_message(
    data: str | bytes, limits: Limits, types: TypeTable | CallTypes, legacy: bool
) -> tuple[dict[str, Any], Form, bool]:
    """What parse_message puts into its message, and whether it is a call of an id, a method, a path and data only."""
    # Every message of every connection passes here: the plain ones on the shortest way, all in one place.
    body = data
    if type(data) is str and len(data) <= limits.ws_message:
        try:
            body = data.encode()
        except UnicodeEncodeError:
            return _read_message(data, limits, types, legacy)
    if type(body) is not bytes or body[-1:] != b"}" or len(body) > limits.ws_message:
        return _read_message(data, limits, types, legacy)
    form = UNPREFIXED
    if body[:7] == b"WSX://{":
        body = body[6:]
        form = TEXT
    elif body[:1] != b"{":
        return _read_message(data, limits, types, legacy)
    try:
        fields: dict[str, Any] = loads(body, limits.ws_depth)
    except JsonError as error:
        raise WsxError(str(error), id=_leading_id(body)) from None
    plain = is_plain(fields)
    if not plain:
        check_envelope(fields, limits)
        if "tytx" in fields or "headers" in fields:
            form = _as_typed(fields, form, body, limits, types)
    if legacy and type(fields.get("data")) is str:
        form = _read_legacy(fields, form, types, limits)
    return fields, form, plain


def _read_message(
    data: str | bytes, limits: Limits, types: TypeTable | CallTypes, legacy: bool
) -> tuple[dict[str, Any], Form, bool]:
    fields, form, body = _read(data, limits, types, batch=False)
    return *_checked(fields, form, body, limits, types, legacy), False


def parse_batch(
    data: str | bytes, *, limits: Limits = DEFAULT_LIMITS, types: TypeTable | CallTypes = BUILTIN_TYPES
) -> list[ParsedMessage | WsxError]:
    """Read an array of messages; one that is wrong is an error in its place. WsxError when there is no array."""
    values, form, body = _read(data, limits, types, batch=True)
    messages: list[ParsedMessage | WsxError] = []
    for value in values:
        try:
            if type(value) is not dict:
                raise WsxError("the message is not an object")
            messages.append(ParsedMessage(*_checked(value, form, body, limits, types, legacy=False)))
        except WsxError as error:
            messages.append(error)
    return messages


def is_batch(data: str | bytes) -> bool:
    """Whether a message begins as an array of messages does."""
    if isinstance(data, str):
        return data.startswith(("[", "WSX://["))
    return data.startswith((b"[", b"WSX://[")) or data[:1] in _MSGPACK_ARRAYS


def _checked(
    fields: dict[str, Any], form: Form, body: bytes, limits: Limits, types: TypeTable | CallTypes, legacy: bool
) -> tuple[dict[str, Any], Form]:
    if form.transport == "json":
        check_envelope(fields, limits)
        form = _as_typed(fields, form, body, limits, types)
    else:
        if type(types) is CallTypes:
            form = _read_rest(fields, body, types)
        check_envelope(fields, limits)
    return fields, _read_legacy(fields, form, types, limits) if legacy else form


def _as_typed(fields: dict[str, Any], form: Form, body: bytes, limits: Limits, types: TypeTable | CallTypes) -> Form:
    if not _is_typed(fields, form):
        return form
    if form is not TYPED_TEXT:
        form = _FORMS[True, form.prefixed]
    if type(types) is CallTypes:
        own = types.of(fields)
        types = own or types.default
        if own is not None:
            form = form._replace(types=own)
    _hydrate(fields, body, types, limits)
    return form


def _read_rest(fields: dict[str, Any], data: bytes, types: CallTypes) -> Form:
    """Read the values of MessagePack whose suffixes are not built in, now that their call is known."""
    own = types.of(fields)
    if _SUFFIXED.search(data):
        from genro_asgi.wsx.tytx.msgpack_codec import read_held

        try:
            read_held(fields, own or types.default)
        except TytxError as error:
            raise _as_wsx(error, readable_id(fields)) from None
    return BINARY if own is None else BINARY._replace(types=own)


def _read(data: str | bytes, limits: Limits, types: TypeTable | CallTypes, *, batch: bool) -> tuple[Any, Form, bytes]:
    """What stands in one frame before anything in it is checked, its form, and the text it was."""
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
    opening = b"[" if batch else b"{"
    if body[:1] in (b"W", opening):
        return _read_text(body, list if batch else dict, limits.ws_depth + batch)
    if isinstance(data, str):
        raise WsxError(f"the text begins neither with WSX:// nor with {opening.decode()}")
    return _read_msgpack(body, types, limits.ws_depth + batch, _MSGPACK_ARRAYS if batch else _MSGPACK_MAPS)


def _too_large(data: str | bytes, limits: Limits) -> WsxError:
    text = f"the message is longer than {limits.ws_message} bytes"
    return WsxError(text, status=413, code="TOO_LARGE", id=_leading_id(data))


def _leading_id(data: str | bytes) -> str | None:
    start = data[:640]
    start = start.encode(errors="replace") if isinstance(start, str) else bytes(start)
    match = _LEADING_ID.match(start)
    if match:
        id = match[1]
    else:
        match = _LEADING_MSGPACK_ID.match(start)
        if not match:
            return None
        at = match.end()
        size = start[at - 1] if start[at - 2] == 0xD9 else start[at - 1] - 0xA0
        id = start[at : at + size]
    return readable_id({"id": str(id, "utf-8", "replace")})


def _read_text(body: bytes, shape: type, max_depth: int) -> tuple[Any, Form, bytes]:
    prefixed = body[:6] == b"WSX://"
    marked = body[-4:] == b"::JS"
    if prefixed or marked:
        body = body[6 if prefixed else 0 : -4 if marked else None]
    try:
        value = loads(body, max_depth=max_depth)
    except JsonError as error:
        raise WsxError(str(error), id=_leading_id(body)) from None
    if type(value) is not shape:
        raise WsxError(f"the message is not a JSON {'object' if shape is dict else 'array'}")
    return value, _FORMS[marked, prefixed], body


def _is_typed(fields: dict[str, Any], form: Form) -> bool:
    """Whether a text is typed: its mark says so, or its field tytx, or its content type."""
    if form.typed or fields.get("tytx") is True:
        return True
    headers = fields.get("headers")
    if headers and type(headers) is dict:
        for name, value in headers.items():
            if name.lower() == "content-type":
                return type(value) is str and "tytx" in value.lower()
    return False


def _hydrate(fields: dict[str, Any], body: bytes, types: TypeTable, limits: Limits) -> None:
    if body.rfind(b"::") < 0:
        return
    for name in TYPED_FIELDS:
        if name in fields:
            try:
                fields[name] = hydrate(fields[name], types, pointer=f"/{name}", max_depth=limits.ws_depth)
            except TytxError as error:
                raise _as_wsx(error, readable_id(fields)) from None


def is_utf8(data: bytes) -> bool:
    """Whether the bytes could have come in a text frame."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _as_wsx(error: TytxError, id: str | None) -> WsxError:
    return WsxError(error.text, code=error.code, pointer=error.pointer, id=id)


def _read_legacy(fields: dict[str, Any], form: Form, types: TypeTable | CallTypes, limits: Limits) -> Form:
    data = fields.get("data")
    if type(data) is not str or not data[:1] == '"' == data[-1:]:
        return form
    own = form.types
    if type(types) is CallTypes:
        own = types.of(fields)
        types = own or types.default
    text = _unescaped(data)
    try:
        fields["data"] = decode(text or data, "json", types=types, max_depth=limits.ws_depth)
    except TytxError as error:
        if error.code == "MALFORMED":  # just a string that happens to stand in quotes
            return form
        error.pointer = f"/data{error.pointer}"
        raise _as_wsx(error, readable_id(fields)) from None
    return form._replace(typed=True, legacy=True, escaped=text is not None, types=own)


def _unescaped(data: str) -> str | None:
    """What a JSON string holds, when that is an object, a list or a string in its turn."""
    if data[1:2] not in ("{", "[", "\\") or '\\"' not in data:
        return None
    try:
        text = loads(data.encode())
    except (JsonError, UnicodeEncodeError):
        return None
    return text if type(text) is str else None


def _read_msgpack(
    data: bytes, types: TypeTable | CallTypes, max_depth: int, openings: frozenset[bytes]
) -> tuple[Any, Form, bytes]:
    if data[:1] not in openings:
        raise WsxError("the message is neither text nor MessagePack")
    from genro_asgi.wsx.tytx.msgpack_codec import decode_msgpack, peek

    try:
        if type(types) is CallTypes:
            return decode_msgpack(data, BUILTIN_TYPES, max_depth=max_depth, hold=True), BINARY, data
        return decode_msgpack(data, types, max_depth=max_depth), BINARY, data
    except TytxError as error:
        fields = peek(data) if error.code == "BAD_VALUE" else None
        raise _as_wsx(error, readable_id(fields) if type(fields) is dict else _leading_id(data)) from None
    except ImportError as error:
        text = "MessagePack is not spoken here; send the message as text"
        raise WsxError(text, status=501, code="UNSUPPORTED", id=_leading_id(data)) from error
