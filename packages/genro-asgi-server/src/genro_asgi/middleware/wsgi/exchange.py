"""The event loop's side of a request that a thread answers: it feeds, sends, and watches whether the client stays."""

import asyncio
from collections import deque

from genro_asgi.middleware.wsgi.gate import ClientGone, Gate, Parking
from genro_asgi.middleware.wsgi.head import Head
from genro_asgi.middleware.wsgi.input import WsgiInput
from genro_asgi.types import Receive, Scope, Send

__all__ = ["Exchange", "Hub", "ResponseAborted"]

# Bytes of an answer that may wait to be sent before the thread is held. Each time it is costs half a dozen switches.
OUTPUT_WINDOW = 512 * 1024
# What a chunk in the queue costs besides its bytes; without it a stream of single bytes would not be bounded.
CHUNK_COST = 64
# Seconds between two looks at the running requests; whoever is seen twice gets a watch for the client's leave.
SWEEP = 0.1
# Reading makes a server say 100 Continue, so who waits for that is not watched before the application wants the body;
# after so many sweeps he is, because clients do not wait for ever either.
PATIENCE = 50
# Seconds a full window is left alone before one more message is read to see whether the client is still there;
# it doubles each time, so an endless answer to an unread upload keeps a handful of messages and no more.
PEEK = 1.0


class ResponseAborted(RuntimeError):
    """The answer broke off after its headers were sent; raised to the server, which has to close the connection."""


