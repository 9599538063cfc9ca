"""Two sessions back to back, everything in any order: nothing lost, nothing twice, bounded, and empty in the end."""

import importlib.util
import random
from collections import deque
from typing import Any

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from genro_asgi.limits import Limits
from genro_asgi.wsx.incoming import Incoming
from genro_asgi.wsx.kinds import BINARY, TYPED_TEXT
from genro_asgi.wsx.outgoing import Outgoing
from genro_asgi.wsx.session import Session

LIMITS = Limits(ws_in_flight=3, ws_streams=4, ws_queue=2000)
FORMS = [TYPED_TEXT, BINARY] if importlib.util.find_spec("msgpack") else [TYPED_TEXT]
MESSAGE = 400  # no message here is longer


class Side:
    """One end: its session, the calls it was asked and those it made."""

    def __init__(self, role: Any, form: Any) -> None:
        self.session = Session(role, limits=LIMITS, form=form, default_timeout=None)
        self.session.on_output = self.flush
        self.wire: deque[Any] = deque()
        self.asked: list[Incoming] = []
        self.made: dict[str, Outgoing] = {}
        self.got: dict[str, list[Any]] = {}
        self.sent_items: dict[str, int] = {}
        self.chunks_sent: dict[str, int] = {}
        self.chunks_got: dict[str, list[Any]] = {}
        self.done: dict[str, int] = {}

    def send(self, frame: Any) -> None:
        if frame is not None:
            self.wire.append(frame)

    def flush(self) -> None:
        self.wire.extend(self.session.take())

    def receive(self, frame: Any, now: float) -> None:
        self.start(self.session.receive(frame, now))
        self.start_waiting(now)

    def start_waiting(self, now: float) -> None:
        while (call := self.session.next_call(now)) is not None:
            self.start(call)

    def start(self, call: Incoming | None) -> None:
        if call is not None:
            assert call.id is not None
            self.asked.append(call)
            self.sent_items[call.id] = 0
            self.chunks_got[call.id] = []

    def end(self, call: Incoming, frame: Any) -> None:
        self.send(frame)
        self.asked.remove(call)

    def full(self, call: Incoming) -> bool:
        """Whether one more stream would be one too many."""
        return not call.streaming and self.session.streams >= LIMITS.ws_streams

    def ask(self, call: Outgoing) -> None:
        self.made[call.id] = call
        self.got[call.id] = []
        self.chunks_sent[call.id] = 0
        self.done[call.id] = 0

        def changed() -> None:
            self.done[call.id] += call.done

        call.on_change = changed

    def take(self, id: str) -> None:
        call = self.made[id]
        if len(call.items):
            self.got[id].append(call.items.take())


