"""What a server keeps for the loss of a connection, and how a session goes on over the next (WSX/1, section 11)."""

import re
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from genro_asgi.exceptions import problem
from genro_asgi.wsx.errors import WsxCallError
from genro_asgi.wsx.incoming import Incoming
from genro_asgi.wsx.kinds import Form
from genro_asgi.wsx.streams import WINDOW

if TYPE_CHECKING:
    from genro_asgi.wsx.link import Frame
    from genro_asgi.wsx.session import Session

__all__ = ["Kept", "KeptCall", "open_kept", "park", "resume"]

_NUMBER = re.compile(r"[0-9]{1,18}\Z")


class Said(NamedTuple):
    """One frame of an answer; `seq` is None for an answer that is no stream."""

    seq: int | None
    is_last: bool
    frame: "Frame"


# An empty deque is as large as one of 64 items, and a set as one of 8: idle sessions have none of their own.
_NONE: set[str] = set()


class Kept:
    """The frames of one session's answers that its peer may not have read, up to `limit` characters or bytes.

    Ids end in numbers that grow from call to call: so one number tells which calls have ever come.
    """

    __slots__ = ("_by_id", "_gone", "_old", "_order", "_size", "awaited", "limit", "mark", "token", "top")

    def __init__(self, token: str, limit: int) -> None:
        self.token = token
        self.limit = limit
        # The frames of a call; one that stands alone, as most do, stands there by itself.
        self._by_id: dict[str, Said | deque[Said]] = {}
        # The call of each frame, the oldest frame first; the first `_gone` of them are not here any more, and the
        # `_old` ones behind them were here at the last age().
        self._order: list[str] = []
        self._gone = self._old = 0
        self._size = 0
        #: the highest number of a call so far, and what it was when the connection was last made anew
        self.top = -1
        self.mark = -1
        #: calls that will come again on the new connection
        self.awaited: set[str] = _NONE

    def __len__(self) -> int:
        return len(self._order) - self._gone

    def __contains__(self, id: object) -> bool:
        return id in self._by_id

    def keep(self, id: str, seq: int | None, is_last: bool, frame: "Frame") -> None:
        """One more frame; the oldest give way."""
        said = Said(seq, is_last, frame)
        before = self._by_id.get(id)
        if before is None:
            self._by_id[id] = said
        elif isinstance(before, Said):
            self._by_id[id] = deque((before, said))
        else:
            before.append(said)
        self._order.append(id)
        self._size += len(frame)
        while self._size > self.limit:
            self._drop()

    def _drop(self) -> None:
        id = self._order[self._gone]
        self._gone += 1
        if self._gone * 2 > len(self._order):
            del self._order[: self._gone]
            self._gone = 0
        self._old -= self._old > 0
        said = self._by_id[id]
        if isinstance(said, deque):
            oldest = said.popleft()
            if not said:
                del self._by_id[id]
        else:
            oldest = said
            del self._by_id[id]
        self._size -= len(oldest.frame)

    def age(self) -> None:
        """Let go of what was here the last time: it was read by now, or the connection would be known to be lost."""
        while self._old:
            self._drop()
        self._old = len(self)

    def only(self, ids: Mapping[str, int]) -> None:
        """Let go of the answers to all other calls."""
        self._by_id = {id: said for id, said in self._by_id.items() if id in ids}
        self._order = [id for id in self._order[self._gone :] if id in ids]
        self._size = sum(len(said.frame) for id in self._by_id for said in self._said(id))
        self._gone = self._old = 0

    def after(self, id: str, seq: int) -> list[Said]:
        """What was answered to a call after an item."""
        return [said for said in self._said(id) if said.seq is None or said.seq > seq]

    def _said(self, id: str) -> Iterable[Said]:
        said = self._by_id.get(id, ())
        return (said,) if isinstance(said, Said) else said


