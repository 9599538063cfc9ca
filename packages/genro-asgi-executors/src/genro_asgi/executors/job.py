"""One call handed to a pool: the future its caller awaits."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from genro_asgi.executors.inflow import Inflow

R = TypeVar("R")

OnCancel = Literal["finish", "kill"]

# Reports nobody has read yet: a function that reports faster than it is listened to loses the oldest ones.
MAX_UPDATES = 256


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call is: `fraction` between 0 and 1, or None when nobody can know, and a text for people."""

    fraction: float | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How one call is to be run: a higher `priority` goes first, `timeout` is in seconds of running."""

    priority: int = 0
    timeout: float | None = None
    on_cancel: OnCancel = "finish"


class JobOwner(Protocol):
    """What a job needs of its pool."""

    def abandon(self, job: "Job[Any]") -> None:
        """Take note that the caller gave the job up."""


class Job(asyncio.Future[R]):
    """The future of one call: await it for the result, iterate it for the `Progress` it reports meanwhile.

    A subclass, and not a future with a done callback, because the callback would cost each call a turn of the loop.
    """

    # What every call sets has a slot; the rest lives in the instance dictionary that only some calls get.
    __slots__ = (
        "args", "context", "ended", "error", "fn", "kwargs", "lane", "options", "owner", "queued", "started", "value",
    )  # fmt: skip

    owner: JobOwner
    options: CallOptions
    lane: Any
    fn: Callable[..., R]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    context: Context
    queued: float
    started: float
    ended: float
    value: Any
    error: BaseException | None

    timer: asyncio.TimerHandle | None = None
    payload: bytes = b""
    inflow: Inflow | None = None
    progress: Progress | None = None
    _updates: deque[Progress] | None = None
    _telling: bool = False
    _listeners: "tuple[asyncio.Future[None], ...]" = ()

    def cancel(self, msg: Any = None) -> bool:
        """Give the call up: queued work is dropped at once, running work as `on_cancel` says."""
        if not super().cancel(msg):
            return False
        self.owner.abandon(self)
        return True

    def advance(self, fraction: float | None, text: str) -> None:
        """Note a report of the running function; to be called on the loop."""
        self._note(fraction, text)
        self.wake()

    def advance_soon(self, fraction: float | None, text: str) -> None:
        """The same from another thread: the loop is told once of all it has not looked at. RuntimeError if closed."""
        self._note(fraction, text)
        if not self._telling:
            self._telling = True
            self.get_loop().call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._telling = False  # first: what is noted from now on asks for another turn
        self.wake()

    def _note(self, fraction: float | None, text: str) -> None:
        self.progress = progress = Progress(fraction, text)
        if self._updates is None:
            self._updates = deque(maxlen=MAX_UPDATES)
        self._updates.append(progress)

    def wake(self, _: object = None) -> None:
        """Let whoever iterates look again: there is something new, or the end."""
        if self.inflow is not None:
            self.inflow.wake()
        listeners, self._listeners = self._listeners, ()
        for listener in listeners:
            if not listener.done():
                listener.set_result(None)

    async def __aiter__(self) -> AsyncIterator[Progress]:
        """What the running function reports, until it ends; cancelling the task that iterates cancels the call."""
        self.add_done_callback(self.wake)
        while True:
            while self._updates:
                yield self._updates.popleft()
            if self.done():
                return
            listener = self.get_loop().create_future()
            self._listeners += (listener,)
            try:
                await listener
            except asyncio.CancelledError:
                self.cancel()
                raise
