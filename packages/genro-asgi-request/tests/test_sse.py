"""Server-sent events: their text, their keepalives, and how a stream of them ends."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import pytest

from genro_asgi.exceptions import ClientDisconnect
from genro_asgi.response import SseEvent, SseResponse


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (SseEvent("hi"), "data: hi\n\n"),
        (SseEvent("a\nb\r\nc\rd"), "data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (SseEvent(""), "data: \n\n"),
        (SseEvent(" è"), "data:  è\n\n"),
        (SseEvent({"a": Decimal("1.5")}), 'data: {"a":"1.5"}\n\n'),
        (SseEvent([1]), "data: [1]\n\n"),
        (SseEvent(0), "data: 0\n\n"),
        (SseEvent("x", event="tick", id="7", retry=3000), "id: 7\nevent: tick\nretry: 3000\ndata: x\n\n"),
        (SseEvent(event="tick"), "event: tick\ndata: \n\n"),
        (SseEvent(id=""), "id: \n\n"),
        (SseEvent(retry=0), "retry: 0\n\n"),
        (SseEvent(comment="a\nb"), ": a\n: b\n\n"),
        (SseEvent("\ud800"), "data: ?\n\n"),
    ],
)
def test_the_text_of_an_event(event: SseEvent, text: str) -> None:
    assert event.encode() == text.encode()


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b"])
@pytest.mark.parametrize("field", ["event", "id"])
def test_one_line_stays_one_line(field: str, bad: str) -> None:
    with pytest.raises(ValueError, match=f"The {field} .* of a server-sent event holds a line break or NUL"):
        SseEvent("x", **{field: bad})


def test_retry_is_not_negative() -> None:
    with pytest.raises(ValueError, match="The retry -1 of a server-sent event must be 0 or more milliseconds"):
        SseEvent(retry=-1)


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_keepalive_takes_time(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"keepalive_seconds={seconds} must be above 0, or None for no comments"):
        SseResponse([], keepalive_seconds=seconds)


class Clock:
    """A source that gives what is put into it, and notes how it ended."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.ended: list[str] = []
        self.sent = asyncio.Event()

    async def events(self) -> AsyncIterator[Any]:
        try:
            while True:
                item = await self.queue.get()
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        finally:
            self.ended.append("closed")


@pytest.fixture
def clock() -> Clock:
    return Clock()


#: Seconds that are over at the next turn of the loop.
AT_ONCE = 1e-9


async def until(here: Any, count: int) -> None:
    while len(here.sent) < count:
        await asyncio.sleep(0)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_events_go_out_as_they_come(clock: Clock, exchange: Any) -> None:
    for item in ("one", SseEvent("two", id="2"), {"three": 3}, None):
        clock.queue.put_nowait(item)
    done = await exchange().run(SseResponse(clock.events(), retry_ms=500))
    assert done.headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
    }
    assert [message["body"] for message in done.sent[1:]] == [
        b"retry: 500\n\n",
        b"data: one\n\n",
        b"id: 2\ndata: two\n\n",
        b'data: {"three":3}\n\n',
        b"",
    ]
    assert clock.ended == ["closed"]


@pytest.mark.asyncio
async def test_headers_of_the_handler_stay(exchange: Any) -> None:
    done = await exchange().run(SseResponse([], 200, {"cache-control": "no-store", "x-accel-buffering": "yes"}))
    assert done.headers["cache-control"] == "no-store"
    assert done.headers["x-accel-buffering"] == "yes"
    assert done.body == b""


@pytest.mark.asyncio
async def test_a_sync_source_is_asked_in_a_thread(exchange: Any) -> None:
    def events() -> Iterator[str]:
        yield "a"
        yield "b"

    assert (await exchange().run(SseResponse(events()))).body == b"data: a\n\ndata: b\n\n"


@pytest.mark.asyncio
async def test_silence_is_filled_with_comments(clock: Clock, exchange: Any) -> None:
    here = exchange()
    task = asyncio.ensure_future(here.run(SseResponse(clock.events(), keepalive_seconds=AT_ONCE)))
    await until(here, 4)
    assert {message["body"] for message in here.sent[1:]} == {b": keepalive\n\n"}
    clock.queue.put_nowait("now")
    clock.queue.put_nowait(None)
    await task
    assert b"data: now\n\n" in [message["body"] for message in here.sent[1:]]


