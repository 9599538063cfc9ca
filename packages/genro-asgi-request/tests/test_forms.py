"""Multipart forms: read whole, part by part, from any cut of the bytes, and under every limit."""

import asyncio
import dataclasses
import gc
import itertools
import sys
import time
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from genro_asgi.datastructures import FormData, UploadFile
from genro_asgi.exceptions import (
    ClientDisconnect,
    HTTPBadRequest,
    HTTPContentTooLarge,
    HTTPException,
    HTTPUnsupportedMediaType,
)
from genro_asgi.form_errors import MultiPartException
from genro_asgi.forms import form_decoder, form_of_bytes
from genro_asgi.limits import Limits
from genro_asgi.multipart import MultipartDecoder, PartData, PartStart, UrlencodedDecoder, safe_filename
from genro_asgi.request import HttpRequest, Request

pytest.importorskip("python_multipart")

HEADERS = [("content-type", "multipart/form-data; boundary=BOUND")]
URLENCODED = [("content-type", "application/x-www-form-urlencoded")]


def part(name: str, content: bytes, filename: str | None = None, *more: str) -> bytes:
    """One part of a body."""
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    return "\r\n".join(["--BOUND", disposition, *more, "", ""]).encode() + content + b"\r\n"


def body_of(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--BOUND--\r\n"


BODY = body_of(
    part("a", b"1"),
    part("file", b"x" * 5000, "x.txt", "Content-Type: text/plain"),
    part("a", "è".encode()),
    part("empty", b"", ""),
)


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)] or [b""]


@pytest.fixture
def make(exchange: Any) -> Any:
    """Makes a request with a multipart body, cut into pieces of `size`."""

    def make(body: bytes = BODY, size: int = 65536, headers: Any = HEADERS, **limits: int) -> Request:
        here = exchange("POST", headers=headers, body=cut(body, size))
        request = Request(here.scope, here.receive, here.send)
        request.limits = dataclasses.replace(request.limits, **limits)
        return request

    return make


async def content(form: FormData) -> list[tuple[str, Any]]:
    """A form as plain values."""
    return [
        (name, (value.filename, value.content_type, await value.read()) if isinstance(value, UploadFile) else value)
        for name, value in form.multi_items()
    ]


EXPECTED = [
    ("a", "1"),
    ("file", ("x.txt", "text/plain", b"x" * 5000)),
    ("a", "è"),
    ("empty", ("", None, b"")),
]


@pytest.mark.parametrize("size", [1, 7, 64, 65536])
@pytest.mark.parametrize("memory", [1, 100, 1024 * 1024])
@pytest.mark.asyncio
async def test_a_form_however_it_is_cut_and_kept(size: int, memory: int, make: Any) -> None:
    request = make(BODY, size, upload_memory=memory)
    async with request.form() as form:
        assert await content(form) == EXPECTED
        assert form["file"].size == 5000
        assert form["file"].in_memory() is (memory > 5000)
        assert await request.form() is form
        # The body is not lost.
        assert await request.body() == BODY
        assert b"".join([chunk async for chunk in request.stream()]) == BODY
    assert form["file"].file.closed
    assert await request.body() == BODY


@pytest.mark.parametrize("first", ["body", "stream", "stream half"])
@pytest.mark.asyncio
async def test_a_form_of_a_body_that_was_read_before(first: str, make: Any) -> None:
    request = make(BODY, 100)
    if first == "body":
        await request.body()
    else:
        async with aclosing(request.stream()) as chunks:
            async for _ in chunks:
                if first == "stream half":
                    break
    async with request.form() as form:
        assert await content(form) == EXPECTED
    assert await request.body() == BODY


@pytest.mark.asyncio
async def test_a_form_after_a_long_stream_is_told_that_it_is_gone(make: Any) -> None:
    request = make(BODY, 100, upload_memory=200)
    async for _ in request.stream():
        pass
    with pytest.raises(RuntimeError, match="Stream consumed"):
        await request.form()


