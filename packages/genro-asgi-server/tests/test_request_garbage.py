"""Requests that end badly leave nothing to the garbage collector: their bodies may be large."""

import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest
from genro_routes import route

from genro_asgi.exceptions import HTTPException
from genro_asgi.request import BaseRequest
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient

pytestmark = pytest.mark.asyncio


class Mark:
    """What a handler holds."""


class Site(AsgiServer):
    marks: list[Any]

    def marked(self) -> Mark:
        mark = Mark()
        self.marks.append(weakref.ref(mark))
        return mark

    @route()
    async def well(self) -> str:
        mark = self.marked()
        return type(mark).__name__

    @route()
    async def crash(self) -> str:
        mark = self.marked()
        raise ValueError(mark)

    @route()
    async def refuse(self, request: BaseRequest) -> str:
        mark = self.marked()
        request.add_cleanup(lambda: None)
        raise HTTPException(418, str(mark))

    @route()
    async def late(self) -> str:
        mark = self.marked()
        await asyncio.sleep(0)
        raise PermissionError(str(mark))


@pytest.mark.parametrize(("path", "status"), [("/well", 200), ("/late", 403), ("/crash", 500), ("/refuse", 418)])
async def test_nothing_is_left(path: str, status: int) -> None:
    server = Site()
    async with AsyncClient(server) as client:
        for collects in (True, False):
            server.marks = []
            logging.disable(logging.CRITICAL)
            if not collects:
                gc.disable()
            try:
                assert (await client.get(path)).status_code == status
                left = [mark for mark in server.marks if mark() is not None]
            finally:
                gc.enable()
                logging.disable(logging.NOTSET)
            gc.collect()
    assert (len(server.marks), left) == (1, [])


@pytest.mark.parametrize("path", ["/well", "/crash", "/refuse", "/late"])
async def test_nothing_is_left_of_a_message(path: str) -> None:
    server = Site()
    async with AsyncClient(server) as client, client.websocket("/") as socket:
        for collects in (True, False):
            server.marks = []
            logging.disable(logging.CRITICAL)
            if not collects:
                gc.disable()
            try:
                await socket.send_text(f'WSX://{{"id": "1", "method": "GET", "path": "{path}"}}')
                await socket.receive_text()
                for _ in range(20):
                    await asyncio.sleep(0)
                left = [mark for mark in server.marks if mark() is not None]
            finally:
                gc.enable()
                logging.disable(logging.NOTSET)
            gc.collect()
        assert (len(server.marks), left) == (1, [])
