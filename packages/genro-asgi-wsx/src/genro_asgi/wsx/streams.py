"""The two ends of a stream: the receiver keeps items in order and grants more, the sender counts what it may send."""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from genro_asgi.wsx.errors import WsxError

__all__ = ["WINDOW", "Flow", "Receiver", "Sender"]

#: Items in flight where nobody said how many.
WINDOW = 32


class Flow(Protocol):
    """What the two ends need of the connection they belong to."""

    clogged: bool
    written: int
    senders: "dict[Sender, None]"

    def hold(self, size: int) -> None:
        """`size` more bytes wait for a reader; less when it is negative."""

    def wait_for_flush(self, sender: "Sender") -> None:
        """Call `sender.refill()` when what has been written up to `sender.mark` is gone."""


class Receiver:
    """The items of a stream that have come and were not taken yet.

    `ended` says that no more will come, `error` why if it was no good end; items that came before are still there.
    """

    __slots__ = ("_flow", "_grant", "_items", "_owed", "_window", "ended", "error", "expected", "on_item")

    def __init__(self, flow: Flow, grant: Callable[[int], None], window: int = WINDOW) -> None:
        self._flow = flow
        self._grant = grant
        self._items: deque[tuple[Any, int]] = deque()
        self._owed = 0
        self._window = window
        self.expected = 0
        self.ended = False
        self.error: Exception | None = None
        #: called when an item came or the stream ended
        self.on_item: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._items)

    def take(self) -> Any:
        """The oldest item; the sender is granted more when half of the window was taken. IndexError when empty."""
        item, size = self._items.popleft()
        self._flow.hold(-size)
        self._owed += 1
        if not self.ended and self._owed * 2 >= self._window:
            owed, self._owed = self._owed, 0
            self._grant(owed)
        return item

    def renew(self) -> None:
        """The sender begins with a whole window again: what has come already is not granted for any more."""
        self._owed = -len(self._items)

    def discard(self) -> None:
        """Let go of what came; nothing more is granted."""
        self._flow.hold(-sum(size for _, size in self._items))
        self._items.clear()

    def accept(self, seq: int | None, size: int) -> bool:
        """Whether a message with this number is the next one; WsxError when one before it is missing."""
        if seq is None or seq == self.expected:
            self.expected += 1
            return True
        if seq < self.expected:
            return False
        text = f"item {self.expected} of the stream is missing, item {seq} came"
        raise WsxError(text, status=500, code="STREAM_GAP")

    def push(self, item: Any, size: int) -> None:
        """One more item, of a message of `size` characters or bytes."""
        self._items.append((item, size))
        self._flow.hold(size)
        self._told()

    def end(self, error: Exception | None = None) -> None:
        """No more will come."""
        if not self.ended:
            self.ended = True
            self.error = error
            self._told()

    def _told(self) -> None:
        if self.on_item is not None:
            self.on_item()


class Sender:
    """How many more items may be sent, and the number of the next one.

    With `credit` the peer counts; without, at most 32 items wait for the transport to send them.
    """

    __slots__ = ("_flow", "counted", "credit", "mark", "on_ready", "seq")

    def __init__(self, flow: Flow, credit: int | None) -> None:
        self._flow = flow
        self.counted = credit is not None
        self.credit = WINDOW if credit is None else credit
        self.seq = 0
        self.mark = 0
        #: called when more may be sent after that was not so, and when the stream has ended
        self.on_ready: Callable[[], None] | None = None
        flow.senders[self] = None

    @property
    def ready(self) -> bool:
        """Whether one more item may be sent now."""
        return self.credit > 0 and not self._flow.clogged

    def sent(self) -> None:
        """One more item is on its way, and its bytes were counted."""
        self.seq += 1
        self.credit -= 1
        # Who has sent is the last to be woken next time.
        self._flow.senders[self] = self._flow.senders.pop(self, None)
        if self.credit <= 0 and not self.counted:
            self.mark = self._flow.written
            self._flow.wait_for_flush(self)

    def grant(self, credit: int) -> None:
        """The peer takes `credit` more items."""
        was_ready = self.ready
        self.counted = True
        self.credit += credit
        if not was_ready:
            self.wake()

    def refill(self) -> None:
        """What was sent has left; only where the peer does not count."""
        if not self.counted:
            self.credit = WINDOW
            self.wake()

    def end(self) -> None:
        """The stream is over; its owner, should it wait, is told."""
        self._flow.senders.pop(self, None)
        if self.on_ready is not None:
            self.on_ready()

    def wake(self) -> None:
        """Tell the owner, if it may go on."""
        if self.on_ready is not None and self.ready:
            self.on_ready()
