"""uvicorn's WebSocket protocol with a short road for whole data frames, which nearly all frames are."""

import asyncio
from collections.abc import Callable
from struct import Struct
from typing import Any, cast
from weakref import WeakKeyDictionary

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from genro_asgi.wsx.masking import apply_mask

__all__ = ["GenroWebSocketProtocol"]

_TEXT, _BINARY, _CLOSE = 0x81, 0x82, 0x88
_short_head, _long_head = Struct(">BBH").pack, Struct(">BBQ").pack
#: Bytes that are put together for one write. With fewer the client is woken too often, and both sides lose by it; with
#: more the first answers wait for the last ones.
MAX_OUT = 32 * 1024
#: Seconds for which a connection that was closed for what its client sent is read on.
LINGER = 1.0
#: Seconds for which a connection counts as busy after its client has sent something.
BUSY = 0.001


class Turn:
    """What the connections of a loop have to say in one of its turns."""

    __slots__ = ("at", "last", "waiting")

    def __init__(self) -> None:
        #: Who answered last (its id: nobody is kept alive by this), and when.
        self.last = 0
        self.at = 0.0
        self.waiting: list[GenroWebSocketProtocol] = []

    def add(self, protocol: "GenroWebSocketProtocol") -> None:
        """Let a connection write at the end of the turn."""
        if not self.waiting:
            protocol.loop.call_soon(self.end)
        self.waiting.append(protocol)

    def end(self) -> None:
        """Write what has been put together."""
        waiting, self.waiting = self.waiting, []
        for protocol in waiting:
            protocol.flush_planned = False
            protocol.flush()


_turns: "WeakKeyDictionary[asyncio.AbstractEventLoop, Turn]" = WeakKeyDictionary()


def turn_of(loop: asyncio.AbstractEventLoop) -> Turn:
    """What the connections of this loop share."""
    turn = _turns.get(loop)
    if turn is None:
        turn = _turns[loop] = Turn()
    return turn


def _at_a_border(protocol: WebSocketsSansIOProtocol) -> bool:
    """Whether a protocol is open, its frames are not compressed, and no part of one was given to the library."""
    conn = protocol.conn
    open = protocol.handshake_complete and not (protocol.close_sent or protocol.disconnected)
    return open and not (conn.extensions or conn.reader.buffer or protocol.transport.is_closing())


