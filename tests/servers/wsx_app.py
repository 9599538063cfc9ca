"""The site for the tests of WSX over real sockets; `python wsx_app.py PORT [options]` serves it with run()."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from genro_asgi import AsgiServer, route


class Site(AsgiServer):
    """Streams, slow calls, and a diary of what has ended."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.ended: list[str] = []
        self.yielded = 0

    @route()
    async def echo(self, body_data: Any) -> Any:
        return body_data

    @route()
    def sync(self, n: int) -> int:
        return n + 1

    @route()
    async def boom(self) -> None:
        raise RuntimeError("secret")

    @route()
    async def count(self, n: int) -> AsyncIterator[int]:
        for i in range(n):
            yield i

    @route()
    async def ticks(self) -> AsyncIterator[int]:
        """An item now and then, for ever."""
        try:
            n = 0
            while True:
                yield n
                n += 1
                await asyncio.sleep(0.01)
        finally:
            self.ended.append("ticks")

    @route()
    async def flood(self, size: int, n: int) -> AsyncIterator[str]:
        """As much as is taken."""
        self.yielded = 0
        for _ in range(n):
            self.yielded += 1
            yield "x" * size

    @route()
    async def wait(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append("wait")

    @route()
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([n async for n in numbers])

    @route(subscribe=True)
    async def news(self) -> None:
        return None

    @route()
    async def tell(self, body_data: Any) -> int:
        return await self.publish("/news", body_data)

    @route()
    async def broadcast(self, size: int) -> int:
        return await self.wsx.broadcast("x" * size)

    @route()
    async def diary(self) -> dict[str, Any]:
        live = len(self.request_registry) - 1
        return {"ended": self.ended, "live": live, "yielded": self.yielded, "sockets": len(self.wsx)}

    @route(websocket=True)
    async def raw(self, websocket: Any) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text(await websocket.receive_text())
        finally:
            self.ended.append("raw")


def create(**options: Any) -> Site:
    """The site; options are those of the server."""
    return Site(**options)


if __name__ == "__main__":
    create(**json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}")).run(port=int(sys.argv[1]), access_log=False)
