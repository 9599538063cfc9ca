"""Servers that say as little as ASGI lets them, clients that leave at any moment, sends that fail."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from genro_asgi.request import BaseRequest
from genro_asgi.response import FileResponse, SseResponse, StreamingResponse
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer

FILE = Path(__file__)


class Site(AsgiServer):
    """A handler of each kind; `ended` has the names of those whose `finally` ran."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[str] = []
        self.started = asyncio.Event()

    @route()
    async def plain(self, request: BaseRequest) -> dict[str, Any]:
        return {"path": request.path, "n": len(request.body)}

    @route()
    def threaded(self, word: str = "none") -> str:
        return word

    @route()
    async def echo(self, body_raw: bytes) -> bytes:
        return body_raw

    @route()
    async def chunks(self, body_stream: AsyncIterator[bytes]) -> dict[str, int]:
        return {"n": sum([len(chunk) async for chunk in body_stream])}

    @route()
    async def stream(self) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                for _ in range(5):
                    yield b"piece"
            finally:
                self.ended.append("stream")

        return StreamingResponse(pieces())

    @route()
    async def lines(self) -> StreamingResponse:
        def pieces() -> Iterator[str]:
            try:
                yield "a"
                yield "b"
            finally:
                self.ended.append("lines")

        return StreamingResponse(pieces())

    @route()
    async def events(self) -> SseResponse:
        async def ticks() -> AsyncIterator[str]:
            try:
                yield "one"
                yield "two"
            finally:
                self.ended.append("events")

        return SseResponse(ticks(), keepalive_seconds=None)

    @route()
    async def file(self) -> FileResponse:
        return FileResponse(FILE)

    @route()
    async def wait(self) -> str:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append("wait")
        return "never"


@pytest.fixture
def site() -> Site:
    return Site()


class Wire:
    """A server that does only what it must; after `messages` the client is there (or has left) for ever."""

    def __init__(self, *messages: dict[str, Any], then: str = "silence", failing_at: int | None = None) -> None:
        self.messages = list(messages)
        self.then = then
        self.failing_at = failing_at
        self.sent: list[dict[str, Any]] = []
        self.asked = 0
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        if self.messages:
            return self.messages.pop(0)
        if self.then == "silence":
            await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if self.failing_at is not None and len(self.sent) >= self.failing_at:
            raise OSError("the peer has gone")
        self.sent.append(message)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])


def scope(path: str, method: str = "GET", headers: Any = (), **extra: Any) -> dict[str, Any]:
    """No more than the specification demands."""
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "query_string": b"", "headers": headers, **extra,
    }  # fmt: skip


EMPTY = {"type": "http.request"}
PATHS = ["/plain", "/threaded", "/echo", "/chunks", "/stream", "/lines", "/events", "/file"]


@pytest.mark.asyncio
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("headers", [(), [], [[b"host", b"h"], [b"accept", b"*/*"]], ((b"host", b"h"),)])
async def test_a_scope_without_optional_keys_and_headers_of_any_kind(site: Site, path: str, headers: Any) -> None:
    wire = Wire(EMPTY)
    await asyncio.wait_for(site(scope(path, headers=headers), wire.receive, wire.send), 10)
    assert wire.status == 200
    assert wire.sent[-1].get("more_body", False) is False
    assert all(type(name) is bytes and type(value) is bytes for name, value in wire.sent[0]["headers"])


@pytest.mark.asyncio
@pytest.mark.parametrize("extra", [{"extensions": None}, {"client": None}, {"server": None}, {"root_path": ""},
                                   {"state": {}}, {"scheme": "https"}, {"raw_path": None}])  # fmt: skip
async def test_optional_keys_that_say_nothing(site: Site, extra: dict[str, Any]) -> None:
    wire = Wire(EMPTY)
    given = scope("/plain", **extra)
    before = {key: value for key, value in given.items() if key != "state"}
    await asyncio.wait_for(site(given, wire.receive, wire.send), 10)
    assert wire.status == 200
    assert {key: given[key] for key in before} == before


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("messages", "body"),
    [
        ([{"type": "http.request", "body": b"ab", "more_body": True}, EMPTY], b"ab"),
        ([{"type": "http.request", "more_body": True}, {"type": "http.request", "body": b"ab"}], b"ab"),
        ([{"type": "http.request", "body": None, "more_body": None}], b""),
        (
            [{"type": "http.request", "body": b"", "more_body": True}] * 50 + [{"type": "http.request", "body": b"x"}],
            b"x",
        ),
        ([EMPTY], b""),
    ],
)
@pytest.mark.parametrize("path", ["/echo", "/chunks", "/plain"])
async def test_chunks_may_be_empty_and_keys_may_miss(site: Site, path: str, messages: Any, body: bytes) -> None:
    wire = Wire(*messages)
    await asyncio.wait_for(site(scope(path, "POST", [(b"transfer-encoding", b"chunked")]), wire.receive, wire.send), 10)
    assert wire.status == 200
    if path == "/echo":
        assert wire.body == body
    else:
        assert b'"n":%d' % len(body) in wire.body


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/echo", "/chunks", "/plain"])
@pytest.mark.parametrize("messages", [[], [{"type": "http.request", "body": b"half", "more_body": True}]])
async def test_a_client_that_leaves_before_its_body_is_whole_gets_nothing(
    site: Site, path: str, messages: list[Any]
) -> None:
    wire = Wire(*messages, then="disconnect")
    await asyncio.wait_for(site(scope(path, "POST", [(b"content-length", b"10")]), wire.receive, wire.send), 10)
    assert not any(message.get("status", 500) < 400 for message in wire.sent)
    assert len(site.request_registry) == 0


@pytest.mark.asyncio
async def test_a_client_that_leaves_while_the_handler_works_cancels_it(site: Site) -> None:
    wire = Wire(EMPTY)
    task = asyncio.ensure_future(site(scope("/wait"), wire.receive, wire.send))
    await asyncio.wait_for(site.started.wait(), 10)
    wire.gone.set()
    await asyncio.wait_for(task, 10)
    assert site.ended == ["wait"]
    assert len(site.request_registry) == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("failing_at", range(4))
async def test_a_send_that_fails_ends_the_exchange_and_closes_its_source(
    site: Site, path: str, failing_at: int
) -> None:
    wire = Wire(EMPTY, failing_at=failing_at)
    await asyncio.wait_for(
        site(scope(path, asgi={"version": "3.0", "spec_version": "2.4"}), wire.receive, wire.send), 10
    )
    assert len(wire.sent) <= failing_at or wire.sent[-1].get("more_body", False) is False
    assert len(site.request_registry) == 0
    # A generator that was never begun has nothing to finish.
    if failing_at and path.lstrip("/") in ("stream", "lines", "events"):
        assert site.ended == [path.lstrip("/")]


@pytest.mark.asyncio
@pytest.mark.parametrize("path", PATHS)
async def test_a_disconnect_may_come_again_and_after_the_end(site: Site, path: str) -> None:
    wire = Wire(EMPTY, then="disconnect")
    await asyncio.wait_for(site(scope(path), wire.receive, wire.send), 10)
    assert [message["type"] for message in wire.sent].count("http.response.start") <= 1
    assert len(site.request_registry) == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["foo", "http2", ""])
async def test_scopes_of_unknown_types_are_told(site: Site, kind: str) -> None:
    wire = Wire()
    with pytest.raises(RuntimeError, match="is unknown"):
        await site({"type": kind, "asgi": {"version": "3.0"}}, wire.receive, wire.send)
    assert wire.sent == []
