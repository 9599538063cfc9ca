"""WSX messages in their plain text form; the kinds of messages, and reading one, have their home next door."""

import json
from typing import Any

from genro_asgi.wsx.kinds import Call, Chunk, Event, Form, Grant, Message, Request, Response
from genro_asgi.wsx.parsing import TYPED_FIELDS, WSX_PREFIX, ParsedMessage, parse_fields, parse_message
from genro_asgi.wsx.tytx.codec import typed_copy

__all__ = [
    "WSX_PREFIX",
    "Call",
    "Chunk",
    "Event",
    "Form",
    "Grant",
    "Message",
    "ParsedMessage",
    "Request",
    "Response",
    "build_wsx_message",
    "build_wsx_response",
    "is_wsx_message",
    "parse_message",
    "parse_wsx_message",
]


def is_wsx_message(data: str | bytes) -> bool:
    """Whether a text begins with the prefix of WSX."""
    return data.startswith(WSX_PREFIX) if isinstance(data, str) else data.startswith(b"WSX://")


def parse_wsx_message(data: str | bytes) -> dict[str, Any]:
    """The fields of a message as they were sent, typed values read; WsxError when it is malformed."""
    return parse_fields(data)


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
        for name in TYPED_FIELDS:
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
