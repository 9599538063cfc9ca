"""wsgi.input reads like a file while the body is still arriving."""

import io
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.middleware.wsgi import gate as module
from genro_asgi.middleware.wsgi.gate import ClientGone, Gate
from genro_asgi.middleware.wsgi.input import WINDOW, WsgiInput


class Loop:
    """An event loop, as far as a gate looks at it."""

    closed = False

    def is_closed(self) -> bool:
        return self.closed


class Parking:
    """A pool, as far as a gate tells it."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def park(self) -> None:
        self.steps.append("park")

    def unpark(self) -> None:
        self.steps.append("unpark")


def gate_at(loop: Any = None, parking: Any = None) -> Gate:
    return Gate(loop or Loop(), parking or Parking())


def input_of(length: int | None, wake: Callable[[], None] = lambda: None, **options: Any) -> WsgiInput:
    return WsgiInput(wake, gate_at(), length, **options)


def whole(*chunks: bytes, length: int | None = None) -> WsgiInput:
    """An input whose body has arrived."""
    body = input_of(length)
    for chunk in chunks:
        body.feed(chunk, True)
    body.feed(b"", False)
    return body


class Reader:
    """Calls of an input in a thread of their own; `asked` is set when the thread wants something of the loop."""

    def __init__(self, length: int | None = None, **options: Any) -> None:
        self.asked = threading.Event()
        self.body = input_of(length, self.asked.set, **options)

    def start(self, call: Callable[[WsgiInput], Any]) -> "Future[Any]":
        result: Future[Any] = Future()

        def run() -> None:
            try:
                result.set_result(call(self.body))
            except BaseException as error:
                result.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return result

    def wait_until_blocked(self) -> None:
        while self.body._gate._lock is None:
            pass


chunks_of_lines = st.lists(st.text(alphabet="ab\n", max_size=12).map(str.encode), max_size=12)
calls = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.sampled_from([0, 1, 3, 7, 50])),
        st.tuples(st.just("readline"), st.sampled_from([-1, 0, 1, 3, 50, None])),
        st.tuples(st.just("readlines"), st.sampled_from([1, 5])),
        st.tuples(st.just("__next__"), st.none()),
    ),
    max_size=12,
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(chunks_of_lines, calls, st.sampled_from([-1, None]))
def test_reads_as_a_file_in_memory_does(chunks: list[bytes], calls: list[tuple[str, Any]], rest: int | None) -> None:
    file: Any = io.BytesIO(b"".join(chunks))
    body: Any = whole(*chunks)
    for name, size in calls:
        arguments = () if name == "__next__" else (size,)
        try:
            expected = getattr(file, name)(*arguments)
        except StopIteration:
            with pytest.raises(StopIteration):
                next(body)
        else:
            assert getattr(body, name)(*arguments) == expected
    assert body.read(rest) == file.read()
    assert body.read() == b""
    assert body.readline() == b""
    assert body.readlines() == []


def test_read1_gives_what_is_there() -> None:
    body = whole(b"abc", b"def")
    assert body.read1(2) == b"ab"
    assert body.read1(10) == b"c"
    assert body.read1() == b"def"
    assert body.read1(0) == b""
    assert body.read1() == b""


def test_other_readers_can_be_put_on_top() -> None:
    assert io.TextIOWrapper(whole("è\nü".encode()), encoding="utf-8").read() == "è\nü"
    assert io.BufferedReader(whole(b"abc")).read(2) == b"ab"  # type: ignore[type-var]
    target = bytearray(4)
    assert whole(b"ab", b"cdef").readinto(target) == 4
    assert bytes(target) == b"abcd"


def test_a_whole_chunk_is_not_copied() -> None:
    chunk = b"x" * 1000
    assert whole(chunk).read(1000) is chunk


def test_a_long_line_is_searched_once() -> None:
    # Searching from its beginning with each of the 20,000 chunks would look at 40 GB.
    chunks = [b"x" * 200] * 20_000
    body = whole(*chunks, b"\n")
    assert len(body.readline()) == 200 * 20_000 + 1


def test_a_read_waits_until_its_bytes_are_there() -> None:
    reader = Reader(6)
    result = reader.start(lambda body: body.read(4))
    assert reader.asked.wait(5)
    reader.body.feed(b"ab", True)
    reader.wait_until_blocked()
    assert not result.done()
    reader.body.feed(b"cdef", False)
    assert result.result(5) == b"abcd"
    assert reader.body.read() == b"ef"


def test_the_first_bytes_can_be_read_before_the_last_arrive() -> None:
    reader = Reader()
    result = reader.start(lambda body: [body.readline(), body.read1()])
    assert reader.asked.wait(5)
    reader.body.feed(b"first\nsec", True)
    assert result.result(5) == [b"first\n", b"sec"]


def test_it_ends_at_the_announced_length() -> None:
    body = input_of(3)
    body.feed(b"abcdef", True)
    body.feed(b"ghi", False)
    assert body.read() == b"abc"


def test_it_ends_with_the_last_announced_byte_even_if_the_end_is_not_told() -> None:
    body = input_of(3)
    body.feed(b"abc", True)
    assert body.read() == b"abc"


def test_a_body_shorter_than_announced_is_cut_not_whole() -> None:
    body = input_of(10)
    body.feed(b"abc", False)
    assert body.fault == 0
    with pytest.raises(OSError, match="the request body ended after 3 of 10 bytes"):
        body.read()
    assert body.fault == 400


@pytest.mark.parametrize("call", ["read", "readline", "readlines", "read1"])
def test_a_client_that_leaves_ends_a_waiting_read(call: str) -> None:
    reader = Reader(10)
    result = reader.start(lambda body: getattr(body, call)())
    assert reader.asked.wait(5)
    reader.body.fail(ClientGone())
    with pytest.raises(ConnectionResetError, match="the client closed the connection"):
        result.result(5)


def test_what_arrived_before_the_client_left_can_be_read() -> None:
    body = input_of(10)
    body.feed(b"ab\ncd", True)
    body.fail(ClientGone())
    assert body.readline() == b"ab\n"
    assert body.read(2) == b"cd"
    with pytest.raises(ClientGone):
        body.read(1)


def test_leaving_after_the_whole_body_arrived_spoils_nothing() -> None:
    body = whole(b"abc")
    body.fail(ClientGone())
    assert body.read() == b"abc"


def test_a_body_over_the_limit() -> None:
    body = input_of(None, limit=4)
    body.feed(b"abc", True)
    body.feed(b"de", True)
    assert body.read(3) == b"abc"
    assert body.fault == 0
    with pytest.raises(OSError, match="the request body is over 4 bytes"):
        body.read(1)
    assert body.fault == 413


def test_a_body_at_the_limit() -> None:
    body = input_of(None, limit=4)
    body.feed(b"abcd", False)
    assert (body.read(), body.fault) == (b"abcd", 0)


def test_a_silent_client_times_out() -> None:
    body = input_of(10, timeout=0.01)
    body.feed(b"abc", True)
    with pytest.raises(TimeoutError, match="no byte of the request body arrived for"):
        body.read()
    assert body.fault == 408


def test_time_begins_anew_with_each_piece() -> None:
    class SlowGate:
        waits = 0

        def wait(self, ready: Any, timeout: float | None) -> bool:
            assert timeout == 5
            self.waits += 1
            body.feed(b"x", self.waits < 3)
            return self.waits == 3

        def open(self) -> None: ...

    gate = SlowGate()
    body = WsgiInput(lambda: None, gate, None, timeout=5)  # type: ignore[arg-type]
    assert body.read() == b"xxx"
    assert gate.waits == 3


def test_a_slow_client_does_not_time_out_as_long_as_something_arrives() -> None:
    reader = Reader(100, timeout=5)
    result = reader.start(lambda body: body.read())
    for _ in range(100):
        reader.body.feed(b"x", True)
    assert result.result(5) == b"x" * 100


def test_the_loop_learns_when_there_is_room_again() -> None:
    reader = Reader()
    body = reader.body
    while not body.full:
        body.feed(b"x" * 1024, True)
    assert body._received == WINDOW
    body.paused = True
    body.read(WINDOW // 2)
    assert not body.low
    assert not reader.asked.is_set()
    body.read(1)
    assert body.low
    assert reader.asked.is_set()


@pytest.mark.parametrize(("size", "length"), [(4 * WINDOW, None), (-1, 4 * WINDOW)])
def test_what_is_asked_for_at_once_is_collected_in_one_go(size: int, length: int | None) -> None:
    """It will be in memory anyway, and each round between the loop and the thread costs both."""
    reader = Reader(length)
    result = reader.start(lambda body: (body.read(size), body._wanted))
    reader.wait_until_blocked()
    for _ in range(7):
        reader.body.feed(b"x" * (WINDOW // 2), True)
        assert not reader.body.full
    assert not result.done()
    reader.body.feed(b"x" * (WINDOW // 2), True)
    assert result.result(10) == (b"x" * (4 * WINDOW), 1)


def test_a_gate_that_opens_too_early_or_late_lets_nobody_hang() -> None:
    gate = gate_at()
    gate.open()
    answers = iter([False, True, True])
    assert gate.wait(lambda: next(answers))
    gate.open()  # opens the lock of a wait that is over
    assert not gate.wait(lambda: False, 0.001)
    answers = iter([False, False, False, False, True])
    opener = threading.Thread(target=lambda: [gate.open() for _ in iter(lambda: thread.is_alive(), False)])
    thread = threading.Thread(target=gate.wait, args=(lambda: next(answers),))
    thread.start()
    opener.start()
    thread.join(5)
    opener.join(5)
    assert not thread.is_alive()


def test_a_gate_gives_up_when_its_loop_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.001)
    loop = Loop()
    loop.closed = True
    with pytest.raises(ClientGone):
        gate_at(loop).wait(lambda: False)


def test_a_wait_is_parked_when_it_gets_long() -> None:
    class Opening(Parking):
        def park(self) -> None:
            super().park()
            gate.open()

    answers = iter([False, False, True])
    parking = Opening()
    gate = gate_at(parking=parking)
    assert gate.wait(lambda: next(answers))
    assert parking.steps == ["park", "unpark"]
