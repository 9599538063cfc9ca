"""The kinds of a WSX message, and the form it has on the wire (WSX/1, sections 1 and 2)."""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from genro_asgi.wsx.tytx.registry import TypeTable

__all__ = [
    "BINARY", "TEXT", "TYPED_TEXT", "UNPREFIXED", "Call", "Chunk", "Event", "Form", "Grant", "Message", "Request",
    "Response",
]  # fmt: skip


class Form(NamedTuple):
    """How a message is written; an answer has the form of its request.

    Whether the values of `query`, `data` and `cookies` are typed, whether a text begins with WSX://, whether `data` is
    a TYTX text inside a string, as peers of 0.46 want it, whether that text has JSON's escapes in there, and which
    types its values may have, where the call has a table of its own.
    """

    transport: Literal["json", "msgpack"] = "json"
    typed: bool = False
    prefixed: bool = True
    legacy: bool = False
    escaped: bool = False
    types: TypeTable | None = None


#: The forms of nearly all messages; who reads one says so with these objects, and so they may be compared with `is`.
TEXT, UNPREFIXED = Form(), Form(prefixed=False)
TYPED_TEXT = Form(typed=True)
BINARY = Form("msgpack", typed=True, prefixed=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a request and an event have in common.

    `timeout` is milliseconds from the arrival of the message; `page_id` and `reply_path` are of older peers and
    only pass through.
    """

    method: str
    path: str = "/"
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, Any] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    data: Any = None
    timeout: int | None = None
    sender: str | None = None
    page_id: str | None = None
    reply_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Call):
    """A call that is answered by one response, or by a stream of them.

    `stream` says that chunks follow; `credit` is how many items of the answer the caller takes before it grants
    more.
    """

    id: str
    stream: bool = False
    credit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Call):
    """A call without an id: it is never answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer, or with `stream` one item of it (`seq` counts from 0)."""

    id: str | None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, Any] = field(default_factory=dict)
    data: Any = None
    stream: bool = False
    seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One item of a client stream; the last one has `stream` false."""

    id: str
    seq: int
    data: Any = None
    stream: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The receiver of a stream takes `credit` more items."""

    id: str
    credit: int


Message = Request | Event | Response | Chunk | Grant
