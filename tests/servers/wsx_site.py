"""The site that the JavaScript client of WSX is tried on: `python wsx_site.py`; it prints its URL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from time import time as unix_time
from typing import Any

from genro_asgi import (
    AsgiServer,
    BaseRequest,
    FileResponse,
    HTMLResponse,
    HTTPException,
    HTTPForbidden,
    MsgRequest,
    Response,
    route,
)
from genro_asgi.types import Scope
from genro_asgi.wsx.tytx import TypeTable

CHECKS = Path(__file__).parents[1] / "js"
EVENTS: list[str] = []


TYPES = TypeTable()


@TYPES.register_class
class Point:
    """Two numbers, written `x,y`."""

    __tytx_suffix__ = "PT"

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def to_tytx(self) -> str:
        """Its literal."""
        return f"{self.x},{self.y}"

    @classmethod
    def from_tytx(cls, text: str) -> "Point":
        """The point of a literal; ValueError for what is none."""
        x, y = text.split(",")
        return cls(int(x), int(y))


class WsxSite(AsgiServer):
    """Handlers for every kind of call."""

    def authenticate(self, scope: Scope) -> Any:
        """The users it was given, and Ada for a moment."""
        headers = dict(scope["headers"])
        if headers.get(b"authorization", b"").startswith(b"Bearer short-"):
            return {"identity": "ada", "tags": [], "exp": unix_time() + 0.3}
        return super().authenticate(scope)

    @route(methods="GET")
    async def index(self) -> Response:
        return HTMLResponse("<!doctype html><html lang=en><title>checks</title><link rel=icon href=data:>")

    @route(methods="GET")
    async def js(self, name: str) -> Response:
        return FileResponse(CHECKS / Path(name).name, media_type="text/javascript")

    @route(methods="POST,PUT,PATCH,DELETE,GET")
    async def echo(self, body_data: Any = None) -> Any:
        return body_data

    @route(methods="GET,DELETE")
    async def query(self, request: BaseRequest) -> dict[str, Any]:
        return {"method": request.method, "query": dict(request.query)}

    @route(methods="GET")
    async def trace(self, request: BaseRequest) -> list[Any]:
        trace = request.trace
        return [trace and trace.trace_id, trace and trace.parent_id, request.baggage]

    @route(types=TYPES)
    async def move(self, at: Point, by: int = 1) -> Any:
        return {"from": at, "to": Point(at.x + by, at.y), "text": "1,2::PT"}

    @route(types=TYPES)
    async def path(self, points: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for point in points:
            yield Point(point.x, -point.y) if isinstance(point, Point) else point

    @route(methods="GET")
    async def typed(self) -> dict[str, Any]:
        return {
            "price": Decimal("9.90"),
            "day": date(2025, 1, 15),
            "at": datetime(2025, 1, 15, 10, 30, 45, 123456),
            "midnight": datetime(2025, 1, 15),
            "hour": time(10, 30),
            "zero": time(),
            "big": 2**80,
            "id": 2**53 + 1,
            "bytes": b"hi",
            "text": "12::D",
        }

    @route(methods="POST")
    async def names(self, body_data: Any) -> Any:
        """The Python type of each value, and the value as text."""
        return {name: [type(value).__name__, str(value)] for name, value in body_data.items()}

    @route(methods="POST")
    async def order(self, quantity: int, price: Decimal, day: date) -> dict[str, Any]:
        return {"total": quantity * price, "due": day + timedelta(days=30)}

    @route(methods="GET")
    async def reply(self, request: BaseRequest) -> dict[str, bool]:
        request.response.status_code = 201
        request.response.set_header("x-kind", "made")
        request.response.set_cookie("seen", "1", max_age=60)
        return {"made": True}

    @route(methods="GET")
    async def refuse(self) -> None:
        raise HTTPForbidden("You may not.", details=[{"parameter": "you"}])

    @route(methods="GET")
    async def crash(self) -> None:
        raise RuntimeError("the secret of the house")

    @route(methods="GET")
    async def flaky(self) -> int:
        """Refuse twice, without having done anything."""
        EVENTS.append("flaky")
        if EVENTS.count("flaky") % 3:
            raise HTTPException(503, "Later.", code="OVERLOADED", retry=True)
        return EVENTS.count("flaky")

    @route(methods="GET")
    async def wait(self, seconds: float = 30) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            EVENTS.append("wait-cancelled")
            raise
        return "waited"

    @route(methods="POST")
    async def work(self, seconds: float = 0) -> str:
        EVENTS.append("work")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            EVENTS.append("cancelled")
            raise
        EVENTS.append("done")
        return "done"

    @route(methods="GET")
    async def count(self, n: int, fail_at: int = -1, seconds: float = 0) -> AsyncIterator[int]:
        try:
            for item in range(n):
                if item == fail_at:
                    raise RuntimeError("the secret of the house")
                if seconds:
                    await asyncio.sleep(seconds)
                EVENTS.append(f"count-{item}")
                yield item
        finally:
            EVENTS.append("count-closed")

    @route(methods="POST")
    async def total(self, items: AsyncIterator[Any]) -> Any:
        total = Decimal(0)
        async for item in items:
            total += item
        return total

    @route(methods="POST")
    async def first(self, items: AsyncIterator[Any]) -> Any:
        """The first item; nobody waits for the others."""
        return await anext(items)

    @route(methods="POST")
    async def double(self, items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in items:
            yield 2 * item

    @route(methods="GET")
    async def events(self) -> list[str]:
        return list(EVENTS)

    @route(methods="POST")
    async def forget(self) -> None:
        EVENTS.clear()

    @route(subscribe=True)
    async def prices(self, symbol: str) -> None:
        if symbol == "secret":
            raise HTTPForbidden("Not this one.")

    @route(subscribe=True, presence=True)
    async def room(self, request: MsgRequest, name: str, who: str = "somebody") -> None:
        request.present_as = who

    @route(methods="POST")
    async def say(self, topic: str, value: Any) -> int:
        return await self.publish(topic, value)

    @route(methods="POST")
    async def broadcast(self, value: Any) -> int:
        return await self.wsx.broadcast(value)

    @route(methods="GET")
    async def me(self, request: BaseRequest) -> Any:
        return (request.auth or {}).get("identity")

    @route(methods="POST")
    async def drop(self) -> None:
        """Close every connection the hard way."""
        for info in list(self.wsx):
            asyncio.get_running_loop().create_task(info.websocket.close(1011))


if __name__ == "__main__":
    users = {"bearer": {"ada": {"token": "tok-ada", "tags": "admin"}, "bob": {"token": "tok-bob", "tags": ""}}}
    # Pages that came by way of cuttable.py connect here as well.
    WsxSite(server_dir=Path(__file__).parent, port=0, auth=users, websocket={"origins": ["*"]}).run()