@pytest.mark.asyncio
async def test_what_goes_to_disk_is_written_by_the_runner(make: Any) -> None:
    calls: list[str] = []

    async def run(function: Any, *args: Any) -> Any:
        calls.append(function.__name__)
        return function(*args)

    request = make(BODY, 100)
    request.run = run
    async with request.form():
        assert calls == []
    big = body_of(part("f", b"x" * 3_000_000, "f"))
    request = make(big, 65536)
    request.run = run
    async with request.form() as form:
        assert set(calls) == {"write_all"}
        assert 1 < len(calls) < 20
        assert form["f"].size == 3_000_000
        assert await request.body() == big
        assert calls[-1] == "read"


@pytest.mark.asyncio
async def test_no_file_stays_open(make: Any) -> None:
    # An open file that is forgotten is a warning, and warnings are errors here.
    request = make(BODY, 100, upload_memory=1)
    async with request.form():
        pass
    del request
    with pytest.raises(HTTPBadRequest):
        await make(BODY[:-20], 100, upload_memory=1).form()
    gc.collect()


# Part by part


@pytest.mark.parametrize("size", [1, 7, 65536])
@pytest.mark.asyncio
async def test_parts_while_they_arrive(size: int, make: Any) -> None:
    request = make(BODY, size)
    seen: list[Any] = []
    async for one in request.form_stream():
        if one.filename is None:
            seen.append((one.name, await one.text()))
        else:
            pieces = b"".join([piece async for piece in one])
            seen.append((one.name, (one.filename, one.content_type, pieces)))
            assert one.headers["Content-Disposition"].startswith("form-data")
    assert seen == EXPECTED
    assert await request.body() == BODY


@pytest.mark.asyncio
async def test_a_part_is_seen_before_the_next_has_arrived(exchange: Any) -> None:
    here = exchange("POST", headers=HEADERS, body=[part("a", b"1"), part("b", b"2"), body_of()])
    parts = Request(here.scope, here.receive).form_stream()
    async with aclosing(parts):
        first = await anext(parts)
        assert (first.name, here.receives) == ("a", 1)
        assert repr(first) == "FormPart(name='a', filename=None)"


@pytest.mark.asyncio
async def test_parts_that_are_not_read_are_passed_over(make: Any) -> None:
    request = make(BODY, 10)
    parts = [one async for one in request.form_stream()]
    assert [one.name for one in parts] == ["a", "file", "a", "empty"]
    assert await parts[1].read() == b""


@pytest.mark.asyncio
async def test_reading_a_part_has_a_limit(make: Any) -> None:
    async for one in make(BODY, 100, field_bytes=4000).form_stream():
        if one.name == "file":
            with pytest.raises(HTTPContentTooLarge, match="Part exceeded maximum size of 4000 bytes"):
                await one.read()
            break
    async for one in make(BODY, 100).form_stream():
        if one.name == "file":
            assert len(await one.read(5000)) == 5000


@pytest.mark.asyncio
async def test_a_urlencoded_form_has_parts_too(make: Any) -> None:
    request = make(b"a=1&b=%C3%A8", 1, URLENCODED)
    assert [(one.name, one.filename, await one.text()) async for one in request.form_stream()] == [
        ("a", None, "1"),
        ("b", None, "è"),
    ]


@pytest.mark.asyncio
async def test_parts_of_what_is_no_form(make: Any) -> None:
    with pytest.raises(HTTPUnsupportedMediaType, match="The body is not a form; send multipart/form-data"):
        await anext(make(b"{}", headers=[("content-type", "application/json")]).form_stream())


@pytest.mark.asyncio
async def test_a_stream_of_parts_that_is_cut(make: Any) -> None:
    with pytest.raises(HTTPBadRequest, match="Invalid multipart data"):
        [one async for one in make(BODY[:-20], 100).form_stream()]


