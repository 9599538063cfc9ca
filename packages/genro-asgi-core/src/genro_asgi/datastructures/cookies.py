"""The Cookie header of a request."""

import re

__all__ = ["parse_cookies"]

_OCTAL = re.compile(r"\\([0-3][0-7][0-7])")
# Stands for a backslash that was written as such; headers are latin-1 and do not hold it.
_BACKSLASH = "\uffff"
_CHARS = {f"{code:03o}": chr(code) for code in range(256)} | {"134": _BACKSLASH}


def parse_cookies(header: str) -> dict[str, str]:
    """The cookies of a Cookie header, read as browsers write it; of two with one name the last counts.

    Never raises, and takes time in proportion to the length. Several headers are joined with "; ".
    """
    cookies = {}
    chunks = header.split(";")
    if len(chunks) > 1000:  # no browser sends so many: what repeats itself is read once, the last time it comes
        chunks = [*dict.fromkeys(reversed(chunks))][::-1]
    quoted = '"' in header
    for chunk in chunks:
        name, equals, value = chunk.partition("=")
        if not equals:  # a bare word is a value without a name (RFC 6265bis, 5.6)
            name, value = "", name
        name, value = name.strip(), value.strip()
        if name or value:
            cookies[name] = _unquote(value) if quoted else value
    return cookies


def _unquote(value: str) -> str:
    if len(value) < 2 or not value[0] == value[-1] == '"':
        return value
    value = value[1:-1]
    if "\\" not in value:
        return value
    # Whole-string operations, because a function call for each of 30,000 escapes takes longer than a request.
    value = value.replace("\\\\", _BACKSLASH)
    if value.endswith("\\"):  # it escapes nothing
        value = value[:-1] + _BACKSLASH
    pieces = _OCTAL.split(value)
    pieces[1::2] = [_CHARS[digits] for digits in pieces[1::2]]
    return "".join(pieces).replace("\\", "").replace(_BACKSLASH, "\\")
