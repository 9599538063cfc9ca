"""Conditional requests: has the client got this version of a file already (RFC 9110, 13)?"""

import os
import re
from collections.abc import Mapping

from genro_asgi.http_dates import http_date, parse_http_date

__all__ = ["entity_tag", "is_not_modified", "modified_date", "range_still_applies"]

# A tag may hold commas: only its quotes end it.
_TAG = re.compile(rb'"[^"]*"')


def entity_tag(stat: os.stat_result) -> bytes:
    """A strong entity tag of a file: another modification time or size is another tag."""
    return b'"%x-%x"' % (stat.st_mtime_ns, stat.st_size)


def modified_date(stat: os.stat_result) -> bytes:
    """The Last-Modified of a file."""
    return http_date(int(stat.st_mtime)).encode()


def is_not_modified(request_headers: Mapping[bytes, bytes], etag: bytes, last_modified: bytes) -> bool:
    """Whether 304 is the answer: If-None-Match decides, and only without it If-Modified-Since."""
    tags = request_headers.get(b"if-none-match")
    if tags is not None:
        # Weak comparison: W/"x" and "x" are the same version.
        wanted = etag.removeprefix(b"W/")
        return tags.strip() == b"*" or wanted in (tag[0] for tag in _TAG.finditer(tags))
    since = request_headers.get(b"if-modified-since")
    if since is None or since == last_modified:  # clients send back what they got
        return since is not None
    known, current = parse_http_date(since.decode("latin-1")), parse_http_date(last_modified.decode("latin-1"))
    return known is not None and current is not None and current <= known


def range_still_applies(if_range: bytes | None, etag: bytes, last_modified: bytes) -> bool:
    """Whether a Range header counts: without If-Range, or when it names exactly this version (strong comparison)."""
    if if_range is None:
        return True
    version = if_range.strip()
    return version in (etag, last_modified) and not version.startswith(b"W/")
