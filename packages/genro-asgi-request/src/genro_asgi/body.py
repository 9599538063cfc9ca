"""Reading and decoding the body of an HTTP request, under limits."""

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from genro_asgi.datastructures.query_params import parse_query
from genro_asgi.exceptions import (
    ClientDisconnect,
    HTTPBadRequest,
    HTTPContentTooLarge,
    HTTPUnsupportedMediaType,
)
from genro_asgi.jsoncodec import JsonError, loads
from genro_asgi.types import Message, Receive

__all__ = ["check_length", "content_length", "decode_body", "fold_pairs", "read_body", "stream_body"]

_TYTX_TYPE = "application/vnd.tytx+"


def content_length(value: bytes | None) -> int | None:
    """The number in a Content-Length header, None without one; anything but digits is a 400 (RFC 9110, 8.6)."""
    if value is None:
        return None
    if not value.isdigit() or len(value) > 18:
        raise HTTPBadRequest("Content-Length is not a number.")
    return int(value)


async def stream_body(
    receive: Receive, max_body: int | None = None, length: int | None = None, on_chunk: Callable[[], None] | None = None
) -> AsyncIterator[bytes]:
    """Yield the body as it arrives; 413 past `max_body` bytes, ClientDisconnect when it is cut."""
    if max_body is not None and length is not None and length > max_body:
        raise too_large(max_body)
    total = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect("The client left before its request body was complete.")
        if on_chunk is not None:
            on_chunk()
        chunk = message.get("body", b"")
        if chunk:
            total += len(chunk)
            if max_body is not None and total > max_body:
                raise too_large(max_body)
            yield chunk
        if not message.get("more_body", False):
            return


async def read_body(
    receive: Receive,
    max_body: int | None = None,
    on_chunk: Callable[[], None] | None = None,
    first: Message | None = None,
) -> bytes:
    """The whole body in one piece; 413 past `max_body` bytes, ClientDisconnect when it is cut.

    `on_chunk` hears of every piece; `first` is a message that was already received.
    """
    chunks: list[bytes] = []
    total = 0
    message = await receive() if first is None else first
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect("The client left before its request body was complete.")
        if on_chunk is not None:
            on_chunk()
        chunk = message.get("body", b"")
        total += len(chunk)
        if max_body is not None and total > max_body:
            raise too_large(max_body)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()


def check_length(value: bytes, max_body: int | None) -> None:
    """413 when a Content-Length says more than `max_body` bytes, 400 when it is no number."""
    length = content_length(value)
    if max_body is not None and length is not None and length > max_body:
        raise too_large(max_body)


def too_large(max_body: int) -> HTTPContentTooLarge:
    """The 413 for a body over `max_body` bytes."""
    return HTTPContentTooLarge(f"The request body is larger than {max_body} bytes.")


def fold_pairs(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A dict of pairs where a name that comes again holds the list of its values."""
    folded: dict[str, Any] = {}
    for name, value in pairs:
        if name not in folded:
            folded[name] = value
        elif isinstance(folded[name], list):
            folded[name].append(value)
        else:
            folded[name] = [folded[name], value]
    return folded


def tytx_transport(header: str | None, content_type: str) -> str | None:
    """The TYTX transport a request opted into, by its X-TYTX-Transport header or its media type; else None."""
    if header is not None:
        transport = header.strip().lower() or "json"
    elif _TYTX_TYPE in content_type:
        transport = content_type.partition(";")[0].strip().lower().removeprefix(_TYTX_TYPE)
    else:
        return None
    if transport not in ("json", "msgpack", "xml"):
        raise HTTPBadRequest("X-TYTX-Transport must be json, msgpack or xml.")
    return transport


def decode_body(raw: bytes, content_type: str, tytx: str | None = None, max_fields: int = 1000) -> Any:
    """What the body says: JSON, TYTX, msgpack, form or text by its media type, bytes when of another type.

    An empty body is None. Without a Content-Type the body is tried as JSON. Malformed input is a 400.
    """
    if not raw:
        return None
    media_type = content_type.partition(";")[0].strip().lower()
    if tytx is not None and _is_structured(media_type):
        return decode_tytx(raw, tytx)
    if media_type == "application/json" or media_type.endswith("+json"):
        return decode_json(raw)
    if media_type == "application/x-www-form-urlencoded":
        return fold_pairs(parse_query(raw, max_fields))
    if media_type in ("application/msgpack", "application/x-msgpack"):
        return decode_tytx(raw, "msgpack")
    if not media_type:
        return _decode_untyped(raw)
    return raw.decode("utf-8", "replace") if media_type.startswith("text/") else raw


def _is_structured(media_type: str) -> bool:
    # fetchTytx says application/json and the header; a form in TYTX mode stays a form.
    return (
        not media_type
        or media_type.startswith((_TYTX_TYPE, "application/json", "application/msgpack"))
        or (media_type in ("application/xml", "text/xml", "text/plain", "application/x-msgpack"))
    )


def decode_json(raw: bytes) -> Any:
    """JSON text to values; malformed or outside the limits of BEHAVIOUR's JSON is a 400."""
    try:
        return loads(raw)
    except JsonError as error:
        raise HTTPBadRequest("The request body is not valid JSON.") from error


def _decode_untyped(raw: bytes) -> Any:
    try:
        return loads(raw)
    except JsonError:
        return raw


def decode_tytx(raw: bytes, transport: str) -> Any:
    """A TYTX document to typed values; a malformed one is a 400 that points at the bad value."""
    from genro_asgi.wsx.tytx import TytxError, from_tytx

    try:
        return from_tytx(raw if transport == "msgpack" else raw.decode("utf-8"), transport)
    except UnicodeDecodeError as error:
        raise HTTPBadRequest("The request body is not valid UTF-8.") from error
    except TytxError as error:
        where = f" at {error.pointer}" if error.pointer else ""
        raise HTTPBadRequest(f"The request body is not a valid TYTX {transport} document{where}.") from error


def undecodable(content_type: str) -> HTTPUnsupportedMediaType:
    """The 415 for a body somebody wants decoded and nobody can."""
    media_type = content_type.partition(";")[0].strip()[:100] or "no media type"
    return HTTPUnsupportedMediaType(f"A body of {media_type} cannot be decoded here; send JSON or a form.")
