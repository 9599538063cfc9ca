"""Two sessions that lose each other again and again: nothing runs twice, nothing is missing, nothing is said twice."""

from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.wsx.incoming import Incoming
from genro_asgi.wsx.kinds import TEXT
from genro_asgi.wsx.session import Session

if TYPE_CHECKING:
    from genro_asgi.wsx.outgoing import Outgoing


class Pair:
    """A client, a server, and a wire between them that loses what is on it."""

    def __init__(self) -> None:
        self.client = Session("client", default_timeout=None)
        self.server = Session("server", default_timeout=None)
        self.client.resumes = True
        self.server.keep("t", 100_000)
        self.wire: dict[str, deque[Any]] = {"up": deque(), "down": deque()}
        self.connected = True
        self.calls: dict[str, Outgoing] = {}
        self.taken: dict[str, list[Any]] = {}
        self.streams: dict[str, Incoming] = {}
        self.started: list[str] = []
        self.unary: list[Incoming] = []

    def call(self, n: int | None) -> None:
        """A plain call, or one that is answered by so many items."""
        credit = None if n is None else 4
        call = self.client.call("GET", "/x", query={"n": n} if n is not None else None, credit=credit, now=0.0)
        self.calls[call.id] = call
        self.taken[call.id] = []

    def flush(self) -> None:
        for session, way in ((self.client, "up"), (self.server, "down")):
            frames = session.take()
            for frame in frames:
                if self.connected:
                    self.wire[way].append(frame)
                    session.sent(len(frame))

    def deliver(self, way: str) -> None:
        if self.wire[way]:
            frame = self.wire[way].popleft()
            if way == "down":
                self.client.receive(frame, 0.0)
            else:
                call = self.server.receive(frame, 0.0)
                if call is not None:
                    self.start(call)

    def start(self, call: Incoming) -> None:
        assert call.id is not None
        self.started.append(call.id)
        if call.query:
            call.start_stream()
            self.streams[call.id] = call
        else:
            self.unary.append(call)

    def work(self) -> None:
        """The server's handlers take a step."""
        for call in self.unary[:1]:
            self.server.tell(call.respond(200, f"answer {call.id}"))
            self.unary.remove(call)
        for id, call in list(self.streams.items()):
            if not call.open:
                del self.streams[id]
            elif call.ready:
                sent = call.sender.seq if call.sender is not None else 0
                if sent < call.query["n"]:
                    self.server.tell(call.item(sent))
                else:
                    self.server.tell(call.respond())

    def take(self) -> None:
        for id, call in self.calls.items():
            if len(call.items):
                self.taken[id].append(call.items.take())

    def lose(self) -> None:
        if self.connected:
            self.connected = False
            self.wire["up"].clear()
            self.wire["down"].clear()
            self.server.park()
            self.client.suspend()

    def find(self, early: bool = False) -> None:
        if not self.connected:
            self.connected = True
            self.client.reconnect()
            acks = self.client.acks()
            self.server.revive(acks, TEXT)
            self.flush()
            if early:
                # What the server says at once is here before the client has made anything of its answer.
                for _ in range(len(self.wire["down"])):
                    self.deliver("down")
            self.client.go_on(acks)

    def step(self, what: str) -> None:
        actions = {
            "call": lambda: self.call(None),
            "stream": lambda: self.call(5),
            "up": lambda: self.deliver("up"),
            "down": lambda: self.deliver("down"),
            "work": self.work,
            "take": self.take,
            "lose": self.lose,
            "find": self.find,
            "find early": lambda: self.find(early=True),
        }
        if what in ("call", "stream") and not self.connected:
            return  # a client waits with its calls for the connection
        actions[what]()
        self.flush()

    def settle(self) -> None:
        """Until nothing happens any more."""
        self.step("find")
        for _ in range(400):
            for what in ("up", "down", "work", "take"):
                self.step(what)


STEPS = st.sampled_from(["call", "stream", "up", "up", "down", "down", "work", "take", "lose", "find", "find early"])


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.lists(STEPS, min_size=40, max_size=120))
def test_everything_comes_once_and_whole(steps: list[str]) -> None:
    pair = Pair()
    for step in steps:
        pair.step(step)
    pair.settle()
    assert sorted(pair.started) == sorted(pair.calls)  # each exactly once
    for id, call in pair.calls.items():
        assert call.done
        assert call.error is None
        if call.streamed:
            assert pair.taken[id] == [0, 1, 2, 3, 4]
        else:
            assert call.response is not None
            assert call.response.data == f"answer {id}"
    assert (pair.server.calls, pair.client.outgoing, pair.server.streams, pair.server.running) == ({}, {}, 0, 0)


@pytest.mark.parametrize("received", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("find", ["find", "find early"])
def test_the_window_is_the_same_after_a_loss(received: int, find: str) -> None:
    pair = Pair()
    pair.call(20)
    pair.flush()
    pair.step("up")
    (call,) = pair.calls.values()
    for what in ["work"] * 5 + ["down"] * received:
        pair.step(what)
    assert len(call.items) == received
    pair.step("lose")
    pair.step(find)
    pair.step("up")
    # What came before the loss waits, and behind it a window of four.
    for what in ["work", "down"] * 10:
        pair.step(what)
    assert len(call.items) == received + 4
    for _ in range(received + 4):
        pair.step("take")
    for what in ["up", "work", "down"] * 10:
        pair.step(what)
    assert len(call.items) == 4
    pair.settle()
    assert pair.taken[call.id] == list(range(20))


def test_calls_that_cannot_go_on_are_lost() -> None:
    pair = Pair()
    streaming = pair.client.call("POST", "/sum", stream=True, now=0.0)
    control = pair.client.call("POST", "/_wsx/auth", {}, now=0.0)
    plain = pair.client.call("POST", "/x", now=0.0)
    pair.lose()
    for call in (streaming, control):
        assert call.error is not None
        assert (call.error.status, call.error.code, call.error.retry) == (410, "RESUME_LOST", False)
    assert not plain.done
    pair.client.lose_calls()
    assert plain.error is not None
    assert plain.error.code == "RESUME_LOST"


@pytest.mark.parametrize("ended", ["cancelled", "late"])
def test_what_is_given_up_meanwhile_is_not_asked_for(ended: str) -> None:
    pair = Pair()
    call = pair.client.call("GET", "/x", timeout=1000, now=0.0)
    pair.lose()
    if ended == "cancelled":
        call.cancel()
    else:
        pair.client.tick(3.0)
    assert call.error is not None
    assert call.error.code == ("CANCELLED" if ended == "cancelled" else "DEADLINE")
    pair.find()
    assert (pair.client.outbox, pair.client.acks()) == ([], {})


def test_what_the_server_asks_ends_with_the_connection() -> None:
    pair = Pair()
    pair.server.call("POST", "/confirm", now=0.0)
    pair.flush()
    frame = pair.wire["down"].popleft()
    asked = pair.client.receive(frame, 0.0)
    assert asked is not None
    pair.lose()
    assert (asked.open, asked.cancel_code) == (False, "LOST")