class Hub:
    """All exchanges of one event loop: one wake-up serves many of them, one timer watches them all."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        parking: Parking,
        stall_timeout: float | None,
        raise_errors: bool = False,
    ) -> None:
        self.loop = loop
        self.parking = parking
        self.stall_timeout = stall_timeout
        self.raise_errors = raise_errors
        self.live: set[Exchange] = set()
        self._outbox: deque[Exchange] = deque()
        self._armed = False
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, exchange: "Exchange") -> None:
        """Have an exchange watched until it is discarded from `live`."""
        self.live.add(exchange)
        if self._timer is None:
            self._timer = self.loop.call_later(SWEEP, self._sweep)

    def signal(self, exchange: "Exchange") -> None:
        """Have the loop attend to an exchange; called in its thread."""
        self._outbox.append(exchange)
        if not self._armed:
            self._armed = True
            try:
                self.loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed: nobody is left to send to
                exchange.gone = True

    def _deliver(self) -> None:
        # Disarmed first: what comes into the outbox from here on is either seen below or arms again.
        self._armed = False
        while self._outbox:
            self._outbox.popleft().attend()

    def _sweep(self) -> None:
        for exchange in self.live:
            if exchange.age:
                exchange.watch()
            exchange.age += 1
        self._timer = self.loop.call_later(SWEEP, self._sweep) if self.live else None


class Exchange:
    """One request and its answer. The loop never waits for the thread; what both sides touch has one writer or is a
    deque. Most requests use little of it, so what begins with a constant is a class attribute.
    """

    # Written by the thread.
    head: Head | None = None
    committed = False  # the head is final and may be sent
    finished = False  # no more output comes
    ended = False  # and close() was called: the thread is done with the request
    broken: str | None = None  # why the answer cannot be completed
    error: Exception | None = None  # what those around us are to answer
    produced = 0
    gate: Gate | None = None  # where it waits for room

    # Written by the loop.
    signalled = False  # set by the thread
    age = 0  # sweeps it has seen
    gone = False
    begun = False  # the head is sent
    sent = False  # all of it is
    failure: Exception | None = None
    pump_task: asyncio.Task[None] | None = None
    input: WsgiInput | None = None
    _polite = False
    _body_ended = False
    _deaf = False  # nothing is to be learned from receive() any more
    _sending = 0
    _consumed = 0
    _reader: asyncio.Task[None] | None = None
    _output_wanted: asyncio.Future[None] | None = None
    _room_wanted: asyncio.Future[None] | None = None

    def __init__(self, hub: Hub, scope: Scope, receive: Receive, send: Send) -> None:
        self.hub = hub
        self.scope = scope
        self.output: deque[bytes] = deque()
        self._receive = receive
        self._send = send

    def open_input(self, length: int | None, limit: int | None, timeout: float | None, polite: bool) -> WsgiInput:
        """The wsgi.input for a body that may come; a `polite` client sends it when it was told to continue."""
        self._polite = polite
        self.input = WsgiInput(self.signal, Gate(self.hub.loop, self.hub.parking), length, limit, timeout)
        return self.input

    def signal(self) -> None:
        """Have the loop look at what the thread has done; called in the thread."""
        if not self.signalled:
            self.signalled = True
            self.hub.signal(self)

    def attend(self) -> None:
        """Do what the thread waits for: read, read on, send."""
        self.signalled = False
        body = self.input
        if body is not None:
            if body.asked:
                self.watch()
            if self._room_wanted is not None and body.low and not self._room_wanted.done():
                self._room_wanted.set_result(None)
        if self.pump_task is not None:
            self._wake_pump()
        elif self.committed and not (self.ended or self.gone):  # at the end its own coroutine wakes up, and sends
            self.pump_task = self.hub.loop.create_task(self.pump())

    def _wake_pump(self) -> None:
        if self._output_wanted is not None and not self._output_wanted.done():
            self._output_wanted.set_result(None)

    def watch(self) -> None:
        """Read ahead as far as the window goes, and learn when the client leaves."""
        if self._reader is None and not self._deaf:
            if self._polite and not self.begun and self.age < PATIENCE and not (self.input and self.input.asked):
                return
            self._reader = self.hub.loop.create_task(self._read())

    async def _read(self) -> None:
        peek = PEEK
        try:
            while True:
                body = self.input
                if body is not None and body.full:
                    await self._wait_for_room(body, peek)
                    peek = peek * 2 if body.full else PEEK
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    self._deaf = True
                    self.lose()
                    break
                self._take_in(message.get("body", b""), message.get("more_body", False))
                if self._deaf or (self._body_ended and not self.age):
                    break  # most requests end soon; those that do not are watched from the next sweep on
        except Exception as error:
            # A limit around us may raise its own answer in receive(): the request's coroutine raises it on.
            self.failure = None if isinstance(error, OSError) else error
            self._deaf = True
            self.lose()
        self._reader = None

    def _take_in(self, data: bytes, more: bool) -> None:
        if self._body_ended:
            self._deaf = True  # a server that repeats itself would keep us busy for ever
            return
        self._body_ended = not more
        if self.input is not None:
            self.input.feed(data, more)
            self._deaf = self.input.failed

    async def _wait_for_room(self, body: WsgiInput, seconds: float) -> None:
        self._room_wanted = self.hub.loop.create_future()
        body.paused = True
        try:
            # Looked at again: the thread may have read before it could see that we pause.
            if not body.low:
                await asyncio.wait_for(self._room_wanted, seconds)
        except TimeoutError:
            pass
        finally:
            body.paused = False
            self._room_wanted = None

    def lose(self) -> None:
        """Nobody is listening any more: the thread stops at its next step, whatever it waits for."""
        self.gone = True
        if self.input is not None:
            self.input.fail(ClientGone())
        if self.gate is not None:
            self.gate.open()
        self._wake_pump()

    async def finish(self) -> None:
        """Wait for the pump, when the thread has ended.

        Raises ResponseAborted when the answer cannot be completed, and what receive() raised when it was not sent.
        """
        if self.pump_task is not None:
            self._wake_pump()
            await self.pump_task
        if self.failure is not None and not self.sent:
            raise self.failure

    def release(self) -> None:
        """Leave nothing behind; a thread that is still at it is told that nobody listens."""
        self.hub.live.discard(self)
        if self.ended and self._reader is None and self.pump_task is None and self.input is None:
            return
        self._deaf = True
        if not self.ended:
            self.lose()
        elif self.input is not None:
            self.input.fail(ClientGone())  # for whoever kept it
            self.input = None  # it knows us, and nothing should wait for the garbage collector
        for task in (self._reader, self.pump_task):
            if task is not None and not task.cancel() and not task.cancelled():
                task.exception()  # looked at, so that nobody reports it as forgotten
        # They know us: nothing should have to wait for the garbage collector.
        self._reader = self.pump_task = None

    async def pump(self) -> None:
        """Send the head, and the output until the thread has finished."""
        assert self.head is not None
        status, headers, _ = self.head
        output = self.output
        try:
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
            if self.ended and self.broken is None and len(output) <= 1:
                # The usual answer: it has ended, and it is one piece.
                await self._send({"type": "http.response.body", "body": output.popleft() if output else b""})
                self.sent = True
                return
            self.begun = True
            while True:
                # Looked at first: when it is set, everything is in the deque.
                finished = self.finished
                data = self._take_out()
                if self.gone:
                    return
                if finished and not output:
                    break
                if data:
                    await self._send_on(data)
                else:
                    await self._wait_for_output()
            if self.broken is None:
                await self._send({"type": "http.response.body", "body": data, "more_body": False})
                self.sent = True
                return
            if data:
                await self._send_on(data)
        except OSError:
            self.lose()
            return
        except BaseException:
            self.lose()  # or the thread would wait for room that nobody makes
            raise
        raise ResponseAborted(self.broken)

    def _take_out(self) -> bytes:
        """Output joined up to the window: one send is worth many chunks."""
        output = self.output
        parts: list[bytes] = []
        size = 0
        while output and size < OUTPUT_WINDOW:
            part = output.popleft()
            parts.append(part)
            size += len(part) + CHUNK_COST
        self._sending = size
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _send_on(self, data: bytes) -> None:
        message = {"type": "http.response.body", "body": data, "more_body": True}
        if self.ended or self.hub.stall_timeout is None:
            await self._send(message)
        else:
            clock = asyncio.timeout(self.hub.stall_timeout)
            try:
                async with clock:
                    await self._send(message)
            except TimeoutError:
                if not clock.expired():
                    raise
                self.lose()
                self.broken = f"the client took nothing for {self.hub.stall_timeout} seconds"
                raise ResponseAborted(self.broken) from None
        # Not before: what is being sent is in memory too. And the thread would only wake to wait for the GIL.
        self._consumed += self._sending
        if self.gate is not None:
            self.gate.open()

    async def _wait_for_output(self) -> None:
        self._output_wanted = self.hub.loop.create_future()
        if not (self.output or self.finished or self.gone):
            await self._output_wanted
        self._output_wanted = None

    def has_room(self) -> bool:
        """Whether the thread may put out more."""
        return self.produced - self._consumed < OUTPUT_WINDOW or self.gone

    def wait_for_room(self) -> None:
        """Hold the thread until what it has put out is on its way."""
        if self.gate is None:
            self.gate = Gate(self.hub.loop, self.hub.parking)
        self.gate.wait(self.has_room)
