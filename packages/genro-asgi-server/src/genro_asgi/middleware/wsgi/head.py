"""What start_response is called with, checked and made ready for ASGI."""

import re

__all__ = ["BODILESS", "Head", "RawHeaders", "parse_head"]

RawHeaders = list[tuple[bytes, bytes]]
# Status, headers, and the bytes of body they announce; a plain tuple, because each answer makes one.
Head = tuple[int, RawHeaders, int | None]

# A body is forbidden with these, and announcing one would make a server wait for it.
BODILESS = frozenset({204, 304})

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# ASGI servers say the date, whatever the application has said, and an answer has one (RFC 9110, 6.6.1).
_LEFT_OUT = -1
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# These belong to the connection, so to the server (PEP 3333, "Other HTTP Features").
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)

# Applications say the same things again and again, and each is checked once. Some make things up, so the tables have an
# end; and values are kept only of headers that have few.
_MAX_KNOWN = 512
_statuses: dict[str, int] = {}
_names: dict[str, bytes] = {}
_known: dict[object, tuple[tuple[bytes, bytes], int | None]] = {}
_CONSTANT = frozenset(
    {
        b"access-control-allow-origin",
        b"cache-control",
        b"content-encoding",
        b"content-language",
        b"content-security-policy",
        b"content-type",
        b"cross-origin-opener-policy",
        b"referrer-policy",
        b"server",
        b"strict-transport-security",
        b"vary",
        b"x-content-type-options",
        b"x-frame-options",
    }
)


def parse_head(status: object, headers: object) -> Head:
    """The head that an application gave to start_response.

    Raises TypeError or ValueError when PEP 3333 does not allow it.
    """
    code = _statuses.get(status) if isinstance(status, str) else None
    if code is None:
        code = _parse_status(status)
    if not isinstance(headers, list):
        raise TypeError(f"response headers are a {type(headers).__name__}; give a list of (name, value) tuples")
    raw: RawHeaders = []
    length: int | None = None
    for item in headers:
        try:
            known = _known.get(item)
        except TypeError:  # it cannot be hashed, so it is nothing to be found there
            known = None
        pair, size = known or _encode(item)
        if size is not None:
            if size == _LEFT_OUT:
                continue
            if length is not None and length != size:
                raise ValueError(f"response header Content-Length is given as {length} and as {size}; give it once")
            if length is not None or code in BODILESS:
                continue
            length = size
        raw.append(pair)
    return code, raw, length


def _parse_status(status: object) -> int:
    if not isinstance(status, str):
        raise TypeError(f"response status is {status!r}; give a str such as '200 OK'")
    digits, _, _ = status.partition(" ")
    if not (len(digits) == 3 and digits.isascii() and digits.isdigit() and 200 <= int(digits) <= 599):
        raise ValueError(f"response status {status!r} does not begin with a number from 200 to 599 and a space")
    if _CONTROL.search(status):
        raise ValueError(f"response status {status!r} holds a control character; take it out")
    if len(_statuses) < _MAX_KNOWN:
        _statuses[status] = int(digits)
    return int(digits)


def _encode(item: object) -> tuple[tuple[bytes, bytes], int | None]:
    """One header as ASGI wants it, and the number of bytes if it is Content-Length."""
    if not isinstance(item, tuple) or len(item) != 2:
        raise TypeError(f"response header {item!r} is not a (name, value) tuple")
    name, value = item
    if not isinstance(name, str):
        raise TypeError(f"response header name {name!r} is not a str")
    if not isinstance(value, str):
        raise TypeError(f"the value of response header {name!r} is {value!r}; give a str")
    encoded = _names.get(name)
    if encoded is None:
        encoded = _encode_name(name)
    pair = encoded, _encode_value(name, value)
    size = _parse_length(pair[1]) if encoded == b"content-length" else None
    if encoded == b"date":
        size = _LEFT_OUT
    # Lengths are many: they get half of the table and no more.
    room = _MAX_KNOWN if encoded in _CONSTANT else _MAX_KNOWN // 2 if size is not None else 0
    if len(_known) < room and len(value) < 128:
        _known[item] = pair, size
    return pair, size


def _encode_name(name: str) -> bytes:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"response header name {name!r} holds characters that RFC 9110 does not allow in a name")
    lower = name.lower()
    if lower in _HOP_BY_HOP:
        raise ValueError(f"response header {name!r} is the server's to set, not the application's; leave it out")
    encoded = lower.encode("ascii")
    if len(_names) < _MAX_KNOWN:
        _names[name] = encoded
    return encoded


def _encode_value(name: str, value: str) -> bytes:
    # The regular expression costs four times as much, and hardly a value needs it.
    if not (value.isascii() and value.isprintable()) and _CONTROL.search(value):
        raise ValueError(f"response header {name!r} has a control character in its value {value!r}; take it out")
    try:
        return value.strip(" \t").encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"response header {name!r} has a value outside latin-1, {value!r}; encode it") from None


def _parse_length(value: bytes) -> int:
    # 18 digits are an exabyte; more would only make int() work.
    if not value.isdigit() or len(value) > 18:
        raise ValueError(f"response header Content-Length is {value.decode('latin-1')!r}; give a number of bytes")
    return int(value)