class KeptCall(Incoming):
    """A call whose answer is kept."""

    def __init__(
        self, fields: dict[str, Any], form: Form, session: "Session", key: str | int, deadline: float, size: int
    ) -> None:
        super().__init__(fields, form, session, key, deadline, size)
        self.window = fields.get("credit")

    def respond(
        self,
        status: int = 200,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, Any] | None = None,
    ) -> "Frame | None":
        """As Incoming.respond; the frame is kept."""
        return self._keep(super().respond(status, data, headers, cookies))

    def item(self, data: Any, headers: Mapping[str, str] | None = None) -> "Frame | None":
        """As Incoming.item; the frame is kept."""
        frame = super().item(data, headers)
        kept = self.session.kept
        if frame is not None and kept is not None and self.sender is not None:
            kept.keep(str(self.key), self.sender.seq - 1, False, frame)
        return frame

    def last_words(self, told: dict[str, Any], status: int) -> "Frame | None":
        """As Incoming.last_words; the frame is kept."""
        return self._keep(super().last_words(told, status))

    def _keep(self, frame: "Frame | None") -> "Frame | None":
        kept = self.session.kept
        if frame is not None and kept is not None and self.control is None:
            kept.keep(str(self.key), None if self.sender is None else self.sender.seq, True, frame)
        return frame


def open_kept(session: "Session", kept: Kept, fields: dict[str, Any], form: Form) -> type[Incoming] | None:
    """What a call with an id is to be made as; None when it came before and was dealt with."""
    id: str = fields["id"]
    if id in kept.awaited:
        kept.awaited.discard(id)
        _say_again(session, kept, id, -1, fields.get("credit"), form)
        return None
    if id in session.calls:
        session.refuse_duplicate(fields, form)
        return None
    found = _NUMBER.search(id)
    number = -1 if found is None else int(found[0])
    if found is not None and number <= kept.mark:
        _say_lost(session, id, form)
        return None
    if number <= kept.top:
        return Incoming  # served, but nothing could tell it from one that came before
    kept.top = number
    return KeptCall


def park(session: "Session") -> None:
    """The connection is gone, and the session waits for another: what can go on does, streams stand still."""
    for call in list(session.calls.values()):
        if type(call.key) is int or (type(call) is KeptCall and call.chunks is None and call.control is None):
            continue
        if call in session.backlog:
            session.backlog.remove(call)
            session.held -= call.size
            session.release(call)
        call.stop("LOST")
    for outgoing in list(session.outgoing.values()):
        outgoing.fail(WsxCallError(503, "the connection was lost", code="DISCONNECTED"))
    session.outbox.clear()
    session.parked = session.clogged = True


def resume(session: "Session", kept: Kept, acks: Mapping[str, int], form: Form) -> None:
    """Go on over another connection, whose peer has seen of each call it still wants what `acks` says."""
    kept.mark = kept.top
    kept.only(acks)
    session.outbox.clear()
    session.parked = session.clogged = False
    session.flushed, session.closing = session.written, None
    for call in list(session.calls.values()):
        if type(call.key) is str and call.key not in acks:
            call.stop("LOST")
    kept.awaited = {id for id, seq in acks.items() if seq < 0 and (id in session.calls or id in kept)} or _NONE
    for id in kept.awaited:
        sender = session.calls[id].sender if id in session.calls else None
        if sender is not None:
            # Its items begin anew when it comes again: none of them may come before.
            sender.counted, sender.credit = True, 0
    for id, seq in acks.items():
        if seq >= 0:
            going_on = session.calls.get(id)
            _say_again(session, kept, id, seq, None if going_on is None else going_on.window, form)
    session.refill()


def _say_again(session: "Session", kept: Kept, id: str, seq: int, credit: int | None, form: Form) -> None:
    call, frames = session.calls.get(id), kept.after(id, seq)
    sender = None if call is None else call.sender
    if call is not None:
        wanted = 0 if sender is None else sender.seq - 1 - seq
        whole = len(frames) == wanted and (sender is not None or seq < 0)
    elif frames and frames[-1].is_last:
        last = frames[-1].seq
        whole = len(frames) == (1 if last is None else last - seq)
    else:
        whole = False
    if not whole:
        if call is not None:
            call.stop("LOST")
        _say_lost(session, id, form)
        return
    for said in frames:
        frame = session.recast(said.frame)
        session.count(frame)
        session.tell(frame)
    if sender is not None:
        sender.counted = credit is not None
        sender.credit = max(WINDOW - len(frames), 1) if credit is None else credit - len(frames)
        sender.wake()
    elif call is not None:
        call.fields["credit"] = credit


def _say_lost(session: "Session", id: str, form: Form) -> None:
    text = "what came of the call before the connection was lost is not known any more"
    session.say({"id": id, "status": 410, "data": problem(410, text, "RESUME_LOST")}, form)
