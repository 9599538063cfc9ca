"""TYTX documents as HTTP carries them."""

from typing import Any, Literal, cast

from genro_asgi.exceptions import HTTPBadRequest, HTTPUnsupportedMediaType
from genro_asgi.rendering import HeaderPair

__all__ = ["decode_tytx", "encode_tytx"]

Transport = Literal["json", "msgpack", "xml"]


def encode_tytx(value: Any, transport: str) -> tuple[bytes, HeaderPair]:
    """A TYTX document and its Content-Type."""
    from genro_asgi.wsx.tytx import encode

    return encode(value, cast("Transport", transport)), (b"content-type", f"application/vnd.tytx+{transport}".encode())


def decode_tytx(raw: bytes, transport: str, max_depth: int | None = None) -> Any:
    """A TYTX document to typed values; a malformed one is a 400 that points at the bad value.

    A MessagePack body is a 415 where msgpack is not installed.
    """
    from genro_asgi.wsx.tytx import TytxError, decode

    try:
        return decode(raw, cast("Transport", transport), max_depth=max_depth)
    except TytxError as error:
        where = f" at {error.pointer}" if error.pointer else ""
        raise HTTPBadRequest(f"The request body is not a valid TYTX {transport} document{where}.") from error
    except ImportError as error:
        raise HTTPUnsupportedMediaType("A body of MessagePack cannot be decoded here; send JSON.") from error
