"""The site that is asked in every way: `python every_way_app.py`; it prints its URL."""

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from genro_asgi import (
    AsgiServer,
    BaseRequest,
    HTTPException,
    HTTPNotFound,
    HTTPTooManyRequests,
    HTTPUnauthorized,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
    route,
)
from genro_asgi.background import BackgroundTask
from genro_asgi.executors import report

EVENTS: list[str] = []


class Colour(Enum):
    """A choice of names."""

    RED = "red"


@dataclass
class Point:
    """A value with fields."""

    x: int
    y: int


class Order(BaseModel):
    """What a client sends."""

    quantity: int = Field(ge=1)
    price: Decimal


VALUES: dict[str, Any] = {
    "dict": {"a": [1, None, True], "b": {"c": "è"}},
    "list": [1, "two", None],
    "empty": {},
    "text": "plain",
    "int": 42,
    "float": 1.5,
    "bool": True,
    "none": None,
    "bytes": b"\x00\xff",
    "decimal": {"price": Decimal("10.50")},
    "date": {"day": date(2025, 1, 31)},
    "datetime": {"at": datetime(2025, 1, 31, 10, 30, tzinfo=UTC)},
    "time": {"hour": time(10, 30)},
    "uuid": {"id": uuid.UUID(int=7)},
    "enum": {"colour": Colour.RED},
    "set": {"set": {1}},
    "tuple": {"pair": (1, 2)},
    "dataclass": Point(1, 2),
    "model": Order(quantity=2, price=Decimal("1.10")),
    "marked": {"text": "12::N"},
}


class Broken(Exception):
    """What the application's error_map makes a 409 of."""


def climb(steps: int) -> int:
    for step in range(steps):
        report(step / steps, f"step {step}")
    return steps


