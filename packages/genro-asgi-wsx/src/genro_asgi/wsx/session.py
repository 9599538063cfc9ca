"""One connection's calls in both directions (WSX/1): a state machine that knows neither sockets nor clocks."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from genro_asgi.exceptions import problem
from genro_asgi.limits import Limits
from genro_asgi.wsx.batch import receive_batch
from genro_asgi.wsx.calling import Calling
from genro_asgi.wsx.codec import classify
from genro_asgi.wsx.control import Goaway, handle_control, welcome
from genro_asgi.wsx.envelope import RESERVED
from genro_asgi.wsx.errors import WsxCallError, WsxError
from genro_asgi.wsx.incoming import Incoming
from genro_asgi.wsx.keeping import Kept, open_kept, park, resume
from genro_asgi.wsx.kinds import BINARY, TEXT, TYPED_TEXT, UNPREFIXED, Form
from genro_asgi.wsx.link import Frame, Role
from genro_asgi.wsx.parsing import DEFAULT_LIMITS, ParsedMessage, is_batch, is_utf8, read_message
from genro_asgi.wsx.streams import WINDOW, Receiver
from genro_asgi.wsx.tytx.registry import BUILTIN_TYPES, TypeTable

__all__ = ["FEATURES", "Frame", "Session"]

#: What a session can do, told in the hello.
FEATURES = frozenset({"stream", "credit", "cancel", "sub", "batch"})

#: Messages a client may send in a minute that cannot be read, before it is done with (WSX/1, section 14).
MOST_REFUSED = 1000
#: Seconds between the end of the peer's credentials and that of the connection (WSX/1, section 13).
EXPIRY_GRACE = 30.0

_NOTHING: dict[str, Any] = {}


class Session(Calling):
    """The calls of one connection, whoever carries its messages.

    Who carries them gives what arrives to receive(), runs the calls it returns, and sends the frames that the methods
    of calls return and those that gather in `outbox`. All times are monotonic seconds of one clock.
    """

    # A server has thousands of these, most of them idle: no dict per object, and nothing made before it is needed.
    __slots__ = (
        "_max_timeout",
        "_pinged",
        "careful",
        "closing",
        "default_timeout",
        "draining",
        "expires",
        "features",
        "grace_end",
        "heard",
        "heartbeat",
        "hello",
        "identity",
        "kept",
        "legacy",
        "offered",
        "on_goaway",
        "on_unasked",
        "peer_goaway",
        "refused",
        "running",
        "streams",
    )

    def __init__(
        self,
        role: Role = "server",
        *,
        limits: Limits = DEFAULT_LIMITS,
        types: TypeTable = BUILTIN_TYPES,
        form: Form = TYPED_TEXT,
        legacy: bool = False,
        default_timeout: float | None = 60.0,
        max_timeout: float = 300.0,
        heartbeat: float | None = None,
        now: float = 0.0,
        features: Iterable[str] = FEATURES,
        identity: Any = None,
        text: type[str] | type[bytes] = str,
    ) -> None:
        """`legacy` reads `data` as peers do that did not negotiate wsx.1; `text` is what a text frame is made of.

        `default_timeout` and `max_timeout` are seconds a call of the peer may take; with `heartbeat` a peer that was
        silent for so many seconds, `now` to begin with, is pinged, and given up after as many again.
        """
        super().__init__(role, limits, types, form, text)
        self.legacy = legacy
        self.default_timeout = math.inf if default_timeout is None else default_timeout
        self._max_timeout = max_timeout
        self.heartbeat = heartbeat
        #: what the answer to a hello tells besides, such as the heartbeat the transport keeps
        self.hello: dict[str, Any] = _NOTHING if heartbeat is None else {"heartbeat_s": heartbeat}
        if heartbeat is not None:
            self.due = now + heartbeat
        self.offered = features if isinstance(features, frozenset) else frozenset(features)
        #: what both sides can do; empty before a hello
        self.features: frozenset[str] = frozenset()
        self.identity = identity
        #: what there is for the case that the connection is lost; None where that is the end
        self.kept: Kept | None = None
        #: how many messages could not be read since when
        self.refused = (0, now)
        self.running = 0
        self.streams = 0
        self.heard = now
        self._pinged = -math.inf
        self.draining = False
        self.grace_end = math.inf
        #: when the peer's credentials end; infinite when they do not
        self.expires = math.inf
        #: whether calls are looked at twice, because not all of them are welcome
        self.careful = False
        #: code and reason to close the connection with, once the outbox was sent
        self.closing: tuple[int, str] | None = None
        self.peer_goaway: Goaway | None = None
        #: called when the peer is going away
        self.on_goaway: Callable[[Goaway], None] | None = None
        #: called with answers nobody asked for, whose ids begin with "_": a server's messages to many
        self.on_unasked: Callable[[ParsedMessage], None] | None = None

    # -- what arrives ------------------------------------------------------------------------------------------------

    def receive(self, data: str | bytes, now: float) -> Incoming | None:
        """Take one message; a call is returned if it is to run now, everything else is dealt with in here.

        More calls, of a batch, may be ready after it: while there is a backlog, next_call() is to be asked.
        """
        self.heard = now
        try:
            fields, form, plain = read_message(data, self.limits, self.types, self.legacy)
            if plain:
                return self.accept(fields, form, now, len(data))
            return self.take_message(fields, form, now, len(data))
        except WsxError as error:
            if "batch" in self.features and is_batch(data):
                receive_batch(self, data, now)
                return self.next_call(now)
            self.refuse_message(error, data)
            return None

    def take_message(self, fields: dict[str, Any], form: Form, now: float, size: int) -> Incoming | None:
        """Take a message that was read; as receive(), but for what is wrong with it, which raises WsxError."""
        method = fields.get("method")
        if method is not None and fields.get("status") is None:
            path = fields.get("path")
            if path is not None and path[:6] == RESERVED:
                return handle_control(self, fields, form, now, size)
            return self.accept(fields, form, now, size)
        kind = classify(fields)
        if kind == "response":
            self._accept_response(ParsedMessage(fields, form), size)
        elif kind == "chunk":
            self._accept_chunk(fields, size)
        elif kind == "grant":
            self._accept_grant(fields["id"], fields["credit"])
        return None

    def accept(self, fields: dict[str, Any], form: Form, now: float, size: int) -> Incoming | None:
        """The call of a message if it is to run now; it may also have to wait, or be refused."""
        key = fields.get("id")
        calls = self.calls
        if (
            key is None
            or key in calls
            or self.running >= self.limits.ws_in_flight
            or self.backlog
            or self.careful
            or "stream" in fields
            or "timeout" in fields
        ):
            return self._accept_rest(fields, form, now, size)
        # Nearly every call goes this way; what _accept_rest() would do is done here in one place.
        deadline = now + self.default_timeout
        if deadline < self.due:
            self.due = deadline
        call = calls[key] = Incoming(fields, form, self, key, deadline, size)
        call.holds_slot = True
        self.running += 1
        return call

    def _accept_rest(self, fields: dict[str, Any], form: Form, now: float, size: int) -> Incoming | None:
        call = self.open_call(fields, form, now, size)
        if call is None:
            return None
        if self.careful and self._unwelcome(call, now):
            return None
        if fields.get("stream") and type(call.key) is str:
            return self._accept_stream(call, call.key)
        if self.running < self.limits.ws_in_flight and not self.backlog:
            self.running += 1
            call.holds_slot = True
            return call
        if self.role == "client" and len(self.backlog) >= self.limits.ws_in_flight:
            self._reject(call, 503, "OVERLOADED", retry=True)
            return None
        self.backlog.append(call)
        self.held += call.size
        return None

    def _unwelcome(self, call: Incoming, now: float) -> bool:
        """Whether a call was refused: the connection comes to its end, or its credentials have come to theirs."""
        if self.draining:
            self._reject(call, 503, "DRAINING", retry=True)
        elif self.expires <= now:
            self._reject(call, 401, "UNAUTHENTICATED", retry=True)
        return not call.open

    def open_call(self, fields: dict[str, Any], form: Form, now: float, size: int) -> Incoming | None:
        """The call of a message, now one of the open ones; None when its id is open already, which is answered."""
        key: str | int | None = fields.get("id")
        calls = self.calls
        make: type[Incoming] = Incoming
        if key is None:
            key = self.new_id()
        elif self.kept is not None:
            found = open_kept(self, self.kept, fields, form)
            if found is None:
                return None
            make = found
        elif key in calls:
            self.refuse_duplicate(fields, form)
            return None
        timeout = fields.get("timeout")
        deadline = now + (self.default_timeout if timeout is None else min(timeout / 1000, self._max_timeout))
        if deadline < self.due:
            self.due = deadline
        if self.role == "client":
            size = 0  # its calls wait without stopping what it reads
        call = calls[key] = make(fields, form, self, key, deadline, size)
        return call

    def _accept_stream(self, call: Incoming, id: str) -> Incoming | None:
        try:
            self.start_stream(call)
        except WsxError as error:
            self.tell(call.refuse(error, retry=True))
            return None
        form = call.form
        call.chunks = Receiver(self, lambda credit: self.say({"id": id, "credit": credit}, form))
        return call

    def _accept_response(self, message: ParsedMessage, size: int) -> None:
        id = message.id or ""
        outgoing = self.outgoing.get(id)
        if outgoing is not None:
            outgoing.accept(message, size)
        elif id[:1] == "_" and self.on_unasked is not None:
            self.on_unasked(message)

    def _accept_chunk(self, fields: dict[str, Any], size: int) -> None:
        call = self.calls.get(fields["id"])
        chunks = None if call is None else call.chunks
        if call is None or chunks is None or chunks.ended:
            return  # the call was answered, or cancelled, while the chunk was under way
        try:
            if not chunks.accept(fields["seq"], size):
                return
        except WsxError as error:
            self._stop(call, error.status, error.code, error)
            return
        if fields.get("stream"):
            chunks.push(fields.get("data"), size)
        else:
            if fields.get("data") is not None:
                chunks.push(fields["data"], size)
            chunks.end()

    def _accept_grant(self, id: str, credit: int) -> None:
        # Both sides may have an open call of this id. Items of an answer come first: a peer of ours that calls
        # takes care that its ids are none of the other side's.
        call = self.calls.get(id)
        if call is not None and call.sender is not None:
            call.sender.grant(credit)
            return
        outgoing = self.outgoing.get(id)
        if outgoing is not None and outgoing.sender is not None:
            outgoing.sender.grant(credit)
        elif call is not None:
            # Granted before the first item was sent.
            granted = call.fields.get("credit")
            call.fields["credit"] = (WINDOW if granted is None else granted) + credit

    def refuse_message(self, error: WsxError, data: str | bytes) -> None:
        """Answer a message that could not be read, or give up the call it was to answer."""
        call = None if error.id is None else self.calls.get(error.id)
        if call is not None and call.chunks is not None and not call.chunks.ended:
            # The peer takes the answer for the end of its call, and would send no more.
            self._stop(call, error.status, error.code, error)
            return
        outgoing = None if error.id is None or call is not None else self.outgoing.get(error.id)
        if outgoing is not None:
            outgoing.give_up(error.code, error.status)
            return
        count, since = self.refused
        if self.heard - since > 60.0:
            count, since = 0, self.heard
        self.refused = (count + 1, since)
        if count >= MOST_REFUSED and self.role == "server":
            self.closing = self.closing or (4429, "too many messages that cannot be read")
            return
        if isinstance(data, str):
            form = TEXT if data.startswith("WSX://") else UNPREFIXED
        else:
            form = TEXT if data[:1] == b"W" else BINARY if data[:1] >= b"\x80" and not is_utf8(data) else UNPREFIXED
        answer = {"id": error.id, "status": error.status, "data": error.data()}
        try:
            self.say(answer, form)
        except ImportError:
            self.say(answer, UNPREFIXED)  # MessagePack is an extra, and not here

    def refuse(self, fields: dict[str, Any], form: Form, status: int, text: str, code: str | None = None) -> None:
        """Answer a message that is not run with an error, if it is one that is answered."""
        if fields.get("id") is not None:
            self.say({"id": fields["id"], "status": status, "data": problem(status, text, code)}, form)

    def refuse_duplicate(self, fields: dict[str, Any], form: Form) -> None:
        """Answer a message whose id is that of an open call, which goes on."""
        self.refuse(fields, form, 409, f"a call with id {fields['id']!r} is open", "DUPLICATE_ID")

    def welcome(self, call: Incoming, identity: Any, shown: Any = None, **more: Any) -> Frame | None:
        """The frame that answers a hello or auth whose credentials are good; the peer is told `shown`, and more."""
        self.identity = identity
        return welcome(self, call, shown, more)

    def keep(self, token: str, limit: int) -> None:
        """Keep up to `limit` bytes of answers, so that the session may outlive its connection under this name."""
        self.kept = Kept(token, limit)
        self.careful = True

    def park(self) -> None:
        """The connection is gone: wait for another. Calls whose answers are kept go on, all else ends as in lost()."""
        park(self)

    def revive(self, acks: Mapping[str, int], form: Form) -> None:
        """Go on over another connection; what its peer has not seen goes into the outbox."""
        assert self.kept is not None
        self.careful = True
        resume(self, self.kept, acks, form)

    def expire(self, at: float) -> None:
        """The peer's credentials end at `at`: calls are refused from then on, and 30 seconds later it is over."""
        self.expires = at
        self.careful = self.draining or self.kept is not None
        self.due = min(self.due, at)

    # -- places ------------------------------------------------------------------------------------------------------

    def next_call(self, now: float) -> Incoming | None:
        """A call that waited and may run now; to be asked whenever a call has ended or begun to stream."""
        while self.backlog and self.running < self.limits.ws_in_flight:
            call = self.backlog[0]
            if call.deadline <= now:
                self._stop(call, 504, "DEADLINE")
                continue
            del self.backlog[0]
            self.hold(-call.size)
            if not (call.streaming or call.control):
                self.running += 1
                call.holds_slot = True
            return call
        return None

    def start_stream(self, call: Incoming) -> None:
        """Count a call among the streams; WsxError (429) when there are too many."""
        if call.streaming:
            return
        if self.streams >= self.limits.ws_streams:
            text = f"more than {self.limits.ws_streams} streams are open on this connection"
            raise WsxError(text, status=429, code="RATE_LIMITED")
        self.streams += 1
        call.streaming = True
        if call.holds_slot:
            call.holds_slot = False
            self.running -= 1
        if call.fields.get("timeout") is None:
            call.deadline = math.inf

    def release(self, call: Incoming) -> None:
        """A call has ended, and what it held is free."""
        if call.holds_slot:
            call.holds_slot = False
            self.running -= 1
        elif call.streaming:
            call.streaming = False
            self.streams -= 1
            if call.sender is not None:
                self.senders.pop(call.sender, None)
            if call.chunks is not None:
                call.chunks.end()
                call.chunks.discard()

    # -- time and the end --------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due: give up calls whose time is over, ping a silent peer, end a drain."""
        due = math.inf
        for call in list(self.calls.values()):
            if call.deadline <= now:
                self._stop(call, 504, "DEADLINE")
            elif call.deadline < due:
                due = call.deadline
        for outgoing in list(self.outgoing.values()):
            if outgoing.deadline <= now:
                outgoing.give_up("DEADLINE", 504)
            elif outgoing.deadline < due:
                due = outgoing.deadline
        if self.grace_end <= now:
            self.closing = self.closing or (1012, "restart")
        else:
            due = min(due, self.grace_end)
        if self.expires < math.inf:
            due = min(due, self._look_at_credentials(now))
        self.due = min(due, self._beat(now))

    def _look_at_credentials(self, now: float) -> float:
        if now < self.expires:
            return self.expires
        self.careful = True
        if now >= self.expires + EXPIRY_GRACE:
            self.closing = self.closing or (4401, "the credentials have expired")
            return math.inf
        return self.expires + EXPIRY_GRACE

    def _beat(self, now: float) -> float:
        if self.heartbeat is None:
            return math.inf
        if self._pinged > self.heard:
            if now - self._pinged >= self.heartbeat:
                self.closing = self.closing or (1011, "no answer to a ping")
                return math.inf
        elif now - self.heard >= self.heartbeat:
            self._pinged = now
            self.say({"id": "ping", "method": "POST", "path": "/_wsx/ping"}, self.form)
        return max(self._pinged, self.heard) + self.heartbeat

    def cancel(self, id: str) -> None:
        """The peer gives one of its calls up; an id that is not open is nobody's fault."""
        call = self.calls.get(id)
        if call is not None:
            self._stop(call, 499, "CANCELLED")

    def _stop(self, call: Incoming, status: int, code: str, error: WsxError | None = None) -> None:
        waits = call in self.backlog
        if waits:
            self.backlog.remove(call)
            self.release(call)
        text = None if error is None else str(error)
        call.stop(code, call.last_words(problem(status, text, code, retry=waits), status), error)
        if waits:
            self.hold(-call.size)

    def drain(self, now: float, reason: str = "shutdown", after_ms: int = 0, grace_ms: int = 10_000) -> None:
        """Send the peer elsewhere: open calls may end, new ones are refused, and the connection closes in time."""
        self.draining = self.careful = True
        self.grace_end = now + grace_ms / 1000
        self.due = min(self.due, self.grace_end)
        waiting, self.backlog = self.backlog, []
        for call in waiting:
            self.held -= call.size
            self._reject(call, 503, "DRAINING", retry=True)
        self.event("POST", "/_wsx/goaway", {"reason": reason, "after_ms": after_ms, "grace_ms": grace_ms})
        self.resume()

    def _reject(self, call: Incoming, status: int, code: str, retry: bool) -> None:
        self.tell(call.fail(status, code=code, retry=retry))

    @property
    def idle(self) -> bool:
        """Whether nothing runs, nothing waits, and nothing is left to be sent."""
        return not (self.running or self.streams or self.backlog or self.outbox or self.queued)

    def lost(self) -> None:
        """The connection is gone: the peer's calls are cancelled, and ours have failed."""
        self._lose_incoming()
        for outgoing in list(self.outgoing.values()):
            outgoing.fail(WsxCallError(503, "the connection was lost", code="DISCONNECTED"))
        self.outbox.clear()
        self.flushed = self.written
        self.parked = False

    def _lose_incoming(self) -> None:
        for call in self.backlog:
            self.release(call)
        self.backlog.clear()
        for call in list(self.calls.values()):
            call.stop("LOST")

    def suspend(self) -> None:
        """The connection is gone, and another will be made: as lost(), but for our calls that can go on over it."""
        self._lose_incoming()
        for outgoing in list(self.outgoing.values()):
            if outgoing.request is None:
                outgoing.lose()
            else:
                outgoing.items.renew()
        self.parked = self.clogged = True

    def reconnect(self) -> None:
        """There is a connection again: nothing of what was to be said over the last one is."""
        self.outbox.clear()
        self._flushing.clear()
        self.flushed = self.written
        self.parked = self.clogged = False
