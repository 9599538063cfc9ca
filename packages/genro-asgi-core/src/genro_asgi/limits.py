"""The limits a server keeps: one frozen object, every field with its default and its unit."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from genro_asgi.exceptions import ConfigError

__all__ = ["Limits"]

_KIB = 1024
_MIB = 1024 * _KIB
_SIZE = re.compile(r"([0-9]{1,15})\s*([kmg]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": _KIB, "m": _MIB, "g": 1024 * _MIB}

# The parsers go no deeper than this, whoever asks.
_MAX_DEPTH = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of anything one client may send, and how long it may take.

    Sizes are bytes, times are seconds. Going over a limit is answered with the status in brackets.
    """

    #: Bytes of a request body, chunked or not (413); a route sets its own with `max_body=`.
    max_body: int = 16 * _MIB
    #: Bytes of the path and the query string together, as they arrive (414).
    url_bytes: int = 8192
    #: Header fields of a request (431).
    header_count: int = 100
    #: Bytes of all header names and values together (431).
    header_bytes: int = 64 * _KIB
    #: Pairs of a query string (400).
    query_pairs: int = 1000
    #: Nested lists and objects of a JSON text, at most 1024 (400).
    json_depth: int = _MAX_DEPTH

    #: Fields of a form that are not files (413).
    form_fields: int = 1000
    #: Files of a multipart form (413).
    form_files: int = 1000
    #: Bytes of one form field that is not a file (413).
    field_bytes: int = _MIB
    #: Header fields of one part of a multipart form (431).
    part_headers: int = 32
    #: Bytes of the header block of one part of a multipart form (431).
    part_header_bytes: int = 8192
    #: Bytes of an uploaded file kept in memory; what is over goes to a temporary file.
    upload_memory: int = _MIB

    #: Seconds between two chunks of a request body (408); None waits forever.
    body_timeout: float | None = 60.0
    #: Seconds a handler may take (504); None is no limit. A route sets its own with `timeout=`.
    handler_timeout: float | None = 60.0
    #: Seconds a client may ask for with x-request-timeout; more is cut down to this.
    max_request_timeout: float = 300.0

    #: WebSockets open at once in one process, raw ones and WSX together (503).
    ws_connections: int = 10_000
    #: Bytes of one WebSocket message (close code 1009).
    ws_message: int = _MIB
    #: WSX calls of one connection being answered at once; beyond that its socket is not read.
    ws_in_flight: int = 64
    #: WSX streams open at once on one connection (429).
    ws_streams: int = 256
    #: Header fields of a WSX message (431).
    ws_headers: int = 64
    #: Bytes of all header names and values of a WSX message (431).
    ws_header_bytes: int = 8192
    #: Nested lists and objects of a WSX message (400).
    ws_depth: int = 64
    #: Bytes waiting to be sent on one connection before its streams are held.
    ws_queue: int = _MIB
    #: Seconds a WSX session is kept after its connection was lost; None keeps none.
    ws_resume: float | None = 60.0
    #: Bytes of answers kept for each WSX session, in case its connection is lost; the oldest go first.
    ws_resume_bytes: int = 256 * _KIB
    #: WSX sessions without a connection kept at once; more are given up.
    ws_resume_sessions: int = 1000

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str = "limits") -> Self:
        """Limits from a configuration; whole numbers may be written as sizes ("16 MiB", "64k").

        `where` opens the text of the ConfigError that an unknown key or a bad value raises.
        """
        if not isinstance(mapping, Mapping):
            raise ConfigError(f"{where}: {mapping!r} is not a mapping of limits to values.")
        known = {field.name: field.type for field in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in mapping.items():
            if key not in known:
                raise ConfigError(f"{where}: unknown key {key!r}; allowed are {', '.join(known)}.")
            try:
                values[key] = _whole(value) if known[key] is int else _seconds(value, optional=known[key] is not float)
            except ValueError as error:
                raise ConfigError(f"{where}.{key}: {value!r} {error}") from None
        for key in ("json_depth", "ws_depth"):
            if not 1 <= values.get(key, 1) <= _MAX_DEPTH:
                raise ConfigError(f"{where}.{key}: {values[key]} is out of range; write 1 to {_MAX_DEPTH}.")
        return cls(**values)


def _whole(value: Any) -> int:
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        return int(match[1]) * _UNITS[match[2].lower()]
    if type(value) is int and value >= 0:
        return value
    raise ValueError('is not a size; write a whole number of 0 or more, or one with k, M or G such as "16 MiB".')


def _seconds(value: Any, optional: bool) -> float | None:
    if optional and (value is None or value in ("none", "None", "null", "")):
        return None
    try:
        seconds = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError("is not a time; write seconds above 0" + (", or null for no limit." if optional else "."))
    return seconds
