"""The short road for WebSocket frames, and tasks that begin at once."""

import asyncio
import contextvars
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.exceptions import ConfigError
from genro_asgi.routing import route
from genro_asgi.server.eager import start_task
from genro_asgi.server.server import AsgiServer
from genro_asgi.server.wsx_connection import protocol_behind
from genro_asgi.wsx.masking import apply_mask, xor_mask

pytest.importorskip("websockets")

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from genro_asgi.server.ws_protocol import GenroWebSocketProtocol

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MASK = b"\x01\x02\x03\x04"


class Wire(asyncio.Transport):
    """What the protocol writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.writes = 0
        self.closed = False
        self.ended = False
        self.paused = False
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self.written += data
        self.writes += 1

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


def frame(payload: bytes, opcode: int = 1, fin: bool = True, masked: bool = True) -> bytes:
    size = len(payload)
    head = bytes([opcode | (0x80 if fin else 0)])
    flag = 0x80 if masked else 0
    if size < 126:
        head += bytes([flag | size])
    elif size < 65536:
        head += bytes([flag | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([flag | 127]) + size.to_bytes(8, "big")
    return head + MASK + xor_mask(payload, MASK) if masked else head + payload


async def opened(app: Any = None, **options: Any) -> tuple[GenroWebSocketProtocol, Wire, list[Any]]:
    """A protocol whose handshake is done, its wire, and what its application has received."""
    seen: list[Any] = []

    async def collect(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            seen.append(message.get("text") if message.get("text") is not None else message["bytes"])
        seen.append((message.get("code"), message.get("reason")))

    config = uvicorn.Config(
        app or collect, ws_per_message_deflate=False, ws_max_size=70_000, log_level="error", **options
    )
    config.load()
    protocol = GenroWebSocketProtocol(config, ServerState(), {})
    wire = Wire()
    protocol.connection_made(wire)
    protocol.data_received(HANDSHAKE)
    for _ in range(10):
        await asyncio.sleep(0)
    assert wire.written.startswith(b"HTTP/1.1 101 ")
    wire.written, wire.writes = b"", 0
    return protocol, wire, seen


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
@settings(derandomize=True, deadline=None)
def test_masking_in_c_and_by_hand(data: bytes, mask: bytes) -> None:
    assert xor_mask(data, mask) == bytes(b ^ mask[i % 4] for i, b in enumerate(data)) == apply_mask(data, mask)


# What is repeated is a payload of that many bytes.
PAYLOADS = st.one_of(st.text(max_size=200), st.binary(max_size=200), st.sampled_from([125, 126, 65_535, 66_000]))


@given(
    st.lists(st.tuples(PAYLOADS, st.integers(0, 3)), max_size=6),
    st.lists(st.integers(1, 500), max_size=12),
    st.booleans(),
)
@settings(derandomize=True, deadline=None, max_examples=150)
def test_messages_come_whole_however_the_bytes_come(
    drawn: list[tuple[str | bytes | int, int]], cuts: list[int], sink: bool
) -> None:
    messages = [(b"y" * payload if isinstance(payload, int) else payload, kind) for payload, kind in drawn]

    async def run() -> None:
        protocol, wire, seen = await opened()
        if sink:
            protocol.attach(lambda is_text, payload: seen.append(payload.decode() if is_text else payload) or True)
        stream = b""
        for payload, kind in messages:
            raw, opcode = (payload.encode(), 1) if isinstance(payload, str) else (payload, 2)
            if kind == 0:  # in two fragments, with a ping between them
                stream += frame(raw[:1], opcode, fin=False) + frame(b"p", 9) + frame(raw[1:], 0)
            else:
                stream += frame(raw, opcode) + (frame(b"q", 9) if kind == 1 else b"")
        position = 0
        for cut in [*cuts, len(stream)]:
            protocol.data_received(stream[position : position + cut])
            position += cut
            if position >= len(stream):
                break
        if position < len(stream):
            protocol.data_received(stream[position:])
        await settle()
        assert seen == [payload for payload, _ in messages]
        assert wire.written.count(b"\x8a\x01") == sum(kind < 2 for _, kind in messages)
        assert not wire.closed
        protocol.connection_lost(None)
        await settle()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"x", masked=False), 1002),
        (frame(b"", masked=False), 1002),
        (frame(b"x" * 70_001), 1009),
        (frame(b"\xff\xfe"), 1007),
        (frame(b"x", opcode=3), 1002),
        (frame(b"x", opcode=0x41), 1002),  # a reserved bit
        (frame(b"x", opcode=0), 1002),  # a continuation of nothing
        (frame(b"x", fin=False) + frame(b"y"), 1002),
        (frame(b"x" * 40_000, fin=False) + frame(b"y" * 40_000, 0), 1009),
        (frame(b"\x03\xe8", 8), 1000),
        (frame(b"x", fin=False) + frame(b"\x03\xe8", 8), 1000),
    ],
)
@pytest.mark.parametrize("sink", [False, True])
@pytest.mark.asyncio
async def test_frames_against_the_rules_close_as_the_library_says(data: bytes, code: int, sink: bool) -> None:
    protocol, wire, seen = await opened()
    if sink:
        protocol.attach(lambda is_text, payload: seen.append(payload) or True)
    protocol.data_received(frame(b"first") + data + frame(b"too late"))
    protocol.data_received(frame(b"even later"))
    await settle()
    # Where the client broke the rules it is read for a moment longer, so that it gets to know; its side ends at once.
    assert wire.closed == (code == 1000)
    assert protocol.lingering == wire.ended == (code != 1000)
    if protocol.close_timer is not None:
        protocol.close_timer.cancel()
    assert wire.written[:1] == b"\x88"
    assert int.from_bytes(wire.written[2:4], "big") == code
    assert seen[0] in ("first", b"first")
    assert seen[-1][0] == code
    assert len(seen) == 2


@pytest.mark.parametrize("broken", [frame(b"x", opcode=3), frame(b"\xff"), frame(b"x", masked=False)])
@pytest.mark.asyncio
async def test_who_writes_to_a_client_that_broke_the_rules_is_told_that_it_is_gone(
    broken: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[type[Exception]] = []

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        for message in ({"type": "websocket.send", "text": "late"}, {"type": "websocket.close"}):
            try:
                await send(message)
            except OSError as error:
                told.append(type(error))

    protocol, wire, _ = await opened(answering)
    protocol.data_received(frame(b"first") + broken)
    await settle()
    assert len(told) == 2
    assert wire.written[:1] == b"\x88"
    assert caplog.records == []
    assert protocol.close_timer is not None
    protocol.close_timer.cancel()


@pytest.mark.asyncio
async def test_answers_stand_before_the_close_that_text_without_utf8_brings() -> None:
    protocol, wire, _ = await opened()
    protocol.attach(lambda is_text, payload: protocol.write_frame(payload, is_text) or True)
    protocol.data_received(frame(b"first") + frame(b"\xff") + frame(b"late"))
    await settle()
    assert wire.written == b"\x81\x05first\x88\x02\x03\xef"
    assert wire.ended
    assert protocol.close_timer is not None
    protocol.close_timer.cancel()


@pytest.mark.asyncio
async def test_who_is_busy_together_is_written_to_together() -> None:
    pairs = [await opened() for _ in range(3)]
    for protocol, _, _ in pairs:
        protocol.attach(lambda is_text, payload, protocol=protocol: protocol.write_frame(payload, is_text) or True)
    (first, wire, _), others = pairs[0], pairs[1:]
    for turn in (1, 2):
        for _ in range(2):  # alone: each answer leaves at once
            first.data_received(frame(b"a"))
        assert wire.written == b"\x81\x01a" * 2 * turn
    for protocol, _, _ in [*others, *others]:
        protocol.data_received(frame(b"b"))
    assert [other.writes for _, other, _ in others] == [0, 0]
    others[1][0].connection_lost(None)
    await settle()
    assert others[0][1].written == b"\x81\x01b" * 2
    assert [other.writes for _, other, _ in others] == [1, 0]
    assert wire.writes == 4


@pytest.mark.asyncio
async def test_what_is_said_in_one_turn_is_one_write() -> None:
    protocol, wire, _ = await opened()

    def answer(is_text: bool, payload: bytes) -> bool:
        protocol.write_frame(payload, is_text)
        return True

    protocol.attach(answer)
    protocol.data_received(frame(b"a") + frame(b"b", 2) + frame(b"c" * 200))
    assert wire.written == b"\x81\x01a\x82\x01b\x81\x7e\x00\xc8" + b"c" * 200
    assert wire.writes == 1
    protocol.write_frame(b"d", True)
    assert wire.writes == 1
    await settle()
    assert wire.writes == 2
    protocol.write_frame(b"e" * 65536, True)
    assert wire.written.endswith(b"\x81\x01d\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + b"e" * 65536)
    assert wire.writes == 3
    protocol.write_frame(b"last", True)
    protocol.data_received(frame(b"\x03\xe8", 8))
    assert wire.written.endswith(b"\x81\x04last\x88\x02\x03\xe8")
    assert not protocol.free


@pytest.mark.asyncio
async def test_a_sink_that_has_enough_is_given_no_more() -> None:
    protocol, wire, _ = await opened()
    taken: list[bytes] = []
    protocol.attach(lambda is_text, payload: taken.append(payload) or len(taken) % 2 == 1)
    protocol.data_received(b"".join(frame(b"%d" % n) for n in range(5)) + frame(b"5")[:3])
    assert taken == [b"0", b"1"]
    assert wire.paused
    protocol.data_received(frame(b"5")[3:])
    assert taken == [b"0", b"1"]
    protocol.read_on()
    assert taken == [b"0", b"1", b"2", b"3"]
    protocol.read_on()
    assert taken == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert wire.paused
    protocol.read_on()
    assert not wire.paused


@pytest.mark.asyncio
async def test_messages_that_came_before_the_sink_are_given_to_it() -> None:
    seen: list[Any] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        protocol = protocol_behind(receive, send)
        assert protocol is not None
        protocol.data_received(frame(b"early") + frame(b"bird", 2))
        protocol.attach(lambda is_text, payload: seen.append((is_text, payload)) or True)
        seen.append(await receive())

    protocol, wire, _ = await opened(slow)
    assert seen == [(True, b"early"), (False, b"bird")]
    assert not wire.paused
    protocol.data_received(frame(b"\x03\xe8", 8))
    await settle()
    assert seen[-1]["type"] == "websocket.disconnect"


@pytest.mark.asyncio
async def test_channels_with_something_in_between_are_left_alone() -> None:
    async def receive() -> Any:
        return {"type": "websocket.connect"}

    assert protocol_behind(receive, receive) is None


class Echo(AsgiServer):
    @route()
    async def echo(self, body_data: Any) -> Any:
        return body_data


@pytest.mark.parametrize("kind", ["plain", "compressed", "wrapped"])
@pytest.mark.asyncio
async def test_a_protocol_uvicorn_has_made_becomes_one_of_ours(kind: str) -> None:
    server = Echo()

    async def between(scope: Any, receive: Any, send: Any) -> None:
        async def passed(message: Any) -> None:
            await send(message)

        await server(scope, receive, passed)

    app = between if kind == "wrapped" else server
    config = uvicorn.Config(app, log_level="error", ws_per_message_deflate=kind == "compressed")
    config.load()
    protocol: Any = WebSocketsSansIOProtocol(config, ServerState(), {})
    wire = Wire()
    protocol.connection_made(wire)
    offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    protocol.data_received(HANDSHAKE[:-2] + offer if kind == "compressed" else HANDSHAKE)
    await settle()
    assert type(protocol) is (GenroWebSocketProtocol if kind == "plain" else WebSocketsSansIOProtocol)
    assert (wire.protocol is protocol) is (kind == "plain")
    message = b'WSX://{"id":"1","method":"POST","path":"/echo","data":[1]}'
    for part in (frame(message), frame(message[:20], fin=False) + frame(message[20:], 0)):
        wire.written = b""
        protocol.data_received(part)
        await settle()
        answer = b'WSX://{"id":"1","status":200,"data":[1]}'
        assert wire.written[:1] == (b"\xc1" if kind == "compressed" else b"\x81")
        assert kind == "compressed" or wire.written == bytes((0x81, len(answer))) + answer
    for connection in list(server.websockets.wsx.connections):
        connection.close(1012, "enough")
    await settle()
    assert wire.written.endswith(b"\x88\x08\x03\xf4enough")
    protocol.data_received(frame(b"\x03\xf4", 8))
    await settle()
    assert wire.closed
    protocol.connection_lost(None)
    await settle()
    assert not server.websockets.wsx.connections


# Tasks that begin at once


variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


async def at_once(work: Any) -> "asyncio.Task[Any]":
    """The task of some work, started where no task runs, as the protocol does."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[asyncio.Task[Any]] = loop.create_future()
    loop.call_soon(lambda: made.set_result(start_task(loop, work, contextvars.copy_context())))
    return await made