@pytest.mark.asyncio
async def test_no_comment_while_an_event_is_on_its_way(clock: Clock, exchange: Any) -> None:
    here = exchange()
    slow = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        here.sent.append(message)
        if message.get("body") == b"data: slow\n\n":
            clock.sent.set()
            await slow.wait()

    clock.queue.put_nowait("slow")
    clock.queue.put_nowait(None)
    response = SseResponse(clock.events(), keepalive_seconds=AT_ONCE)
    task = asyncio.ensure_future(response(here.scope, here.receive, send))
    await clock.sent.wait()
    await turns(50)
    slow.set()
    await task
    assert [message["body"] for message in here.sent[1:]] == [b"data: slow\n\n", b""]


@pytest.mark.asyncio
async def test_without_keepalive_there_is_silence(clock: Clock, exchange: Any) -> None:
    here = exchange()
    task = asyncio.ensure_future(here.run(SseResponse(clock.events(), keepalive_seconds=None)))
    await until(here, 1)
    await turns(50)
    assert len(here.sent) == 1
    clock.queue.put_nowait(None)
    await task


@pytest.mark.asyncio
async def test_a_stopped_stream_says_goodbye_and_closes_its_source(clock: Clock, exchange: Any) -> None:
    here = exchange()
    response = SseResponse(clock.events(), last_event=SseEvent(event="never"))
    task = asyncio.ensure_future(here.run(response))
    await until(here, 1)
    clock.queue.put_nowait("one")
    await until(here, 2)
    response.stop(SseEvent(event="bye"))
    await task
    assert [message["body"] for message in here.sent[1:]] == [b"data: one\n\n", b"event: bye\ndata: \n\n", b""]
    assert clock.ended == ["cancelled", "closed"]


@pytest.mark.parametrize(("last", "bodies"), [(SseEvent("bye"), [b"data: bye\n\n", b""]), (None, [b""])])
@pytest.mark.asyncio
async def test_a_stream_may_be_stopped_before_it_begins(
    last: SseEvent | None, bodies: list[bytes], clock: Clock, exchange: Any
) -> None:
    response = SseResponse(clock.events(), last_event=last)
    response.stop()
    done = await exchange().run(response)
    assert [message["body"] for message in done.sent[1:]] == bodies


@pytest.mark.asyncio
async def test_a_client_that_leaves_finalises_the_source(clock: Clock, exchange: Any) -> None:
    here = exchange()
    task = asyncio.ensure_future(here.run(SseResponse(clock.events())))
    clock.queue.put_nowait("one")
    await until(here, 2)
    here.leave()
    await task
    assert clock.ended == ["cancelled", "closed"]


@pytest.mark.asyncio
async def test_a_send_that_fails_finalises_the_source(clock: Clock, exchange: Any) -> None:
    def fail(message: dict[str, Any]) -> None:
        if here.sent:
            raise OSError("gone")

    here = exchange(on_send=fail)
    clock.queue.put_nowait("one")
    response = SseResponse(clock.events())
    with pytest.raises(ClientDisconnect):
        await response.respond(here.scope, here.send)
    assert clock.ended == ["closed"]


@pytest.mark.asyncio
async def test_an_error_of_the_source_goes_up(clock: Clock, exchange: Any) -> None:
    clock.queue.put_nowait(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await exchange().run(SseResponse(clock.events()))
    assert clock.ended == ["closed"]


@pytest.mark.asyncio
async def test_an_event_that_cannot_be_written_goes_up(clock: Clock, exchange: Any) -> None:
    clock.queue.put_nowait(object())
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        await exchange().run(SseResponse(clock.events()))
    assert clock.ended == ["closed"]


@pytest.mark.asyncio
async def test_head_starts_nothing(clock: Clock, exchange: Any) -> None:
    done = await exchange("HEAD").run(SseResponse(clock.events()))
    assert (len(done.sent), done.body) == (2, b"")
    assert clock.queue.empty()


@pytest.mark.asyncio
async def test_the_source_stays_in_one_task(exchange: Any) -> None:
    tasks: set[Any] = set()

    async def events() -> AsyncIterator[str]:
        for _ in range(3):
            async with asyncio.timeout(30):
                tasks.add(asyncio.current_task())
                yield "x"

    await exchange().run(SseResponse(events(), keepalive_seconds=AT_ONCE))
    assert len(tasks) == 1
