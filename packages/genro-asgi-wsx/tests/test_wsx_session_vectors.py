"""The published vectors of sessions, run against Session with a small application of callbacks."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from genro_asgi.wsx.incoming import Incoming
from genro_asgi.wsx.kinds import TEXT
from genro_asgi.wsx.outgoing import Outgoing
from genro_asgi.wsx.parsing import parse_message
from genro_asgi.wsx.session import Session

CASES = json.loads((Path(__file__).parent.parent / "vectors" / "session.json").read_text(encoding="utf-8"))
ANYTHING = object()


class Peer:
    """The peer under test: a session, what vectors/README.md says it offers, and the calls it made."""

    def __init__(self) -> None:
        self.session = Session("server", form=TEXT)
        self.session.on_output = self.flush
        self.now = 100.0
        self.sent: list[dict[str, Any]] = []
        self.calls: dict[str, Outgoing] = {}
        self.items: dict[str, list[Any]] = {}

    def send(self, frame: Any) -> None:
        if frame is not None:
            self.sent.append(dict(parse_message(frame).fields))
            self.session.sent(len(frame))

    def flush(self) -> None:
        for frame in self.session.take():
            self.send(frame)

    def receive(self, text: str) -> None:
        call = self.session.receive(text, self.now)
        while call is not None:
            self.run(call)
            call = self.session.next_call(self.now)

    def run(self, call: Incoming) -> None:
        handler = getattr(self, f"on_{call.path[1:]}", None)
        if handler is None:
            self.send(call.fail(404))
        else:
            call.on_cancel = call.close
            handler(call)

    def agree(self, features: list[str]) -> None:
        self.session.features = frozenset(features)

    def on_echo(self, call: Incoming) -> None:
        self.send(call.respond(200, call.data))

    def on_wait(self, call: Incoming) -> None:
        """Nothing ever happens."""

    def on_fail(self, call: Incoming) -> None:
        self.send(call.fail(500, "secret"))

    def on_refuse(self, call: Incoming) -> None:
        self.send(call.fail(403, "You may not."))

    def on_count(self, call: Incoming) -> None:
        numbers = list(range(call.query["n"]))

        def go_on() -> None:
            while numbers and call.ready:
                self.send(call.item(numbers.pop(0)))
            if not numbers and call.open:
                self.send(call.respond())

        call.on_ready = go_on
        go_on()

    def on_sum(self, call: Incoming) -> None:
        chunks = call.chunks
        assert chunks is not None
        total = 0

        def more() -> None:
            nonlocal total
            while len(chunks):
                total += chunks.take()
            if chunks.ended and call.open:
                self.send(call.respond(200, total))

        chunks.on_item = more
        more()

    def on_double(self, call: Incoming) -> None:
        chunks = call.chunks
        assert chunks is not None
        call.start_stream()

        def more() -> None:
            while len(chunks) and call.ready:
                self.send(call.item(chunks.take() * 2))
            if chunks.ended and not len(chunks) and call.open:
                self.send(call.respond())

        chunks.on_item = more
        more()

    def call(self, step: dict[str, Any]) -> None:
        chunks = step.get("chunks")
        call = self.calls[step["call"]] = self.session.call(
            step["method"],
            step["path"],
            step.get("data"),
            query=step.get("query"),
            timeout=step.get("timeout"),
            credit=step.get("credit"),
            stream=chunks is not None,
            now=self.now,
        )
        self.items[step["call"]] = []
        if chunks is not None:
            self._stream(call, list(chunks))

    def _stream(self, call: Outgoing, chunks: list[Any]) -> None:
        def go_on() -> None:
            while chunks and call.chunk_ready:
                self.send(call.chunk(chunks.pop(0)))
            if not chunks:
                self.send(call.end_chunks())

        call.on_ready = go_on
        go_on()


def written(value: Any) -> Any:
    """A value as the vectors write it."""
    return {"$N": str(value)} if isinstance(value, Decimal) else value


def matches(expected: Any, actual: Any, names: dict[str, str]) -> bool:
    """Whether a value is what a step says; objects may hold more."""
    if isinstance(expected, str) and expected.startswith("$"):
        expected = names[expected[1:]]
    actual = written(actual)
    if isinstance(expected, dict) and isinstance(actual, dict):
        return all(matches(value, actual.get(name), names) for name, value in expected.items())
    return bool(expected == actual)


def named(value: Any, names: dict[str, str]) -> Any:
    """A frame of a step, with the ids that calls got."""
    if isinstance(value, dict):
        return {key: named(item, names) for key, item in value.items()}
    return names[value[1:]] if isinstance(value, str) and value.startswith("$") else value


def step_out(peer: Peer, step: dict[str, Any], names: dict[str, str]) -> None:
    expected = step.get("out", [])
    assert len(expected) == len(peer.sent), peer.sent
    for one, frame in zip(expected, peer.sent, strict=True):
        # A stream's last frame may say so, or leave it out.
        shown = frame | {"stream": frame.get("stream", False)} if "stream" in one else frame
        assert matches(one, shown, names), (one, frame)
    peer.sent.clear()


def step_after(peer: Peer, step: dict[str, Any], names: dict[str, str]) -> None:
    peer.now += step["after"] / 1000
    if peer.session.due <= peer.now + 1e-9:
        peer.session.tick(peer.now + 1e-9)


def step_take(peer: Peer, step: dict[str, Any], names: dict[str, str]) -> None:
    items = peer.calls[step["take"]].items
    peer.items[step["take"]] += [items.take() for _ in range(step["n"])]


def step_result(peer: Peer, step: dict[str, Any], names: dict[str, str]) -> None:
    call = peer.calls[step["result"]]
    assert call.done
    if "error" in step:
        assert call.error is not None
        assert {name: getattr(call.error, name) for name in step["error"]} == step["error"]
    else:
        assert call.error is None
        assert call.response is not None
        assert call.response.data == step.get("data")


STEPS: dict[str, Callable[[Peer, dict[str, Any], dict[str, str]], None]] = {
    "features": lambda peer, step, names: peer.agree(step["features"]),
    "in": lambda peer, step, names: peer.receive("WSX://" + json.dumps(named(step["in"], names))),
    "in_batch": lambda peer, step, names: peer.receive(
        f"WSX://{json.dumps([named(one, names) for one in step['in_batch']])}"
    ),
    "in_text": lambda peer, step, names: peer.receive(step["in_text"]),
    "out": step_out,
    "quiet": step_out,
    "after": step_after,
    "call": lambda peer, step, names: peer.call(step),
    "take": step_take,
    "items": lambda peer, step, names: _equal(peer.items[step["items"]], step["are"]),
    "cancel": lambda peer, step, names: peer.calls[step["cancel"]].cancel(),
    "lost": lambda peer, step, names: peer.session.lost(),
    "result": step_result,
}


def _equal(left: Any, right: Any) -> None:
    assert left == right


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_vector(case: dict[str, Any]) -> None:
    peer = Peer()
    for step in case["steps"]:
        names = {name: call.id for name, call in peer.calls.items()}
        action = next(name for name in STEPS if name in step)
        STEPS[action](peer, step, names)
        assert peer.session.queued == 0
