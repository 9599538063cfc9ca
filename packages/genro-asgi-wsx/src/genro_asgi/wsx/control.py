"""The messages a session speaks about itself: hello, auth, ping, cancel, goaway (WSX/1, sections 5, 7, 13, 14, 16)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genro_asgi.wsx.kinds import Form
from genro_asgi.wsx.parsing import VERSION

if TYPE_CHECKING:
    from genro_asgi.wsx.incoming import Incoming
    from genro_asgi.wsx.link import Frame
    from genro_asgi.wsx.session import Session

__all__ = ["Goaway", "handle_control", "welcome"]


@dataclass(frozen=True, slots=True)
class Goaway:
    """The peer goes away: open calls may end within `grace_ms`, a new connection is welcome after `after_ms`."""

    reason: str = ""
    after_ms: int = 0
    grace_ms: int = 0


def handle_control(session: "Session", fields: dict[str, Any], form: Form, now: float, size: int) -> "Incoming | None":
    """Deal with a call to a reserved path; a hello or auth with credentials, and a GET of the schema, is returned."""
    path = fields["path"]
    data = fields.get("data")
    if path == "/_wsx/ping":
        _answer(session, fields, form, "pong" if data is None else data)
    elif path == "/_wsx/cancel":
        id = data.get("id") if type(data) is dict else None
        if type(id) is str:
            session.cancel(id)
            _answer(session, fields, form, None)
        else:
            session.refuse(fields, form, 400, "data must be an object with the id of a call", "VALIDATION")
    elif path == "/_wsx/goaway":
        _goaway(session, data if type(data) is dict else {})
        _answer(session, fields, form, None)
    elif path == "/_wsx/schema":
        return _schema(session, fields, form, now)
    elif path in ("/_wsx/hello", "/_wsx/auth"):
        return _credentials(session, fields, form, now, path[6:])
    else:
        session.refuse(fields, form, 404, f"{path} is not a path of WSX/1")
    return None


def _schema(session: "Session", fields: dict[str, Any], form: Form, now: float) -> "Incoming | None":
    if fields["method"] != "GET":
        session.refuse(fields, form, 405, "the schema answers GET", "BAD_METHOD")
        return None
    call = None if fields.get("id") is None else session.open_call(fields, form, now, 0)
    if call is not None:
        call.control = "schema"
    return call


def _answer(session: "Session", fields: dict[str, Any], form: Form, data: Any) -> None:
    id = fields.get("id")
    if id is None:
        return
    if id in session.calls:
        session.refuse_duplicate(fields, form)
        return
    answer = {"id": id, "status": 200}
    session.say(answer if data is None else answer | {"data": data}, form)


def _goaway(session: "Session", data: dict[str, Any]) -> None:
    numbers = [data.get(name) for name in ("after_ms", "grace_ms")]
    after, grace = (number if type(number) is int and number > 0 else 0 for number in numbers)
    session.peer_goaway = Goaway(str(data.get("reason") or "")[:200], after, grace)
    if session.on_goaway is not None:
        session.on_goaway(session.peer_goaway)


def _credentials(session: "Session", fields: dict[str, Any], form: Form, now: float, what: str) -> "Incoming | None":
    data = fields.get("data")
    if data is None and what == "hello":
        fields["data"] = data = {}
    if type(data) is not dict or type(data.get("features", [])) is not list or not _are_acks(data.get("acks")):
        text = "data must be an object, features in it a list, and acks the last seq by id"
        session.refuse(fields, form, 400, text, "VALIDATION")
        return None
    if data.get("v", VERSION) != VERSION:
        session.refuse(fields, form, 501, "", "UNSUPPORTED")
        session.closing = (4400, f"only version {VERSION} is spoken here")
        return None
    call = session.open_call(fields, form, now, 0)
    if call is None:
        return None
    keeps = "resume" in session.offered and "resume" in data.get("features", ())
    if what == "hello" and data.get("auth") is None and not keeps:
        session.tell(welcome(session, call))
        return None
    call.control = what
    return call


def _are_acks(acks: Any) -> bool:
    return acks is None or (type(acks) is dict and all(type(seq) is int and seq >= -1 for seq in acks.values()))


# What sessions have agreed upon: there are few such sets, and thousands of idle sessions that have one.
_agreed: dict[frozenset[str], frozenset[str]] = {}


def welcome(
    session: "Session", call: "Incoming", shown: Any = None, more: Mapping[str, Any] | None = None
) -> "Frame | None":
    """The answer to a hello, or to an auth; a name is shown as it is."""
    if shown is None and type(session.identity) is str:
        shown = session.identity
    if call.control == "auth":
        return call.respond(200, {"identity": shown})
    session.legacy = False  # who says hello speaks WSX/1
    common = session.offered.intersection(name for name in call.data.get("features", []) if type(name) is str)
    session.features = _agreed.setdefault(common, common)
    limits = session.limits
    told = {
        "v": VERSION,
        "features": sorted(session.features),
        "limits": {
            "message": limits.ws_message,
            "in_flight": limits.ws_in_flight,
            "streams": limits.ws_streams,
            "headers": limits.ws_headers,
            "header_bytes": limits.ws_header_bytes,
            "depth": limits.ws_depth,
        },
        "identity": shown,
    }
    return call.respond(200, {**told, **session.hello, **(more or {})})
