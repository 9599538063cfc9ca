"""One WebSocket with its session, and the tasks that read and write it."""

import asyncio
import inspect
import math
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from logging import getLogger
from time import monotonic
from typing import TYPE_CHECKING, Any

from genro_asgi.budget import add_source
from genro_asgi.trace import add_source as add_trace_source, carried_headers
from genro_asgi.wsx.batch import MOST_BYTES, join_frames
from genro_asgi.wsx.errors import TytxError, WsxCallError, WsxError
from genro_asgi.wsx.incoming import Incoming
from genro_asgi.wsx.link import Frame
from genro_asgi.wsx.outgoing import Outgoing
from genro_asgi.wsx.pump import send_items
from genro_asgi.wsx.session import Session

if TYPE_CHECKING:
    from websockets.asyncio.connection import Connection as Socket

__all__ = ["Connection", "Handler"]

#: What answers a call of the peer: it is given the call, and returns the data of the answer, an awaitable of it, or an
#: async iterator of the items of a streamed one.
Handler = Callable[[Incoming], Any]

_log = getLogger("genro_asgi.wsx")

#: The call that is being answered here.
_running: ContextVar[Incoming | None] = ContextVar("genro_asgi_wsx_running", default=None)


def _time_left() -> float | None:
    call = _running.get()
    return None if call is None or not call.open else call.remaining(monotonic())


add_source(_time_left)


def _trace_headers() -> dict[str, str] | None:
    call = _running.get()
    return None if call is None else carried_headers(call.trace, call.headers.get("baggage", ""))


# First: a client that was connected in a handler may answer calls of its own in the context of that.
add_trace_source(_trace_headers, first=True)

# Seconds of silence behind which a connection may have ended while nobody looked, and the turns of the loop it takes to
# see that.
_SILENCE = 0.005
_TURNS = 8

#: How a connection ends that was lost and not closed: without a close, or because a ping was not answered.
_LOST = (1006, 1011)


