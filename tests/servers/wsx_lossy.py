"""The site whose connections are cut: it counts what it has run; `python wsx_lossy.py` prints its URL."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from genro_asgi import AsgiServer, MsgRequest, route

RAN: Counter[str] = Counter()


class Lossy(AsgiServer):
    """Slow calls, streams, a topic, and what has run."""

    @route(methods="POST")
    async def slow(self, name: str, seconds: float) -> str:
        RAN[name] += 1
        await asyncio.sleep(seconds)
        return name

    @route(methods="GET")
    async def count(self, n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number

    @route(methods="POST")
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @route(subscribe=True)
    async def news(self) -> None:
        return None

    @route(methods="POST")
    async def tell(self, body_data: Any) -> int:
        return await self.publish("/news", body_data)

    @route(methods="GET")
    async def ran(self) -> dict[str, int]:
        return dict(RAN)

    @route(methods="GET")
    async def live(self, request: MsgRequest) -> int:
        """The calls that run, this one among them."""
        return len(self.request_registry)


if __name__ == "__main__":
    Lossy(limits=json.loads(os.environ.get("LOSSY_LIMITS", "{}")), port=0).run()
