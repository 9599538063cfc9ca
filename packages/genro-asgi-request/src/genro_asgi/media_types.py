"""Header values with parameters: media types, content dispositions, and the charsets we read."""

import re
from urllib.parse import unquote_to_bytes

from genro_asgi.exceptions import HTTPUnsupportedMediaType

__all__ = ["charset_codec", "decode_text", "extended_value", "parse_parameters"]

# Every part ends at a character the part itself cannot hold: the time is linear, whatever the text.
_PARAMETER = re.compile(r';[ \t]*([^=;"\s]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*+)"|([^;"]*))', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')

# A client chooses among these and no others: Python's codecs also unpack archives and run in quadratic time.
_CODECS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin-1": "latin-1",
    "latin1": "latin-1",
    "iso-8859-15": "iso-8859-15",
    "windows-1252": "cp1252",
    "cp1252": "cp1252",
}


def parse_parameters(value: str) -> tuple[str, dict[str, str]]:
    """The main part of a header value in lower case, and its parameters; of two with one name the first counts.

    Never raises: what is no parameter is passed over.
    """
    main, semicolon, _ = value.partition(";")
    parameters: dict[str, str] = {}
    if semicolon:
        for match in _PARAMETER.finditer(value, len(main)):
            name, quoted, plain = match.groups()
            text = plain.strip() if quoted is None else _ESCAPED.sub(r"\1", quoted)
            parameters.setdefault(name.lower(), text)
    return main.strip().lower(), parameters


def charset_codec(charset: str) -> str:
    """The Python codec of a charset; HTTPUnsupportedMediaType for one that is not read here."""
    codec = _CODECS.get(charset.strip().lower())
    if codec is None:
        raise HTTPUnsupportedMediaType("The charset of the body is not supported; use UTF-8.")
    return codec


def decode_text(raw: bytes, codec: str) -> str:
    """Bytes as text; those that are not of the codec are taken for latin-1, as of old clients."""
    try:
        return raw.decode(codec)
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def extended_value(value: str) -> str | None:
    """A parameter in the form `utf-8'en'%e2%82%ac` (RFC 8187), None when it is not in that form."""
    charset, _, rest = value.partition("'")
    _, quote, encoded = rest.partition("'")
    codec = _CODECS.get(charset.lower())
    return unquote_to_bytes(encoded).decode(codec, "replace") if quote and codec else None
