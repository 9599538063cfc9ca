"""The text of Set-Cookie headers (RFC 6265 and its successor draft), every attribute checked."""

import re
import time
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote

from genro_asgi.http_dates import http_date

__all__ = ["SameSite", "cookie_text", "make_cookie"]

SameSite = Literal["lax", "strict", "none"]

# RFC 6265, 4.1.1: a name is a token, an attribute value has no control character and no semicolon.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f;]")
# What the standard library writes without quotes, and what it escapes inside of them.
_PLAIN = re.compile(r"[!#$%&'*+\-.^_`|~:0-9A-Za-z]+")
_ESCAPED = re.compile(r'["\\,;\x80-\xff]')


def _check(what: str, value: str | None, forbidden: re.Pattern[str] = _FORBIDDEN) -> None:
    if value is not None and forbidden.search(value):
        named = "a control character" if forbidden is _CONTROL else "a control character or ';'"
        raise ValueError(f"Cookie {what} {value!r} holds {named}; take it out.")


def _check_all(key: str, path: str | None, domain: str | None, samesite: str | None) -> None:
    if not _TOKEN.fullmatch(key):
        raise ValueError(f"Cookie name {key!r} is not a token of RFC 6265; use letters, digits and -_.")
    _check("path", path)
    _check("domain", domain)
    if samesite and samesite.lower() not in ("lax", "strict", "none"):
        raise ValueError(f"Cookie samesite {samesite!r} is unknown; use lax, strict or none.")


def make_cookie(
    key: str,
    value: str = "",
    *,
    max_age: int | None = None,
    path: str | None = "/",
    domain: str | None = None,
    secure: bool = False,
    httponly: bool = False,
    samesite: str | None = "lax",
) -> tuple[str, str]:
    """A ("set-cookie", text) pair, the value percent-encoded; ValueError for what a cookie cannot hold."""
    _check_all(key, path, domain, samesite)
    parts = [f"{key}={quote(value, safe='')}"]
    parts += [f"Max-Age={int(max_age)}"] if max_age is not None else []
    parts += [f"Path={path}"] if path else []
    parts += [f"Domain={domain}"] if domain else []
    parts += ["Secure"] if secure else []
    parts += ["HttpOnly"] if httponly else []
    parts += [f"SameSite={samesite.capitalize()}"] if samesite else []
    return "set-cookie", "; ".join(parts)


def cookie_text(
    key: str,
    value: str = "",
    max_age: int | None = None,
    expires: datetime | str | int | None = None,
    path: str | None = "/",
    domain: str | None = None,
    secure: bool = False,
    httponly: bool = False,
    samesite: SameSite | None = "lax",
    partitioned: bool = False,
) -> str:
    """The text of a Set-Cookie header as Starlette writes it: the value quoted, attributes in alphabetical order.

    Written here because the standard library refuses other things in each version, and knows Partitioned from 3.14.
    """
    _check_all(key, path, domain, samesite)
    parts = [f"{key}={_quoted(value)}"]
    parts += [f"Domain={domain}"] if domain else []
    parts += [f"expires={_expires(expires)}"] if expires is not None and expires != "" else []
    parts += ["HttpOnly"] if httponly else []
    parts += [f"Max-Age={int(max_age)}"] if max_age is not None else []
    parts += ["Partitioned"] if partitioned else []
    parts += [f"Path={path}"] if path else []
    parts += [f"SameSite={samesite}"] if samesite else []
    parts += ["Secure"] if secure else []
    return "; ".join(parts)


def _quoted(value: str) -> str:
    _check("value", value, _CONTROL)
    if _PLAIN.fullmatch(value):
        return value
    return '"' + _ESCAPED.sub(lambda match: _escape(match[0]), value) + '"'


def _escape(char: str) -> str:
    return f"\\{char}" if char in '"\\' else f"\\{ord(char):03o}"


def _expires(expires: datetime | str | int) -> str:
    if isinstance(expires, datetime):
        return http_date(int(expires.astimezone(UTC).timestamp()))
    if isinstance(expires, int):
        return http_date(int(time.time()) + expires)
    _check("expires", expires)
    return expires
