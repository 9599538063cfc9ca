"""One WSX connection: reads the socket, gives messages to the session, and writes what is to be said."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Generator
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from genro_asgi.exceptions import WebSocketDisconnect
from genro_asgi.server.wsx_calls import WsxCalls
from genro_asgi.websocket import WebSocket
from genro_asgi.wsx.incoming import Incoming
from genro_asgi.wsx.kinds import Form
from genro_asgi.wsx.session import Frame, Session

if TYPE_CHECKING:
    from genro_asgi.server.ws_protocol import GenroWebSocketProtocol
    from genro_asgi.server.wsx_handler import WsxHandler

__all__ = ["WsxConnection", "protocol_behind"]

logger = logging.getLogger("genro_asgi")

#: Seconds a client is given to answer a close.
CLOSE_TIMEOUT = 10.0
#: The same where another server looks after that: some close when nobody reads any more, and not before.
ASGI_CLOSE_TIMEOUT = 1.0


class WsxConnection(WsxCalls):
    """The life of a socket from its accept to its end."""

    # A server has thousands of these, most of them idle.
    __slots__ = ("_closed", "_lost", "_queue", "_reader", "_resumed", "_send", "_timer", "_writer", "elder", "holder")

    def __init__(
        self, handler: "WsxHandler", websocket: WebSocket, auth: dict[str, Any] | None, id: str, *, legacy: bool
    ) -> None:
        limits = handler.limits
        protocol = protocol_behind(websocket.asgi_receive, websocket.asgi_send) or _adopted(websocket)
        session = Session(
            "server",
            text=str if protocol is None else bytes,
            limits=limits,
            legacy=legacy,
            default_timeout=limits.handler_timeout,
            max_timeout=limits.max_request_timeout,
            identity=None if auth is None else auth.get("identity"),
        )
        session.hello = handler.hello
        session.offered = handler.features
        if handler.table.typed:
            handler.use_types(session)
        super().__init__(handler, websocket, protocol, session, auth, id)
        self._send = websocket.asgi_send
        #: Frames that wait for the socket; made when it is slow for the first time.
        self._queue: deque[Frame | tuple[int, str]] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._resumed: asyncio.Event | None = None
        self._lost = False
        self._closed = False
        #: The older connection whose session goes on over this one's socket, and the newer one whose socket this uses.
        self.elder: WsxConnection | None = None
        self.holder: WsxConnection | None = None

    async def run(self) -> None:
        """Answer what comes until the socket ends; then cancel what nobody waits for any more."""
        self._reader = asyncio.current_task()
        session = self.session
        session.on_output = self._output
        session.on_resume = self._resume
        if session.due < self.wakes_at:
            self.arm()
        end: dict[str, Any] = {}
        try:
            end = await self._read()
        except asyncio.CancelledError:
            owner = self._owner()
            if owner is not None and not owner._closed:
                raise
            # The client did not answer our close: nothing more is waited for.
        finally:
            owner = self._owner()
            self.elder = None
            if owner is not None:
                owner._left(end)

    def _owner(self) -> "WsxConnection | None":
        """The connection whose session uses this one's socket; None when it has gone to another."""
        owner = self.elder or self
        return owner if (owner.holder or owner) is self else None

    async def _read(self) -> dict[str, Any]:
        """Read to the end of the socket; the message that told it."""
        receive = self.websocket.asgi_receive
        if self.protocol is not None:
            self.protocol.attach(self._take)
        while True:
            message: dict[str, Any] = dict(await receive())
            if message["type"] != "websocket.receive":
                return message
            frame = message.get("text")
            owner = self._owner()
            if owner is None or owner._take(True, message["bytes"] if frame is None else frame):
                continue
            if not await owner._pause():
                return {"type": "websocket.disconnect", "code": 1006}

    def _left(self, end: dict[str, Any]) -> None:
        """The socket is gone: the session waits for another one, or it is over."""
        self._lost = True
        self.handler.leave(self)
        if not self._closed and self.handler.sessions.wait_for(self, end):
            self.session.park()
        else:
            self.abandon()

    def abandon(self) -> None:
        """End the session; what still runs for it is cancelled."""
        self.handler.sessions.forget(self)
        if self._timer is not None:
            self._timer.cancel()
        self.session.lost()

    def welcome(self, call: Incoming, identity: Any) -> None:
        """Answer a hello or auth; a hello may be that of a client whose connection was lost, and who comes back."""
        sessions, session = self.handler.sessions, self.session
        features = call.data.get("features", ())
        if call.control != "hello" or "resume" not in features or "resume" not in session.offered:
            self._say(session.welcome(call, identity, identity))
            return
        name = call.data.get("session")
        # A client that has begun to call before its hello goes on with what it has begun.
        found = sessions.find(name, self) if len(session.calls) == 1 and session.kept is None else None
        more: dict[str, Any] = {"resume_s": sessions.seconds}
        if name is not None:
            more["resumed"] = found is not None
        if found is None:
            more["session"] = sessions.begin(self)
            self._say(session.welcome(call, identity, identity, **more))
            return
        answer = session.welcome(call, identity, identity, session=name, **more)
        found.take_over(self, answer, call.data.get("acks") or {}, call.form)

    def take_over(self, newcomer: "WsxConnection", answer: Frame | None, acks: dict[str, int], form: Form) -> None:
        """Go on over the socket of a new connection: first the answer to its hello, then what its client has missed."""
        session = self.session
        if not session.parked:
            self._part()
        self.handler.sessions.found_again(self)
        self.handler.leave(newcomer)
        newcomer.elder, self.holder = self, newcomer
        if newcomer._timer is not None:
            newcomer._timer.cancel()
        newcomer.session.expire(math.inf)
        newcomer.session.due = math.inf
        self.websocket, self.protocol, self.scope = newcomer.websocket, newcomer.protocol, newcomer.scope
        self._send, self._reader = newcomer._send, newcomer._reader
        self._queue, self._writer, self._lost, self._closed = newcomer._queue, newcomer._writer, False, False
        session._text = self.protocol is None
        session.features, session.legacy = newcomer.session.features, False
        self.know(newcomer.auth)
        session.flushed = session.written
        if answer is not None:
            session.count(answer)
            self.write(answer)
        session.revive(acks, form)
        if self.protocol is not None:
            self.protocol.attach(self._take)
        self.handler.enter(self)
        if session.due < self.wakes_at:
            self.arm()

    def _part(self) -> None:
        """Let go of a socket that still seems open: its client is elsewhere."""
        self.session.park()
        self.handler.leave(self)
        if self.protocol is not None:
            self.protocol.attach(lambda is_text, frame: True)
        if self._writer is not None:
            self._writer.cancel()
        self.handler.server.spawn(_say_goodbye(self.websocket, self._reader))

    def _take(self, is_text: bool, frame: str | bytes) -> bool:
        """Give a message to the session, and start the call it is; False when no more should be read."""
        session = self.session
        call = session.receive(frame, self.loop.time())
        if call is not None:
            self.start(call)
        if session.backlog:
            self.start_waiting()  # a frame may hold several calls
        if session.due < self.wakes_at:
            self.arm()
        if session.closing is not None:
            self.close(*session.closing)
        # Most messages leave nothing behind that could be too much.
        return not ((session.backlog or session.held or session.clogged) and session.paused)

    async def _pause(self) -> bool:
        """Read nothing until the session takes more: the client is slowed down, not buffered.

        False when the socket has taken nothing meanwhile for as long as a silent client is borne. Some servers tell
        only those who read that it is gone, and let a send wait until they do.
        """
        session, patience = self.session, 2 * self.handler.hello["heartbeat_s"] or None
        self._resumed = asyncio.Event()
        while session.paused and not self._closed:
            self._resumed.clear()
            flushed = session.flushed
            try:
                async with asyncio.timeout(patience):
                    await self._resumed.wait()
            except TimeoutError:
                mine = self._reader is asyncio.current_task()  # and the session not on another socket by now
                if mine and self._writer is not None and session.flushed == flushed:
                    self._writer.cancel()
                    break
        self._resumed = None
        return not session.paused or self._closed

    def _resume(self) -> None:
        if self.protocol is not None:
            self.loop.call_soon(self.protocol.read_on)  # not from inside the session, which it gives messages to
        if self._resumed is not None:
            self._resumed.set()

    # -- time

    def arm(self) -> None:
        """Let the session look at the clock when the first of its deadlines is due."""
        if self._timer is not None:
            self._timer.cancel()
        self.wakes_at = self.session.due
        self._timer = self.loop.call_at(self.wakes_at, self._tick)

    def _tick(self) -> None:
        self._timer, self.wakes_at = None, math.inf
        session = self.session
        session.tick(self.loop.time())
        self.start_waiting()
        if session.closing is not None and not session.parked:
            self.close(*session.closing)
        elif session.due < math.inf:
            self.arm()

    # -- writing

    def _output(self) -> None:
        for frame in self.session.take():
            self.write(frame)

    def push(self, text: str) -> bool:
        """Write a text nobody asked for, unless more waits already than the limits allow."""
        session = self.session
        if self._lost or self._closed or session.queued + len(text) > session.limits.ws_queue:
            return False
        frame = text if self.protocol is None else text.encode()
        session.count(frame)
        self.write(frame)
        return True

    def write(self, frame: Frame) -> None:
        """Send a frame, now if the socket takes it without waiting, else behind those that wait already."""
        protocol = self.protocol
        if protocol is not None and protocol.free and self._writer is None:
            protocol.write_frame(frame, frame[0] < 128)  # type: ignore[arg-type, operator]  # frames are bytes here
            self.session.sent(len(frame))
            return
        if self._lost or self._closed:
            if not self.session.parked:
                self.session.sent(len(frame))
            return
        if self._writer is not None:
            assert self._queue is not None
            self._queue.append(frame)
            return
        # A send that does not wait ends at its first step: most do, and need no task.
        sending: Any = self._send(_message(frame))
        if type(sending) is CoroutineType:
            try:
                blocker = sending.send(None)
            except StopIteration:
                self.session.sent(len(frame))
                return
            except Exception as error:
                self._unwritable(error)
                return
            sending = _Rest(sending, blocker)
        if self._queue is None:
            self._queue = deque()
        self._writer = self.loop.create_task(self._write_on(sending, len(frame)))

    async def _write_on(self, sending: Any, size: int) -> None:
        """Finish a send that has to wait, and what has been said meanwhile."""
        assert self._queue is not None
        me = asyncio.current_task()
        try:
            await sending
            self.session.sent(size)
            while self._queue:
                frame = self._queue.popleft()
                if isinstance(frame, tuple):
                    await self._say_close(*frame)
                    break
                await self._send(_message(frame))
                self.session.sent(len(frame))
        except Exception as error:
            if self._writer is me:
                self._unwritable(error)
        finally:
            if self._writer is me:  # and not that of another socket meanwhile
                self._writer = None

    def _unwritable(self, error: Exception) -> None:
        """The socket takes nothing more; that it is gone, the reader hears."""
        if not isinstance(error, OSError | WebSocketDisconnect) and not self._closed:
            logger.debug("A WebSocket could not be written to.", exc_info=error)
        self._lost = True
        if self._queue:
            self._queue.clear()
        self.session.sent(self.session.queued)

    def close(self, code: int, reason: str) -> None:
        """Close the socket behind what is still to be sent; the client has ten seconds to see it."""
        if self._closed:
            return
        self._closed = True
        self.handler.sessions.forget(self)
        self._resume()
        self.loop.call_later(CLOSE_TIMEOUT, self._give_up)
        if self._writer is None:
            self._writer = self.loop.create_task(self._close_now(code, reason))
        else:
            assert self._queue is not None
            self._queue.append((code, reason))

    async def _close_now(self, code: int, reason: str) -> None:
        try:
            await self._say_close(code, reason)
        except Exception as error:
            self._unwritable(error)
        finally:
            self._writer = None

    async def _say_close(self, code: int, reason: str) -> None:
        if self.protocol is None:
            self.loop.call_later(ASGI_CLOSE_TIMEOUT, self._give_up)
        await self.websocket.close(code, reason)

    def _give_up(self) -> None:
        if not self._lost and self._reader is not None:
            self._reader.cancel()

    # -- the end of the server

    def drain(self, grace: float) -> None:
        """Tell the client to go elsewhere, and close when its calls have ended or `grace` seconds are over."""
        self.session.drain(self.loop.time(), grace_ms=max(0, int(grace * 1000)))
        if self.session.due < self.wakes_at:
            self.arm()
        if not self.tasks:
            self.ended()

    def abort(self) -> None:
        """Break off a socket that takes nothing any more, with what it has not taken."""
        if self._writer is not None and self.protocol is not None:
            self.protocol.transport.abort()

    def ended(self) -> None:
        """The last call has ended: what was said goes out, and while the server is going, so does the connection."""
        if self.protocol is not None and not self.protocol.reading:
            self.protocol.flush()
        if self.session.draining:
            self.close(1012, "The server is shutting down.")


