"""From the value a handler returns to bytes and a Content-Type, by the exact class of the value."""

import dataclasses
from collections.abc import AsyncIterable, Callable, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from genro_asgi.datastructures.headers import encode_header
from genro_asgi.jsoncodec import dumps, quick_dumps, to_plain

__all__ = [
    "CONTENT_LENGTHS",
    "ENCODERS",
    "Encoder",
    "HeaderPair",
    "content_type_pair",
    "encode",
    "encoder_for",
    "length_pair",
]

HeaderPair = tuple[bytes, bytes]

#: How a value of some class is sent: `encoder[0](value, encoder[2])` are its bytes, `encoder[1]` is the content-type.
#: The second argument lets functions written in C stand here as they are; a Python one around them costs more.
Encoder = tuple[Callable[[Any, Any], bytes], HeaderPair, Any]

JSON_TYPE: HeaderPair = (b"content-type", b"application/json")
TEXT_TYPE: HeaderPair = (b"content-type", b"text/plain; charset=utf-8")
BYTES_TYPE: HeaderPair = (b"content-type", b"application/octet-stream")

# Answers are mostly small: their content-length headers are made once.
CONTENT_LENGTHS: list[HeaderPair] = [(b"content-length", b"%d" % n) for n in range(1024)]


def length_pair(length: int) -> HeaderPair:
    """The content-length header for a body of `length` bytes."""
    return CONTENT_LENGTHS[length] if length < 1024 else (b"content-length", b"%d" % length)


# Media types are few, and each response names one.
@lru_cache(maxsize=1024)
def content_type_pair(media_type: str, charset: str = "utf-8") -> HeaderPair:
    """The content-type header of a media type; text types say their charset. ValueError for what is no header."""
    if media_type.startswith("text/") and "charset=" not in media_type.lower():
        media_type = f"{media_type}; charset={charset}"
    return encode_header("content-type", media_type)


def encode_text(value: str, charset: str = "utf-8") -> bytes:
    """The bytes of a text; what the charset cannot hold (in UTF-8: a lone surrogate) becomes a question mark."""
    try:
        return value.encode(charset)
    except UnicodeEncodeError:
        return value.encode(charset, "replace")


def _as_text(value: Any, charset: str) -> bytes:
    return encode_text(str(value), charset)


JSON: Encoder = (quick_dumps, JSON_TYPE, to_plain)
TEXT: Encoder = (_as_text, TEXT_TYPE, "utf-8")
RAW: Encoder = (lambda value, _: bytes(value), BYTES_TYPE, None)

#: Encoders by exact class; `encoder_for` adds the classes it meets. They are quick and may raise TypeError or
#: UnicodeEncodeError for a value out of the ordinary, which `encode` then takes.
ENCODERS: dict[type, Encoder | None] = {
    dict: JSON,
    list: JSON,
    str: (str.encode, TEXT_TYPE, "utf-8"),
    bytes: RAW,
    bytearray: RAW,
    memoryview: RAW,
    type(None): (lambda value, _: b"", TEXT_TYPE, None),
    int: TEXT,
    float: TEXT,
    bool: TEXT,
    tuple: TEXT,
    set: TEXT,
    frozenset: TEXT,
}


def encoder_for(value: Any) -> Encoder | None:
    """The encoder of a value's class; None for what is no plain value: a response, a path, an iterator."""
    cls = value.__class__
    if cls in ENCODERS:
        return ENCODERS[cls]
    found = _find_encoder(cls)
    if len(ENCODERS) < 4096:  # a program that makes classes at run time does not fill the memory
        ENCODERS[cls] = found
    return found


def _find_encoder(cls: type) -> Encoder | None:
    # A response says of itself whether it is streamed.
    if issubclass(cls, PurePath | Iterator | AsyncIterable) or hasattr(cls, "is_streamed"):
        return None
    if issubclass(cls, Enum):
        return (lambda value, _: encode(value.value)), (JSON_TYPE if issubclass(cls, dict | list) else TEXT_TYPE), None
    for base, encoder in ((Mapping, JSON), (list, JSON), (str, TEXT), (bytes, RAW), (bytearray, RAW)):
        if issubclass(cls, base):
            return (_dumps_mapping, JSON_TYPE, None) if base is Mapping and not issubclass(cls, dict) else encoder
    if dataclasses.is_dataclass(cls) or hasattr(cls, "model_dump"):
        return JSON
    return TEXT


def _dumps_mapping(value: Mapping[Any, Any], _: None) -> bytes:
    return dumps(dict(value))


def encode(value: Any) -> bytes:
    """The bytes of any plain value."""
    encoder = encoder_for(value)
    if encoder is None or value.__class__ is str:
        return encode_text(str(value))
    try:
        return encoder[0](value, encoder[2])
    except TypeError:
        pass  # what is raised below is not about this
    return dumps(value)
