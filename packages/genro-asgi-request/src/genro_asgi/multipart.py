"""Forms, cut into parts while they arrive (RFC 7578, and urlencoded): events out of bytes, under limits."""

import logging
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from genro_asgi.datastructures.headers import Headers
from genro_asgi.datastructures.query_params import parse_query
from genro_asgi.form_errors import (
    FormHeadersTooLarge,
    MalformedForm,
    field_too_large,
    part_too_large,
    too_many_fields,
    too_many_files,
)
from genro_asgi.limits import Limits
from genro_asgi.media_types import charset_codec, decode_text, extended_value, parse_parameters

__all__ = [
    "Event",
    "FormDecoder",
    "MultipartDecoder",
    "PartData",
    "PartEnd",
    "PartStart",
    "UrlencodedDecoder",
    "safe_filename",
]

#: Bytes of a urlencoded field from which on it counts as long.
_LONG = 64 * 1024

_MALFORMED = "Invalid multipart data."
# RFC 2046, 5.1.1: 1 to 70 characters, none of them a control.
_BOUNDARY = re.compile(r"[\x20-\x7e]{1,70}")
# Control characters, and those that make a name look like another one: line separators, changes of direction.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_DRIVE = re.compile(r"[A-Za-z]:")

# The parser logs what clients send; a client must not be able to fill the log.
_silent = logging.Logger("genro_asgi.multipart.silent", logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class PartStart:
    """A part begins. `filename` is None for a field, else without directories and control characters."""

    name: str
    filename: str | None
    headers: Headers
    codec: str


@dataclass(frozen=True, slots=True)
class PartData:
    """Some bytes of the part that began last."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part is complete."""


Event = PartStart | PartData | PartEnd


class FormDecoder(Protocol):
    """Turns the pieces of a body into events; raises HTTPException for a malformed one, or one over the limits."""

    @property
    def is_heavy(self) -> bool:
        """Whether the next step may take long, and should not be made on the loop."""
        ...

    def feed(self, data: bytes) -> list[Event]:
        """The events of the next piece of the body."""
        ...

    def finish(self) -> list[Event]:
        """The events that were waiting for the end of the body."""
        ...


class UrlencodedDecoder:
    """The fields of a urlencoded body; bytes that are no UTF-8 become U+FFFD."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._pieces: list[bytes] = []
        self._size = self._fields = 0

    @property
    def is_heavy(self) -> bool:
        """A long field may be all percent signs, and undoing those is slow."""
        return self._size > _LONG

    def feed(self, data: bytes) -> list[Event]:
        """The events of the next piece of the body."""
        *complete, rest = data.split(b"&")
        events: list[Event] = []
        for piece in complete:
            if piece or self._size:
                self._grow(piece)
                events += self.finish()
        self._grow(rest)
        return events

    def _grow(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self.limits.field_bytes:
            raise field_too_large(self.limits)
        self._pieces.append(piece)

    def finish(self) -> list[Event]:
        """The events of the last field."""
        pairs = parse_query(b"".join(self._pieces))
        self._pieces, self._size = [], 0
        if not pairs:
            return []
        self._fields += 1
        if self._fields > self.limits.form_fields:
            raise too_many_fields(self.limits)
        ((name, value),) = pairs
        return [PartStart(name, None, Headers(), "utf-8"), PartData(value.encode()), PartEnd()]


def safe_filename(name: str) -> str:
    """A client's file name without directories, of any system, and without control characters."""
    name = _CONTROLS.sub("", name)
    name = name[max(name.rfind("/"), name.rfind("\\")) + 1 :]
    if _DRIVE.match(name):
        name = name[2:]
    return "" if name in (".", "..") else name


class MultipartDecoder:
    """Turns the pieces of a multipart/form-data body into events.

    Raises MalformedForm for a malformed body, 413 and 431 for one over the limits, 415 for a foreign charset.
    """

    def __init__(self, parameters: dict[str, str], limits: Limits) -> None:
        boundary = parameters.get("boundary", "")
        if not boundary:
            raise MalformedForm("Missing boundary in multipart.")
        if not _BOUNDARY.fullmatch(boundary):
            raise MalformedForm(_MALFORMED)
        self.limits = limits
        self._codec = charset_codec(parameters.get("charset", "utf-8"))
        self._events: list[Event] = []
        self._headers: list[tuple[bytes, bytes]] = []
        self._name = self._value = b""
        self._header_bytes = self._field_bytes = self._fields = self._files = 0
        self._in_field = False
        self._begun = self._ended = False
        parser_class, self._error = _parser()
        self._parser: Any = parser_class(boundary.encode("ascii"), self._callbacks())
        self._parser.logger = _silent
        # Our own limits tell what is wrong.
        self._parser.max_header_count = self._parser.max_header_size = sys.maxsize

    @property
    def is_heavy(self) -> bool:
        """Never: the parser looks for one byte sequence after the other."""
        return False

    def _callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def feed(self, data: bytes) -> list[Event]:
        """The events of the next piece of the body."""
        self._begun = self._begun or bool(data)
        try:
            self._parser.write(data)
        except self._error as error:
            raise MalformedForm(_MALFORMED) from error
        events, self._events = self._events, []
        return events

    def finish(self) -> list[Event]:
        """MalformedForm when the body is not complete."""
        if self._begun and not self._ended:  # nothing at all is a form without fields
            raise MalformedForm(_MALFORMED)
        return []

    def _on_part_begin(self) -> None:
        self._headers = []
        self._header_bytes = self._field_bytes = 0

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self.limits.part_header_bytes:
            raise FormHeadersTooLarge(
                f"The headers of a part of the form are larger than {self.limits.part_header_bytes} bytes."
            )

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        if not self._name and len(self._headers) == self.limits.part_headers:
            raise FormHeadersTooLarge(f"A part of the form has more than {self.limits.part_headers} headers.")
        self._count_header(end - start)
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers.append((self._name.lower(), self._value))
        self._name = self._value = b""

    def _on_headers_finished(self) -> None:
        headers = Headers(raw=self._headers)
        options = parse_parameters(self._decoded(headers, "content-disposition", self._codec))[1]
        if "name" not in options:
            raise MalformedForm('The Content-Disposition header field "name" must be provided.')
        filename = options.get("filename")
        if filename is None and "filename*" in options:
            filename = extended_value(options["filename*"])
        self._in_field = filename is None
        self._count_part()
        charset = parse_parameters(headers.get("content-type", ""))[1].get("charset")
        codec = self._codec if charset is None else charset_codec(charset)
        clean = None if filename is None else safe_filename(filename)
        self._events.append(PartStart(options["name"], clean, headers, codec))

    def _decoded(self, headers: Headers, name: str, codec: str) -> str:
        # Browsers write names of fields and files in the charset of the page, not in latin-1.
        return decode_text(headers.get(name, "").encode("latin-1"), codec)

    def _count_part(self) -> None:
        if self._in_field:
            self._fields += 1
            if self._fields > self.limits.form_fields:
                raise too_many_fields(self.limits)
        else:
            self._files += 1
            if self._files > self.limits.form_files:
                raise too_many_files(self.limits)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_field:
            self._field_bytes += end - start
            if self._field_bytes > self.limits.field_bytes:
                raise part_too_large(self.limits.field_bytes)
        self._events.append(PartData(data[start:end]))

    def _on_part_end(self) -> None:
        self._events.append(PartEnd())

    def _on_end(self) -> None:
        self._ended = True


def _parser() -> tuple[Any, type[Exception]]:
    try:
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser
    except ImportError:
        raise RuntimeError(
            'Multipart forms need python-multipart; run: pip install "genro-asgi-request[forms]".'
        ) from None
    return MultipartParser, FormParserError