async def _say_goodbye(websocket: WebSocket, reader: "asyncio.Task[Any] | None") -> None:
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await websocket.close(1008, "The session goes on over another connection.")
    except (OSError, RuntimeError, TimeoutError, WebSocketDisconnect):
        logger.debug("A WebSocket was gone before it was left.", exc_info=True)
    if reader is not None:
        reader.cancel()  # some servers close when nobody reads any more


class _Rest:
    """What is left of a coroutine that was started by hand: first what it waits for, then itself."""

    __slots__ = ("_blocker", "_coroutine")

    def __init__(self, coroutine: Any, blocker: Any) -> None:
        self._coroutine, self._blocker = coroutine, blocker

    def __await__(self) -> Generator[Any, Any, Any]:
        blocker = self._blocker
        while True:
            try:
                value = yield blocker
            except BaseException as error:
                blocker = self._coroutine.throw(error)
            else:
                try:
                    blocker = self._coroutine.send(value)
                except StopIteration as end:
                    return end.value


def protocol_behind(receive: Any, send: Any) -> "GenroWebSocketProtocol | None":
    """Our own protocol behind two ASGI channels; None where it is another one, or something stands in between."""
    # It is told by what it has: under other servers uvicorn is never imported.
    protocol = getattr(receive, "__self__", None)
    direct = getattr(protocol, "framing", False) is True and getattr(send, "__self__", None) is protocol
    return protocol if direct else None


def _adopted(websocket: WebSocket) -> "GenroWebSocketProtocol | None":
    """The same where uvicorn was not started by us, and has made a protocol of its own."""
    protocol = getattr(websocket.asgi_receive, "__self__", None)
    if type(protocol).__name__ != "WebSocketsSansIOProtocol" or websocket.asgi_send != getattr(protocol, "send", None):
        return None
    from genro_asgi.server.ws_protocol import GenroWebSocketProtocol

    own = GenroWebSocketProtocol.adopt(protocol)
    if own is not None:
        websocket.asgi_send = own.send
    return own


def _message(frame: Frame) -> dict[str, Any]:
    if isinstance(frame, bytes):
        if frame[0] >= 128:  # MessagePack; a text is never that
            return {"type": "websocket.send", "bytes": frame}
        frame = frame.decode()
    return {"type": "websocket.send", "text": frame}
