"""Forms out of request bodies: whole, or part by part while they arrive."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from time import monotonic
from typing import Any, BinaryIO

from genro_asgi.datastructures.forms import FormData, UploadFile
from genro_asgi.datastructures.query_params import parse_query
from genro_asgi.delivery import Runner
from genro_asgi.exceptions import HTTPUnsupportedMediaType
from genro_asgi.form_errors import field_too_large, part_too_large, too_many_fields
from genro_asgi.limits import Limits
from genro_asgi.media_types import decode_text, parse_parameters
from genro_asgi.multipart import (
    Event,
    FormDecoder,
    MultipartDecoder,
    PartData,
    PartStart,
    UrlencodedDecoder,
)
from genro_asgi.spool import KeptBody, SpoolWriter, new_spool, write_all

__all__ = [
    "FormPart",
    "form_decoder",
    "form_limits",
    "form_of_bytes",
    "form_parts",
    "parse_urlencoded",
    "read_form",
    "stream_form",
]

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

#: Bytes given to the parser at once, and seconds it may keep the loop.
_SLICE = 64 * 1024
_TURN = 0.005


def form_decoder(content_type: str, limits: Limits) -> FormDecoder | None:
    """What reads a body of this Content-Type; None when it is no form."""
    kind, parameters = parse_parameters(content_type)
    if kind == URLENCODED:
        return UrlencodedDecoder(limits)
    return MultipartDecoder(parameters, limits) if kind == MULTIPART else None


def form_limits(limits: Limits, files: Any, fields: Any, field_bytes: Any) -> Limits:
    """The limits with those that were given for one form."""
    given = {"form_files": files, "form_fields": fields, "field_bytes": field_bytes}
    return replace(limits, **{name: value for name, value in given.items() if value is not None})


def parse_urlencoded(raw: bytes, limits: Limits) -> list[tuple[str, str]]:
    """The fields of a urlencoded body; 413 over `form_fields` or `field_bytes`. What is no UTF-8 becomes U+FFFD."""
    if raw.count(b"&") >= limits.form_fields:
        raise too_many_fields(limits)
    if len(raw) > limits.field_bytes and max(map(len, raw.split(b"&"))) > limits.field_bytes:
        raise field_too_large(limits)
    return parse_query(raw, limits.form_fields)


class _Assembly:
    """Puts the events of a body together into fields and files."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.writer = SpoolWriter()
        self.items: list[tuple[str, str | UploadFile]] = []
        self._start: PartStart | None = None
        self._text: list[bytes] = []
        self._file: UploadFile | None = None

    def add(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, PartData):
                self._data(event.data)
            elif isinstance(event, PartStart):
                self._begin(event)
            elif self._file is None and self._start is not None:
                self.items.append((self._start.name, decode_text(b"".join(self._text), self._start.codec)))

    def _begin(self, start: PartStart) -> None:
        self._start, self._text, self._file = start, [], None
        if start.filename is not None:
            spool = new_spool(self.limits.upload_memory)
            self._file = UploadFile(spool, size=0, filename=start.filename, headers=start.headers)
            self.items.append((start.name, self._file))

    def _data(self, data: bytes) -> None:
        if self._file is None:
            self._text.append(data)
        else:
            self.writer.add(self._file.file, data)
            self._file.size = (self._file.size or 0) + len(data)

    def files(self) -> list[BinaryIO]:
        return [value.file for _, value in self.items if isinstance(value, UploadFile)]

    def form(self) -> FormData:
        for file in self.files():
            file.seek(0)
        return FormData(self.items)

    def close(self) -> None:
        for file in self.files():
            file.close()


def form_of_bytes(raw: bytes, decoder: FormDecoder, limits: Limits) -> FormData:
    """The form in a body that is in memory already."""
    assembly = _Assembly(limits)
    try:
        assembly.add(decoder.feed(raw))
        assembly.add(decoder.finish())
        write_all(assembly.writer.take())
        return assembly.form()
    except BaseException:
        assembly.close()
        raise


async def read_form(
    chunks: AsyncIterator[bytes], decoder: FormDecoder, limits: Limits, run: Runner, keep: KeptBody | None = None
) -> FormData:
    """The form in a body, read while it arrives; what goes to disk is written by `run`.

    `keep` gets the raw bytes as well. Whatever goes wrong, no file stays open.
    """
    assembly = _Assembly(limits)
    writer = assembly.writer
    try:
        async for chunk in chunks:
            if keep is not None:
                writer.add(keep.spool, chunk)
            assembly.add(await _decode(decoder, chunk, run))
            if writer.is_full:
                await writer.flush(run)
        assembly.add(await _finish(decoder, run))
        await writer.flush(run)
        return assembly.form()
    except BaseException:
        assembly.close()
        raise


