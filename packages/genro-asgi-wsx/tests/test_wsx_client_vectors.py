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
MATCHING = runpy.run_path(str(VECTORS / "matching.py"))
Steps: Any = MATCHING["Steps"]


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

    def say(self, text: str) -> None:
        self.inbox.put_nowait(text)

    def end(self, code: int) -> None:
        if self.close_code is None:
            self.close_code = code
            self.inbox.put_nowait(None)


class Play(Steps):
    """A client, and what is done to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(MATCHING["Names"]())
        self.calls: dict[str, Any] = {}
        self.items: dict[str, list[Any]] = {}
        self.wanted: asyncio.Queue[Socket] = asyncio.Queue()
        self.client = Client("ws://nowhere", first_delay=0.0, max_delay=0.0)
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)
        monkeypatch.setattr("genro_asgi.wsx.client.dial", lambda url, options: self.wanted.get())
        self.opening = asyncio.ensure_future(self.client.open())

    def connect(self, step: dict[str, Any]) -> None:
        self.socket = self.sockets[step["connect"]] = Socket()
        self.wanted.put_nowait(self.socket)

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
        **Steps.ACTIONS,
        "connect": connect,
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
        await play.play(case["steps"])
    finally:
        monkeypatch.undo()
        await play.end()