# In the routed world


@pytest.fixture
def load(exchange: Any) -> Any:
    async def load(
        body: bytes = BODY,
        size: int = 65536,
        raw: bool = False,
        headers: Any = HEADERS,
        server: Any = None,
        **limits: int,
    ) -> HttpRequest:
        here = exchange("POST", headers=headers, body=cut(body, size))
        request = HttpRequest()
        request.server = server
        request.limits = dataclasses.replace(request.limits, **limits)
        await request.init(here.scope, here.receive, here.send, defer_body=True)
        await request.load_body(raw=raw)
        return request

    return load


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("memory", [1, 1024 * 1024])
@pytest.mark.asyncio
async def test_data_is_fields_and_files(raw: bool, memory: int, load: Any) -> None:
    request = await load(BODY, 100, raw, upload_memory=memory)
    request.parse_body()
    assert list(request.data) == ["a", "file", "empty"]
    assert request.data["a"] == ["1", "è"]
    assert (request.data["file"].filename, request.data["file"].size) == ("x.txt", 5000)
    assert await request.data["file"].read() == b"x" * 5000
    assert request.body == BODY
    assert request.data is request.data
    assert await request.request.form() is request._form
    assert await request.request.body() == BODY
    assert (request.chunks, request.phase) == (len(cut(BODY, 100)), "handler")
    assert await request.run_cleanups() == []
    assert request.data["file"].file.closed
    gc.collect()


@pytest.mark.asyncio
async def test_init_reads_forms_too(exchange: Any) -> None:
    here = exchange("POST", headers=HEADERS, body=BODY)
    request = HttpRequest()
    await request.init(here.scope, here.receive)
    assert request.data["a"] == ["1", "è"]
    await request.run_cleanups()


@pytest.mark.asyncio
async def test_the_files_pool_of_the_server_writes(load: Any) -> None:
    calls: list[str] = []

    class Files:
        async def run(self, function: Any, *args: Any) -> Any:
            calls.append(function.__name__)
            return function(*args)

    class Server:
        files = Files()

    request = await load(BODY, 100, server=Server(), upload_memory=1)
    assert calls == ["write_all"]
    await request.run_cleanups()


@pytest.mark.asyncio
async def test_a_form_in_memory_that_is_malformed(load: Any) -> None:
    request = await load(BODY[:-20], raw=True, upload_memory=1)
    with pytest.raises(HTTPBadRequest):
        request.data  # noqa: B018
    with pytest.raises(HTTPBadRequest):
        await load(BODY[:-20])
    gc.collect()


@pytest.mark.asyncio
async def test_another_multipart_is_just_bytes(load: Any) -> None:
    for raw in (False, True):
        request = await load(b"--B--", raw=raw, headers=[("content-type", "multipart/mixed; boundary=B")])
        assert (request.data, request.body) == (b"--B--", b"--B--")


@pytest.mark.asyncio
async def test_the_limit_of_the_body_holds_for_forms(load: Any) -> None:
    with pytest.raises(HTTPContentTooLarge, match="The request body is larger than 1000 bytes"):
        await load(BODY, 100, max_body=1000)


@pytest.mark.asyncio
async def test_a_client_that_leaves_in_its_upload(exchange: Any) -> None:
    here = exchange(
        "POST",
        headers=HEADERS,
        messages=[{"type": "http.request", "body": BODY[:200], "more_body": True}, {"type": "http.disconnect"}],
    )
    request = HttpRequest()
    request.limits = Limits(upload_memory=1)
    await request.init(here.scope, here.receive, defer_body=True)
    with pytest.raises(ClientDisconnect):
        await request.load_body()
    assert await request.run_cleanups() == []
    gc.collect()