class Connection:
    """A socket with its session, from the handshake until it is closed or lost."""

    def __init__(
        self, socket: "Socket", session: Session, handlers: dict[str, Handler], elder: "Connection | None" = None
    ) -> None:
        """`elder` is the connection over which the session went until it was lost."""
        from websockets.exceptions import ConnectionClosed  # an extra; here is a socket of it

        self._over = ConnectionClosed
        self.socket = socket
        self.session = session
        #: set when no new calls are to be made here: the server goes away, or the connection is lost
        self.leaving = asyncio.Event()
        #: the name of the session at the server, and the seconds for which it is kept after a loss; None if it is not
        self.kept: tuple[str, float] | None = None
        #: characters of a frame that several messages are put into
        self.batch = MOST_BYTES
        #: the connection whose session is to go on here; None once it does, or does not
        self.elder = elder
        self._handlers = handlers
        self._loop = asyncio.get_running_loop()
        self._to_write = asyncio.Event()
        self._may_read = asyncio.Event()
        self._heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._patience: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()
        session.on_output = self._to_write.set
        session.on_resume = self._may_read.set
        session.on_goaway = lambda goaway: self.leaving.set()
        self._writer = self._loop.create_task(self._write(), name="wsx-write")
        self._reader = self._loop.create_task(self._read(), name="wsx-read")

    def call(self, method: str, path: str, data: Any, **options: Any) -> Outgoing:
        """Make a call; see Session.call."""
        outgoing = self.session.call(method, path, data, now=self._loop.time(), **options)
        self.arm()
        return outgoing

    async def lasts(self) -> bool:
        """Whether calls may be made here, as far as can be known without asking the peer."""
        if self._loop.time() - self._heard > _SILENCE:
            # The loop may have stood still, or slept: a call must not go to where nobody is.
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        return not self.leaving.is_set()

    def arm(self) -> None:
        """Wake up when the session has something to do."""
        due = self.session.due
        if due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, math.inf
        self.session.tick(self._loop.time())
        self._start_waiting()
        self.arm()

    async def close(self) -> None:
        """Close the socket, and wait until nothing of this connection runs any more."""
        with suppress(self._over):
            await self.socket.close()
        await asyncio.wait([self._reader, self._writer, *self._running])

    async def _write(self) -> None:
        session = self.session
        with suppress(self._over):
            while True:
                await self._to_write.wait()
                self._to_write.clear()
                frames = session.take()
                left = sum(map(len, frames))
                if len(frames) > 1 and "batch" in session.features:
                    frames = join_frames(frames, self.batch)
                for frame in frames:
                    await self.socket.send(frame)
                    session.sent(min(len(frame), left))
                    left -= min(len(frame), left)
                session.sent(left)  # what joining has saved

    async def _read(self) -> None:
        session = self.session
        try:
            while True:
                frame: Frame = await self.socket.recv()
                self._heard = self._loop.time()
                call = session.receive(frame, self._heard)
                if call is not None:
                    self._start(call)
                if session.backlog:
                    self._start_waiting()
                if self.leaving.is_set() and not session.outgoing:
                    break
                self.arm()
                while session.paused:
                    self._may_read.clear()
                    await self._may_read.wait()
        except self._over:
            pass
        finally:
            self._lost()
            await self.socket.close()

    def _lost(self) -> None:
        session, leaving = self.session, self.leaving.is_set()
        self.leaving.set()
        self._writer.cancel()
        if self.elder is not None:
            # Its session has not come over to this connection, and may do so to the next: the elder looks after it.
            session.suspend()
            self.stop_clock()
        elif self.kept is not None and not leaving and self.socket.close_code in _LOST:
            session.suspend()
            self._patience = self._loop.call_later(self.kept[1], self._too_late)
        else:
            session.lost()
            self.stop_clock()

    def _too_late(self) -> None:
        if self.session.parked:
            self.session.lose_calls()

    def settle(self, kept: tuple[str, float] | None, resumed: bool, acks: dict[str, int]) -> None:
        """The server has answered the hello: what came over the elder connection goes on here, or is lost."""
        self.kept, self.session.resumes = kept, kept is not None
        if self.elder is not None:
            self.elder.stop_clock()
            self.elder = None
        if resumed:
            self.session.go_on(acks)
        else:
            self.session.lose_calls()

    def give_up(self) -> None:
        """Wait for no other connection: calls that were to go on over it fail."""
        if self.session.parked:
            self.session.lost()
        self.stop_clock()

    def stop_clock(self) -> None:
        """Look at the deadlines of the session no more: it has ended, or another connection does."""
        for timer in (self._timer, self._patience):
            if timer is not None:
                timer.cancel()
        self._timer = self._patience = None

    # -- calls of the peer -----------------------------------------------------------------------------------------

    def _start(self, call: Incoming) -> None:
        task = self._loop.create_task(self._run(call), name=f"wsx-call-{call.path}")
        call.on_cancel = lambda: _cancel(task)
        self._running.add(task)
        # Not in the task itself: one that is cancelled before its first step never takes it.
        task.add_done_callback(lambda task: self._ended(task, call))

    def _ended(self, task: asyncio.Task[None], call: Incoming) -> None:
        self._running.discard(task)
        call.close()
        self._start_waiting()

    def _start_waiting(self) -> None:
        while (call := self.session.next_call(self._loop.time())) is not None:
            self._start(call)

    async def _run(self, call: Incoming) -> None:
        _running.set(call)
        self.session.tell(await self._answer(call))

    async def _answer(self, call: Incoming) -> Frame | None:
        handler = self._handlers.get(call.path)
        if handler is None:
            return call.fail(404)
        try:
            result = handler(call)
            if hasattr(result, "__aiter__"):
                await send_items(call, result)
                return call.respond()
            return call.respond(200, await result if inspect.isawaitable(result) else result)
        except WsxError as error:
            return call.refuse(error)
        except WsxCallError as error:
            return call.fail(error.status, error.text, code=error.code, details=error.details)
        except TytxError:
            _log.exception("the answer of the handler of %s has no form", call.path)
        except Exception:
            _log.exception("the handler of %s failed", call.path)
        return call.fail(500)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
