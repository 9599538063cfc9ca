"""WSX calls at their edges: no credit at first, nobody to answer, handlers that leave by exits of their own."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient
from genro_asgi.testing.websocket import WebSocketSession


class Site(AsgiServer):
    """Handlers that write down how far they have come."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.diary: list[Any] = []

    @route()
    async def echo(self, body_data: Any) -> Any:
        return body_data

    @route()
    async def count(self, n: int) -> AsyncIterator[int]:
        try:
            for i in range(n):
                self.diary.append(i)
                yield i
        finally:
            self.diary.append("closed")

    @route()
    def sync_count(self, n: int) -> Iterator[int]:
        for i in range(n):
            self.diary.append(i)
            yield i

    @route()
    async def big(self) -> str:
        return "x" * 300_000

    @route()
    async def leave(self) -> None:
        raise SystemExit("secret")

    @route()
    async def leave_later(self) -> None:
        await asyncio.sleep(0)
        raise SystemExit("secret")

    @route()
    async def leave_midway(self) -> AsyncIterator[int]:
        yield 1
        raise SystemExit("secret")


@asynccontextmanager
async def connected(server: AsgiServer) -> AsyncIterator[WebSocketSession]:
    async with AsyncClient(server) as client, client.websocket("/", ["wsx.1"]) as socket:
        yield socket


async def say(socket: WebSocketSession, **fields: Any) -> None:
    await socket.send_text(json.dumps(fields))


async def hear(socket: WebSocketSession) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(await socket.receive_text())
    return answer


async def echoed(socket: WebSocketSession) -> None:
    await say(socket, id="e", method="POST", path="/echo", data=1)
    assert await hear(socket) == {"id": "e", "status": 200, "data": 1}


async def until(condition: Any) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to pass")


@pytest.mark.parametrize("path", ["/count", "/sync_count"])
@pytest.mark.asyncio
async def test_a_generator_does_not_begin_without_credit(path: str) -> None:
    server = Site()
    async with connected(server) as socket:
        await say(socket, id="1", method="GET", path=path, query={"n": 2}, credit=0)
        await echoed(socket)
        assert server.diary == []
        await say(socket, id="1", credit=9)
        answers = [await hear(socket) for _ in range(3)]
        assert [answer.get("data") for answer in answers] == [0, 1, None]


@pytest.mark.asyncio
async def test_a_call_without_credit_can_be_cancelled_before_it_begins() -> None:
    server = Site()
    async with connected(server) as socket:
        await say(socket, id="1", method="GET", path="/count", query={"n": 2}, credit=0)
        await say(socket, method="POST", path="/_wsx/cancel", data={"id": "1"})
        assert (await hear(socket))["status"] == 499
        await until(lambda: len(server.request_registry) == 0)
    assert server.diary == []


@pytest.mark.parametrize("more", [{}, {"credit": 0}, {"credit": 1}])
@pytest.mark.asyncio
async def test_an_event_runs_a_generator_to_its_end(more: dict[str, int]) -> None:
    server = Site()
    async with connected(server) as socket:
        await say(socket, method="POST", path="/count", query={"n": 40}, **more)
        await until(lambda: len(server.diary) == 41)
        await echoed(socket)
        await until(lambda: len(server.request_registry) == 0)
    assert server.diary == [*range(40), "closed"]


@pytest.mark.parametrize("path", ["/leave", "/leave_later", "/leave_midway"])
@pytest.mark.asyncio
async def test_a_handler_that_exits_takes_nothing_else_along(path: str) -> None:
    async with connected(Site()) as socket:
        await say(socket, id="1", method="GET", path=path)
        while (answer := await hear(socket)).get("stream"):
            pass
        assert (answer["id"], answer["status"], answer["data"]["code"]) == ("1", 500, "INTERNAL")
        assert "secret" not in json.dumps(answer)
        await echoed(socket)


@pytest.mark.asyncio
async def test_a_client_that_takes_nothing_is_given_up_where_the_server_does_not_say_that_it_is_gone() -> None:
    """hypercorn lets a send to a client that is gone wait until its application has read what that client sent."""
    server = Site(websocket={"heartbeat": 0.02})
    stuck = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if server.diary and not stuck.is_set():
            return {"type": "websocket.receive", "text": '{"id":"1","method":"GET","path":"/big"}'}
        server.diary.append("connected")
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        server.diary.append(message["type"])
        if message["type"] == "websocket.send":
            await stuck.wait()

    scope = {
        "type": "websocket", "path": "/", "raw_path": b"/", "root_path": "", "query_string": b"", "headers": [],
        "subprotocols": ["wsx.1"], "scheme": "ws", "http_version": "1.1", "extensions": {}, "asgi": {"version": "3.0"},
    }  # fmt: skip
    async with asyncio.timeout(10), AsyncClient(server):
        await server(scope, receive, send)
        assert server.diary == ["connected", "websocket.accept", "websocket.send"]
        assert (len(server.wsx), len(server.request_registry)) == (0, 0)