# Names


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        (r"C:\dir\a.txt", "a.txt"),
        ("C:a.txt", "a.txt"),
        (r"\\host\share\a.txt", "a.txt"),
        ("a\x00.txt\r\n", "a.txt"),
        ("a\x85\x7f.txt", "a.txt"),
        ("gpj\u202e.exe", "gpj.exe"),
        ("..", ""),
        (".", ""),
        ("dir/", ""),
        ("", ""),
        (".htaccess", ".htaccess"),
        ("naïve €.txt", "naïve €.txt"),
    ],
)
def test_file_names_are_only_names(name: str, safe: str) -> None:
    assert safe_filename(name) == safe


@given(st.text())
@settings(derandomize=True, deadline=None)
def test_no_file_name_leaves_its_directory(name: str) -> None:
    safe = safe_filename(name)
    assert not set(safe) & set("/\\\r\n\0")
    assert safe not in (".", "..")


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        ('form-data; name="a"', "a", None),
        ("form-data; name=a", "a", None),
        ('form-data; name=""', "", None),
        ('form-data; name="a"; filename="é.txt"', "a", "é.txt"),
        ("form-data; name=\"a\"; filename*=utf-8''%e2%82%ac.txt", "a", "€.txt"),
        ('form-data; name="a"; filename="b.txt"; filename*=utf-8\'\'c.txt', "a", "b.txt"),
        ("form-data; name=\"a\"; filename*=utf-8''..%2F..%2Fetc%2Fpasswd", "a", "passwd"),
        ('form-data; name="a"; filename*=junk', "a", None),
        (r'form-data; name="a"; filename="x\".txt"', "a", 'x".txt'),
        ('form-data; name="a"; filename="C:\\x\\y.txt"', "a", "y.txt"),
    ],
)
def test_the_names_of_a_part(disposition: str, name: str, filename: str | None) -> None:
    raw = f"--B\r\nContent-Disposition: {disposition}\r\n\r\nx\r\n--B--".encode()
    start = MultipartDecoder({"boundary": "B"}, Limits()).feed(raw)[0]
    assert isinstance(start, PartStart)
    assert (start.name, start.filename) == (name, filename)


# Charsets


@pytest.mark.parametrize(
    ("of_body", "of_part", "raw", "text"),
    [
        ("", "", "è".encode(), "è"),
        ("", "", b"\xe8", "è"),
        ("; charset=iso-8859-1", "", b"\xe8", "è"),
        ("", "; charset=windows-1252", b"\x80", "€"),
        ("; charset=iso-8859-1", "; charset=utf-8", "è".encode(), "è"),
    ],
)
@pytest.mark.asyncio
async def test_charsets_of_fields(of_body: str, of_part: str, raw: bytes, text: str, make: Any) -> None:
    body = body_of(part("a", raw, None, f"Content-Type: text/plain{of_part}"))
    headers = [("content-type", f"multipart/form-data; boundary=BOUND{of_body}")]
    assert dict(await make(body, headers=headers).form()) == {"a": text}
    async for one in make(body, headers=headers).form_stream():
        assert await one.text() == text


@pytest.mark.parametrize(("of_body", "of_part"), [("; charset=zip", ""), ("", "; charset=unicode_escape")])
@pytest.mark.asyncio
async def test_charsets_nobody_reads(of_body: str, of_part: str, make: Any) -> None:
    body = body_of(part("a", b"x", None, f"Content-Type: text/plain{of_part}"))
    headers = [("content-type", f"multipart/form-data; boundary=BOUND{of_body}")]
    with pytest.raises(HTTPUnsupportedMediaType):
        await make(body, headers=headers).form()


# Malformed


