"""Reading and decoding the body of an HTTP request, under limits."""

import json
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from genro_asgi.exceptions import (
    ClientDisconnect,
    HTTPBadRequest,
    HTTPContentTooLarge,
    HTTPUnsupportedMediaType,
)
from genro_asgi.jsoncodec import JsonError, loads
from genro_asgi.limits import Limits
from genro_asgi.media_types import charset_codec, parse_parameters
from genro_asgi.types import Message, Receive

__all__ = [
    "MalformedJson",
    "check_length",
    "content_length",
    "decode_body",
    "decode_json",
    "fold_pairs",
    "read_body",
    "stream_body",
    "too_large",
    "tytx_transport",
    "undecodable",
]

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
) -> AsyncGenerator[bytes, None]:
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
        chunk = message.get("body") or b""
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
        chunk = message.get("body") or b""
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


def fold_pairs(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
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
    elif content_type.lstrip()[: len(_TYTX_TYPE)].lower() == _TYTX_TYPE:
        transport = content_type.partition(";")[0].strip().lower().removeprefix(_TYTX_TYPE)
    else:
        return None
    if transport not in ("json", "msgpack", "xml"):
        raise HTTPBadRequest("X-TYTX-Transport must be json, msgpack or xml.")
    return transport


def decode_body(raw: bytes, content_type: str, tytx: str | None, limits: Limits, endpoint: Any = None) -> Any:
    """What the body says: JSON, TYTX, msgpack, form or text by its media type, bytes when of another type.

    An `endpoint` may have types of its own for the values of TYTX. An empty body is None. Without a Content-Type the
    body is tried as JSON. Malformed input is a 400, a form over its limits a 413, a charset we do not read a 415.
    """
    if not raw:
        return None
    media_type, parameters = parse_parameters(content_type)
    if tytx is not None and _is_structured(media_type):
        return _decode_tytx(raw, tytx, limits, endpoint)
    if media_type == "application/json" or media_type.endswith("+json"):
        return decode_json(raw, limits.json_depth)
    if media_type == "application/x-www-form-urlencoded":
        return fold_pairs(_parse_urlencoded(raw, limits))
    if media_type in ("application/msgpack", "application/x-msgpack"):
        return _decode_tytx(raw, "msgpack", limits, endpoint)
    if not media_type:
        return _decode_untyped(raw, limits)
    if media_type.startswith("text/"):
        return raw.decode(charset_codec(parameters.get("charset", "utf-8")), "replace")
    return raw


def _is_structured(media_type: str) -> bool:
    # fetchTytx says application/json and the header; a form in TYTX mode stays a form.
    return (
        not media_type
        or media_type.startswith((_TYTX_TYPE, "application/json", "application/msgpack"))
        or (media_type in ("application/xml", "text/xml", "text/plain", "application/x-msgpack"))
    )


class MalformedJson(HTTPBadRequest, json.JSONDecodeError):
    """A body that is not JSON: a 400, and what code that parses by itself catches."""

    def __init__(self, error: JsonError) -> None:
        HTTPBadRequest.__init__(self, "The request body is not valid JSON.")
        # The document is not kept: it is the client's, and may be large.
        self.msg, self.doc, self.pos = str(error), "", error.pos or 0
        self.lineno, self.colno = 1, self.pos + 1


def decode_json(raw: bytes, max_depth: int = 1024) -> Any:
    """JSON text to values; MalformedJson, a 400, for what is no JSON or outside its limits."""
    try:
        return loads(raw, max_depth=max_depth)
    except JsonError as error:
        raise MalformedJson(error) from error


def _decode_untyped(raw: bytes, limits: Limits) -> Any:
    try:
        return loads(raw, max_depth=limits.json_depth)
    except JsonError:
        return raw


def _decode_tytx(raw: bytes, transport: str, limits: Limits, endpoint: Any) -> Any:
    from genro_asgi.tytx_body import decode_tytx

    return decode_tytx(raw, transport, limits.json_depth, getattr(endpoint, "types", None))


def _parse_urlencoded(raw: bytes, limits: Limits) -> list[tuple[str, str]]:
    from genro_asgi.forms import parse_urlencoded

    return parse_urlencoded(raw, limits)


def undecodable(content_type: str) -> HTTPUnsupportedMediaType:
    """The 415 for a body somebody wants decoded and nobody can."""
    media_type = content_type.partition(";")[0].strip()[:100] or "no media type"
    return HTTPUnsupportedMediaType(f"A body of {media_type} cannot be decoded here; send JSON or a form.")
