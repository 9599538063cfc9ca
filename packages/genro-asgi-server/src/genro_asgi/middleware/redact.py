"""Takes secrets out of what is logged."""

import re
from collections.abc import Iterable

__all__ = ["named", "redact_headers", "redact_path", "redact_query"]

_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"})
_SECRET_NAME = re.compile(r"token|secret|passw|api_?key|authorization|signature|session|credential", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

REDACTED = "[redacted]"


def redact_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers fit for a log: credentials and cookies are replaced."""
    return {
        name: REDACTED if name in _SECRET_HEADERS or _SECRET_NAME.search(name) else clean(value)
        for name, value in headers
    }


def redact_query(query: str) -> str:
    """A query string fit for a log: the values of names that speak of secrets are replaced."""
    pairs = [pair.partition("=") for pair in query.split("&")] if query else []
    return clean("&".join(f"{n}={REDACTED}" if e and _SECRET_NAME.search(n) else f"{n}{e}{v}" for n, e, v in pairs))


def redact_path(path: str) -> str:
    """A path fit for one line of a log."""
    return clean(path)


def clean(text: str) -> str:
    """Text that cannot forge a line of the log: control characters are escaped."""
    if text.isprintable():
        return text
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def named(id: str | None) -> str:
    """The end of a line that says by which id the client knows what it is about; nothing where it has given none."""
    return f" (request {id})" if id is not None else ""