class EveryWay(AsgiServer):
    """One handler for each thing a call may ask, refuse or go wrong with."""

    error_map = {Broken: 409}  # noqa: RUF012

    @route()
    async def value(self, kind: str) -> Any:
        return VALUES[kind]

    @route(methods="GET")
    def threaded(self, n: int) -> dict[str, int]:
        return {"double": 2 * n}

    @route(methods="GET", inline=True)
    def inline(self, n: int = 1) -> dict[str, int]:
        return {"double": 2 * n}

    @route(methods="GET")
    async def typed(self, n: int, flag: bool = False, day: date | None = None, size: Literal["s", "l"] = "s") -> Any:
        return [n, flag, None if day is None else day.isoformat(), size]

    @route(methods="GET")
    async def segments(self, first: str, second: int = 0) -> Any:
        return [first, second]

    @route(methods="GET")
    async def many(self, n: list[int]) -> Any:
        return n

    @route(methods="POST")
    async def fields(self, a: int, b: str = "b") -> Any:
        return [a, b]

    @route(methods="POST")
    async def order(self, order: Order) -> Any:
        return {"total": order.quantity * order.price}

    @route(methods="POST", max_body=2000)
    async def whole(self, body_data: Any) -> Any:
        return body_data

    @route(methods="GET")
    async def told(self, request: BaseRequest) -> Any:
        """What the request says of itself."""
        return {
            "method": request.method,
            "path": request.path,
            "query": dict(request.query),
            "cookie": request.cookies.get("taste"),
            "header": request.headers.get("x-kind"),
        }

    @route(methods="GET")
    async def dressed(self, request: BaseRequest) -> Any:
        request.response.status_code = 201
        request.response.set_header("x-kind", "made")
        request.response.set_cookie("seen", "1", max_age=60)
        return {"made": True}

    @route(methods="GET")
    async def response(self) -> Response:
        return JSONResponse({"own": True}, status_code=202, headers={"x-kind": "own"})

    @route(methods="GET")
    async def baked(self, request: BaseRequest) -> Any:
        """Cookies that are set and taken back, beside what is returned."""
        request.response.set_cookie("first", "1")
        request.response.set_cookie("second", "a b;c", path="/baked", samesite="strict")
        request.response.set_cookie("third", "3")
        request.response.delete_cookie("third")
        return {"baked": True}

    @route(methods="GET")
    async def baked_in(self) -> Any:
        """Cookies of the answer itself."""
        answer = JSONResponse({"own": True})
        answer.set_cookie("fourth", "4", httponly=True)
        return answer

    @route(methods="GET")
    async def moved(self) -> Response:
        return RedirectResponse("/value/dict", status_code=303)

    @route(methods="GET")
    async def too_many(self) -> None:
        raise HTTPTooManyRequests("Not so fast.", headers={"retry-after": "7"}, retry=True)

    @route(methods="GET")
    async def who_are_you(self) -> None:
        raise HTTPUnauthorized("Say who you are.", headers={"www-authenticate": "Bearer"})

    @route(methods="GET")
    async def left_to_do(self, request: BaseRequest, how: str) -> Any:
        """What is to be done afterwards, whatever becomes of the call."""
        request.add_cleanup(lambda: EVENTS.append("cleaned first"))
        request.add_cleanup(self.clean)
        request.add_onerr(lambda error: EVENTS.append(f"undone for {type(error).__name__}"))
        if how == "fail":
            raise HTTPException(409, "It was taken.")
        if how == "crash":
            raise RuntimeError("the secret of the house")
        if how == "wait":
            EVENTS.append("waiting")
            await asyncio.sleep(30)
        if how == "stream":
            return StreamingResponse(self.pieces(), media_type="application/x-ndjson", background=self.later())
        return JSONResponse("done", background=self.later())

    async def clean(self) -> None:
        await asyncio.sleep(0)
        EVENTS.append("cleaned last")

    def later(self) -> BackgroundTask:
        return BackgroundTask(lambda: EVENTS.append("background"))

    async def pieces(self) -> AsyncIterator[str]:
        yield "1\n"
        EVENTS.append("streamed")

    @route(methods="DELETE")
    async def nothing(self, request: BaseRequest) -> None:
        request.response.status_code = 204

    @route(methods="GET")
    async def refuse(self, status: int, code: str | None = None) -> None:
        raise HTTPException(status, "No, thank you.", code=code, retry=status == 503)

    @route(methods="GET")
    async def missing(self) -> None:
        raise HTTPNotFound("There is no such thing.", details=[{"parameter": "thing"}])

    @route(methods="GET")
    async def crash(self) -> None:
        raise RuntimeError("the secret of the house")

    @route(methods="GET")
    def crash_in_a_thread(self) -> None:
        raise KeyError("the secret of the house")

    @route(methods="GET")
    async def mapped(self) -> None:
        raise Broken("It is broken.")

    @route(methods="GET")
    async def forbidden(self) -> None:
        raise PermissionError("Not you.")

    @route(methods="GET", auth_rule="admin")
    async def admins(self, request: BaseRequest) -> Any:
        return [(request.auth or {}).get("identity"), sorted(request.auth_tags)]

    @route(methods="GET", auth_rule="admin|reader")
    async def readers(self) -> str:
        return "read"

    @route(methods="GET", auth_rule="*")
    async def anybody(self) -> str:
        return "somebody"

    @route(methods="GET")
    async def whoever(self, request: BaseRequest) -> Any:
        return (request.auth or {}).get("identity")

    @route(methods="GET")
    async def wait(self, seconds: float = 30) -> str:
        EVENTS.append("waiting")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            EVENTS.append("cancelled")
            raise
        return "waited"

    @route(methods="GET", timeout=0.2)
    async def hasty(self) -> str:
        await asyncio.sleep(30)
        return "never"

    @route(methods="GET", media_type="application/x-ndjson")
    async def lines(self, n: int, fail_at: int = -1) -> AsyncIterator[str]:
        try:
            for item in range(n):
                if item == fail_at:
                    raise HTTPException(409, "No more of these.")
                yield json.dumps({"n": item}) + "\n"
        finally:
            EVENTS.append("lines closed")

    @route(methods="GET", media_type="application/x-ndjson")
    def lines_of_a_thread(self, n: int) -> Iterator[str]:
        for item in range(n):
            yield json.dumps({"n": item}) + "\n"

    @route(methods="GET", media_type="application/x-ndjson")
    async def endless(self) -> AsyncIterator[str]:
        EVENTS.append("waiting")
        try:
            yield "{}\n"
            await asyncio.sleep(30)
        finally:
            EVENTS.append("cancelled")

    @route(methods="GET")
    async def climb(self, steps: int) -> Any:
        return self.executor("climbers", kind="thread", max_workers=2).run(climb, steps)

    @route(methods="GET")
    async def events(self) -> list[str]:
        """What has happened since this was asked last."""
        seen = list(EVENTS)
        EVENTS.clear()
        return seen


if __name__ == "__main__":
    users = {"bearer": {"ada": {"token": "tok-ada", "tags": "admin"}, "bob": {"token": "tok-bob", "tags": "reader"}}}
    # Nobody reads what it prints, and a full pipe would stop it.
    silent = {"level": "critical"}
    server = EveryWay(server_dir=Path(__file__).parent, port=0, auth=users, logging=silent)
    # The log of accesses is a hook: with it no call may take a short cut.
    server.run(access_log="--hooks" in sys.argv)
