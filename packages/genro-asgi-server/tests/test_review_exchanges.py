"""What a fresh look at the road found: readers that come late, cancelled work, methods at the root."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient


class Late(AsgiServer):
    @route()
    async def stream(self, body_stream: AsyncIterator[bytes]) -> int:
        await asyncio.sleep(0.3)  # long enough for the sweeper to look at it
        return sum([len(chunk) async for chunk in body_stream])

    @route()
    async def view(self, request: Any) -> int:
        await asyncio.sleep(0.3)
        return len(await request.request.body())

    @route()
    async def awaits_cancelled(self) -> str:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future
        return "never"

    @route()
    async def unregisters(self) -> str:
        self.request_registry.unregister()
        return "gone"


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/stream", "/view"])
async def test_a_get_whose_handler_reads_late_does_not_hang(path: str) -> None:
    async with AsyncClient(Late()) as client:
        assert (await client.get(path)).text == "0"


@pytest.mark.asyncio
async def test_a_stalled_stream_is_a_408() -> None:
    async def stalling() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.sleep(30)

    server = Late(limits={"body_timeout": 0.2, "handler_timeout": 20})
    async with AsyncClient(server, timeout=10) as client:
        assert (await client.post("/stream", content=stalling())).status_code == 408


@pytest.mark.asyncio
async def test_cancelled_work_of_the_handler_is_its_own_bug() -> None:
    async with AsyncClient(Late()) as client:
        answer = await client.get("/awaits_cancelled")
        assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")


@pytest.mark.asyncio
async def test_the_welcome_page_is_for_looking_only() -> None:
    async with AsyncClient(AsgiServer()) as client:
        assert (await client.get("/")).status_code == 200
        refused = await client.post("/")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        assert (await client.options("/")).status_code == 204


@pytest.mark.asyncio
async def test_a_handler_may_unregister_its_request() -> None:
    async with AsyncClient(Late()) as client:
        assert (await client.get("/unregisters")).text == "gone"