@pytest.mark.parametrize(
    ("boundary", "body"),
    [
        ("BOUND", b"-"),
        ("BOUND", b"junk"),
        ("BOUND", BODY[:-20]),
        ("BOUND", BODY.replace(b"BOUND", b"OTHER")),
        ("BOUND", b"--BOUND\r\n\r\nno name\r\n--BOUND--"),
        ("BOUND", b"--BOUND\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--BOUND--"),
        ("BOUND", b"--BOUND\r\nbad header\r\n\r\nx\r\n--BOUND--"),
        ("BOUND", b"--BOUND\r\n: no name\r\n\r\nx\r\n--BOUND--"),
        ("BOUND", b"--BOUND\nContent-Disposition: form-data; name=a\n\nx\n--BOUND--"),
        ("", BODY),
        ("x" * 71, BODY),
        ("\xe8", BODY),
    ],
)
@pytest.mark.parametrize("size", [1, 65536])
@pytest.mark.asyncio
async def test_malformed_bodies(boundary: str, body: bytes, size: int, make: Any) -> None:
    headers = [("content-type", f'multipart/form-data; boundary="{boundary}"')]
    with pytest.raises(MultiPartException) as caught:
        await make(body, size, headers).form()
    assert isinstance(caught.value, HTTPBadRequest)
    assert caught.value.message == caught.value.detail
    assert caught.value.detail in (
        "Invalid multipart data.",
        "Missing boundary in multipart.",
        'The Content-Disposition header field "name" must be provided.',
    )


@pytest.mark.asyncio
async def test_what_is_around_the_parts_is_ignored(make: Any) -> None:
    body = b"\r\n" + body_of(part("a", b"1")) + b"epilogue" * 1000
    assert dict(await make(body, 50).form()) == {"a": "1"}
    assert dict(await make(b"--BOUND--").form()) == {}
    assert dict(await make(b"").form()) == {}


# Limits


@pytest.mark.parametrize(
    ("limits", "parts", "status", "text"),
    [
        ({"form_fields": 1}, [part("a", b""), part("b", b"")], 413, "Too many fields. Maximum number of fields is 1."),
        (
            {"form_files": 1},
            [part("a", b"", "f"), part("b", b"", "f")],
            413,
            "Too many files. Maximum number of files is 1.",
        ),
        ({"field_bytes": 3}, [part("a", b"1234")], 413, "Part exceeded maximum size of 3 bytes."),
        ({"field_bytes": 3}, [part("a", b"1234", "f")], None, ""),
        ({"form_fields": 0}, [part("a", b"1234", "f")], None, ""),
        ({"form_files": 0}, [part("a", b"1234")], None, ""),
        ({"part_headers": 1}, [part("a", b"", None, "x: 1")], 431, "A part of the form has more than 1 headers."),
        ({"part_headers": 3}, [part("a", b"", None, "x: 1", "y: 2")], None, ""),
        (
            {"part_header_bytes": 100},
            [part("a", b"", None, "x: " + "1" * 100)],
            431,
            "The headers of a part of the form are larger than 100 bytes.",
        ),
        (
            {"part_header_bytes": 100},
            [part("a", b"", None, "x" * 100 + ": 1")],
            431,
            "The headers of a part of the form are larger than 100 bytes.",
        ),
        ({"part_header_bytes": 100}, [part("a", b"", None, "x: " + "1" * 40)] * 5, None, ""),
    ],
)
@pytest.mark.parametrize("size", [1, 65536])
@pytest.mark.asyncio
async def test_limits_of_forms(
    limits: dict[str, int], parts: list[bytes], status: int | None, text: str, size: int, make: Any
) -> None:
    body = body_of(*parts)
    if status is None:
        async with make(body, size, **limits).form() as form:
            assert len(form.multi_items()) == len(parts)
        return
    with pytest.raises(HTTPException) as caught:
        await make(body, size, **limits).form()
    assert (caught.value.status_code, caught.value.detail) == (status, text)
    with pytest.raises(HTTPException):
        [one async for one in make(body, size, **limits).form_stream()]