@pytest.mark.asyncio
async def test_a_task_that_waits_for_nothing_is_done_when_it_is_made() -> None:
    seen: list[Any] = []

    async def work() -> int:
        variable.set(1)
        seen.append(asyncio.current_task())
        async with asyncio.timeout(1):
            await nothing()
            return 5

    async def nothing() -> None: ...

    task = await at_once(work())
    assert task.done()
    assert await task == 5
    assert seen == [task]
    assert variable.get() == 0
    loop = asyncio.get_running_loop()
    assert "call_soon" not in vars(loop)


@pytest.mark.asyncio
async def test_a_task_that_waits_is_a_task_like_any_other() -> None:
    gate = asyncio.Event()

    async def work() -> Any:
        variable.set(2)
        me = asyncio.current_task()
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(10)
        except TimeoutError:
            await gate.wait()
        return me is asyncio.current_task(), variable.get()

    task = await at_once(work())
    assert not task.done()
    gate.set()
    assert await task == (True, 2)
    other = await at_once(asyncio.sleep(10))
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        await other


@pytest.mark.asyncio
async def test_what_a_task_raises_at_once_is_its_exception() -> None:
    async def work() -> None:
        raise KeyError("x")

    task = await at_once(work())
    assert isinstance(task.exception(), KeyError)


