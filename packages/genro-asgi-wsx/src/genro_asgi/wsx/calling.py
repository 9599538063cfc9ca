"""Calls to the peer, and messages to it that are not answered."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from genro_asgi.limits import Limits
from genro_asgi.wsx.call_types import CallTypes, PathTypes
from genro_asgi.wsx.kinds import Form
from genro_asgi.wsx.link import Link, Role
from genro_asgi.wsx.outgoing import Outgoing
from genro_asgi.wsx.streams import WINDOW, Sender
from genro_asgi.wsx.tytx.registry import TypeTable

if TYPE_CHECKING:
    from genro_asgi.wsx.incoming import Incoming

__all__ = ["Calling"]


class Calling(Link):
    """The calls of this side that were not answered yet, on top of what sends them."""

    __slots__ = ("_ids", "calls", "due", "outgoing", "resumes")

    def __init__(
        self,
        role: Role,
        limits: Limits,
        types: TypeTable,
        form: Form,
        text: type[str] | type[bytes],
    ) -> None:
        super().__init__(role, limits, types, form, text)
        self._ids = 0
        #: the peer's calls that were not answered yet, by id; events by a number
        self.calls: dict[str | int, Incoming] = {}
        self.outgoing: dict[str, Outgoing] = {}
        #: whether the peer keeps what it answers for the case that the connection is lost
        self.resumes = False
        #: the earliest time at which tick() has something to do
        self.due = math.inf

    def new_id(self) -> int:
        """A number not used before on this connection."""
        self._ids += 1
        return self._ids

    def read_by_call(self, of_path: PathTypes | None = None) -> None:
        """Let each call have types of its own: those of the peer by their path, ours as they were made."""
        default = self.types.default if type(self.types) is CallTypes else self.types
        self.types = CallTypes(default, self.calls, self.outgoing, of_path)

    def call(
        self,
        method: str,
        path: str,
        data: Any = None,
        *,
        now: float,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, Any] | None = None,
        timeout: int | None = None,
        stream: bool = False,
        credit: int | None = None,
        id: str | None = None,
        form: Form | None = None,
        types: TypeTable | None = None,
    ) -> Outgoing:
        """Call the peer; the request goes to the outbox. With `stream` chunks follow.

        `timeout` is milliseconds, `credit` how many items of the answer the peer may send before they are taken, and
        `types` what the values of both may be. ValueError for an id that is open, TytxError for data that has no form.
        """
        if id is None:
            # The two sides' ids are apart, so that a grant cannot be taken for one about the other's call.
            id = f"{'' if self.role == 'client' else 's'}{self.new_id()}"
        if id in self.outgoing:
            raise ValueError(f"A call with id {id!r} is open; leave the id out, or choose another one.")
        fields = _call_fields(id, method, path, data, query, headers, cookies)
        for name, value in (("timeout", timeout), ("credit", credit), ("stream", stream or None)):
            if value is not None:
                fields[name] = value
        form = form or self.form
        if types is not None:
            form = form._replace(types=types.escaping(self._write_types.escaped_suffixes))
            if type(self.types) is not CallTypes:
                self.read_by_call()
        frame = self.encode(fields, form, mark=True)
        # The peer has its answer ready at the deadline, and it still has to come here.
        deadline = math.inf if timeout is None else now + timeout / 1000 + 1.0
        self.due = min(self.due, deadline)
        outgoing = self.outgoing[id] = Outgoing(self, id, form, deadline, credit)
        if stream:
            outgoing.sender = Sender(self, WINDOW)
        elif self.resumes and not path.startswith("/_wsx/"):
            outgoing.request = frame
        self.count(frame)
        self.tell(frame)
        return outgoing

    def acks(self) -> dict[str, int]:
        """The last item that came of each call that may go on over another connection; -1 for none."""
        return {id: call.items.expected - 1 for id, call in self.outgoing.items() if call.request is not None}

    def go_on(self, acks: Mapping[str, int]) -> None:
        """The peer has taken these up again: calls of which nothing had come are asked for once more."""
        for id, seq in acks.items():
            call = self.outgoing.get(id)
            if seq < 0 and call is not None and call.request is not None:
                frame = self.recast(call.request)
                self.count(frame)
                self.tell(frame)

    def lose_calls(self) -> None:
        """What came of the calls that were to go on nobody knows."""
        for call in list(self.outgoing.values()):
            if call.request is not None:
                call.lose()

    def event(
        self,
        method: str,
        path: str,
        data: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a message that is not answered."""
        frame = self.encode(_call_fields(None, method, path, data, query, headers, None), self.form, mark=True)
        self.count(frame)
        self.tell(frame)


def _call_fields(
    id: str | None,
    method: str,
    path: str,
    data: Any,
    query: Mapping[str, Any] | None,
    headers: Mapping[str, str] | None,
    cookies: Mapping[str, Any] | None,
) -> dict[str, Any]:
    fields: dict[str, Any] = {} if id is None else {"id": id}
    fields["method"] = method.upper()
    fields["path"] = path
    for name, value in (("headers", headers), ("cookies", cookies), ("query", query)):
        if value:
            fields[name] = dict(value)
    if data is not None:
        fields["data"] = data
    return fields
