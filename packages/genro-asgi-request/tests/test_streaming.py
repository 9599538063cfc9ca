"""Streams: their pieces, their sources that are always closed, and clients that leave."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from genro_asgi.background import BackgroundTask
from genro_asgi.delivery import run_while_connected, send_tells
from genro_asgi.exceptions import ClientDisconnect
from genro_asgi.response import StreamingResponse


class Source:
    """Numbers as pieces, async or not, that notes how it ended."""

    def __init__(self, count: int = 3, fail: BaseException | None = None) -> None:
        self.count = count
        self.fail = fail
        self.ended: list[str] = []
        self.waiting = asyncio.Event()
        self.go_on = threading.Event()

    async def pieces(self) -> AsyncIterator[Any]:
        try:
            for number in range(self.count):
                yield str(number)
            if self.fail is not None:
                raise self.fail
        finally:
            self.ended.append("closed")

    def sync_pieces(self) -> Iterator[Any]:
        try:
            for number in range(self.count):
                yield str(number)
            if self.fail is not None:
                raise self.fail
        finally:
            self.ended.append("closed")

    async def endless(self) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            self.waiting.set()
            await asyncio.Event().wait()
        finally:
            self.ended.append("closed")


@pytest.mark.parametrize(
    ("make", "gathers", "bodies"),
    [
        (Source.pieces, False, [b"0", b"1", b"2"]),
        (Source.pieces, True, [b"012"]),
        (Source.sync_pieces, True, [b"0", b"1", b"2"]),
    ],
)
@pytest.mark.asyncio
async def test_pieces_go_out_as_they_come(make: Any, gathers: bool, bodies: list[bytes], exchange: Any) -> None:
    source = Source()
    response = StreamingResponse(make(source), 201, {"x-a": "1"}, "text/csv")
    response.gathers = gathers
    done = await exchange().run(response)
    assert done.sent == [
        {
            "type": "http.response.start",
            "status": 201,
            "headers": [(b"x-a", b"1"), (b"content-type", b"text/csv; charset=utf-8")],
        },
        *({"type": "http.response.body", "body": body, "more_body": True} for body in bodies),
        {"type": "http.response.body", "body": b"", "more_body": False},
    ]
    assert source.ended == ["closed"]


@pytest.mark.parametrize(
    ("piece", "body"),
    [(b"a", b"a"), ("è", b"\xc3\xa8"), (bytearray(b"b"), b"b"), (memoryview(b"m"), b"m"), (5, b"5"), ("\ud800", b"?")],
)
@pytest.mark.asyncio
async def test_pieces_of_all_kinds(piece: Any, body: bytes, exchange: Any) -> None:
    done = await exchange().run(StreamingResponse([piece]))
    assert done.body == body
    assert done.sent[1]["body"].__class__ is bytes


class AsyncIterableObject:
    """An object whose __aiter__ is an async generator."""

    def __init__(self, source: Source) -> None:
        self.source = source

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            for number in range(3):
                yield str(number)
        finally:
            self.source.ended.append("closed")


class AsyncIteratorObject:
    """An iterator that cannot be closed."""

    def __init__(self) -> None:
        self.count = 0

    def __aiter__(self) -> "AsyncIteratorObject":
        return self

    async def __anext__(self) -> str:
        self.count += 1
        if self.count > 3:
            raise StopAsyncIteration
        return str(self.count - 1)


@pytest.mark.asyncio
async def test_any_async_iterable_will_do(exchange: Any) -> None:
    source = Source()
    assert (await exchange().run(StreamingResponse(AsyncIterableObject(source)))).body == b"012"
    assert source.ended == ["closed"]
    assert (await exchange().run(StreamingResponse(AsyncIteratorObject()))).body == b"012"


@pytest.mark.asyncio
async def test_an_open_file_is_sent_and_closed(exchange: Any) -> None:
    file = io.BytesIO(b"a\nb\n")
    assert (await exchange().run(StreamingResponse(file))).body == b"a\nb\n"
    assert file.closed


@pytest.mark.asyncio
async def test_a_source_whose_iterator_cannot_be_closed_is_closed_itself(exchange: Any) -> None:
    class Cursor:
        closed = False

        def __iter__(self) -> Iterator[str]:
            return iter(["a", "b"])

        def close(self) -> None:
            self.closed = True

    cursor = Cursor()
    assert (await exchange().run(StreamingResponse(cursor))).body == b"ab"
    assert cursor.closed


@pytest.mark.asyncio
async def test_sync_sources_are_asked_in_threads(exchange: Any) -> None:
    threads: set[threading.Thread] = set()

    def pieces() -> Iterator[str]:
        threads.add(threading.current_thread())
        yield "a"

    await exchange().run(StreamingResponse(pieces()))
    assert threading.main_thread() not in threads

    calls: list[str] = []

    async def run(function: Any, *args: Any) -> Any:
        calls.append(function.__name__)
        return function(*args)

    here = exchange()
    await StreamingResponse(pieces()).respond(here.scope, here.send, run)
    assert calls == ["_next", "_next", "_close"]
    assert threading.main_thread() in threads


@pytest.mark.asyncio
async def test_the_iterator_may_be_replaced_and_both_are_closed(exchange: Any) -> None:
    source = Source(5)
    response = StreamingResponse(source.sync_pieces())
    inner = response.body_iterator

    async def louder() -> AsyncIterator[str]:
        try:
            async for piece in inner:
                yield piece + "!"
                if piece == "1":
                    return
        finally:
            source.ended.append("outer")

    response.body_iterator = louder()
    assert (await exchange().run(response)).body == b"0!1!"
    assert source.ended == ["outer", "closed"]


@pytest.mark.asyncio
async def test_head_sends_no_piece_and_closes_the_source(exchange: Any) -> None:
    file = io.BytesIO(b"abc")
    done = await exchange("HEAD").run(StreamingResponse(file))
    assert len(done.sent) == 2
    assert file.closed


@pytest.mark.asyncio
async def test_background_runs_when_the_stream_is_over(exchange: Any) -> None:
    source = Source()
    response = StreamingResponse(source.pieces(), background=BackgroundTask(source.ended.append, "background"))
    await exchange().run(response)
    assert source.ended == ["closed", "background"]


@pytest.mark.parametrize("make", [Source.pieces, Source.sync_pieces])
@pytest.mark.asyncio
async def test_an_error_of_the_source_goes_up_and_nothing_pretends_to_be_complete(make: Any, exchange: Any) -> None:
    for error in (ValueError("broken"), OSError("its own disk")):
        source = Source(1, error)
        here = exchange()
        with pytest.raises(type(error), match=str(error)):
            await here.run(StreamingResponse(make(source)))
        assert here.sent[-1] == {"type": "http.response.body", "body": b"0", "more_body": True}
        assert source.ended == ["closed"]


@pytest.mark.asyncio
async def test_a_client_that_leaves_closes_the_source(exchange: Any) -> None:
    source = Source()
    here = exchange()
    task = asyncio.ensure_future(here.run(StreamingResponse(source.endless())))
    await source.waiting.wait()
    here.leave()
    await task
    assert source.ended == ["closed"]
    assert here.sent[-1]["more_body"] is True


@pytest.mark.asyncio
async def test_a_client_that_leaves_while_a_thread_works_waits_for_its_step(exchange: Any) -> None:
    source = Source()
    started = threading.Event()

    def pieces() -> Iterator[bytes]:
        try:
            yield b"first"
            started.set()
            source.go_on.wait(30)
            yield b"second"
        finally:
            source.ended.append("closed")

    here = exchange()
    task = asyncio.ensure_future(here.run(StreamingResponse(pieces())))
    await asyncio.to_thread(started.wait, 30)
    here.leave()
    await asyncio.sleep(0)
    source.go_on.set()
    await task
    assert source.ended == ["closed"]
    assert [message["body"] for message in here.sent[1:]] == [b"first"]


@pytest.mark.parametrize("when", [0, 1, 4])
@pytest.mark.asyncio
async def test_a_send_that_fails_is_a_client_that_left(when: int, exchange: Any) -> None:
    source = Source()

    def fail(message: dict[str, Any]) -> None:
        if len(here.sent) == when:
            raise ConnectionResetError("gone")

    here = exchange(on_send=fail, asgi={"spec_version": "2.4"})
    with pytest.raises(ClientDisconnect, match="The client left before the answer was complete"):
        await here.run(StreamingResponse(source.pieces()))
    # A generator that was never begun has nothing to close.
    assert source.ended == ([] if when == 0 else ["closed"])
    assert here.receives == 0


@pytest.mark.asyncio
async def test_a_cancelled_stream_closes_its_source(exchange: Any) -> None:
    source = Source()
    here = exchange()
    task = asyncio.ensure_future(StreamingResponse(source.endless()).respond(here.scope, here.send))
    await source.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.ended == ["closed"]


@pytest.mark.asyncio
async def test_a_handshake_can_be_answered_with_a_stream(exchange: Any) -> None:
    here = exchange(type="websocket")
    await here.run(StreamingResponse([b"no"], 403))
    assert [message["type"] for message in here.sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
        "websocket.http.response.body",
    ]


@pytest.mark.parametrize(
    ("scope", "tells"),
    [
        ({}, False),
        ({"type": "http"}, False),
        ({"type": "http", "asgi": {}}, False),
        ({"type": "http", "asgi": {"spec_version": "2.3"}}, False),
        ({"type": "http", "asgi": {"spec_version": "2.4"}}, True),
        ({"type": "http", "asgi": {"spec_version": "2.10"}}, True),
        ({"type": "http", "asgi": {"spec_version": "3"}}, True),
        ({"type": "http", "asgi": {"spec_version": "x.4"}}, False),
        ({"type": "http", "asgi": {"spec_version": None}}, False),
        ({"type": "websocket"}, True),
    ],
)
def test_whether_the_server_tells_by_send(scope: dict[str, Any], tells: bool) -> None:
    assert send_tells(scope) is tells


@pytest.mark.asyncio
async def test_a_broken_receive_is_no_reason_to_stop() -> None:
    done: list[str] = []

    async def work() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        done.append("work")

    async def receive() -> dict[str, Any]:
        raise RuntimeError("no channel")

    await run_while_connected(work(), receive)
    assert done == ["work"]


@pytest.mark.asyncio
async def test_cancelling_the_watch_cancels_the_work(exchange: Any) -> None:
    source = Source()
    here = exchange()
    task = asyncio.ensure_future(here.run(StreamingResponse(source.endless())))
    await source.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.ended == ["closed"]
