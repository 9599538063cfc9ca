"""A call to the peer: its answer, the items of its answer, and what is streamed to it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from genro_asgi.wsx.errors import WsxCallError, WsxError
from genro_asgi.wsx.kinds import TEXT, Form
from genro_asgi.wsx.parsing import ParsedMessage
from genro_asgi.wsx.streams import WINDOW, Receiver, Sender

if TYPE_CHECKING:
    from genro_asgi.wsx.calling import Calling
    from genro_asgi.wsx.link import Frame

__all__ = ["Outgoing"]


_WORDS = {
    "DEADLINE": "no answer came in time",
    "STREAM_GAP": "an item of the stream is missing",
    "RESUME_LOST": "the connection was lost, and what came of the call is not known",
}


class Outgoing:
    """A call to the peer, made by Session.call().

    It is `done` when its answer is there, which then is `response`, or `error` if it was none or told an error.
    """

    __slots__ = (
        "_credited",
        "deadline",
        "done",
        "error",
        "form",
        "id",
        "items",
        "on_change",
        "request",
        "response",
        "sender",
        "session",
        "streamed",
    )

    def __init__(self, session: "Calling", id: str, form: Form, deadline: float, credit: int | None) -> None:
        self.session = session
        self.id = id
        self.form = form
        #: monotonic seconds at which it is given up
        self.deadline = deadline
        self.done = False
        self.response: ParsedMessage | None = None
        self.error: WsxCallError | None = None
        #: whether the answer is or was a stream
        self.streamed = False
        self._credited = credit is not None
        #: the items of a streamed answer
        self.items = Receiver(session, self._grant, credit or WINDOW)
        #: what is left to be sent of a stream to the peer; None when there is none, or no more
        self.sender: Sender | None = None
        #: what was sent, kept where it may have to be sent again over another connection
        self.request: Frame | None = None
        #: called when an item or the answer came, or the call failed
        self.on_change: Callable[[], None] | None = None

    @property
    def chunk_ready(self) -> bool:
        """Whether chunk() may be called now."""
        return self.sender is not None and self.sender.ready

    @property
    def on_ready(self) -> Callable[[], None] | None:
        """Called when `chunk_ready` has become true, and when the call is over."""
        return None if self.sender is None else self.sender.on_ready

    @on_ready.setter
    def on_ready(self, callback: Callable[[], None] | None) -> None:
        if self.sender is not None:
            self.sender.on_ready = callback

    def chunk(self, data: Any) -> "Frame | None":
        """The frame of one item of the stream to the peer; None when the call is over, and nobody listens."""
        if self.sender is None:
            return None
        frame = self._chunk({"id": self.id, "seq": self.sender.seq, "data": data, "stream": True})
        self.sender.sent()
        return frame

    def end_chunks(self) -> "Frame | None":
        """The frame that ends the stream to the peer; None when there is none open."""
        sender, self.sender = self.sender, None
        if sender is None:
            return None
        sender.end()
        return self._chunk({"id": self.id, "seq": sender.seq, "stream": False})

    def _chunk(self, fields: dict[str, Any]) -> "Frame":
        frame = self.session.encode(fields, self.form)
        self.session.count(frame)
        return frame

    def cancel(self) -> None:
        """Give the call up: the peer is told, and nothing that came or comes is of interest any more."""
        self.give_up("CANCELLED", 499)
        self.items.discard()

    def give_up(self, code: str, status: int) -> None:
        """End the call with an error of this side, and tell the peer."""
        if not self.done:
            self.session.event("POST", "/_wsx/cancel", {"id": self.id})
            self.fail(WsxCallError(status, _WORDS.get(code, "the call was given up"), code=code))

    def fail(self, error: WsxCallError) -> None:
        """End the call with an error of this side."""
        if not self.done:
            self.error = error
            self._finish(error)

    def lose(self) -> None:
        """End the call because nobody knows what came of it."""
        self.fail(WsxCallError(410, _WORDS["RESUME_LOST"], code="RESUME_LOST"))

    def _grant(self, credit: int) -> None:
        # A peer that was not told how much to send waits for no grant.
        if self._credited and not self.done:
            self.session.say({"id": self.id, "credit": credit}, TEXT if self.form.transport == "json" else self.form)

    def _finish(self, error: WsxCallError | None) -> None:
        self.done = True
        self.request = None
        self.session.outgoing.pop(self.id, None)
        sender, self.sender = self.sender, None
        if sender is not None:
            sender.end()
        self.items.end(error)
        self._changed()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()

    def accept(self, message: ParsedMessage, size: int) -> None:
        """An answer, or one item of it, has come."""
        fields = message.fields
        try:
            if not self.items.accept(fields.get("seq"), size):
                return
        except WsxError as error:
            self.give_up(error.code, error.status)
            return
        if fields.get("stream"):
            self.streamed = True
            self.items.push(fields.get("data"), size)
            self._changed()
            return
        status = fields["status"]
        if status >= 400:
            self.error = WsxCallError.from_answer(status, fields.get("data"))
        elif self.streamed and fields.get("data") is not None:
            self.items.push(fields["data"], size)
        self.response = message
        self._finish(self.error)
