"""The registry of WSX connections on its own, and with sockets that others have listed."""

import asyncio
import json
from typing import Any
from unittest.mock import AsyncMock

import pytest

from genro_asgi.limits import Limits
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.server.wsx_registry import WsxConnectionInfo, WsxRegistry
from genro_asgi.testing import AsyncClient
from genro_asgi.websocket import WebSocket


class Socket:
    """Takes texts while `open` is set."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.open = asyncio.Event()
        self.broken = False

    async def send_text(self, text: str) -> None:
        await self.open.wait()
        if self.broken:
            raise OSError("gone")
        self.texts.append(text)


@pytest.mark.asyncio
async def test_sockets_are_found_and_sent_to() -> None:
    registry, ann, bob = WsxRegistry(), AsyncMock(), AsyncMock()
    info = registry.register("1", ann, {"type": "websocket", "client": ["10.0.0.1", 5]}, {"identity": "ann"})
    registry.register("2", bob, {"type": "websocket"}, None)
    assert isinstance(info, WsxConnectionInfo)
    assert (info.identity, info.client) == ("ann", ("10.0.0.1", 5))
    assert registry.find_by_identity("ann") == [info]
    assert await registry.broadcast({"n": 1}) == 2
    assert await registry.send_to("ann", "hi") == 1
    assert await registry.broadcast(2, exclude="1") == 1
    texts = [call.args[0] for call in ann.send_text.await_args_list]
    assert texts == [
        'WSX://{"id":"_broadcast","status":200,"data":{"n":1}}',
        'WSX://{"id":"_directed","status":200,"data":"hi"}',
    ]
    assert bob.send_text.await_count == 2
    assert registry.unregister("1") is info
    assert (len(registry), registry.find_by_identity("ann"), registry.unregister("1")) == (1, [], None)


@pytest.mark.asyncio
async def test_an_id_that_is_registered_again_belongs_to_the_new_one() -> None:
    registry = WsxRegistry()
    registry.register("1", AsyncMock(), {}, {"identity": "ann"})
    info = registry.register("1", AsyncMock(), {}, {"identity": "bob"})
    assert (registry.find_by_identity("ann"), registry.find_by_identity("bob")) == ([], [info])
    assert len(registry) == 1


@pytest.mark.asyncio
async def test_a_slow_socket_delays_nobody_and_takes_no_more_than_the_limit() -> None:
    registry, slow, quick = WsxRegistry(), Socket(), Socket()
    quick.open.set()
    registry.register("slow", slow, {})  # type: ignore[arg-type]
    registry.register("quick", quick, {})  # type: ignore[arg-type]
    took = [await registry.broadcast("x" * (Limits().ws_queue // 4)) for _ in range(6)]
    assert took == [2, 2, 2, 1, 1, 1]
    assert (len(quick.texts), slow.texts) == (6, [])
    slow.open.set()
    while len(slow.texts) < 3:
        await asyncio.sleep(0)
    assert await registry.broadcast(1) == 2


@pytest.mark.asyncio
async def test_a_socket_that_is_gone_takes_nothing() -> None:
    registry, gone = WsxRegistry(), Socket()
    gone.broken = True
    gone.open.set()
    registry.register("1", gone, {})  # type: ignore[arg-type]
    assert [await registry.broadcast(n) for n in range(2)] == [1, 0]


class Site(AsgiServer):
    """A raw socket that is listed beside those of WSX."""

    @route(websocket=True)
    async def raw(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.wsx.register("raw", websocket, websocket.scope)
        try:
            await websocket.receive_text()
        finally:
            self.wsx.unregister("raw")


@pytest.mark.asyncio
async def test_a_raw_socket_hears_what_is_broadcast() -> None:
    server = Site()
    async with AsyncClient(server) as client, client.websocket("/raw") as raw, client.websocket("/", ["wsx.1"]) as wsx:
        while len(server.wsx) < 2:
            await asyncio.sleep(0)
        assert await server.wsx.broadcast([1]) == 2
        heard: list[Any] = [json.loads((await socket.receive_text())[6:]) for socket in (raw, wsx)]
        assert heard == [{"id": "_broadcast", "status": 200, "data": [1]}] * 2
        await raw.send_text("bye")
