"""The Range header: which bytes of a file a client wants (RFC 9110, 14)."""

import re

from genro_asgi.exceptions import HTTPBadRequest, HTTPException

__all__ = ["parse_ranges"]

_SPEC = re.compile(r"[ \t]*+([0-9]{0,30})[ \t]*+-[ \t]*+([0-9]{0,30})[ \t]*+")


def parse_ranges(header: str, size: int, max_ranges: int = 100) -> list[tuple[int, int]] | None:
    """The wanted parts of `size` bytes as (start, end) pairs, in order, overlapping ones joined.

    None is the whole file: another unit than bytes, or more than `max_ranges` parts. What is no range is passed over.
    Raises HTTPBadRequest when nothing else is there, or a range ends before it starts, and HTTPException 416 when no
    part lies in the file.
    """
    unit, equals, specs = header.partition("=")
    if not equals:
        raise HTTPBadRequest("Malformed range header.")
    if unit.strip().lower() != "bytes" or specs.count(",") >= max_ranges:
        return None
    matches = [_SPEC.fullmatch(spec) for spec in specs.split(",")]
    wanted = [_bounds(match, size) for match in matches if match is not None and any(match.groups())]
    if not wanted:
        raise HTTPBadRequest("Range header: range must be requested")
    inside = sorted((start, end) for start, end in wanted if start < end)
    if not inside:
        text = "No part of the requested range lies in the file."
        raise HTTPException(416, text, headers=[("Content-Range", f"bytes */{size}")])
    return _joined(inside)


def _bounds(match: re.Match[str], size: int) -> tuple[int, int]:
    """The start and end of one part; an empty one when it lies outside of the file."""
    first, last = match.groups()
    if not first:
        return max(size - int(last), 0), size
    if last and int(last) < int(first):
        raise HTTPBadRequest("Range header: start must be less than end")
    return int(first), min(int(last) + 1, size) if last else size


def _joined(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined = parts[:1]
    for start, end in parts[1:]:
        if start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined
