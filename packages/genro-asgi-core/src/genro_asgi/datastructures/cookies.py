"""The Cookie header of a request."""

import re

__all__ = ["parse_cookies"]

_ESCAPE = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)


def parse_cookies(header: str) -> dict[str, str]:
    """The cookies of a Cookie header, read as browsers write it; of two with one name the last counts.

    Never raises, and takes time in proportion to the length. Several headers are joined with "; ".
    """
    cookies = {}
    for chunk in header.split(";"):
        name, equals, value = chunk.partition("=")
        if not equals:  # a bare word is a value without a name (RFC 6265bis, 5.6)
            name, value = "", name
        name, value = name.strip(), value.strip()
        if name or value:
            cookies[name] = _unquote(value) if value[:1] == '"' else value
    return cookies


def _unquote(value: str) -> str:
    if len(value) < 2 or value[-1] != '"':
        return value
    value = value[1:-1]
    return _ESCAPE.sub(_unescape, value) if "\\" in value else value


def _unescape(match: re.Match[str]) -> str:
    octal: str | None = match[1]
    return chr(int(octal, 8)) if octal else match[2]
