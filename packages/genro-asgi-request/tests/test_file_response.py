"""Files as answers: whole, conditional, in ranges, and what can go wrong with them."""

import errno
import os
import threading
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

import genro_asgi.file_reading as file_reading
from genro_asgi.background import BackgroundTask
from genro_asgi.exceptions import ClientDisconnect
from genro_asgi.response import FileResponse

CONTENT = bytes(range(256)) * 4
STAMP = 1_700_000_000
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
ETAG = f'"{STAMP * 10**9:x}-400"'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(CONTENT)
    os.utime(path, (STAMP, STAMP))
    return path


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(3 * 1024 * 1024 + 17))
    return path


@pytest.fixture(params=["cached", "cold", "no-nowait", "half"])
def cache(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The page cache as it may be: everything there, nothing, nobody can tell, or half of what is asked."""
    real = getattr(os, "preadv", None)
    if request.param in ("cached", "half") and (real is None or file_reading._NOWAIT is None):
        pytest.skip("only Linux can tell what is cached")

    def cold(*args: Any) -> int:
        raise BlockingIOError(errno.EAGAIN, "would block")

    def half(descriptor: int, buffers: list[Any], offset: int, flags: int) -> int:
        view = memoryview(buffers[0])
        return real(descriptor, [view[: max(1, len(view) // 2)]], offset, flags)  # type: ignore[misc]

    if request.param == "no-nowait":
        monkeypatch.setattr(file_reading, "_NOWAIT", None)
    elif request.param != "cached":
        monkeypatch.setattr(file_reading, "_NOWAIT", 1)
        monkeypatch.setattr(os, "preadv", {"cold": cold, "half": half}[request.param], raising=False)
    return str(request.param)


@pytest.mark.asyncio
async def test_a_whole_file(file: Path, exchange: Any, cache: str) -> None:
    done = await exchange().run(FileResponse(file))
    assert done.status == 200
    assert done.headers == {
        "content-type": "application/octet-stream",
        "accept-ranges": "bytes",
        "content-length": "1024",
        "last-modified": DATE,
        "etag": ETAG,
    }
    assert done.body == CONTENT


@pytest.mark.asyncio
async def test_a_file_of_many_pieces(big: Path, exchange: Any, cache: str) -> None:
    done = await exchange().run(FileResponse(big))
    assert done.body == big.read_bytes()
    assert len(done.sent) > 3


@pytest.mark.asyncio
async def test_cached_files_need_no_thread(big: Path, exchange: Any) -> None:
    if file_reading._NOWAIT is None:
        pytest.skip("only Linux can tell what is cached")
    content = big.read_bytes()
    descriptor = os.open(big, os.O_RDONLY)
    try:
        if file_reading.read_cached(descriptor, 10, 0) is None:
            pytest.skip("this file system cannot tell what is cached")
    finally:
        os.close(descriptor)

    async def run(*args: Any) -> Any:
        raise AssertionError("a thread was asked for")

    here = exchange()
    await FileResponse(big).respond(here.scope, here.send, run)
    assert here.body == content


@pytest.mark.asyncio
async def test_cold_pages_are_read_by_the_runner(file: Path, exchange: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_reading, "_NOWAIT", None)
    calls: list[Any] = []

    async def run(function: Callable[..., Any], *args: Any) -> Any:
        calls.append(function)
        return function(*args)

    here = exchange()
    await FileResponse(file).respond(here.scope, here.send, run)
    assert here.body == CONTENT
    assert calls == [os.pread]


def test_each_thread_has_a_buffer_of_its_own(file: Path) -> None:
    if file_reading._NOWAIT is None:
        pytest.skip("only Linux can tell what is cached")
    buffers: list[int] = []

    def read() -> None:
        descriptor, _ = file_reading.open_file(file)
        file_reading.read_cached(descriptor, 100, 0)
        os.close(descriptor)
        buffers.append(id(file_reading._scratch.buffer))

    read()
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert buffers[0] != buffers[1]


@pytest.mark.asyncio
async def test_an_empty_file(tmp_path: Path, exchange: Any, cache: str) -> None:
    (tmp_path / "empty.txt").touch()
    done = await exchange().run(FileResponse(tmp_path / "empty.txt"))
    assert (done.status, done.headers["content-length"], done.body) == (200, "0", b"")


@pytest.mark.asyncio
@pytest.mark.parametrize(("headers", "status", "length"), [([], 200, "3145745"), ([("range", "bytes=0-1")], 206, "2")])
async def test_head_has_the_headers_and_no_body(
    big: Path, exchange: Any, headers: list[tuple[str, str]], status: int, length: str
) -> None:
    done = await exchange("HEAD", headers=headers).run(FileResponse(big))
    assert (done.status, done.headers["content-length"]) == (status, length)
    assert [message["type"] for message in done.sent] == ["http.response.start", "http.response.body"]
    assert done.body == b""


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.png", "image/png"),
        ("a.unknownext", "application/octet-stream"),
        ("a", "application/octet-stream"),
        ("a.tar.gz", "application/gzip"),
        ("a.txt.bz2", "application/x-bzip2"),
        ("a.txt.xz", "application/x-xz"),
    ],
)
def test_the_media_type_of_a_name(name: str, media_type: str) -> None:
    assert FileResponse(name).headers["content-type"] == media_type
    assert FileResponse("x.bin", filename=name).headers["content-type"] == media_type
    assert FileResponse(name.encode(), media_type="a/b").headers["content-type"] == "a/b"  # type: ignore[arg-type]


def test_an_unknown_encoding_is_just_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mimetypes.guess_type", lambda name: ("text/plain", "new"))
    assert FileResponse("a.txt.new").headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("filename", "kind", "value"),
    [
        ("example.png", "attachment", 'attachment; filename="example.png"'),
        ("hello.txt", "inline", 'inline; filename="hello.txt"'),
        ("你好.txt", "attachment", "attachment; filename*=utf-8''%E4%BD%A0%E5%A5%BD.txt"),
        ('a"; filename="b.exe', "attachment", "attachment; filename*=utf-8''a%22%3B%20filename%3D%22b.exe"),
        ("a\r\nb", "attachment", "attachment; filename*=utf-8''a%0D%0Ab"),
        ("\udcff.txt", "attachment", "attachment; filename*=utf-8''%3F.txt"),
    ],
)
def test_content_disposition(filename: str, kind: str, value: str) -> None:
    response = FileResponse("a.txt", filename=filename, content_disposition_type=kind)
    assert response.headers["content-disposition"] == value


def test_headers_of_the_handler_stay() -> None:
    headers = {"accept-ranges": "none", "content-disposition": "inline", "etag": '"mine"', "last-modified": DATE}
    response = FileResponse("a.txt", headers=headers, filename="b.txt", stat_result=os.stat(__file__))
    assert {name: response.headers[name] for name in headers} == headers
    assert response.headers.getlist("content-length") == [str(os.stat(__file__).st_size)]


@pytest.mark.asyncio
async def test_a_stat_result_fills_the_headers_early_and_the_file_decides(file: Path, exchange: Any) -> None:
    response = FileResponse(file, stat_result=file.stat(), headers={"content-length": "1"})
    assert response.headers["etag"] == ETAG
    file.write_bytes(b"short")
    done = await exchange().run(response)
    assert (done.headers["content-length"], done.body) == ("5", b"short")


@pytest.mark.asyncio
async def test_one_response_may_answer_twice(file: Path, exchange: Any) -> None:
    response = FileResponse(file)
    first = await exchange().run(response)
    file.write_bytes(b"new")
    second = await exchange().run(response)
    assert (first.body, second.body) == (CONTENT, b"new")
    assert first.headers["etag"] != second.headers["etag"]


@pytest.mark.asyncio
async def test_background_runs_after_the_file(file: Path, exchange: Any) -> None:
    seen: list[str] = []
    await exchange().run(FileResponse(file, background=BackgroundTask(seen.append, "done")))
    assert seen == ["done"]


# Conditional requests


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-none-match": ETAG}, 304),
        ({"if-none-match": f"W/{ETAG}"}, 304),
        ({"if-none-match": f'"a,b", {ETAG}'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"other"'}, 200),
        ({"if-none-match": ETAG[:-1]}, 200),
        ({"if-none-match": ""}, 200),
        ({"if-none-match": '"other"', "if-modified-since": DATE}, 200),
        ({"if-modified-since": DATE}, 304),
        ({"if-modified-since": "Wed, 15 Nov 2023 22:13:20 GMT"}, 304),
        ({"if-modified-since": "Tuesday, 14-Nov-23 22:13:20 GMT"}, 304),
        ({"if-modified-since": "Tue, 14 Nov 2023 22:13:19 GMT"}, 200),
        ({"if-modified-since": "yesterday"}, 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "get", "head"])
@pytest.mark.asyncio
async def test_conditional_requests(
    method: str, headers: dict[str, str], status: int, file: Path, exchange: Any
) -> None:
    done = await exchange(method, headers=headers.items()).run(FileResponse(file, headers={"vary": "x", "x-a": "1"}))
    assert done.status == status
    if status == 304:
        assert done.headers == {"vary": "x", "last-modified": DATE, "etag": ETAG}
        assert done.body == b""
    else:
        assert done.body == (CONTENT if method.upper() == "GET" else b"")


@pytest.mark.parametrize(("method", "status"), [("POST", 200), ("GET", 404)])
@pytest.mark.asyncio
async def test_only_the_plain_answer_to_get_is_conditional(method: str, status: int, file: Path, exchange: Any) -> None:
    here = exchange(method, headers=[("if-none-match", "*"), ("range", "bytes=0-1")])
    done = await here.run(FileResponse(file, status))
    assert (done.status, done.body) == (status, CONTENT)


# Ranges


@pytest.mark.asyncio
async def test_a_range(file: Path, exchange: Any, cache: str) -> None:
    done = await exchange(headers=[("range", "bytes=5-20")]).run(FileResponse(file))
    assert done.status == 206
    assert done.headers["content-range"] == "bytes 5-20/1024"
    assert done.headers["content-length"] == "16"
    assert done.body == CONTENT[5:21]


@pytest.mark.parametrize(
    ("if_range", "status"),
    [(ETAG, 206), (DATE, 206), (f"W/{ETAG}", 200), ('"old"', 200), ("Wed, 15 Nov 2023 22:13:20 GMT", 200)],
)
@pytest.mark.asyncio
async def test_if_range(if_range: str, status: int, file: Path, exchange: Any) -> None:
    done = await exchange(headers=[("range", "bytes=0-1"), ("if-range", if_range)]).run(FileResponse(file))
    assert (done.status, done.body) == (status, CONTENT[:2] if status == 206 else CONTENT)


@pytest.mark.asyncio
async def test_a_weak_tag_is_no_reason_for_a_range(file: Path, exchange: Any) -> None:
    here = exchange(headers=[("range", "bytes=0-1"), ("if-range", 'W/"x"')])
    assert (await here.run(FileResponse(file, headers={"etag": 'W/"x"'}))).status == 200


@pytest.mark.asyncio
async def test_many_ranges(file: Path, exchange: Any, cache: str) -> None:
    done = await exchange(headers=[("range", "bytes=-4,0-1,100-199")]).run(FileResponse(file, media_type="a/b"))
    assert done.status == 206
    assert int(done.headers["content-length"]) == len(done.body)
    assert [name for name, _ in done.raw_headers].count(b"content-type") == 1
    message = message_from_bytes(b"Content-Type: " + done.headers["content-type"].encode() + b"\r\n\r\n" + done.body)
    assert message.get_content_type() == "multipart/byteranges"
    parts: Any = message.get_payload()
    assert [(part["content-type"], part["content-range"]) for part in parts] == [
        ("a/b", "bytes 0-1/1024"),
        ("a/b", "bytes 100-199/1024"),
        ("a/b", "bytes 1020-1023/1024"),
    ]
    boundary = done.headers["content-type"].partition("boundary=")[2].encode()
    pieces = [piece.partition(b"\r\n\r\n")[2] for piece in done.body.split(b"--" + boundary)[1:-1]]
    assert pieces == [CONTENT[:2] + b"\r\n", CONTENT[100:200] + b"\r\n", CONTENT[-4:] + b"\r\n"]


@pytest.mark.asyncio
async def test_a_range_nobody_has(file: Path, exchange: Any) -> None:
    done = await exchange(headers=[("range", "bytes=5000-")]).run(FileResponse(file))
    assert (done.status, done.headers["content-range"]) == (416, "bytes */1024")
    # A server that runs `respond` itself makes its own answer of the exception.
    assert done.headers["content-type"] == "text/plain; charset=utf-8"
    assert done.body == b"No part of the requested range lies in the file."


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("bytes", b"Malformed range header."),
        ("bytes=x", b"Range header: range must be requested"),
        ("bytes=9-8", b"Range header: start must be less than end"),
    ],
)
@pytest.mark.asyncio
async def test_a_malformed_range(header: str, text: bytes, file: Path, exchange: Any) -> None:
    done = await exchange(headers=[("range", header)]).run(FileResponse(file))
    assert (done.status, done.body) == (400, text)


@pytest.mark.parametrize("header", ["items=0-1", "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 1000, 2))])
@pytest.mark.asyncio
async def test_ranges_that_are_ignored(header: str, file: Path, exchange: Any) -> None:
    done = await exchange(headers=[("range", header)]).run(FileResponse(file))
    assert (done.status, done.body) == (200, CONTENT)


@pytest.mark.asyncio
async def test_headers_may_be_lists(file: Path, exchange: Any) -> None:
    here = exchange()
    here.scope["headers"] = [[b"range", b"bytes=0-1"]]
    assert (await here.run(FileResponse(file))).body == CONTENT[:2]


# Servers that send the file themselves


@pytest.mark.parametrize(
    ("method", "headers", "types"),
    [
        ("GET", [], ["http.response.start", "http.response.pathsend"]),
        ("HEAD", [], ["http.response.start", "http.response.body"]),
        ("GET", [("range", "bytes=0-1")], ["http.response.start", "http.response.body"]),
        ("GET", [("if-none-match", "*")], ["http.response.start", "http.response.body"]),
    ],
)
@pytest.mark.asyncio
async def test_pathsend(
    method: str, headers: Any, types: list[str], file: Path, exchange: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    here = exchange(method, headers=headers, extensions={"http.response.pathsend": {}})
    await here.run(FileResponse(file.name))
    assert [message["type"] for message in here.sent] == types
    if types[-1].endswith("pathsend"):
        assert here.sent[1] == {"type": "http.response.pathsend", "path": str(file)}
        assert here.headers["content-length"] == "1024"


@pytest.mark.asyncio
async def test_extensions_may_be_none(file: Path, exchange: Any) -> None:
    assert (await exchange(extensions=None).run(FileResponse(file))).body == CONTENT


@pytest.mark.asyncio
async def test_a_handshake_is_answered_with_a_file(file: Path, exchange: Any) -> None:
    here = exchange(type="websocket", extensions={"http.response.pathsend": {}})
    del here.scope["method"]
    done = await here.run(FileResponse(file))
    assert {message["type"] for message in done.sent} == {
        "websocket.http.response.start",
        "websocket.http.response.body",
    }
    assert done.body == CONTENT


# What can go wrong


@pytest.mark.parametrize("kind", [FileNotFoundError, RuntimeError])
@pytest.mark.asyncio
async def test_a_missing_file_is_told_before_anything_is_sent(
    kind: type[Exception], tmp_path: Path, exchange: Any
) -> None:
    here = exchange()
    response = FileResponse(tmp_path / "404")
    with pytest.raises(kind, match="The file does not exist") as caught:
        await here.run(response)
    assert (here.sent, response.started) == ([], False)
    assert isinstance(caught.value, OSError)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, tmp_path / "404")


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
@pytest.mark.asyncio
async def test_a_directory_is_no_file(kind: type[Exception], tmp_path: Path, exchange: Any) -> None:
    with pytest.raises(kind, match="is not a file that can be sent"):
        await exchange().run(FileResponse(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.asyncio
async def test_a_fifo_neither_blocks_nor_is_sent(tmp_path: Path, exchange: Any) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="is not a file that can be sent"):
        await exchange().run(FileResponse(tmp_path / "fifo"))


@pytest.mark.asyncio
async def test_a_file_that_becomes_shorter_is_not_passed_off_as_whole(big: Path, exchange: Any) -> None:
    def cut(message: dict[str, Any]) -> None:
        os.truncate(big, 200_000)

    here = exchange(on_send=cut)
    with pytest.raises(RuntimeError, match="The file was cut at byte 200000 while it was sent"):
        await here.run(FileResponse(big))
    assert here.sent[-1]["more_body"] is True


@pytest.mark.asyncio
async def test_a_client_that_leaves_stops_the_file(big: Path, exchange: Any) -> None:
    here = exchange()
    here.on_send = lambda message: here.leave()
    await here.run(FileResponse(big))
    assert len(here.sent) < 10


@pytest.mark.parametrize("when", [0, 1])
@pytest.mark.asyncio
async def test_a_send_that_fails_is_a_client_that_left(
    when: int, big: Path, exchange: Any, open_files: Callable[[], set[str]]
) -> None:
    error = OSError("gone")

    def fail(message: dict[str, Any]) -> None:
        if len(here.sent) == when:
            raise error

    here = exchange(on_send=fail, asgi={"spec_version": "2.4"})
    with pytest.raises(ClientDisconnect, match="The client left before the answer was complete"):
        await FileResponse(big).respond(here.scope, here.send)
    # Alone it lets through what the server said.
    here = exchange(on_send=fail, asgi={"spec_version": "2.4"})
    with pytest.raises(OSError, match="gone") as caught:
        await here.run(FileResponse(big))
    assert (caught.value, caught.value.__context__) == (error, None)
    assert str(big) not in open_files()


@pytest.fixture
def open_files() -> Callable[[], set[str]]:
    """The paths this process has open."""

    def listing() -> set[str]:
        if not os.path.isdir("/proc/self/fd"):
            pytest.skip("needs /proc")
        return {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}

    return listing
