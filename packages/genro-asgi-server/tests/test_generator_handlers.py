"""Handlers that are async generators: their pieces, their failures, the clients that leave."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from genro_asgi.exceptions import HTTPNotFound
from genro_asgi.middleware.base import Middleware
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.sse import SseEvent
from genro_asgi.testing import AsyncClient, LifespanManager, make_scope
from genro_asgi.types import Message


class Pieces(AsgiServer):
    closed = 0

    @route()
    async def mixed(self) -> AsyncIterator[Any]:
        yield "gr\u00fc"
        yield b"\xc3\x9f"
        yield bytearray(b"e")
        yield 7

    @route(media_type="text/csv")
    async def table(self) -> AsyncIterator[str]:
        yield "a,b\n"

    @route()
    async def nothing(self) -> AsyncIterator[bytes]:
        for piece in ():
            yield piece

    @route()
    async def endless(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            self.closed += 1

    @route()
    async def disk_fails(self, after: int = 0) -> AsyncIterator[bytes]:
        for _ in range(after):
            yield b"x"
        raise OSError("disk")

    @route(media_type="text/event-stream")
    async def events(self) -> AsyncIterator[str]:
        self.closed = 1
        yield "data: 1\n\n"

    @route()
    async def refused(self) -> AsyncIterator[bytes]:
        raise HTTPNotFound
        yield b"never"

    @route()
    def refused_sync(self) -> Iterator[bytes]:
        raise HTTPNotFound
        yield b"never"

    @route()
    def rows(self) -> Iterator[bytes]:
        try:
            yield b"1"
            yield b"2"
        finally:
            self.closed += 1

    @route()
    async def created(self, request: Any) -> AsyncIterator[bytes]:
        request.response.status_code = 201
        request.response.set_header("x-mark", "1")
        yield b"made"


async def exchange(server: AsgiServer, path: str, method: str = "GET", break_after: int = 1 << 30) -> list[Message]:
    """The messages of one exchange; the server's `send` raises OSError once `break_after` of them came."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if len(sent) >= break_after:
            raise OSError("gone")
        sent.append(message)

    async with LifespanManager(server):
        await server(make_scope(method, path), receive, send)
        assert not server.request_registry.live
    return sent


def body_of(messages: list[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in messages[1:])


@pytest.mark.asyncio
async def test_the_first_piece_goes_out_at_once_and_the_others_as_they_come() -> None:
    start, *bodies = await exchange(Pieces(), "/mixed")
    assert start["headers"] == [(b"content-type", b"application/octet-stream")]
    assert [message["body"] for message in bodies] == ["gr\u00fc".encode(), b"\xc3\x9fe7", b""]
    assert [message.get("more_body", False) for message in bodies] == [True, True, False]
    assert {type(message["body"]) for message in bodies} == {bytes}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "body", "content_type"),
    [("/table", b"a,b\n", b"text/csv; charset=utf-8"), ("/nothing", b"", b"application/octet-stream")],
)
async def test_media_type_and_empty_streams(path: str, body: bytes, content_type: bytes) -> None:
    messages = await exchange(Pieces(), path)
    assert (dict(messages[0]["headers"])[b"content-type"], body_of(messages)) == (content_type, body)


@pytest.mark.asyncio
async def test_what_the_handler_set_on_its_response_counts() -> None:
    messages = await exchange(Pieces(), "/created")
    assert (messages[0]["status"], dict(messages[0]["headers"])[b"x-mark"]) == (201, b"1")
    assert body_of(messages) == b"made"


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/refused", "/refused_sync"])
async def test_what_a_generator_raises_before_its_first_piece_is_the_answer(path: str, method: str) -> None:
    messages = await exchange(Pieces(), path, method)
    assert messages[0]["status"] == 404


