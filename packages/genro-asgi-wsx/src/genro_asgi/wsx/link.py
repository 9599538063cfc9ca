"""What a connection holds on both ways: frames still on their way out, messages nobody has taken yet."""

from typing import TYPE_CHECKING, Any, Literal

from genro_asgi.jsoncodec import OPTIONS, raw_dumps, to_plain
from genro_asgi.limits import Limits
from genro_asgi.wsx.codec import encode_fields
from genro_asgi.wsx.kinds import TEXT, UNPREFIXED, Form
from genro_asgi.wsx.streams import Sender
from genro_asgi.wsx.tytx.registry import BUILTIN_TYPES, DEFAULT_TYPES, TypeTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from genro_asgi.wsx.call_types import CallTypes
    from genro_asgi.wsx.incoming import Incoming

__all__ = ["Frame", "Link", "Role"]

#: One message as it travels: a str is a text frame, bytes are a binary one.
Frame = str | bytes

Role = Literal["server", "client"]


class Link:
    """The bytes of one connection: frames are counted until they have left, messages until they are taken."""

    __slots__ = (
        "_flushing",
        "_stopped",
        "_text",
        "_write_types",
        "backlog",
        "clogged",
        "flushed",
        "form",
        "held",
        "limits",
        "on_output",
        "on_resume",
        "outbox",
        "parked",
        "role",
        "senders",
        "types",
        "written",
    )

    def __init__(self, role: Role, limits: Limits, types: TypeTable, form: Form, text: type[str] | type[bytes]) -> None:
        self.role = role
        self.limits = limits
        #: what arrives is read with
        self.types: TypeTable | CallTypes = types
        self._write_types = DEFAULT_TYPES if types is BUILTIN_TYPES else types
        #: how messages of our own are written
        self.form = form
        self._text = text is str
        #: frames to be sent; taken with take()
        self.outbox: list[Frame] = []
        #: sizes of all frames given out, and of those that have left
        self.written = 0
        self.flushed = 0
        #: whether so much is on its way that no more items of streams are made
        self.clogged = False
        #: the open streams of this side
        self.senders: dict[Sender, None] = {}
        self._flushing: list[Sender] = []
        #: calls of the peer that wait for a place
        self.backlog: list[Incoming] = []
        #: size of the messages that wait in here
        self.held = 0
        self._stopped = False
        #: whether there is no connection for the moment, and nothing leaves
        self.parked = False
        #: called when the outbox is filled; also from inside receive()
        self.on_output: Callable[[], None] | None = None
        #: called when `paused` has become false
        self.on_resume: Callable[[], None] | None = None

    @property
    def queued(self) -> int:
        """Size of the frames that were given out and not reported as sent."""
        return self.written - self.flushed

    def take(self) -> list[Frame]:
        """The frames of the outbox, which is empty then."""
        frames, self.outbox = self.outbox, []
        return frames

    def encode(self, fields: dict[str, Any], form: Form, *, mark: bool = False) -> Frame:
        """The frame of a message; with `mark` a typed text says so even if nothing in it is typed."""
        if form is TEXT or form is UNPREFIXED:
            # The short way for most answers; where it does not lead, the other one knows what is wrong.
            try:
                body = raw_dumps(fields, to_plain, OPTIONS)
                if form is TEXT:
                    body = b"WSX://" + body
            except (TypeError, ValueError):
                body = encode_fields(fields, form, types=self._write_types)
            return body.decode() if self._text else body
        body = encode_fields(fields, form, types=form.types or self._write_types)
        if form.transport == "msgpack":
            return body
        if mark and form.typed and not body.endswith(b"::JS"):
            body += b"::JS"
        return body.decode() if self._text else body

    def escape(self, suffixes: "Iterable[str]") -> None:
        """The peer has types of these suffixes: plain strings that look like them are marked as text from now on."""
        self._write_types = self._write_types.escaping(suffixes)

    def say(self, fields: dict[str, Any], form: Form) -> None:
        """Put a message into the outbox."""
        frame = self.encode(fields, form)
        self.count(frame)
        self.tell(frame)

    def tell(self, frame: Frame | None) -> None:
        """Put a frame that was counted already into the outbox; None is no frame."""
        if frame is not None:
            self.outbox.append(frame)
            if self.on_output is not None:
                self.on_output()

    def count(self, frame: Frame) -> None:
        """A frame is given out."""
        self.written += len(frame)
        if self.written - self.flushed >= self.limits.ws_queue:
            self.clogged = True

    @property
    def paused(self) -> bool:
        """Whether nothing should be read from the connection for now."""
        full = self.held >= self.limits.ws_queue
        # Were both sides to wait until what they said was read, before they read on, they would wait forever.
        if self.role == "server":
            full = full or self.clogged or len(self.backlog) >= self.limits.ws_in_flight
        self._stopped = self._stopped or full
        return full

    def resume(self) -> None:
        """Say so if reading was stopped and may go on."""
        if self._stopped and not self.paused:
            self._stopped = False
            if self.on_resume is not None:
                self.on_resume()

    def hold(self, size: int) -> None:
        """`size` more bytes of messages wait in here; less when it is negative."""
        self.held += size
        if size < 0:
            self.resume()

    def sent(self, size: int) -> None:
        """Frames of this size have left, and the connection takes more."""
        self.flushed += size
        if self.clogged or self._flushing:
            self._drained()

    def _drained(self) -> None:
        if self.parked:
            return
        # Half empty before streams go on: not one item at a time.
        if self.clogged and (self.written - self.flushed) * 2 <= self.limits.ws_queue:
            self.clogged = False
            for sender in list(self.senders):
                sender.wake()
            self.resume()
        if self._flushing:
            gone = [sender for sender in self._flushing if sender.mark <= self.flushed]
            self._flushing = [sender for sender in self._flushing if sender.mark > self.flushed]
            for sender in gone:
                sender.refill()

    def recast(self, frame: Frame) -> Frame:
        """A frame as it is sent here; what it was made for may have been of the other kind."""
        if isinstance(frame, str):
            return frame if self._text else frame.encode()
        return frame.decode() if self._text and frame[:1] < b"\x80" else frame

    def refill(self) -> None:
        """Nothing is on its way: streams that nobody counts may go on, as may those that stood still."""
        self._flushing.clear()
        for sender in list(self.senders):
            if sender.counted:
                sender.wake()
            else:
                sender.refill()
        self.resume()

    def wait_for_flush(self, sender: Sender) -> None:
        """Call `sender.refill()` when what has been written up to `sender.mark` is gone."""
        self._flushing.append(sender)
