"""Whatever a client writes into its headers, it gets an answer, and readers get values."""

import os
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from genro_asgi.exceptions import HTTPException
from genro_asgi.limits import Limits
from genro_asgi.request import Request
from genro_asgi.response import FileResponse, error_response

ANY = st.binary(max_size=60)
NAMES = st.sampled_from(
    [
        b"accept", b"accept-encoding", b"content-length", b"content-type", b"cookie", b"host", b"if-match",
        b"if-modified-since", b"if-none-match", b"if-range", b"range", b"x-forwarded-for",
    ]
)  # fmt: skip
LIKELY = st.sampled_from(
    [
        b"bytes=0-3", b"bytes=-1", b"bytes=5-,0-0", b"bytes=9-1", b'"x"', b'W/"x"', b"*", b'"', b"a=1; b=2",
        b"[::1]:80", b"Sat, 01 Jan 2000 00:00:00 GMT", b"Sun, 06 Nov 9999 08:49:37 GMT",
        b"Thu, 99 Foo 0000 99:99:99 GMT", b"-1",
        b"multipart/form-data; boundary=x", b"application/json; charset=zip", b"a@b", b"\xff\x00", b"",
    ]
)  # fmt: skip
HEADERS = st.lists(st.tuples(NAMES, st.one_of(ANY, LIKELY)), max_size=6)


async def here(function: Any, *args: Any) -> Any:
    """What is not in the page cache is read on the spot."""
    return function(*args)


def run(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run what waits for nobody, without the price of an event loop for each example."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("any") / "file.txt"
    path.write_bytes(b"0123456789")
    os.utime(path, (946_684_800, 946_684_800))
    return path


@settings(
    derandomize=True, deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(HEADERS, st.sampled_from(["GET", "HEAD"]))
def test_a_file_is_answered_whatever_is_asked(file: Path, headers: list[tuple[bytes, bytes]], method: str) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def answer() -> None:
        scope = {"type": "http", "method": method, "headers": headers}
        try:
            await FileResponse(file).respond(scope, send, here)
        except HTTPException as refusal:
            await error_response(refusal).respond(scope, send)

    run(answer())
    status, body = sent[0]["status"], b"".join(message["body"] for message in sent[1:])
    lengths = [int(value) for name, value in sent[0]["headers"] if name == b"content-length"]
    assert status in (200, 206, 304, 400, 416)
    assert sent[-1].get("more_body", False) is False
    assert body == b"" if method == "HEAD" or status == 304 else lengths == [len(body)]
    if status == 200 and method == "GET":
        assert body == b"0123456789"


@settings(derandomize=True, deadline=None, max_examples=300)
@given(HEADERS, ANY, st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_request_is_read_whatever_was_sent(headers: list[tuple[bytes, bytes]], query: bytes, path: str) -> None:
    request = Request(
        {"type": "http", "method": "POST", "path": path, "query_string": query, "headers": headers, "server": ("h", 80)}
    )
    assert isinstance(str(request.url), str)
    assert request.url.hostname is not None
    assert all(isinstance(value, str) for value in request.cookies.values())
    assert all(isinstance(value, str) for _, value in request.query_params.multi_items())
    assert len(request.headers.raw) == len(headers)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"a=1"}

    with suppress(HTTPException):
        run(Request(dict(request), receive)._read_form(Limits()))