class Pair(RuleBasedStateMachine):
    """Every rule is one step of one side, or of the wire between them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    @initialize(form=st.sampled_from(FORMS))
    def begin(self, form: Any) -> None:
        self.sides = [Side("client", form), Side("server", TYPED_TEXT)]

    def pick(self, things: Any, n: int) -> Any:
        things = list(things)
        return things[n % len(things)] if things else None

    side = st.integers(0, 1)
    number = st.integers(0, 50)

    @rule(
        side=side, credit=st.sampled_from([None, 0, 1, 3]), stream=st.booleans(), timeout=st.sampled_from([None, 500])
    )
    def call(self, side: int, credit: int | None, stream: bool, timeout: int | None) -> None:
        me = self.sides[side]
        if len(me.session.outgoing) < 12:
            me.ask(me.session.call("POST", "/x", 1, credit=credit, stream=stream, timeout=timeout, now=self.now))

    @rule(side=side, n=number)
    def cancel(self, side: int, n: int) -> None:
        call = self.pick(self.sides[side].session.outgoing.values(), n)
        if call is not None:
            call.cancel()

    @rule(side=side, n=number)
    def chunk(self, side: int, n: int) -> None:
        me = self.sides[side]
        call = self.pick((each for each in me.session.outgoing.values() if each.chunk_ready), n)
        if call is not None:
            me.send(call.chunk(me.chunks_sent[call.id]))
            me.chunks_sent[call.id] += 1

    @rule(side=side, n=number)
    def end_chunks(self, side: int, n: int) -> None:
        me = self.sides[side]
        call = self.pick((each for each in me.session.outgoing.values() if each.sender), n)
        if call is not None:
            me.send(call.end_chunks())

    @rule(side=side, n=number)
    def take(self, side: int, n: int) -> None:
        id = self.pick(self.sides[side].made, n)
        if id is not None:
            self.sides[side].take(id)

    @rule(side=side, n=number)
    def take_chunk(self, side: int, n: int) -> None:
        me = self.sides[side]
        call = self.pick((each for each in me.asked if each.chunks and len(each.chunks)), n)
        if call is not None:
            me.chunks_got[call.id].append(call.chunks.take())

    @rule(side=side, n=number, size=st.sampled_from([1, 250]))
    def item(self, side: int, n: int, size: int) -> None:
        me = self.sides[side]
        call = self.pick((each for each in me.asked if each.ready and not me.full(each)), n)
        if call is not None:
            me.send(call.item([me.sent_items[call.id], "x" * size]))
            me.sent_items[call.id] += 1
            me.start_waiting(self.now)

    @rule(side=side, n=number, how=st.sampled_from(["respond", "fail", "close"]))
    def answer(self, side: int, n: int, how: str) -> None:
        me = self.sides[side]
        call = self.pick(me.asked, n)
        if call is not None:
            if how == "close" and call.open:
                how = "respond"
            me.end(call, {"respond": call.respond, "fail": lambda: call.fail(418), "close": call.close}[how]())
            me.start_waiting(self.now)

    @rule(side=side, count=st.integers(1, 20))
    def deliver(self, side: int, count: int) -> None:
        me, other = self.sides[side], self.sides[1 - side]
        while count and me.wire and not other.session.paused:
            frame = me.wire.popleft()
            me.session.sent(len(frame))
            other.receive(frame, self.now)
            count -= 1

    @rule(ms=st.integers(1, 400))
    def wait(self, ms: int) -> None:
        self.now += ms / 1000
        for side in self.sides:
            if side.session.due <= self.now:
                side.session.tick(self.now)
            side.start_waiting(self.now)

    @invariant()
    def bounded(self) -> None:
        for side in getattr(self, "sides", ()):
            session = side.session
            assert len(session.backlog) <= LIMITS.ws_in_flight
            assert 0 <= session.held <= LIMITS.ws_queue + MESSAGE
            assert 0 <= session.running <= LIMITS.ws_in_flight
            assert 0 <= session.streams <= LIMITS.ws_streams
            assert all(count <= 1 for count in side.done.values())
            assert session.queued == sum(map(len, side.wire))

    def teardown(self) -> None:
        if hasattr(self, "sides"):
            self.settle()
            for side in self.sides:
                assert side.session.outgoing == {}
                assert side.session.calls == {}
                assert side.session.backlog == []
                assert side.session.senders == {}
                assert (side.session.running, side.session.streams, side.session.held) == (0, 0, 0)
                assert side.session.idle
                self.check_streams(side)

    def settle(self) -> None:
        for _ in range(300):
            for side in self.sides:
                for call in list(side.made.values()):
                    while len(call.items):
                        side.take(call.id)
                for call in list(side.session.outgoing.values()):
                    side.send(call.end_chunks())
                for asked in list(side.asked):
                    while asked.chunks is not None and len(asked.chunks):
                        side.chunks_got[str(asked.id)].append(asked.chunks.take())
                    if asked.chunks is None or asked.chunks.ended:
                        side.end(asked, asked.respond())
                side.start_waiting(self.now)
            self.deliver(0, 100)
            self.deliver(1, 100)
            untaken = any(len(call.items) for side in self.sides for call in side.made.values())
            if not (untaken or any(side.wire or side.asked for side in self.sides)):
                return
        pytest.fail("the two do not come to rest")

    def check_streams(self, side: Side) -> None:
        other = self.sides[1] if side is self.sides[0] else self.sides[0]
        for id, items in side.got.items():
            assert side.made[id].done
            assert side.done[id] == 1
            numbers = [item[0] for item in items]
            assert numbers == list(range(len(numbers)))
            if side.made[id].error is None:
                assert len(numbers) == other.sent_items[id]
                chunks = other.chunks_got[id]
                assert chunks == list(range(len(chunks)))


TestPair = Pair.TestCase
TestPair.settings = settings(
    derandomize=True, deadline=None, max_examples=60, stateful_step_count=60, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_long_walks(seed: int) -> None:
    """The same, thousands of steps long and without hypothesis to slow it down."""
    choose = random.Random(seed)
    pair = Pair()
    pair.begin(choose.choice(FORMS))
    for _ in range(3000):
        side, n = choose.randrange(2), choose.randrange(50)
        step = choose.randrange(12)
        if step == 0:
            pair.call(side, choose.choice([None, 0, 1, 3]), choose.random() < 0.5, choose.choice([None, 500]))
        elif step == 1 and n < 10:
            pair.cancel(side, n)
        elif step == 2:
            pair.chunk(side, n)
        elif step == 3 and n < 10:
            pair.end_chunks(side, n)
        elif step == 4:
            pair.take(side, n)
        elif step == 5:
            pair.take_chunk(side, n)
        elif step in (6, 7):
            pair.item(side, n, choose.choice([1, 250]))
        elif step == 8 and n < 20:
            pair.answer(side, n, choose.choice(["respond", "fail", "close"]))
        elif step in (9, 10):
            pair.deliver(side, 1 + n % 20)
        elif step == 11 and n < 5:
            pair.wait(n * 40 + 1)
        pair.bounded()
    pair.teardown()
