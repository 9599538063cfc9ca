"""TYTX documents as HTTP carries them."""

from typing import TYPE_CHECKING, Any, Literal, cast

from genro_asgi.exceptions import HTTPBadRequest, HTTPUnsupportedMediaType
from genro_asgi.rendering import HeaderPair

if TYPE_CHECKING:
    from genro_asgi.wsx.tytx import TypeTable

__all__ = ["decode_tytx", "encode_tytx", "fit_result", "hydrate_query"]

Transport = Literal["json", "msgpack", "xml"]


def encode_tytx(value: Any, transport: str, types: "TypeTable | None" = None) -> tuple[bytes, HeaderPair]:
    """A TYTX document and its Content-Type."""
    from genro_asgi.wsx.tytx import DEFAULT_TYPES, encode

    document = encode(value, cast("Transport", transport), types=types or DEFAULT_TYPES)
    return document, (b"content-type", f"application/vnd.tytx+{transport}".encode())


def fit_result(value: Any, types: "TypeTable") -> Any:
    """A value as an answer without types holds it: its typed values are their literals, where JSON has no others."""
    from genro_asgi.wsx.tytx.codec import plain_copy

    return plain_copy(value, types) if value.__class__ in (dict, list, tuple) or types.owns(value.__class__) else value


def hydrate_query(query: dict[str, Any], types: "TypeTable | None") -> dict[str, Any]:
    """The query with its typed values read, in place; a malformed one is a 400 that points at it."""
    from genro_asgi.wsx.tytx import DEFAULT_TYPES, TytxError, hydrate

    try:
        hydrated: dict[str, Any] = hydrate(query, types or DEFAULT_TYPES)
    except TytxError as error:
        text = f"The query holds a malformed TYTX value at {error.pointer}."
        raise HTTPBadRequest(text, code=error.code) from error
    return hydrated


def decode_tytx(raw: bytes, transport: str, max_depth: int | None = None, types: "TypeTable | None" = None) -> Any:
    """A TYTX document to typed values; a malformed one is a 400 that points at the bad value.

    A MessagePack body is a 415 where msgpack is not installed.
    """
    from genro_asgi.wsx.tytx import DEFAULT_TYPES, TytxError, decode

    try:
        return decode(raw, cast("Transport", transport), types=types or DEFAULT_TYPES, max_depth=max_depth)
    except TytxError as error:
        where = f" at {error.pointer}" if error.pointer else ""
        text = f"The request body is not a valid TYTX {transport} document{where}."
        raise HTTPBadRequest(text, code=error.code) from error
    except ImportError as error:
        raise HTTPUnsupportedMediaType("A body of MessagePack cannot be decoded here; send JSON.") from error