async def _decode(decoder: FormDecoder, chunk: bytes, run: Runner) -> list[Event]:
    """The events of one chunk; others get their turn when it takes long."""
    if len(chunk) <= _SLICE:
        return await run(decoder.feed, chunk) if decoder.is_heavy else decoder.feed(chunk)
    events: list[Event] = []
    began = monotonic()
    for offset in range(0, len(chunk), _SLICE):
        piece = chunk[offset : offset + _SLICE]
        events += await run(decoder.feed, piece) if decoder.is_heavy else decoder.feed(piece)
        if monotonic() - began > _TURN:
            await asyncio.sleep(0)
            began = monotonic()
    return events


async def _finish(decoder: FormDecoder, run: Runner) -> list[Event]:
    return await run(decoder.finish) if decoder.is_heavy else decoder.finish()


class FormPart:
    """One field or file of a form that is still arriving: read it, iterate it, or go on to the next part.

    `filename` is None for a field, else without directories and control characters.
    """

    def __init__(self, start: PartStart, source: "_PartSource", limits: Limits) -> None:
        self.name = start.name
        self.filename = start.filename
        self.headers = start.headers
        self._codec = start.codec
        self._source = source
        self._limits = limits

    @property
    def content_type(self) -> str | None:
        """The Content-Type of the part, None without one."""
        return self.headers.get("content-type")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (data := await self._source.data_of(self)) is not None:
            yield data

    async def read(self, max_bytes: int | None = None) -> bytes:
        """What is left of the part; 413 over `max_bytes` (default `limits.field_bytes`)."""
        limit = self._limits.field_bytes if max_bytes is None else max_bytes
        pieces: list[bytes] = []
        size = 0
        while (piece := await self._source.data_of(self)) is not None:
            size += len(piece)
            if size > limit:
                raise part_too_large(limit)
            pieces.append(piece)
        return b"".join(pieces)

    async def text(self, max_bytes: int | None = None) -> str:
        """What is left of the part as text; bytes that are not of its charset are taken for latin-1."""
        return decode_text(await self.read(max_bytes), self._codec)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, filename={self.filename!r})"


class _PartSource:
    """The events of a body that is still arriving, dealt out to its parts."""

    def __init__(self, decoder: FormDecoder, chunks: AsyncIterator[bytes], run: Runner) -> None:
        self._decoder = decoder
        self._chunks = chunks
        self._run = run
        self._events: deque[Event] = deque()
        self._over = False
        self.open: FormPart | None = None

    async def next_event(self) -> Event | None:
        while not self._events and not self._over:
            chunk = await anext(self._chunks, None)
            self._over = chunk is None
            if chunk is None:
                self._events += await _finish(self._decoder, self._run)
            else:
                self._events += await _decode(self._decoder, chunk, self._run)
        return self._events.popleft() if self._events else None

    async def data_of(self, part: FormPart) -> bytes | None:
        """The next bytes of the open part; None at its end, or when another part is open."""
        if part is not self.open:
            return None
        event = await self.next_event()
        if isinstance(event, PartData):
            return event.data
        self.open = None
        return None


async def form_parts(
    chunks: AsyncIterator[bytes], decoder: FormDecoder, limits: Limits, run: Runner
) -> AsyncGenerator[FormPart, None]:
    """The parts of a form as they arrive; what is not read of a part is passed over."""
    source = _PartSource(decoder, chunks, run)
    while True:
        source.open = None
        event = await source.next_event()
        if event is None:
            return
        if isinstance(event, PartStart):
            source.open = FormPart(event, source, limits)
            yield source.open


async def stream_form(
    chunks: AsyncGenerator[bytes, None], content_type: str, limits: Limits, run: Runner
) -> AsyncGenerator[FormPart, None]:
    """The parts of a body of this Content-Type; HTTPUnsupportedMediaType when it is no form."""
    async with aclosing(chunks):
        decoder = form_decoder(content_type, limits)
        if decoder is None:
            raise HTTPUnsupportedMediaType("The body is not a form; send multipart/form-data.")
        async with aclosing(form_parts(chunks, decoder, limits, run)) as parts:
            async for part in parts:
                yield part
