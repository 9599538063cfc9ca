"""The trace a call belongs to, as W3C Trace Context and Baggage hand it from one program to the next."""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

__all__ = [
    "TraceContext",
    "add_source",
    "carried_headers",
    "clean_baggage",
    "clean_tracestate",
    "hand_on",
    "read_baggage",
    "read_trace",
]

SAMPLED = 0x01
#: The flags that mean something in version 00 (level 2): sampled, and that the trace id was drawn at random.
_KNOWN_FLAGS = 0x03

# Members and characters; what is over is left out, whole members at a time. All headers of a WSX message together have
# 8 KiB: what somebody else has sent must not fill them, or the calls made on the way would be refused.
MAX_STATE_MEMBERS, MAX_STATE = 32, 1024
MAX_BAGGAGE_MEMBERS, MAX_BAGGAGE = 64, 4096
# What is left out of a trace state first, where it is too long.
_LONG_MEMBER = 128

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_STATE = re.compile(
    r"([a-z0-9][a-z0-9_\-*/@]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_OCTETS = r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*"
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR = re.compile(rf"({_TOKEN})[ \t]*=[ \t]*({_OCTETS})")
_PROPERTY = re.compile(rf"{_TOKEN}(?:[ \t]*=[ \t]*{_OCTETS})?")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where a call stands in its trace: which one it is, whose call made it, and the name of its own part of it."""

    #: 32 hexadecimal digits, the same all along the trace
    trace_id: str
    #: 16 of them, drawn for this call: those that it makes have it as their parent
    span_id: str
    #: the span of the caller, empty where the trace begins
    parent_id: str = ""
    #: eight bits; 1 is "sampled"
    flags: int = 0
    #: what the tracing systems on the way note for each other, as the tracestate header has it
    state: str = ""

    @property
    def sampled(self) -> bool:
        """Whether the caller may have recorded its part."""
        return bool(self.flags & SAMPLED)

    @property
    def traceparent(self) -> str:
        """The header that makes another call a child of this one."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags & _KNOWN_FLAGS:02x}"


def read_trace(traceparent: str, tracestate: str = "") -> TraceContext | None:
    """The place of a call in the trace of its caller, with a span of its own; None where the header says nothing valid.

    As Trace Context level 2 has it: what a later version adds is passed over, and a bad tracestate alone is dropped.
    """
    found = _PARENT.fullmatch(traceparent.strip(" \t"))
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None) or not trace_id.strip("0") or not parent_id.strip("0"):
        return None
    known = int(flags, 16) & (_KNOWN_FLAGS if version == "00" else SAMPLED)
    return TraceContext(trace_id, _new_span_id(), parent_id, known, clean_tracestate(tracestate) if tracestate else "")


def _new_span_id() -> str:
    while True:
        span_id = secrets.token_hex(8)
        if span_id.strip("0"):
            return span_id


def clean_tracestate(text: str) -> str:
    """A tracestate as it is handed on, empty for one that is malformed.

    Above 1024 characters it loses the members of more than 128 first, then those at its end.
    """
    members = _members(text)
    found = [_STATE.fullmatch(member) for member in members]
    keys = {member[1] for member in found if member is not None}
    # A key that comes twice counts as malformed, too.
    if len(members) > MAX_STATE_MEMBERS or len(keys) < len(members):
        return ""
    if len(",".join(members)) > MAX_STATE:
        members = [member for member in members if len(member) <= _LONG_MEMBER]
    return _fitting(members, MAX_STATE)


def clean_baggage(text: str) -> str:
    """Baggage as it is handed on: members that are malformed, or beyond 64 or 4096 characters, are left out."""
    return _fitting(_baggage_members(text), MAX_BAGGAGE)


def read_baggage(text: str) -> dict[str, str]:
    """The values of a baggage header by name, without percent signs and properties; of a repeated name the last."""
    pairs = (_PAIR.match(member) for member in _baggage_members(text))
    return {pair[1]: unquote(pair[2]) for pair in pairs if pair is not None}


def _baggage_members(text: str) -> list[str]:
    found = [member for member in _members(text) if _is_baggage(member)][:MAX_BAGGAGE_MEMBERS]
    # White space means nothing in there, and a tab would be no good header elsewhere.
    return [member.replace(" ", "").replace("\t", "") for member in found]


def _is_baggage(member: str) -> bool:
    pair, *properties = (part.strip(" \t") for part in member.split(";"))
    return _PAIR.fullmatch(pair) is not None and all(_PROPERTY.fullmatch(one) for one in properties)


def _members(text: str) -> list[str]:
    return [member for part in text.split(",") if (member := part.strip(" \t"))]


def _fitting(members: list[str], most: int) -> str:
    size = -1
    for count, member in enumerate(members):
        size += len(member) + 1
        if size > most:
            return ",".join(members[:count])
    return ",".join(members)


def carried_headers(trace: TraceContext | None, baggage: str = "") -> dict[str, str]:
    """The headers that a call carries which is made on behalf of another, of whose headers these are."""
    told: dict[str, str] = {}
    if trace is not None:
        told["traceparent"] = trace.traceparent
        if trace.state:
            told["tracestate"] = trace.state
    if baggage and (kept := clean_baggage(baggage)):
        told["baggage"] = kept
    return told


Source = Callable[[], dict[str, str] | None]

_sources: list[Source] = []


def add_source(source: Source, *, first: bool = False) -> None:
    """Ask this function, too, which headers a call carries that is made here; None where it knows of no caller.

    The first source that knows one is believed: `first` puts this one before those that are there.
    """
    if source not in _sources:
        _sources.insert(0 if first else len(_sources), source)


def hand_on(headers: Mapping[str, str] | None = None) -> Mapping[str, str] | None:
    """The headers of a call made here, with those of the trace and the baggage of whoever is being answered here.

    What the headers say themselves stands. Any client can use it: `httpx.get(url, headers=hand_on())`.
    """
    told = next((found for source in _sources if (found := source()) is not None), None)
    if not told:
        return headers
    if not headers:
        return told
    own = {name.lower() for name in headers}
    if "traceparent" in own:
        own.add("tracestate")  # it belongs to the other
    return {name: value for name, value in told.items() if name not in own} | dict(headers)