@pytest.mark.asyncio
async def test_a_task_begun_inside_a_task_comes_to_its_turn() -> None:
    order: list[str] = []

    async def work(name: str) -> None:
        order.append(name)

    task = start_task(asyncio.get_running_loop(), work("inner"), contextvars.copy_context())
    await task
    assert order == ["inner"]


# Configuration


def test_the_section_websocket_reaches_uvicorn() -> None:
    from genro_asgi.server.runner import make_config

    config = make_config(AsgiServer(limits={"ws_message": "1 MiB"}), "127.0.0.1", 0, {})
    assert config.ws is GenroWebSocketProtocol
    assert (config.ws_ping_interval, config.ws_ping_timeout) == (20, 20)
    assert (config.ws_max_size, config.ws_per_message_deflate) == (4 * 1024 * 1024, False)
    server = AsgiServer(websocket={"heartbeat": 5, "compression": True, "max_in_flight": 3, "origins": ["http://a"]})
    config = make_config(server, "127.0.0.1", 0, {})
    assert (config.ws_ping_interval, config.ws_ping_timeout, config.ws_per_message_deflate) == (5, 5, True)
    assert server.websockets.wsx.limits.ws_in_flight == 3
    config = make_config(AsgiServer(websocket={"heartbeat": 0}), "127.0.0.1", 0, {"ws": "wsproto"})
    assert (config.ws_ping_interval, config.ws) == (None, "wsproto")
    with pytest.raises(ConfigError):
        AsgiServer(websocket={"heartbeet": 1})