@pytest.mark.asyncio
@pytest.mark.parametrize("break_after", [0, 1, 2, 5])
async def test_a_client_that_leaves_closes_the_generator(break_after: int) -> None:
    server = Pieces()
    assert len(await exchange(server, "/endless", break_after=break_after)) == break_after
    assert server.closed == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("middleware", [{}, {"logging": True}])
async def test_an_event_stream_begins_before_its_first_event(middleware: dict[str, Any]) -> None:
    server = Pieces(middleware=middleware)
    await exchange(server, "/events", break_after=0)
    assert server.closed == 0
    assert body_of(await exchange(server, "/events")) == b"data: 1\n\n"


@pytest.mark.asyncio
@pytest.mark.parametrize("break_after", [1, 2, 99])
async def test_a_sync_generator_is_closed_once(break_after: int) -> None:
    server = Pieces()
    messages = await exchange(server, "/rows", break_after=break_after)
    assert body_of(messages) == (b"12" if break_after == 99 else b"1"[: break_after - 1])
    assert server.closed == 1


@pytest.mark.asyncio
async def test_a_head_request_gets_no_body() -> None:
    messages = await exchange(Pieces(), "/table", "HEAD")
    assert [message.get("body") for message in messages] == [None, b""]


@pytest.mark.asyncio
async def test_a_failure_midway_breaks_the_answer_off() -> None:
    with pytest.raises(OSError, match="disk"):
        await exchange(Pieces(), "/disk_fails/3")


@pytest.mark.asyncio
async def test_a_failure_before_the_first_piece_is_a_500() -> None:
    messages = await exchange(Pieces(), "/disk_fails")
    assert messages[0]["status"] == 500
    assert b"disk" not in body_of(messages)


@pytest.mark.asyncio
async def test_a_hook_may_answer_with_a_generator() -> None:
    class Early(Middleware):
        name = "early"

        def before(self, request: Any) -> Any:
            return (piece for piece in ("ear", "ly"))

    server = Pieces()
    server._set_middleware([*server.middleware, Early(server)])
    assert body_of(await exchange(server, "/table")) == b"early"


class Events(AsgiServer):
    closed = 0

    @route(media_type="text/event-stream")
    async def all_kinds(self) -> AsyncIterator[Any]:
        yield "data: written out\n\n"
        yield b": bytes\n\n"
        yield SseEvent({"a": 1}, event="e")
        yield {"b": [2]}

    @route(media_type="text/event-stream; charset=utf-8")
    def from_a_thread(self) -> Iterator[Any]:
        yield SseEvent("x")

    @route(media_type="text/event-stream")
    async def endless(self) -> AsyncIterator[Any]:
        try:
            yield {"first": True}
            await asyncio.Event().wait()
        finally:
            Events.closed += 1


@pytest.mark.asyncio
@pytest.mark.parametrize("middleware", [{}, {"cors": True}])
async def test_what_an_event_stream_yields_becomes_events(middleware: dict[str, Any]) -> None:
    async with AsyncClient(Events(middleware=middleware)) as client:
        answer = await client.get("/all_kinds")
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.text == 'data: written out\n\n: bytes\n\nevent: e\ndata: {"a":1}\n\ndata: {"b":[2]}\n\n'
        assert (await client.get("/from_a_thread")).text == "data: x\n\n"


@pytest.mark.asyncio
@pytest.mark.parametrize("middleware", [{}, {"cors": True}])
async def test_a_server_that_drains_ends_event_streams_at_once(middleware: dict[str, Any]) -> None:
    Events.closed = 0
    server = Events(middleware=middleware, timeout_graceful=60)
    async with AsyncClient(server) as client:
        async with client.stream("GET", "/endless") as answer:
            chunks = aiter(answer)
            assert await anext(chunks) == b'data: {"first":true}\n\n'
            draining = asyncio.ensure_future(server.drain())
            assert [chunk async for chunk in chunks if chunk] == []
        await asyncio.wait_for(draining, 5)
        assert (Events.closed, len(server.request_registry)) == (1, 0)
