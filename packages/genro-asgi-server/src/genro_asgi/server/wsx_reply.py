"""From a response, as handlers and hooks know it, to the fields of a WSX answer."""

from http.cookies import CookieError, SimpleCookie
from typing import Any, NamedTuple

from genro_asgi.exceptions import HTTPException
from genro_asgi.jsoncodec import JsonError, loads
from genro_asgi.msg_response import MsgResponse
from genro_asgi.response import Response, Runner
from genro_asgi.types import Message, Scope

__all__ = ["Reply", "collected", "reply_of"]

_SCOPE: Scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "extensions": {}}
# What a content-type says that the value itself shows.
_NATIVE = ("application/json", "application/problem+json", "text/plain", "application/octet-stream")


class Reply(NamedTuple):
    """The fields of an answer."""

    status: int
    data: Any
    headers: dict[str, str] | None
    cookies: dict[str, Any] | None


def reply_of(response: Response) -> Reply:
    """The answer a response with a known body stands for: its value, or what its bytes say."""
    headers: dict[str, str] = {}
    cookies: dict[str, Any] = {}
    for name, value in response.raw_headers:
        text = value.decode("latin-1")
        if name == b"set-cookie":
            cookies.update(_cookie(text))
        elif name not in (b"content-length", b"content-type"):
            key = name.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
    content_type = response.headers.get("content-type", "")
    data = response.value if isinstance(response, MsgResponse) else _value(response.finish()[2], content_type)
    if content_type and not content_type.startswith(_NATIVE):
        headers["content-type"] = content_type
    return Reply(response.status_code, data, headers or None, cookies or None)


def _value(body: bytes, content_type: str) -> Any:
    if not body:
        return None
    kind = content_type.partition(";")[0].strip().lower()
    if kind.endswith(("/json", "+json")):
        try:
            return loads(body)
        except JsonError:
            return body.decode("utf-8", "replace")
    if kind.startswith("text/"):
        return body.decode("utf-8", "replace")
    return body


def _cookie(text: str) -> dict[str, Any]:
    """`{name: {value, path, ...}}` of a Set-Cookie line; nothing for one no browser would read either."""
    try:
        parsed = SimpleCookie(text)
    except CookieError:
        return {}
    found: dict[str, Any] = {}
    for name, morsel in parsed.items():
        said = {key.replace("-", "_"): value for key, value in morsel.items() if value}
        if str(said.get("max_age", "")).lstrip("-").isdigit():
            said["max_age"] = int(said["max_age"])
        found[name] = {"value": morsel.value, **said}
    return found


async def collected(response: Response, limit: int, run: Runner) -> Response:
    """A response that sends itself (a file, one with a `__call__` of its own) as one with a known body.

    HTTPException (500, REPLY_TOO_LARGE) when its body is longer than `limit` bytes.
    """
    status, headers, parts, size = 200, [], [], 0

    async def send(message: Message) -> None:
        nonlocal status, headers, size
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            parts.append(bytes(message.get("body", b"")))
            size += len(parts[-1])
            if size > limit:
                raise HTTPException(500, "The answer is too long for one message.", code="REPLY_TOO_LARGE")

    if response.is_foreign:
        await response(_SCOPE, _nothing, send)
    else:
        await response.respond(_SCOPE, send, run)
    whole = Response(b"".join(parts), status)
    whole.raw_headers = [(bytes(name), bytes(value)) for name, value in headers]
    return whole


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
