"""The published vectors of clients, run against the Python one on sockets made of nothing, with a clock by hand."""

import asyncio
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("websockets")

from websockets.exceptions import ConnectionClosedError

from genro_asgi.wsx.client import Client
from genro_asgi.wsx.parsing import parse_message

VECTORS = Path(__file__).parent.parent / "vectors"
CASES = [
    case for case in json.loads((VECTORS / "connections.json").read_text(encoding="utf-8")) if case["role"] == "client"
]
Names: Any = runpy.run_path(str(VECTORS / "matching.py"))["Names"]


class Socket:
    """The client's end of a connection, and what the server does with the other."""

    def __init__(self) -> None:
        self.close_code: int | None = None
        self.sent: list[dict[str, Any]] = []
        self.inbox: asyncio.Queue[str | None] = asyncio.Queue()

    async def send(self, frame: str) -> None:
        if self.close_code is not None:
            raise ConnectionClosedError(None, None)
        self.sent.append(dict(parse_message(frame).fields))

    async def recv(self) -> str:
        frame = await self.inbox.get()
        if frame is None:
            raise ConnectionClosedError(None, None)
        return frame

    async def close(self) -> None:
        self.end(1000)

    def end(self, code: int) -> None:
        if self.close_code is None:
            self.close_code = code
            self.inbox.put_nowait(None)


async def settle() -> None:
    """Let everything that waits for nothing but its turn go on."""
    for _ in range(50):
        await asyncio.sleep(0)


class Play:
    """A client, its connections by name, and a clock that is turned by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names = Names()
        self.sockets: dict[str, Socket] = {}
        self.socket: Any = None
        self.calls: dict[str, Any] = {}
        self.items: dict[str, list[Any]] = {}
        self.wanted: asyncio.Queue[Socket] = asyncio.Queue()
        self.client = Client("ws://nowhere", first_delay=0.0, max_delay=0.0)
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: self.now)
        monkeypatch.setattr("genro_asgi.wsx.client.dial", lambda url, options: self.wanted.get())
        self.opening = asyncio.ensure_future(self.client.open())

    async def run(self, step: dict[str, Any]) -> None:
        if "on" in step:
            self.socket = self.sockets[step["on"]]
        action = next(action for name, action in self.ACTIONS.items() if name in step)
        action(self, step)
        await settle()

    def connect(self, step: dict[str, Any]) -> None:
        self.socket = self.sockets[step["connect"]] = Socket()
        self.wanted.put_nowait(self.socket)

    def say(self, step: dict[str, Any]) -> None:
        self.socket.inbox.put_nowait("WSX://" + json.dumps(self.names.fill(step["in"])))

    def expect(self, step: dict[str, Any]) -> None:
        expected, came = step.get("out", []), self.socket.sent[:]
        self.socket.sent.clear()
        assert len(came) == len(expected), came
        for one, frame in zip(expected, came, strict=True):
            # A stream's last frame may say so, or leave it out.
            shown = frame | {"stream": frame.get("stream", False)} if "stream" in one else frame
            self.names.check(one, shown)

    def pass_time(self, step: dict[str, Any]) -> None:
        self.now += step["after"] / 1000 + 1e-6

    def lose(self, step: dict[str, Any]) -> None:
        self.socket.end(1006)

    def close(self, step: dict[str, Any]) -> None:
        self.socket.end(step["close"])

    def call(self, step: dict[str, Any]) -> None:
        connection = self.client._connection
        assert connection is not None
        options = {name: step[name] for name in ("query", "headers", "timeout", "credit") if name in step}
        chunks = step.get("chunks")
        call = connection.call(step["method"], step["path"], step.get("data"), stream=chunks is not None, **options)
        for chunk in chunks or ():
            connection.session.tell(call.chunk(chunk))
        if chunks is not None:
            connection.session.tell(call.end_chunks())
        self.calls[step["call"]], self.items[step["call"]] = call, []
        self.names.known[step["call"]] = call.id

    def take(self, step: dict[str, Any]) -> None:
        items = self.calls[step["take"]].items
        self.items[step["take"]] += [items.take() for _ in range(step["n"])]

    def expect_items(self, step: dict[str, Any]) -> None:
        assert self.items[step["items"]] == self.names.fill(step["are"])

    def cancel(self, step: dict[str, Any]) -> None:
        self.calls[step["cancel"]].cancel()

    def expect_result(self, step: dict[str, Any]) -> None:
        call = self.calls[step["result"]]
        assert call.done, "the call is still running"
        if "error" in step:
            assert {name: getattr(call.error, name) for name in step["error"]} == step["error"]
            return
        assert call.error is None
        assert call.response is not None
        assert call.response.data == step.get("data")

    ACTIONS: ClassVar[dict[str, Callable[[Any, dict[str, Any]], None]]] = {
        "connect": connect,
        "in": say,
        "out": expect,
        "quiet": expect,
        "after": pass_time,
        "lost": lose,
        "close": close,
        "call": call,
        "take": take,
        "items": expect_items,
        "cancel": cancel,
        "result": expect_result,
    }

    async def end(self) -> None:
        self.opening.cancel()
        await self.client.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.asyncio
async def test_vector(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(monkeypatch)
    try:
        for at, step in enumerate(case["steps"]):
            try:
                await play.run(step)
            except AssertionError as error:
                raise AssertionError(f"step {at + 1}, {json.dumps(step)}: {error}") from None
        assert {name: socket.sent for name, socket in play.sockets.items() if socket.sent} == {}
    finally:
        monkeypatch.undo()
        await play.end()
