"""The site whose connections are cut, and that calls itself; `python wsx_lossy.py` prints its URL."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from genro_asgi import AsgiServer, BaseRequest, MsgRequest, route
from genro_asgi.wsx.client import connect
from genro_asgi.wsx.sync_client import connect as connect_blocking

RAN: Counter[str] = Counter()
LATER: list[Any] = []


class Lossy(AsgiServer):
    """Slow calls, streams, a topic, and what has run."""

    def authenticate(self, scope: Any) -> Any:
        """`Until <moment> <name>`: credentials that say when they end."""
        found = next((value for name, value in scope["headers"] if name == b"authorization"), None)
        if found is None:
            return None
        _, moment, name = found.decode().split()
        return {"identity": name, "tags": [], "exp": float(moment)}

    @route(methods="GET", auth_rule="*")
    async def me(self, request: BaseRequest) -> Any:
        assert request.auth is not None
        return request.auth["identity"]

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
    async def budget(self, request: BaseRequest) -> Any:
        """The timeout its caller has set."""
        return request.message.fields.get("timeout") if isinstance(request, MsgRequest) else None

    @route(methods="GET")
    async def relay(self, timeout: float | None = None) -> list[Any]:  # noqa: ASYNC109 (it is that of the call)
        """What a call is given that is made here, and a stream."""
        assert self.url is not None
        async with connect(self.url) as wsx:
            stream = wsx.stream("/budget", timeout=timeout)
            return [await wsx.get("/budget", timeout=timeout), await anext(stream)]

    @route(methods="GET")
    def relay_from_a_thread(self) -> Any:
        assert self.url is not None
        with connect_blocking(self.url) as wsx:
            return wsx.get("/budget")

    @route(methods="GET", timeout=5)
    async def hurry(self) -> list[Any]:
        return await self.relay()

    @route(methods="POST")
    async def later(self) -> None:
        """Have the call made when this one is over."""
        self.spawn(self._after())

    async def _after(self) -> None:
        while len(self.request_registry):
            await asyncio.sleep(0.01)
        assert self.url is not None
        async with connect(self.url) as wsx:
            LATER.append(await wsx.get("/budget"))

    @route(methods="GET")
    async def found_later(self) -> list[Any]:
        return LATER

    @route(methods="GET")
    async def ran(self) -> dict[str, int]:
        return dict(RAN)

    @route(methods="GET")
    async def live(self, request: MsgRequest) -> int:
        """The calls that run, this one among them."""
        return len(self.request_registry)


if __name__ == "__main__":
    Lossy(limits=json.loads(os.environ.get("LOSSY_LIMITS", "{}")), port=0).run()
