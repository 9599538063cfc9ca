"""A call of the peer: what it asks, and every way to answer it."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from genro_asgi.exceptions import problem
from genro_asgi.trace import TraceContext, read_baggage, read_trace
from genro_asgi.wsx.errors import WsxError
from genro_asgi.wsx.kinds import Form
from genro_asgi.wsx.parsing import ParsedMessage
from genro_asgi.wsx.streams import Receiver, Sender

if TYPE_CHECKING:
    from genro_asgi.wsx.link import Frame
    from genro_asgi.wsx.session import Session
    from genro_asgi.wsx.subscriptions import Policy, Subscription

__all__ = ["Incoming"]


class Incoming(ParsedMessage):
    """A call of the peer, to be ended by exactly one respond(), fail() or close().

    It can also end from outside: cancelled, expired, or with its connection. Then `on_cancel` is called, the peer has
    its answer already, and whatever is said afterwards is dropped; the call still has to be ended, which frees its
    place among the calls that may run at once.
    """

    # Slots, and all of them filled: CPython specialises them, and it cannot do so where the class has a default.
    # Only the trace is filled when it is asked for, which few do.
    __slots__ = (
        "_trace", "cancel_code", "chunks", "control", "deadline", "holds_slot", "key", "on_cancel", "open", "sender",
        "session", "shielded", "size", "streaming", "window",
    )  # fmt: skip

    _trace: TraceContext | None

    def __init__(
        self, fields: dict[str, Any], form: Form, session: "Session", key: str | int, deadline: float, size: int
    ) -> None:
        self.fields = fields
        self.form = form
        self.session = session
        self.key = key
        #: monotonic seconds at which it is answered with 504; infinite when it may take any time
        self.deadline = deadline
        self.size = size
        #: False once it was answered, or ended from outside
        self.open = True
        self.holds_slot = self.streaming = False
        #: set to let the handler run on when the call is cancelled; its answer is dropped
        self.shielded = False
        #: called once when the call ends from outside
        self.on_cancel: Callable[[], None] | None = None
        #: why it ended from outside: CANCELLED, DEADLINE or LOST
        self.cancel_code: str | None = None
        #: "hello" or "auth" when it is for the transport to look at credentials, "schema" when it is to tell its routes
        self.control: str | None = None
        self.sender: Sender | None = None
        #: the window of the request, where it said one
        self.window: int | None = None
        #: what the caller streams; None when it streams nothing
        self.chunks: Receiver | None = None

    @property
    def is_event(self) -> bool:
        """Whether it has no id, and so is never answered."""
        return type(self.key) is int

    @property
    def trace(self) -> TraceContext | None:
        """Where the call stands in the trace its caller is part of, with a span of its own; None in no trace."""
        try:
            return self._trace
        except AttributeError:
            headers = self.headers
            parent = headers.get("traceparent")
            self._trace = None if parent is None else read_trace(parent, headers.get("tracestate", ""))
            return self._trace

    @property
    def baggage(self) -> dict[str, str]:
        """What the callers before tell everybody on the way, by name: the W3C header, which anybody can write."""
        return read_baggage(self.headers.get("baggage", ""))

    def remaining(self, now: float) -> float | None:
        """Seconds until the deadline; None when there is none."""
        return None if self.deadline == math.inf else max(self.deadline - now, 0.0)

    def respond(
        self,
        status: int = 200,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, Any] | None = None,
    ) -> "Frame | None":
        """The frame of the answer, or of the end of a stream; None when there is nothing to send.

        TytxError when `data` has no form; the call is still open then.
        """
        session = self.session
        frame: Frame | None = None
        if self.open:
            key = self.key
            if type(key) is str:
                if headers or cookies or self.sender is not None:
                    frame = self._encode(status, data, headers, cookies)
                elif data is None:
                    frame = session.encode({"id": key, "status": status}, self.form)
                else:
                    frame = session.encode({"id": key, "status": status, "data": data}, self.form)
                session.written = written = session.written + len(frame)
                if written - session.flushed >= session.limits.ws_queue:
                    session.clogged = True
            self.open = False
            del session.calls[key]
        if self.holds_slot:
            self.holds_slot = False
            session.running -= 1
        elif self.streaming:
            session.release(self)
        return frame

    def fail(
        self,
        status: int,
        text: str | None = None,
        *,
        code: str | None = None,
        retry: bool = False,
        details: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> "Frame | None":
        """The frame of an answer that tells an error; from 500 up the text does not leave (WSX/1, section 12)."""
        return self.respond(status, problem(status, text, code, retry, details), headers)

    def refuse(self, error: WsxError, retry: bool = False) -> "Frame | None":
        """The frame of an answer that tells what was wrong with the call."""
        return self.fail(error.status, str(error), code=error.code, retry=retry)

    def close(self) -> None:
        """End the call without saying anything, as after it was ended from outside."""
        if self.open:
            self.open = False
            del self.session.calls[self.key]
        self.session.release(self)

    @property
    def ready(self) -> bool:
        """Whether item() may be called now; a generator is not asked for its next item before."""
        if self.sender is not None:
            return self.open and self.sender.ready
        return self.open and not self.session.clogged and self.fields.get("credit") != 0

    @property
    def on_ready(self) -> Callable[[], None] | None:
        """Called when `ready` has become true, and when the call has ended from outside."""
        return None if self.sender is None else self.sender.on_ready

    @on_ready.setter
    def on_ready(self, callback: Callable[[], None] | None) -> None:
        self.start_stream().on_ready = callback

    def start_stream(self) -> Sender:
        """Let the call be one that streams; it gives its place back to calls that do not.

        WsxError (429) when more streams would be open than the limits allow.
        """
        if self.sender is None:
            self.session.start_stream(self)
            self.sender = Sender(self.session, self.fields.get("credit"))
        return self.sender

    def item(self, data: Any, headers: Mapping[str, str] | None = None) -> "Frame | None":
        """The frame of one item of a streamed answer; None when the call has ended, and an event is told nothing.

        TytxError and WsxError as in respond() and start_stream().
        """
        if not self.open:
            return None
        sender = self.start_stream()
        if type(self.key) is int:
            return None
        frame = self._encode(200, data, headers, None, stream=True)
        self.session.count(frame)
        sender.sent()
        return frame

    def subscribe(self, policy: "Policy" = "block", presence: Any = None, max_queue: int = 64) -> "Subscription":
        """Answer a SUBSCRIBE: from now on events are published to it. WsxError (429) as in start_stream()."""
        from genro_asgi.wsx.subscriptions import Subscription

        return Subscription(self, policy, presence, max_queue)

    def _encode(
        self,
        status: int,
        data: Any,
        headers: Mapping[str, str] | None,
        cookies: Mapping[str, Any] | None,
        stream: bool = False,
    ) -> "Frame":
        fields: dict[str, Any] = {"id": self.key, "status": status}
        if self.sender is not None:
            fields["seq"] = self.sender.seq
        if headers:
            fields["headers"] = dict(headers)
        if cookies:
            fields["cookies"] = dict(cookies)
        if stream:
            fields["data"] = data
            fields["stream"] = True
        elif data is not None:
            fields["data"] = data
        return self.session.encode(fields, self.form)

    def last_words(self, told: dict[str, Any], status: int) -> "Frame | None":
        """The frame of an answer the session gives by itself; None for an event."""
        if type(self.key) is int:
            return None
        frame = self._encode(status, told, None, None)
        self.session.count(frame)
        return frame

    def stop(self, code: str, last_words: "Frame | None" = None, error: WsxError | None = None) -> None:
        """The call ends from outside with these words: nothing it says from now on is sent."""
        # Closed before anybody is told: whoever is told may want to say something more.
        self.open = False
        self.cancel_code = code
        del self.session.calls[self.key]
        self.session.tell(last_words)
        if self.chunks is not None:
            self.chunks.end(error or WsxError(f"the call was ended: {code}", status=499, code=code))
        if self.on_cancel is not None and not self.shielded:
            callback, self.on_cancel = self.on_cancel, None
            callback()
        elif self.sender is not None:
            self.sender.end()
