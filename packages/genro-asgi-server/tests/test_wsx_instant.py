"""Handlers that cannot wait: they are answered without a task, and nobody can tell but by the time it takes."""

import asyncio
import functools
import json
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Any

import pytest

from genro_asgi.exceptions import HTTPException
from genro_asgi.request import MsgRequest, get_current_request
from genro_asgi.response import JSONResponse
from genro_asgi.routing import route
from genro_asgi.server.routes import never_waits
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient

left_behind: ContextVar[str] = ContextVar("left_behind", default="nothing")


async def plain(self: Any) -> int:
    return 1


async def makes_one(self: Any) -> Any:
    return plain(self)


async def waits(self: Any) -> int:
    return await plain(self)


async def loops(self: Any) -> list[Any]:
    return [item async for item in self]


async def enters(self: Any) -> None:
    async with self:
        pass


async def sends(self: Any) -> Any:
    yield 1


@functools.wraps(plain)
async def wrapped(self: Any) -> int:
    return await plain(self)


def ordinary(self: Any) -> int:
    return 1


@pytest.mark.parametrize(
    ("func", "never"),
    [
        (plain, True), (makes_one, True), (waits, False), (loops, False), (enters, False), (sends, False),
        (wrapped, False), (ordinary, False), (functools.partial(plain, None), False), (print, False),
    ],
)  # fmt: skip
def test_what_cannot_wait_is_told_by_its_code(func: Any, never: bool) -> None:
    assert never_waits(func) is never


class Twins(AsgiServer):
    """Each handler twice: as it is, and with something in it that waits, although only on paper."""

    ended: list[str]

    def answer(self, kind: str, request: MsgRequest) -> Any:
        match kind:
            case "value":
                return {"data": request.data, "current": get_current_request() is request}
            case "registered":
                return {"live": len(self.request_registry), "listed": request in self.request_registry.live}
            case "context":
                before = left_behind.get()
                left_behind.set("something")
                return before
            case "response":
                request.response.status_code = 201
                request.response.headers["x-a"] = "1"
                return [1]
            case "own":
                return JSONResponse({"a": 1}, 203)
            case "cleanup":
                left_behind.set("for the cleanup")
                request.add_cleanup(lambda: self.ended.append(left_behind.get()))
                return None
            case "teapot":
                raise HTTPException(418, "short and stout", code="TEAPOT")
            case "boom":
                raise RuntimeError("secret")
            case "misled":
                raise asyncio.CancelledError
            case "stopped":
                raise StopIteration(5)
        return object()  # nothing JSON has a form for

    @route()
    async def quick(self, kind: str, request: MsgRequest) -> Any:
        return self.answer(kind, request)

    @route()
    async def slow(self, kind: str, request: MsgRequest) -> Any:
        if kind == "never":
            await asyncio.sleep(0)
        return self.answer(kind, request)


KINDS = {
    "value": {"status": 200, "data": {"data": [1], "current": True}},
    "registered": {"status": 200, "data": {"live": 1, "listed": True}},
    "context": {"status": 200, "data": "nothing"},
    "response": {"status": 201, "data": [1], "headers": {"x-a": "1"}},
    "own": {"status": 203, "data": {"a": 1}},
    "cleanup": {"status": 200},
    "teapot": {"status": 418, "code": "TEAPOT"},
    "boom": {"status": 500, "code": "INTERNAL"},
    "misled": {"status": 500, "code": "INTERNAL"},
    "stopped": {"status": 500, "code": "INTERNAL"},
    "object": {"status": 500, "code": "INTERNAL"},
}


@pytest.mark.parametrize("name", ["quick", "slow"])
@pytest.mark.asyncio
async def test_the_answers_are_the_same(name: str) -> None:
    server = Twins()
    server.ended = []
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncClient(server, raise_app_exceptions=False))
        socket = await stack.enter_async_context(client.websocket("/", ["wsx.1"]))
        # Twice, so that what a call has left behind would be found by the next one.
        for kind, expected in [*KINDS.items(), *KINDS.items()]:
            fields = {"id": kind, "method": "POST", "path": f"/{name}", "query": {"kind": kind}, "data": [1]}
            await socket.send_text("WSX://" + json.dumps(fields))
            answer = json.loads((await socket.receive_text())[6:])
            assert answer.pop("id") == kind
            if "code" in expected:
                assert answer["data"]["code"] == expected["code"]
                assert "secret" not in str(answer)
                answer = {"status": answer["status"], "code": expected["code"]}
            assert answer == expected
            for _ in range(20):
                await asyncio.sleep(0)
            assert not server.request_registry.live
    endpoint = server.table.exact[f"/{name}"]
    assert endpoint.direct
    assert endpoint.instant is (name == "quick")
    assert server.ended == ["for the cleanup"] * 2