class GenroWebSocketProtocol(WebSocketsSansIOProtocol):
    """Takes whole, masked, uncompressed data frames apart by itself, and leaves all others to the library.

    An application that knows this class may take messages by `attach` and send them by `write_frame`: without an
    event per message, and with what is said in one turn of the loop in one write. Any other uses it as it uses uvicorn.
    """

    #: Takes a message: whether it is text, and its bytes; False to be given no more until `read_on`.
    sink: Callable[[bool, bytes], bool] | None = None
    #: Whether frames are looked at here; not before the handshake is done, and not when they are compressed.
    framing = False
    #: Whether `write_frame` may be called.
    free = False
    stopped = False
    #: Whether the socket was closed for what the client sent, and what else it sends is thrown away.
    lingering = False
    #: Whether what came is being looked at: what is said meanwhile goes out after that, all in one.
    reading = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare()

    def _prepare(self) -> None:
        self._max_size: int = self.config.ws_max_size
        #: What has come of a frame that is not complete, and how long it will be at least.
        self._buffer = b""
        self._wanted = 0
        self._out: list[bytes] = []
        self._out_size = 0
        #: Whether it is one of those that write at the end of this turn.
        self.flush_planned = False
        self._turn = turn_of(self.loop)

    async def send(self, message: Any) -> None:
        """As uvicorn does; from the accept on frames may be taken apart here."""
        if self._out:
            self.flush()
        if self.lingering:
            raise ClientDisconnected  # who was closed for what he sent has left, as far as the application goes
        await super().send(message)
        if message["type"] == "websocket.accept":
            self.framing = self.free = _at_a_border(self)
        elif self.close_sent:
            self.framing = self.free = False
            self.handshake_complete = True  # also by a refusal with a body, which uvicorn would log as an error

    @classmethod
    def adopt(cls, protocol: Any) -> "GenroWebSocketProtocol | None":
        """The protocol uvicorn has made where it runs by itself as one of these, from its accept on.

        None when it is of another kind, or when its frames are for the library (they are compressed).
        """
        if type(protocol) is not WebSocketsSansIOProtocol or not _at_a_border(protocol):
            return None
        protocol.__class__ = cls
        own = cast("GenroWebSocketProtocol", protocol)
        own._prepare()
        own.framing = True
        own.free = own.writable.is_set()
        own.transport.set_protocol(own)  # some transports keep the methods of their protocol
        return own

    # -- reading

    def attach(self, sink: Callable[[bool, bytes], bool]) -> None:
        """Give all messages from now on to `sink`, and only the end of the socket to `receive`."""
        self.sink = sink
        while not self.queue.empty():
            message = self.queue.get_nowait()
            if message["type"] != "websocket.receive":
                self.queue.put_nowait(message)
                break
            text = message.get("text")
            self._deliver(text is not None, message["bytes"] if text is None else text.encode())  # type: ignore[arg-type]
        if self.read_paused and not self.stopped:
            self.read_paused = False
            self.transport.resume_reading()

    def read_on(self) -> None:
        """Let messages come again after the sink has refused more."""
        if self.stopped:
            self.stopped = False
            if not self.transport.is_closing():
                self.transport.resume_reading()
            if self.framing and self._buffer:
                self._wanted = 0
                self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        """Take frames apart; what is not whole waits."""
        if not self.framing:
            if not self.lingering:
                super().data_received(data)
            return
        if self._buffer:
            data = self._buffer = self._buffer + data
        if len(data) < self._wanted or self.stopped:
            self._buffer = data
            return
        self._wanted = 0
        self.reading = True
        try:
            used = self._take(data)
        finally:
            self.reading = False
        self._buffer = data[used:] if used < len(data) else b""
        if self._out:
            self._answered()

    def _answered(self) -> None:
        """Write now, or with the others that are busy.

        To read from all of them first and to write to all of them then costs a fifth less than to go to and fro.
        """
        turn, now = self._turn, self.loop.time()
        if turn.last == id(self) or now - turn.at > BUSY:
            self.flush()
        else:
            self._plan_flush()
        turn.last, turn.at = id(self), now

    def _plan_flush(self) -> None:
        if not self.flush_planned:
            self.flush_planned = True
            self._turn.add(self)

    def _take(self, data: bytes) -> int:
        """Deal with all frames that are whole; how many bytes they were."""
        position, size, sink, conn, max_size = 0, len(data), self.sink, self.conn, self._max_size
        while size - position >= 2:
            first, second = data[position], data[position + 1]
            if second == 254:  # masked, and as long as most are
                start = position + 8
                if size < start:
                    break
                length = data[position + 2] << 8 | data[position + 3]
            else:
                length = second & 127
                start = position + (14 if length == 127 else 6)
                if second < 128:
                    self._give_library(data[position:])  # not masked: the library says how that ends
                    return size
                if size < start:
                    break
                if length == 127:
                    length = int.from_bytes(data[position + 2 : position + 10], "big")
            if length > max_size:
                self._give_library(data[position:])
                return size
            end = start + length
            if end > size:
                self._wanted = end - position
                break
            if (first == _TEXT or first == _BINARY) and conn.current_size is None:  # noqa: SIM109 (half the price)
                payload = apply_mask(data[start:end], data[start - 4 : start])
                if sink is None or not payload.isascii():
                    self._deliver(first == _TEXT, payload)
                elif not sink(first == _TEXT, payload):
                    self._stop()
            else:
                if first == _CLOSE:
                    conn.current_size = None  # a client may leave in the middle of a message; the library thinks not
                self._give_library(data[position:end])
            position = end
            if self.stopped or not self.framing:
                break
        return position

    def _give_library(self, data: bytes) -> None:
        if self._out:
            self.flush()  # what it answers comes behind
        super().data_received(data)
        self._see_end()

    def _see_end(self) -> None:
        if self.transport.is_closing() or self.lingering:
            self.framing = self.free = False

    def handle_parser_exception(self) -> None:
        """Close for what breaks the rules, and go on reading until the client is done, for a moment at most.

        With bytes nobody has read TCP resets a connection that is closed, and the client would never learn why. So our
        half of it ends first (RFC 6455, 7.1.1), and it need not wait for that either.
        """
        close = self.conn.close_sent
        assert close is not None
        self.flush()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.close_sent = self.lingering = True
        self.stop_keepalive()
        self.close_timer = self.loop.call_later(LINGER, self.transport.close)
        if self.read_paused or self.stopped:
            self.read_paused = self.stopped = False
            self.transport.resume_reading()

    def _deliver(self, is_text: bool, payload: bytes) -> None:
        """uvicorn's own way: it looks whether a text is UTF-8, and stops reading until it is asked for more."""
        self.curr_msg_data_type = "text" if is_text else "bytes"
        self.frames = [payload]
        self.send_receive_event_to_app()
        self._see_end()

    def _stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.transport.pause_reading()

    def send_receive_event_to_app(self) -> None:
        """Give a whole message on: to the sink if there is one."""
        payload = b"".join(self.frames)
        self.frames = []
        if self.close_sent:
            return
        is_text = self.curr_msg_data_type == "text"
        try:
            text = payload.decode() if is_text else ""
        except UnicodeDecodeError:  # uvicorn would write a traceback for it, which any client could fill the log with
            self.conn.send_close(1007)
            self.handle_parser_exception()
            self._see_end()
            return
        if self.sink is not None:
            if not self.sink(is_text, payload):
                self._stop()
            return
        if is_text:
            self.queue.put_nowait({"type": "websocket.receive", "text": text})
        else:
            self.queue.put_nowait({"type": "websocket.receive", "bytes": payload})
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    # -- writing

    def write_frame(self, payload: bytes, is_text: bool) -> None:
        """Put a message into what is written with the next `flush`, at the end of this turn of the loop at latest."""
        size = len(payload)
        opcode = _TEXT if is_text else _BINARY
        out = self._out
        if size < 126:
            out.append(bytes((opcode, size)))
        elif size < 65536:
            out.append(_short_head(opcode, 126, size))
        else:
            out.append(_long_head(opcode, 127, size))
        out.append(payload)
        self._out_size += size
        if self._out_size > MAX_OUT:
            self.flush()  # so that the transport can say that it has enough
        elif not self.reading:
            self._plan_flush()

    def flush(self) -> None:
        """Write what has been put together."""
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            if not self.transport.is_closing():
                self.transport.write(data)

    def pause_writing(self) -> None:
        """The transport has enough: frames have to wait."""
        super().pause_writing()
        self.free = False

    def resume_writing(self) -> None:
        """The transport takes more."""
        super().resume_writing()
        self.free = self.framing

    def shutdown(self) -> None:
        """Close with 1012, behind what was said."""
        self.flush()
        self.free = self.framing = False
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is taken or given any more."""
        self.free = self.framing = False
        self._buffer = b""
        self._out.clear()
        super().connection_lost(exc)
