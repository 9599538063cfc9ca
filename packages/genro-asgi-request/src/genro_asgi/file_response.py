"""Files as answers: conditional, in ranges, from the page cache where they are there."""

import asyncio
import mimetypes
import os
from secrets import token_hex
from typing import Any, ClassVar
from urllib.parse import quote

from genro_asgi.base_response import HeadersArgument, Response, is_head, message_types
from genro_asgi.byte_ranges import parse_ranges
from genro_asgi.conditional import entity_tag, is_not_modified, modified_date, range_still_applies
from genro_asgi.delivery import Runner, tell
from genro_asgi.file_reading import open_file, read_cached, read_piece
from genro_asgi.rendering import HeaderPair, length_pair
from genro_asgi.types import Scope, Send

__all__ = ["FileResponse", "disposition", "guess_media_type"]

#: Some bytes of their own, then the part of the file between two offsets.
Segment = tuple[bytes, int, int]
#: Status, headers, and what is sent.
Plan = tuple[int, list[HeaderPair], list[Segment]]

#: Bytes sent from the cache before other tasks get their turn.
_TURN = 1024 * 1024

# A compressed file is sent as what it is: nobody said that the client should unpack it.
_ENCODED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz",
            "br": "application/x-brotli", "compress": "application/x-compress"}  # fmt: skip

# RFC 9110, 15.4.5: what a 304 says again.
_IN_304 = frozenset(
    (b"cache-control", b"content-location", b"date", b"etag", b"expires", b"last-modified", b"set-cookie", b"vary")
)


class FileResponse(Response):
    """A regular file, with ETag, Last-Modified and ranges; errors of opening it are raised before the first message.

    `stat_result` only fills the headers early. A `filename` makes it a download under that name.
    """

    is_streamed = True
    #: Bytes read and sent at once.
    chunk_size: ClassVar[int] = 128 * 1024
    #: Ranges of one request; with more the whole file is sent.
    max_ranges: ClassVar[int] = 100

    def __init__(
        self,
        path: str | os.PathLike[str],
        status_code: int = 200,
        headers: HeadersArgument = None,
        media_type: str | None = None,
        background: Any = None,
        filename: str | None = None,
        stat_result: os.stat_result | None = None,
        content_disposition_type: str = "attachment",
    ) -> None:
        self.path = path
        self.filename = filename
        self.stat_result = stat_result
        kind = media_type or self.media_type or guess_media_type(filename or os.fsdecode(path))
        super().__init__(None, status_code, headers, kind, background)
        if headers is None or self._find(b"accept-ranges") is None:
            self.raw_headers.append((b"accept-ranges", b"bytes"))
        if filename is not None and self._find(b"content-disposition") is None:
            self.append_header("content-disposition", disposition(filename, content_disposition_type))
        if stat_result is not None:
            self.set_stat_headers(stat_result)

    def _has_length(self) -> bool:
        return False

    def set_stat_headers(self, stat_result: os.stat_result) -> None:
        """Set Content-Length, and Last-Modified and ETag unless the handler gave its own."""
        self.raw_headers[:] = self._headers_of(stat_result)

    def _headers_of(self, status: os.stat_result) -> list[HeaderPair]:
        given = self.raw_headers
        names = [name for name, _ in given]
        if b"content-length" in names:
            given = [pair for pair in given if pair[0] != b"content-length"]
        headers = [*given, length_pair(status.st_size)]
        if b"last-modified" not in names:
            headers.append((b"last-modified", modified_date(status)))
        if b"etag" not in names:
            headers.append((b"etag", entity_tag(status)))
        return headers

    async def respond(self, scope: Scope, send: Send, run: Runner = asyncio.to_thread) -> None:
        """Send the file, a part of it, or 304; what is not in the page cache is read by `run`.

        HTTPException 400 or 416 for ranges that are none, before anything is sent.
        """
        descriptor, status = open_file(self.path)
        try:
            plan = self._plan(scope, self._headers_of(status), status.st_size)
            await self._send(scope, send, descriptor, plan, run)
        finally:
            os.close(descriptor)

    def _plan(self, scope: Scope, headers: list[HeaderPair], size: int) -> Plan:
        """Status, headers and what of the file goes out."""
        whole = self.status_code, headers, [(b"", 0, size)]
        method = scope.get("method", "").upper()
        if self.status_code != 200 or method not in ("GET", "HEAD"):
            return whole
        asked: dict[bytes, bytes] = dict(scope["headers"])
        if b"if-none-match" in asked or b"if-modified-since" in asked:
            known = dict(headers)
            if is_not_modified(asked, known[b"etag"], known[b"last-modified"]):
                return 304, [pair for pair in headers if pair[0] in _IN_304], []
        if b"range" not in asked:
            return whole
        known = dict(headers)
        if not range_still_applies(asked.get(b"if-range"), known[b"etag"], known[b"last-modified"]):
            return whole
        ranges = parse_ranges(asked[b"range"].decode("latin-1"), size, self.max_ranges)
        return whole if ranges is None else _partial(headers, ranges, size)

    async def _send(self, scope: Scope, send: Send, descriptor: int, plan: Plan, run: Runner) -> None:
        status, headers, segments = plan
        start_type, body_type = message_types(scope)
        start = {"type": start_type, "status": status, "headers": headers}
        self.started = True
        if is_head(scope) or not segments:
            await tell(send, start)
        elif _hand_over(scope, status):
            await tell(send, start)
            await tell(send, {"type": "http.response.pathsend", "path": self._absolute_path()})
            return
        elif (body := self._at_once(descriptor, segments)) is not None:
            await tell(send, start)
            await tell(send, {"type": body_type, "body": body, "more_body": False})
            return
        else:
            await tell(send, start)
            await self._send_segments(send, body_type, descriptor, segments, run)
            return
        await tell(send, {"type": body_type, "body": b"", "more_body": False})

    def _absolute_path(self) -> str:
        return os.path.abspath(os.fsdecode(self.path))

    def _at_once(self, descriptor: int, segments: list[Segment]) -> bytes | None:
        """The whole answer when it is one small cached piece, as files usually are; else None."""
        _, start, end = segments[0]
        if len(segments) > 1 or end - start > self.chunk_size:
            return None
        body = read_cached(descriptor, end - start, start) if end > start else b""
        return body if body is not None and len(body) == end - start else None

    async def _send_segments(
        self, send: Send, body_type: str, descriptor: int, segments: list[Segment], run: Runner
    ) -> None:
        turn = 0
        last = segments[-1]
        for segment in segments:
            head, start, end = segment
            if head:
                await tell(send, {"type": body_type, "body": head, "more_body": segment is not last})
            while start < end:
                piece = await read_piece(descriptor, min(self.chunk_size, end - start), start, run)
                start += len(piece)
                more = start < end or segment is not last
                await tell(send, {"type": body_type, "body": piece, "more_body": more})
                turn += len(piece)
                if turn > _TURN:
                    # A fast client and a cached file would not let anybody else run.
                    turn = 0
                    await asyncio.sleep(0)


