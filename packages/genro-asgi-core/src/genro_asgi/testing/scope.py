"""Scopes as a server would make them."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from genro_asgi.types import Scope

__all__ = ["HeadersLike", "encode_headers", "make_scope"]

HeadersLike = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]


def encode_headers(headers: HeadersLike) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them, names in lower case; values are not checked, so that bad ones can be sent."""
    pairs: Any = headers.items() if isinstance(headers, Mapping) else headers
    return [(_latin(name).lower(), _latin(value)) for name, value in pairs]


def _latin(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def make_scope(
    method: str = "GET",
    path: str = "/",
    query: bytes | str = b"",
    headers: HeadersLike = (),
    **extra: Any,
) -> Scope:
    """An HTTP scope, or a WebSocket one with `type="websocket"`; `extra` adds keys and replaces any.

    The path may be percent-encoded; `path` of the scope is decoded, `raw_path` is not.
    """
    kind = extra.get("type", "http")
    scope: dict[str, Any] = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "ws" if kind == "websocket" else "http",
        "path": unquote(path),
        "raw_path": quote(path, safe="/:@!$&'()*+,;=~%").encode(),
        "query_string": query if isinstance(query, bytes) else query.encode(),
        "root_path": "",
        "headers": encode_headers(headers),
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        "state": {},
    }
    if kind == "websocket":
        scope["subprotocols"] = []
        scope["extensions"] = {"websocket.http.response": {}}
    else:
        scope["method"] = method.upper()
        scope["extensions"] = {}
    scope.update(extra)
    return scope
