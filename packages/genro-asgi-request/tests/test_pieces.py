"""Pieces that come without a wait go out together, and nothing else about a stream changes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from genro_asgi import pieces as module
from genro_asgi.exceptions import ClientDisconnect
from genro_asgi.pieces import send_pieces


def to_bytes(piece: Any) -> bytes:
    return str(piece).encode()


class Wire:
    """What was sent; `hold` lets it wait like a full socket, `fail` ends it like a client that left."""

    def __init__(self, hold: asyncio.Event | None = None, fail: bool = False) -> None:
        self.sent: list[bytes] = []
        self.reached = asyncio.Event()
        self.hold = hold
        self.fail = fail

    async def emit(self, data: bytes) -> None:
        self.sent.append(data)
        self.reached.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.fail:
            raise OSError("gone")


async def numbers(count: int, wait: Callable[[int], bool] = lambda _: False) -> AsyncIterator[Any]:
    for number in range(count):
        if wait(number):
            await asyncio.sleep(0)
        yield number


@pytest.mark.parametrize(
    ("source", "sent"),
    [
        (lambda: numbers(0), []),
        (lambda: numbers(5), [b"01234"]),
        (lambda: numbers(5, lambda number: True), [b"0", b"1", b"2", b"3", b"4"]),
        (lambda: numbers(6, lambda number: number % 3 == 2), [b"01", b"234", b"5"]),
    ],
)
@pytest.mark.asyncio
async def test_what_came_is_sent_before_every_wait(source: Any, sent: list[bytes]) -> None:
    wire = Wire()
    await send_pieces(source(), to_bytes, wire.emit)
    assert wire.sent == sent


@pytest.mark.asyncio
async def test_a_message_has_its_limit_and_large_pieces_go_alone() -> None:
    async def large() -> AsyncIterator[bytes]:
        for size in (40_000, 40_000, 10, 70_000, 10, 0):
            yield b"x" * size

    wire = Wire()
    await send_pieces(large(), to_bytes, wire.emit)
    assert [len(data) for data in wire.sent] == [80_000, 70_010, 10]


@pytest.mark.asyncio
async def test_an_iterator_that_keeps_the_loop_busy_is_heard_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG", -1.0)
    wire = Wire()
    await send_pieces(numbers(3), to_bytes, wire.emit)
    assert wire.sent == [b"0", b"1", b"2"]


@pytest.mark.asyncio
async def test_what_came_before_a_failure_is_sent() -> None:
    async def broken() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        raise LookupError("the source")

    wire = Wire()
    with pytest.raises(LookupError, match="the source"):
        await send_pieces(broken(), to_bytes, wire.emit)
    assert wire.sent == [b"ab"]


class Waiting:
    """An iterator that gives one piece, then waits, and notes how the wait ended and what it did afterwards."""

    def __init__(self) -> None:
        self.future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ended: list[str] = []

    async def pieces(self) -> AsyncIterator[str]:
        yield "first"
        try:
            yield await self.future
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            self.ended.append("cancelled")
            raise
        finally:
            self.ended.append("closed")


@pytest.mark.asyncio
async def test_the_result_of_a_wait_reaches_the_iterator() -> None:
    waiting, wire = Waiting(), Wire()
    task = asyncio.ensure_future(send_pieces(waiting.pieces(), to_bytes, wire.emit))
    await wire.reached.wait()
    waiting.future.set_result("second")
    await task
    assert (wire.sent, waiting.ended) == ([b"first", b"second"], ["closed"])


@pytest.mark.asyncio
async def test_a_wait_that_is_over_while_the_socket_is_full() -> None:
    hold = asyncio.Event()
    waiting, wire = Waiting(), Wire(hold)
    task = asyncio.ensure_future(send_pieces(waiting.pieces(), to_bytes, wire.emit))
    await wire.reached.wait()
    waiting.future.set_result("second")
    hold.set()
    await task
    assert (wire.sent, waiting.ended) == ([b"first", b"second"], ["closed"])


@pytest.mark.asyncio
async def test_a_client_that_left_ends_the_wait_of_the_iterator() -> None:
    waiting = Waiting()
    with pytest.raises(ClientDisconnect):
        await send_pieces(waiting.pieces(), to_bytes, Wire(fail=True).emit)
    assert waiting.ended == ["cancelled", "closed"]
    assert waiting.future.cancelled()


@pytest.mark.asyncio
async def test_a_client_that_left_between_two_messages() -> None:
    with pytest.raises(ClientDisconnect):
        await send_pieces(numbers(3), to_bytes, Wire(fail=True).emit)


@pytest.mark.parametrize("full", [True, False], ids=["while the socket is full", "while the iterator waits"])
@pytest.mark.asyncio
async def test_cancelling_reaches_the_iterator(full: bool) -> None:
    waiting, wire = Waiting(), Wire(asyncio.Event() if full else None)
    task = asyncio.ensure_future(send_pieces(waiting.pieces(), to_bytes, wire.emit))
    await wire.reached.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (wire.sent, waiting.ended) == ([b"first"], ["cancelled", "closed"])
    assert waiting.future.cancelled()


@pytest.mark.asyncio
async def test_a_timeout_of_the_iterator_is_its_own_affair() -> None:
    async def patient() -> AsyncIterator[str]:
        yield "first"
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            yield "late"

    wire = Wire()
    await send_pieces(patient(), to_bytes, wire.emit)
    assert wire.sent == [b"first", b"late"]


@pytest.mark.asyncio
async def test_an_iterator_that_goes_on_after_the_client_left_is_ended_all_the_same() -> None:
    async def stubborn() -> AsyncIterator[str]:
        yield "first"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield "last"

    wire = Wire(fail=True)
    with pytest.raises(ClientDisconnect):
        await send_pieces(stubborn(), to_bytes, wire.emit)
    assert wire.sent[0] == b"first"
