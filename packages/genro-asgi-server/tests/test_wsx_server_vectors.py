"""The published vectors of servers, run against a whole one: its handshakes, sessions, topics and its end."""

import asyncio
import json
import runpy
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from genro_asgi.exceptions import HTTPForbidden
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient
from genro_asgi.testing.scope import make_scope
from genro_asgi.wsx.parsing import parse_message

VECTORS = Path(__file__).parents[2] / "genro-asgi-wsx" / "vectors"
CASES = [
    case for case in json.loads((VECTORS / "connections.json").read_text(encoding="utf-8")) if case["role"] == "server"
]
MATCHING = runpy.run_path(str(VECTORS / "matching.py"))
Steps: Any = MATCHING["Steps"]
TOKENS = {"ann": "token-of-ann", "bob": "token-of-bob"}


class Site(AsgiServer):
    """What vectors/README.md says that servers offer."""

    def __init__(self) -> None:
        super().__init__(auth={"bearer": {name: {"token": token, "tags": ""} for name, token in TOKENS.items()}})
        self.worked = 0

    @route(methods="POST")
    async def echo(self, body_data: Any = None) -> Any:
        return body_data

    @route(methods="POST")
    async def work(self, ms: int = 0) -> int:
        self.worked += 1
        times = self.worked
        if ms:
            await asyncio.sleep(ms / 1000)
        return times

    @route(methods="GET")
    async def wait(self) -> None:
        await asyncio.Event().wait()

    @route(methods="GET")
    async def refuse(self) -> None:
        raise HTTPForbidden("You may not.")

    @route(methods="GET")
    async def count(self, n: int) -> AsyncIterator[int]:
        for item in range(n):
            yield item

    @route(methods="POST")
    async def sum(self, chunks: AsyncIterator[int]) -> int:
        return sum([chunk async for chunk in chunks])

    @route(methods="GET", auth_rule="*")
    async def me(self, request: Any) -> Any:
        return request.auth["identity"]

    @route(methods="GET")
    async def trace(self, request: Any) -> dict[str, Any]:
        place = request.trace
        names = ("trace_id", "parent_id", "flags", "state")
        return {name: getattr(place, name, None) for name in names} | {"baggage": request.baggage}

    @route(subscribe=True)
    async def news(self) -> None:
        return None

    @route(subscribe=True)
    async def prices(self, *of: str) -> None:
        return None

    @route(subscribe="latest")
    async def latest(self) -> None:
        return None

    @route(subscribe="close")
    async def strict(self) -> None:
        return None

    @route(subscribe=True, presence=True)
    async def room(self) -> None:
        return None


class Socket:
    """The client's end of one connection."""

    def __init__(self, server: AsgiServer, identity: str | None) -> None:
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.closed: int | None = None
        headers = {"authorization": f"Bearer {TOKENS[identity]}"} if identity else {}
        scope = make_scope(type="websocket", headers=headers, subprotocols=["wsx.1"])
        self.inbox.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.ensure_future(server(scope, self.inbox.get, self.take))

    async def take(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            self.sent.append(dict(parse_message(message["text"]).fields))
        elif message["type"] == "websocket.close":
            code: int = message.get("code", 1000)
            self.closed = code
            self.end(code)

    def say(self, text: str) -> None:
        self.inbox.put_nowait({"type": "websocket.receive", "text": text})

    def end(self, code: int) -> None:
        self.inbox.put_nowait({"type": "websocket.disconnect", "code": code, "reason": ""})


class Play(Steps):
    """A server, and what is done to it."""

    def __init__(self, server: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(MATCHING["Names"](TOKENS))
        self.server = server
        self.drained: Any = None
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)

    def connect(self, step: dict[str, Any]) -> None:
        self.socket = self.sockets[step["connect"]] = Socket(self.server, step.get("as"))

    def expect_close(self, step: dict[str, Any]) -> None:
        assert self.socket.closed == step["closed"]

    def publish(self, step: dict[str, Any]) -> None:
        self.server.publish(step["publish"], step["data"])

    def drain(self, step: dict[str, Any]) -> None:
        self.drained = asyncio.ensure_future(self.server.drain(step["drain"] / 1000))

    ACTIONS: ClassVar[dict[str, Callable[[Any, dict[str, Any]], None]]] = {
        **Steps.ACTIONS,
        "connect": connect,
        "closed": expect_close,
        "publish": publish,
        "drain": drain,
    }

    async def end(self) -> None:
        for socket in self.sockets.values():
            if socket.closed is None:
                socket.end(1000)
        await asyncio.gather(*(socket.task for socket in self.sockets.values()))
        if self.drained is not None:
            await self.drained


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.asyncio
async def test_vector(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    server = Site()
    async with AsyncClient(server):
        play = Play(server, monkeypatch)
        try:
            await play.play(case["steps"])
        finally:
            monkeypatch.undo()  # the end of the server takes its time
            await play.end()
