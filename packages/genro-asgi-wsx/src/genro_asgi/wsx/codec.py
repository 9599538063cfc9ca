"""WSX messages to bytes and back: which kind a message is, and every form it may have. No socket, no state."""

from collections.abc import Callable, Iterable
from dataclasses import fields as fields_of
from typing import Any, Literal

from genro_asgi.jsoncodec import dumps
from genro_asgi.limits import Limits
from genro_asgi.wsx.errors import TytxError, WsxError
from genro_asgi.wsx.kinds import TYPED_TEXT, Chunk, Event, Form, Grant, Message, Request, Response
from genro_asgi.wsx.parsing import DEFAULT_LIMITS, TYPED_FIELDS, ParsedMessage, parse_batch, parse_message
from genro_asgi.wsx.tytx.codec import encode, plain_copy, typed_copy
from genro_asgi.wsx.tytx.registry import BUILTIN_TYPES, DEFAULT_TYPES, TypeTable

__all__ = [
    "Kind",
    "as_fields",
    "as_message",
    "classify",
    "decode_batch",
    "decode_message",
    "encode_batch",
    "encode_fields",
    "encode_message",
]

Kind = Literal["request", "event", "response", "chunk", "grant"]

_CLASSES: dict[Kind, Callable[..., Message]] = {
    "request": Request,
    "event": Event,
    "response": Response,
    "chunk": Chunk,
    "grant": Grant,
}
# The order in which fields are written; the others come after these.
_ORDER = ("id", "method", "path", "status", "credit", "seq", "headers", "cookies", "query", "data")
_KEPT = ("data", "credit", "seq")


def _in_order(cls: Any) -> list[str]:
    names = [field.name for field in fields_of(cls)]
    return sorted(names, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))


# What each attribute is called on the wire.
_WIRE_NAMES: dict[Callable[..., Message], dict[str, str]] = {
    cls: {name: "from" if name == "sender" else name for name in _in_order(cls)} for cls in _CLASSES.values()
}

# What a grant must not have: with any of these nobody knows what it was meant to be.
_NOT_IN_GRANT = ("path", "headers", "cookies", "query", "data", "timeout", "stream")


def classify(fields: dict[str, Any]) -> Kind:
    """The kind of a message, told by the fields present (WSX/1, section 2); WsxError when it is none."""
    id = fields.get("id")
    if fields.get("method") is not None:
        if fields.get("status") is None:
            return "event" if id is None else "request"
        raise WsxError("the message has both a method and a status", id=id)
    if fields.get("status") is not None:
        return "response"
    if id is not None:
        if fields.get("seq") is not None:
            return "chunk"
        if fields.get("credit") is not None and not any(fields.get(name) is not None for name in _NOT_IN_GRANT):
            return "grant"
    raise WsxError("the message is no request, response, chunk or grant", code="BAD_ENVELOPE", id=id)


def decode_message(
    data: str | bytes, *, limits: Limits = DEFAULT_LIMITS, types: TypeTable = BUILTIN_TYPES, legacy: bool = False
) -> tuple[Kind, ParsedMessage]:
    """Read one message and tell its kind; see parse_message. Whatever is wrong raises WsxError."""
    message = parse_message(data, limits=limits, types=types, legacy=legacy)
    return classify(message.fields), message


def decode_batch(
    data: str | bytes, *, limits: Limits = DEFAULT_LIMITS, types: TypeTable = BUILTIN_TYPES
) -> list[tuple[Kind, ParsedMessage] | WsxError]:
    """Read an array of messages; one that is wrong is an error in its place. WsxError when there is no array."""
    decoded: list[tuple[Kind, ParsedMessage] | WsxError] = []
    for message in parse_batch(data, limits=limits, types=types):
        try:
            decoded.append(message if isinstance(message, WsxError) else (classify(message.fields), message))
        except WsxError as error:
            decoded.append(error)
    return decoded


def as_message(kind: Kind, parsed: ParsedMessage) -> Message:
    """A decoded message as an object of its kind."""
    cls = _CLASSES[kind]
    values = {name: parsed.fields.get(wire) for name, wire in _WIRE_NAMES[cls].items()}
    values = {name: value for name, value in values.items() if value is not None}
    if kind == "response":
        values.setdefault("id", None)
    elif kind == "chunk":
        values.setdefault("stream", False)
    return cls(**values)


def as_fields(message: Message) -> dict[str, Any]:
    """The fields of a message; empty and false ones are left out, except `data` and the id of a response."""
    fields: dict[str, Any] = {}
    for name, wire in _WIRE_NAMES[type(message)].items():
        value = getattr(message, name)
        if value or (value is not None and name in _KEPT) or (name == "id" and type(message) is Response):
            fields[wire] = value
    return fields


def encode_message(message: Message, form: Form = TYPED_TEXT, *, types: TypeTable = DEFAULT_TYPES) -> bytes:
    """A message as the bytes of its text or of MessagePack; see encode_fields."""
    return encode_fields(as_fields(message), form, types=types)


def encode_fields(fields: dict[str, Any], form: Form = TYPED_TEXT, *, types: TypeTable = DEFAULT_TYPES) -> bytes:
    """The fields of a message in the given form; TytxError for a value that has no form.

    In a form that is not typed, values are what they are in JSON: a Decimal is a string, and what JSON has nothing for
    the literal of its type.
    """
    if form.legacy and fields.get("data") is not None:
        if form.escaped:
            text = dumps(encode(fields["data"], types=types).decode())
        else:
            text = encode(fields["data"], "json", types=types)
        fields = fields | {"data": text.decode()}
        body = _plain(fields, types)
    elif form.transport == "msgpack":
        return encode(fields, "msgpack", types=types)
    else:
        body = encode(fields, None, types, _typed_fields) if form.typed else _plain(fields, types)
    return b"WSX://" + body if form.prefixed else body


def encode_batch(messages: Iterable[Message], form: Form = TYPED_TEXT, *, types: TypeTable = DEFAULT_TYPES) -> bytes:
    """Several messages as one array."""
    batch = [as_fields(message) for message in messages]
    if form.transport == "msgpack":
        return encode(batch, "msgpack", types=types)
    body = encode(batch, None, types, _typed_batch) if form.typed else _plain(batch, types)
    return b"WSX://" + body if form.prefixed else body


def _plain(value: Any, types: TypeTable) -> bytes:
    try:
        return dumps(value)
    except (TypeError, ValueError) as error:
        if not types.own_suffixes:
            raise TytxError(str(error)) from error
    return dumps(plain_copy(value, types))


def _typed_fields(fields: dict[str, Any], types: TypeTable) -> dict[str, Any]:
    # An id or a path is never read as a typed value, whatever it looks like, and so it is not escaped.
    typed = typed_copy({name: value for name, value in fields.items() if name in TYPED_FIELDS}, types)
    return {name: typed.get(name, value) for name, value in fields.items()}


def _typed_batch(batch: list[dict[str, Any]], types: TypeTable) -> list[dict[str, Any]]:
    return [_typed_fields(fields, types) for fields in batch]
