"""What a handler says on `request.response` reaches the client, whatever kind of answer it returns."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genro_asgi.request import BaseRequest
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer

PIECES = ("one,", "two\n")


def say(request: BaseRequest) -> None:
    request.response.status_code = 203
    request.response.set_header("content-disposition", 'attachment; filename="rows.csv"')
    request.response.append_header("link", "</a>")
    request.response.append_header("link", "</b>")
    request.response.set_cookie("seen", "yes")


class Answers(AsgiServer):
    @route(media_type="text/csv")
    def stream(self, request: BaseRequest) -> Iterator[str]:
        say(request)
        return iter(PIECES)

    @route()
    def measured_stream(self, request: BaseRequest) -> Iterator[str]:
        say(request)
        request.response.set_header("content-length", "8")
        request.response.set_header("content-type", "text/plain")
        return iter(PIECES)

    @route(media_type="text/csv")
    def file(self, request: BaseRequest) -> Path:
        say(request)
        path: Path = self.base_dir / "rows.csv"
        return path

    @route(media_type="text/csv")
    def whole(self, request: BaseRequest) -> str:
        say(request)
        return "".join(PIECES)


def ask(server: AsgiServer, path: str) -> tuple[int, list[tuple[str, str]], bytes]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": path,
             "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
             "headers": [(b"host", b"test")], "server": ("test", 80), "client": ("test", 1)}  # fmt: skip

    async def conversation() -> None:
        await server(scope, receive, send)
        await server.close()

    asyncio.run(conversation())
    headers = [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsgiServer:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "rows.csv").write_text("".join(PIECES))
    return Answers(tmp_path)


@pytest.mark.parametrize(
    ("path", "content_type", "length"),
    [
        ("/stream", "text/csv; charset=utf-8", []),
        ("/measured_stream", "text/plain", ["8"]),
        ("/file", "text/csv; charset=utf-8", ["8"]),
        ("/whole", "text/csv; charset=utf-8", ["8"]),
    ],
)
def test_headers_of_the_handler(server: AsgiServer, path: str, content_type: str, length: list[str]) -> None:
    status, headers, body = ask(server, path)
    assert (status, body) == (203, b"one,two\n")

    def values(name: str) -> list[str]:
        return [value for key, value in headers if key == name]

    assert values("content-type") == [content_type]
    assert values("content-length") == length
    assert values("content-disposition") == ['attachment; filename="rows.csv"']
    assert values("link") == ["</a>", "</b>"]
    assert values("set-cookie") == ["seen=yes; Path=/; SameSite=lax"]
