"""The text of Set-Cookie headers (RFC 6265 and its successor draft), every attribute checked."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate
from http import cookies
from typing import Literal
from urllib.parse import quote

__all__ = ["SameSite", "cookie_text", "make_cookie"]

SameSite = Literal["lax", "strict", "none"]

# RFC 6265, 4.1.1: a name is a token, an attribute value has no control character and no semicolon.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f;]")


def _check(what: str, value: str | None) -> None:
    if value is not None and _FORBIDDEN.search(value):
        raise ValueError(f"Cookie {what} {value!r} holds a control character or ';'; take it out.")


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
    """The text of a Set-Cookie header as Starlette writes it: the value quoted, attributes in alphabetical order."""
    _check_all(key, path, domain, samesite)
    jar: cookies.BaseCookie[str] = cookies.SimpleCookie()
    jar[key] = value
    morsel = jar[key]
    if max_age is not None:
        morsel["max-age"] = max_age
    if expires is not None:
        morsel["expires"] = _expires(expires)
    for name, given in (("path", path), ("domain", domain), ("samesite", samesite)):
        if given:
            morsel[name] = given
    morsel["secure"], morsel["httponly"] = secure, httponly
    text = jar.output(header="").strip()
    # The stdlib knows Partitioned from 3.14 on.
    return text + "; Partitioned" if partitioned else text


def _expires(expires: datetime | str | int) -> str:
    if isinstance(expires, datetime):
        return format_datetime(expires.astimezone(UTC), usegmt=True)
    if isinstance(expires, int):
        moment = datetime.now(UTC) + timedelta(seconds=expires)
        return formatdate(moment.timestamp(), usegmt=True)
    _check("expires", expires)
    return expires
