"""The envelope of a WSX message: what each top-level field may hold (WSX/1, sections 2 and 3)."""

import re
from collections.abc import Callable
from typing import Any

from genro_asgi.limits import Limits
from genro_asgi.wsx.errors import WsxError

__all__ = ["MAX_ID", "MAX_PATH", "METHODS", "RESERVED", "check_envelope", "is_plain", "readable_id"]

#: The methods a request may have; a message may also say WSK, which means POST.
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "SUBSCRIBE", "EXEC"})
#: Characters of an id, and of a path.
MAX_ID = 128
MAX_PATH = 2048
#: How the paths begin that belong to the protocol.
RESERVED = "/_wsx/"

_METHOD_NAMES = {name: name for name in METHODS} | {"WSK": "POST"}
_MAX_COUNT = 2**53  # what a JavaScript number holds exactly
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2


def readable_id(fields: dict[str, Any]) -> str | None:
    """The id of a message if it is one, so that an error can be answered with it."""
    id = fields.get("id")
    return id if type(id) is str and 0 < len(id) <= MAX_ID else None


def check_envelope(fields: dict[str, Any], limits: Limits) -> None:
    """Check the known fields and bring method, path and header names to their one spelling, in place.

    WsxError names the field: BAD_ENVELOPE, BAD_METHOD (405) or HEADERS_TOO_LARGE (431). A field that is null
    counts as absent, and unknown fields are left alone.
    """
    checks = _CHECKS
    for name, value in fields.items():
        if name in checks and value is not None:
            try:
                fields[name] = checks[name](value)
            except WsxError as error:
                raise _about(fields, name, error) from None
    if fields.get("headers"):
        _check_header_size(fields, limits)
    if fields.get("cookies") and fields.get("method") and dict in map(type, fields["cookies"].values()):
        raise _about(fields, "cookies", _bad("must not hold objects in a request"))


# Paths found good lately, as they are spelled: there are few of them, and most messages have one. Those of control
# messages are not among them.
_good_paths: dict[str, None] = {}
_GOOD_PATHS_MAX = 1024


def is_plain(fields: dict[str, Any]) -> bool:
    """Whether these are the id, method, path and data of a call that needs no closer look; most are."""
    try:
        return (
            fields.get("path") in _good_paths
            and fields.get("method") in METHODS
            and type(id := fields.get("id")) is str
            and 0 < len(id) <= MAX_ID
            and len(fields) == (4 if "data" in fields else 3)
        )
    except TypeError:  # a list as path
        return False


def _about(fields: dict[str, Any], name: str, error: WsxError) -> WsxError:
    pointer = f"/{name}{error.pointer}"
    text = f"{name} {error.text}"
    return WsxError(text, status=error.status, code=error.code, pointer=pointer, id=readable_id(fields))


def _bad(text: str, pointer: str = "") -> WsxError:
    return WsxError(text, code="BAD_ENVELOPE", pointer=pointer)


def _id(value: Any) -> str:
    if type(value) is not str or not 0 < len(value) <= MAX_ID:
        raise _bad(f"must be a string of 1 to {MAX_ID} characters")
    return value


def _method(value: Any) -> str:
    if type(value) is not str:
        raise _bad("must be a string")
    if value in METHODS:
        return value
    method = _METHOD_NAMES.get(value) or _METHOD_NAMES.get(value.upper())
    if method is None:
        allowed = ", ".join(sorted(METHODS))
        raise WsxError(f"{value[:20]!r} is not one of {allowed}", status=405, code="BAD_METHOD")
    return method


def _path(value: Any) -> str:
    if type(value) is not str:
        raise _bad("must be a string")
    path = value if value.startswith("/") else f"/{value}"
    if len(path) > MAX_PATH:
        raise _bad(f"is longer than {MAX_PATH} characters")
    if "?" in path:
        raise _bad("must not have a query part; put it into the field query")
    if "/.." in path and ".." in path.split("/"):
        raise _bad("must not have a segment '..'")
    if _CONTROL.search(path):
        raise _bad("must not hold control characters")
    if len(path) <= MAX_ID and not path.startswith(RESERVED):
        if len(_good_paths) >= _GOOD_PATHS_MAX:
            _good_paths.clear()
        _good_paths[path] = None
    return path


def _headers(value: Any) -> dict[str, str]:
    if type(value) is not dict:
        raise _bad("must be an object")
    headers: dict[str, str] = {}
    for name, text in value.items():
        if not _HEADER_NAME.fullmatch(name):
            raise _bad(f"must not have a field named {name[:40]!r}")
        if type(text) is not str or _CONTROL.search(text):
            raise _bad(f"must have a string without control characters as {name[:40]!r}")
        headers[name.lower()] = text
    return headers


def _check_header_size(fields: dict[str, Any], limits: Limits) -> None:
    headers: dict[str, str] = fields["headers"]
    size = sum(len(name) + len(text.encode()) for name, text in headers.items())
    if len(headers) > limits.ws_headers or size > limits.ws_header_bytes:
        text = f"has more than {limits.ws_headers} fields or {limits.ws_header_bytes} bytes"
        raise _about(fields, "headers", WsxError(text, status=431, code="HEADERS_TOO_LARGE"))


def _cookies(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise _bad("must be an object")
    for name, cookie in value.items():
        # A typed one may be a number, and a response says {"value": ..., "max_age": ...}.
        if type(cookie) is list:
            raise _bad(f"must not have a list as {name[:40]!r}")
    return value


def _object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise _bad("must be an object")
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise _bad("must be true or false")
    return value


def _count(least: int, most: int = _MAX_COUNT) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise _bad(f"must be a whole number from {least} to {most}")
        return value

    return check


def _text(value: Any) -> str:
    if type(value) is not str or len(value) > MAX_PATH or _CONTROL.search(value):
        raise _bad(f"must be a string of at most {MAX_PATH} characters without control characters")
    return value


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "id": _id,
    "method": _method,
    "path": _path,
    "headers": _headers,
    "cookies": _cookies,
    "query": _object,
    "status": _count(100, 599),
    "timeout": _count(1),
    "credit": _count(0),
    "seq": _count(0),
    "stream": _flag,
    "tytx": _flag,
    "from": _text,
}