@pytest.mark.asyncio
async def test_limits_of_one_call(make: Any) -> None:
    body = body_of(part("a", b"12"), part("f", b"1", "f"), part("g", b"1", "g"))
    for options in ({"max_fields": 0}, {"max_files": 1}, {"max_part_size": 1}):
        with pytest.raises(HTTPContentTooLarge):
            await make(body).form(**options)
        with pytest.raises(HTTPContentTooLarge):
            [one async for one in make(body).form_stream(**options)]


@pytest.mark.asyncio
async def test_many_headers_are_allowed_up_to_the_limit(make: Any) -> None:
    more = [f"x-{number}: {'v' * 200}" for number in range(31)]
    async with make(body_of(part("a", b"1", None, *more))).form() as form:
        assert dict(form) == {"a": "1"}


# Properties


CONTENT = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from([b"\r\n--BOUND", b"--BOUND", b"\r", b"\n", b"-", b"BOUND--", b"x"]), max_size=20).map(
        b"".join
    ),
)


@given(st.lists(st.tuples(st.booleans(), CONTENT), max_size=5), st.integers(1, 60))
@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_sent_arrives_however_it_is_cut(parts: list[tuple[bool, bytes]], size: int) -> None:
    # A delimiter inside of the content ends the part, whoever reads it.
    parts = [(is_file, raw.replace(b"\r\n--BOUND", b"")) for is_file, raw in parts]
    if any(b"\r\n--BOUND" in b"\r\n" + raw for _, raw in parts):
        return
    body = body_of(*(part(str(n), raw, "f" if is_file else None) for n, (is_file, raw) in enumerate(parts)))
    decoder = MultipartDecoder({"boundary": "BOUND"}, Limits())
    contents: list[bytes] = []
    for piece in cut(body, size):
        for event in decoder.feed(piece):
            if isinstance(event, PartStart):
                contents.append(b"")
            elif isinstance(event, PartData):
                contents[-1] += event.data
    assert decoder.finish() == []
    assert contents == [raw for _, raw in parts]


@given(st.one_of(st.binary(max_size=300), CONTENT), st.integers(1, 60))
@settings(derandomize=True, deadline=None)
def test_junk_is_refused_or_read_and_never_anything_else(junk: bytes, size: int) -> None:
    for kind in ("multipart/form-data; boundary=BOUND", "application/x-www-form-urlencoded"):
        for body in (junk, b"--BOUND\r\n" + junk, part("a", junk)):
            decoder = form_decoder(kind, Limits())
            assert decoder is not None
            try:
                for piece in cut(body, size):
                    decoder.feed(piece)
                decoder.finish()
            except HTTPException as error:
                assert error.status_code in (400, 413, 415, 431)  # noqa: PT017


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5), st.integers(1, 20))
@settings(derandomize=True, deadline=None)
def test_urlencoded_fields_arrive_however_they_are_cut(pairs: list[tuple[str, str]], size: int) -> None:
    from urllib.parse import urlencode

    pairs = [(name, value) for name, value in pairs if not _has_surrogates(name + value)]
    body = urlencode(pairs).encode()
    decoder = UrlencodedDecoder(Limits())
    events = [event for piece in cut(body, size) for event in decoder.feed(piece)] + decoder.finish()
    names = [event.name for event in events if isinstance(event, PartStart)]
    values = [event.data.decode() for event in events if isinstance(event, PartData)]
    assert list(zip(names, values, strict=True)) == pairs
    assert form_of_bytes(body, UrlencodedDecoder(Limits()), Limits()).multi_items() == pairs


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


# Attacks on time