def _partial(headers: list[HeaderPair], ranges: list[tuple[int, int]], size: int) -> Plan:
    kept = [pair for pair in headers if pair[0] not in (b"content-length", b"content-range")]
    if len(ranges) == 1:
        start, end = ranges[0]
        where = (b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size))
        return 206, [*kept, length_pair(end - start), where], [(b"", start, end)]
    boundary = token_hex(13).encode()
    kind = dict(kept).get(b"content-type", b"application/octet-stream")
    segments: list[Segment] = []
    for start, end in ranges:
        where_text = b"Content-Range: bytes %d-%d/%d" % (start, end - 1, size)
        segments.append((b"--%b\r\nContent-Type: %b\r\n%b\r\n\r\n" % (boundary, kind, where_text), start, end))
        segments.append((b"\r\n", 0, 0))
    segments.append((b"--%b--" % boundary, 0, 0))
    length = sum(len(head) + end - start for head, start, end in segments)
    kept = [pair for pair in kept if pair[0] != b"content-type"]
    return 206, [*kept, length_pair(length), (b"content-type", b"multipart/byteranges; boundary=" + boundary)], segments


def _hand_over(scope: Scope, status: int) -> bool:
    """Whether the server sends the file itself (ASGI, http.response.pathsend); it knows only whole files."""
    return scope.get("type") == "http" and status != 206 and "http.response.pathsend" in (scope.get("extensions") or {})


def guess_media_type(name: str) -> str:
    """The media type a file name stands for."""
    kind, encoding = mimetypes.guess_type(name)
    if encoding is not None:
        return _ENCODED.get(encoding, "application/octet-stream")
    return kind or "application/octet-stream"


def disposition(filename: str, kind: str = "attachment") -> str:
    """A Content-Disposition value (RFC 6266): plain names quoted, others in the UTF-8 form."""
    encoded = quote(filename, errors="replace")
    if encoded != filename:
        return f"{kind}; filename*=utf-8''{encoded}"
    return f'{kind}; filename="{filename}"'