@pytest.mark.parametrize(
    "junk",
    [
        b"\r\n--BOUN" * 125_000,
        b"\r" * 10**6,
        b"\r\n" * 500_000,
        b"-" * 10**6,
        b"\r\n--BOUND " * 100_000,
        b"a: b\r\n" * 160_000,
        b"a" * 10**6,
        b"=" * 10**6,
        b"%" * 10**6,
        b"&" * 10**6,
        b"a=b&" * 250_000,
        b'Content-Disposition: form-data; name="' * 25_000,
    ],
)
def test_a_megabyte_of_junk_takes_no_time(junk: bytes) -> None:
    multipart = "multipart/form-data; boundary=BOUND"
    for body, kind in (
        (b"--BOUND\r\n" + junk, multipart),
        (part("a", junk, "f"), multipart),
        (junk, "application/x-www-form-urlencoded"),
    ):
        start = time.perf_counter()
        decoder = form_decoder(kind, Limits())
        assert decoder is not None
        try:
            for piece in cut(body, 65536):
                decoder.feed(piece)
        except HTTPException:
            pass
        assert time.perf_counter() - start < 5.0


@pytest.mark.asyncio
async def test_others_run_while_one_piece_takes_long(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr("genro_asgi.forms.monotonic", lambda: next(clock))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(others())
    async with make(body_of(part("f", b"x" * 500_000, "f")), 10**9).form():
        assert turns >= 7
    task.cancel()


@pytest.mark.parametrize("how", ["form", "stream", "data"])
@pytest.mark.asyncio
async def test_long_urlencoded_fields_are_undone_elsewhere(how: str, make: Any, load: Any) -> None:
    calls: list[str] = []

    class Files:
        async def run(self, function: Any, *args: Any) -> Any:
            calls.append(function.__name__)
            return function(*args)

    class Server:
        files = Files()

    body = b"&".join([b"a=" + b"%41" * 50_000, b"b=1", b"c=" + b"%42" * 50_000])
    request = make(body, 10_000_000, URLENCODED)
    request.run = Files().run
    if how == "form":
        form = dict(await request.form())
    elif how == "stream":
        form = {one.name: await one.text() async for one in request.form_stream()}
    else:
        form = (await load(body, headers=URLENCODED, server=Server())).data
    assert form == {"a": "A" * 50_000, "b": "1", "c": "B" * 50_000}
    assert set(calls) == ({"parse_urlencoded"} if how == "data" else {"feed", "finish"})
    # A chunk of its own, and no field that is long.
    calls.clear()
    await (await load(b"a=1", headers=URLENCODED, server=Server())).load_body()
    await load(b"x" * 100_000, headers=[("content-type", "text/plain")], server=Server())
    request = make(b"a=" + b"%41" * 50_000 + b"&b=1", 50_000, URLENCODED)
    request.run = Files().run
    assert len((await request.form())["a"]) == 50_000
    assert calls == ["feed", "feed"]


@pytest.mark.asyncio
async def test_an_upload_of_40_mb_leaves_the_loop_responsive() -> None:
    head, piece = part("f", b"", "f")[:-2], b"\r\nabc-" * 10_922
    chunks = [head, *[piece] * 640, b"\r\n--BOUND--"]
    position, longest, running = 0, 0.0, True

    async def receive() -> dict[str, Any]:
        nonlocal position
        position += 1
        await asyncio.sleep(0)
        return {"type": "http.request", "body": chunks[position - 1], "more_body": position < len(chunks)}

    async def watch() -> None:
        # Time of this thread: what the machine does besides is not the upload's doing.
        nonlocal longest
        before = time.thread_time()
        while running:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, before = max(longest, now - before), now

    watcher = asyncio.ensure_future(watch())
    scope = {"type": "http", "headers": [(name.encode(), value.encode()) for name, value in HEADERS]}
    async with Request(scope, receive).form() as form:
        assert form["f"].size == 640 * len(piece) > 40_000_000
    running = False
    await watcher
    assert longest < 0.02


# Without the library


@pytest.mark.asyncio
async def test_multipart_without_its_library_says_what_to_install(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_multipart.multipart", None)
    with pytest.raises(RuntimeError, match=r'run: pip install "genro-asgi-request\[forms\]"'):
        await make().form()
    assert dict(await make(b"a=1", headers=URLENCODED).form()) == {"a": "1"}
