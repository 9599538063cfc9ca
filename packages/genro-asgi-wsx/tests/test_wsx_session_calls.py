"""A session's plain calls: answers, duplicate ids, deadlines, cancels, places, control messages, and what is broken."""

import json
import math
import sys
from decimal import Decimal
from typing import Any

import pytest

from genro_asgi.limits import Limits
from genro_asgi.wsx.errors import TytxError
from genro_asgi.wsx.session import Session


def wire(**fields: Any) -> str:
    """A request as a peer writes it."""
    return "WSX://" + json.dumps(fields)


def ask(id: str | None = "1", path: str = "/x", **fields: Any) -> str:
    """A GET."""
    head = {} if id is None else {"id": id}
    return wire(**head, method="GET", path=path, **fields)


def read(frame: Any) -> dict[str, Any]:
    """The fields of a frame."""
    assert isinstance(frame, str)
    assert frame.startswith("WSX://")
    return json.loads(frame[6:].removesuffix("::JS"))


def said(session: Session) -> list[dict[str, Any]]:
    """What the session said of its own accord, all of it sent."""
    frames = session.take()
    for frame in frames:
        session.sent(len(frame))
    return [read(frame) for frame in frames]


def brief(session: Session) -> list[tuple[Any, ...]]:
    """Id, status, code and retry of the errors the session gave."""
    return [(m["id"], m["status"], m["data"]["code"], m["data"]["retry"]) for m in said(session)]


def test_call_is_answered() -> None:
    session = Session()
    call = session.receive(ask("a", query={"n": 1}, headers={"X-A": "b"}), 0.0)
    assert call is not None
    assert (call.id, call.method, call.path, call.query, call.headers) == ("a", "GET", "/x", {"n": 1}, {"x-a": "b"})
    assert (call.open, call.is_event, session.running, session.idle) == (True, False, 1, False)
    frame = call.respond(201, {"n": 1}, {"x": "y"}, {"c": {"value": "1"}})
    assert read(frame) == {
        "id": "a",
        "status": 201,
        "headers": {"x": "y"},
        "cookies": {"c": {"value": "1"}},
        "data": {"n": 1},
    }
    assert (session.queued, session.idle) == (len(frame or ""), False)
    session.sent(len(frame or ""))
    assert (call.open, session.running, session.calls, session.idle) == (False, 0, {}, True)
    assert call.respond() is None
    assert (session.running, session.queued) == (0, 0)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('WSX://{"id":"1","method":"GET","path":"/"}', 'WSX://{"id":"1","status":200,"data":"9.90"}'),
        ('{"id":"1","method":"GET","path":"/"}', '{"id":"1","status":200,"data":"9.90"}'),
        ('WSX://{"id":"1","method":"GET","path":"/"}::JS', 'WSX://{"id":"1","status":200,"data":"9.90::N"}::JS'),
        ('{"id":"1","method":"GET","path":"/","tytx":true}', '{"id":"1","status":200,"data":"9.90::N"}::JS'),
    ],
)
def test_answer_has_the_form_of_its_call(text: str, answer: str) -> None:
    call = Session().receive(text, 0.0)
    assert call is not None
    assert call.respond(200, Decimal("9.90")) == answer


def test_text_may_be_bytes() -> None:
    call = Session(text=bytes).receive(b'{"id":"1","method":"GET"}', 0.0)
    assert call is not None
    assert call.respond(200, 1) == b'{"id":"1","status":200,"data":1}'


def test_value_without_a_form_leaves_the_call_open() -> None:
    session = Session()
    call = session.receive(ask(), 0.0)
    assert call is not None
    with pytest.raises(TytxError):
        call.respond(200, object())
    assert call.open
    assert read(call.fail(500, "secret"))["data"]["detail"] == "Internal Server Error"
    assert session.running == 0


def test_event_is_never_answered() -> None:
    session = Session()
    call = session.receive(ask(None), 0.0)
    assert call is not None
    assert (call.is_event, call.id, session.running) == (True, None, 1)
    assert call.respond(200, 1) is None
    assert (session.running, session.idle) == (0, True)
    other = session.receive(ask(None), 0.0)
    assert other is not None
    assert other.fail(500) is None
    assert session.idle


def test_duplicate_id_does_not_disturb_the_first() -> None:
    session = Session()
    call = session.receive(ask("1"), 0.0)
    assert call is not None
    assert session.receive(ask("1", "/y"), 0.0) is None
    assert session.receive(ask("1", "/_wsx/ping"), 0.0) is None
    assert session.receive(ask("1", "/_wsx/hello"), 0.0) is None
    assert brief(session) == [("1", 409, "DUPLICATE_ID", False)] * 3
    assert read(call.respond(200, "first"))["data"] == "first"
    assert session.receive(ask("1"), 0.0) is not None


def test_calls_beyond_the_limit_wait_then_reading_stops() -> None:
    session = Session(limits=Limits(ws_in_flight=2))
    resumed: list[bool] = []
    session.on_resume = lambda: resumed.append(session.paused)
    calls = [session.receive(ask(str(n)), 0.0) for n in range(4)]
    assert [call is not None for call in calls] == [True, True, False, False]
    assert session.paused
    assert session.receive(ask("p", "/_wsx/ping"), 0.0) is None
    assert said(session) == [{"id": "p", "status": 200, "data": "pong"}]
    assert session.next_call(0.0) is None
    assert calls[0] is not None
    calls[0].respond()
    waited = session.next_call(0.0)
    assert waited is not None
    assert waited.id == "2"
    assert resumed == [False]
    assert session.next_call(0.0) is None
    assert (session.running, len(session.backlog)) == (2, 1)


def test_bytes_that_wait_stop_reading_too() -> None:
    session = Session(limits=Limits(ws_in_flight=1, ws_queue=1000))
    assert session.receive(ask("0"), 0.0) is not None
    assert not session.paused
    assert session.receive(ask("1", data="x" * 1000), 0.0) is None
    assert session.paused


def test_deadline_answers_once_and_tells_the_handler() -> None:
    session = Session()
    call = session.receive(ask("1", timeout=500), 10.0)
    assert call is not None
    ended: list[str | None] = []
    call.on_cancel = lambda: ended.append(call.cancel_code)
    assert (call.deadline, session.due, call.remaining(10.2)) == (10.5, 10.5, pytest.approx(0.3))
    session.tick(10.4)
    assert (session.due, ended) == (10.5, [])
    session.tick(10.5)
    assert brief(session) == [("1", 504, "DEADLINE", False)]
    assert (ended, call.open, session.due, session.running) == (["DEADLINE"], False, math.inf, 1)
    session.tick(11.0)
    assert call.respond(200, "late") is None
    assert (session.outbox, session.running) == ([], 0)


def test_deadline_default_and_most() -> None:
    session = Session(default_timeout=5.0, max_timeout=9.0)
    first, second = session.receive(ask("1"), 1.0), session.receive(ask("2", timeout=10_000), 1.0)
    assert first is not None
    assert second is not None
    assert (first.deadline, second.deadline, session.due) == (6.0, 10.0, 6.0)
    unlimited = Session(default_timeout=None).receive(ask("1"), 1.0)
    assert unlimited is not None
    assert unlimited.remaining(2.0) is None


def test_call_that_expired_waiting_never_runs() -> None:
    session = Session(limits=Limits(ws_in_flight=1))
    first = session.receive(ask("1"), 0.0)
    assert first is not None
    assert session.receive(ask("2", timeout=100), 0.0) is None
    assert session.receive(ask("3", timeout=100), 0.0) is None
    first.respond()
    assert session.next_call(0.1) is None
    assert brief(session) == [("2", 504, "DEADLINE", True), ("3", 504, "DEADLINE", True)]
    assert (session.calls, session.held, session.running) == ({}, 0, 0)


@pytest.mark.parametrize("id", [None, "c"])
def test_cancel_ends_the_call_once(id: str | None) -> None:
    session = Session()
    call = session.receive(ask("1"), 0.0)
    assert call is not None
    ended: list[str | None] = []
    call.on_cancel = lambda: ended.append(call.cancel_code)
    cancel = ask(id, "/_wsx/cancel", data={"id": "1"})
    session.receive(cancel, 0.0)
    session.receive(cancel, 0.0)
    answers = [m for m in said(session) if m["id"] == "1"]
    assert [(m["status"], m["data"]["code"]) for m in answers] == [(499, "CANCELLED")]
    assert ended == ["CANCELLED"]
    assert session.running == 1
    call.close()
    assert (session.running, session.idle) == (0, True)


def test_cancel_of_a_call_that_waits_or_is_shielded() -> None:
    session = Session(limits=Limits(ws_in_flight=1))
    call = session.receive(ask("1"), 0.0)
    assert call is not None
    call.shielded = True
    call.on_cancel = lambda: pytest.fail("a shielded handler runs on")
    session.receive(ask("2"), 0.0)
    for id in ("2", "1", "unknown"):
        session.receive(ask(None, "/_wsx/cancel", data={"id": id}), 0.0)
    assert brief(session) == [("2", 499, "CANCELLED", True), ("1", 499, "CANCELLED", False)]
    assert call.respond(200) is None
    assert session.next_call(0.0) is None
    assert session.idle


@pytest.mark.parametrize("data", [None, "1", {}, {"id": 1}, [1]])
def test_cancel_that_names_nothing(data: Any) -> None:
    session = Session()
    session.receive(ask("c", "/_wsx/cancel", data=data), 0.0)
    session.receive(ask(None, "/_wsx/cancel", data=data), 0.0)
    assert brief(session) == [("c", 400, "VALIDATION", False)]


def test_ping_echoes() -> None:
    session = Session()
    session.receive(ask("1", "/_wsx/ping"), 0.0)
    session.receive(ask("2", "/_wsx/ping", data={"n": 1}), 0.0)
    session.receive(ask(None, "/_wsx/ping"), 0.0)
    assert [m["data"] for m in said(session)] == ["pong", {"n": 1}]


def test_reserved_paths() -> None:
    session = Session()
    assert session.receive(ask("1", "/_wsx/other"), 0.0) is None
    assert brief(session) == [("1", 404, "NOT_FOUND", False)]
    schema = session.receive(ask("2", "/_wsx/schema"), 0.0)
    assert schema is not None
    assert (schema.control, session.running) == ("schema", 0)
    assert session.receive(ask(None, "/_wsx/schema"), 0.0) is None
    assert session.receive(wire(id="3", method="POST", path="/_wsx/schema"), 0.0) is None
    assert brief(session) == [("3", 405, "BAD_METHOD", False)]


def test_hello_without_credentials_is_answered() -> None:
    session = Session(legacy=True, heartbeat=20.0)
    session.receive(ask("1", "/_wsx/hello", data={"v": 1, "features": ["stream", "credit", "magic", 7]}), 0.0)
    (answer,) = said(session)
    assert answer["status"] == 200
    assert answer["data"] == {
        "v": 1,
        "features": ["credit", "stream"],
        "heartbeat_s": 20.0,
        "identity": None,
        "limits": {
            "message": 2**20,
            "in_flight": 64,
            "streams": 256,
            "headers": 64,
            "header_bytes": 8192,
            "depth": 64,
        },
    }
    assert (session.features, session.legacy) == ({"stream", "credit"}, False)


def test_credentials_are_for_the_transport() -> None:
    session = Session()
    hello = session.receive(ask("1", "/_wsx/hello", data={"v": 1, "auth": {"authorization": "Bearer x"}}), 0.0)
    assert hello is not None
    assert (hello.control, session.running) == ("hello", 0)
    assert read(session.welcome(hello, object(), "mario"))["data"]["identity"] == "mario"
    auth = session.receive(ask("2", "/_wsx/auth", data={"authorization": "Bearer y"}), 0.0)
    assert auth is not None
    assert auth.control == "auth"
    assert read(auth.fail(401))["data"]["code"] == "UNAUTHENTICATED"
    assert session.calls == {}


@pytest.mark.parametrize("data", ["x", {"features": "stream"}, []])
def test_hello_that_is_none(data: Any) -> None:
    session = Session()
    session.receive(ask("1", "/_wsx/hello", data=data), 0.0)
    assert brief(session) == [("1", 400, "VALIDATION", False)]


def test_hello_of_another_version_closes() -> None:
    session = Session()
    session.receive(ask("1", "/_wsx/hello", data={"v": 2}), 0.0)
    assert brief(session) == [("1", 501, "UNSUPPORTED", False)]
    assert session.closing == (4400, "only version 1 is spoken here")


@pytest.mark.parametrize(
    ("text", "id", "status", "code"),
    [
        ("{", None, 400, "MALFORMED"),
        ('{"id":"7","method":"GET"', "7", 400, "MALFORMED"),
        ('{"id":"7"}', "7", 400, "BAD_ENVELOPE"),
        ('{"id":"7","method":"FLY"}', "7", 405, "BAD_METHOD"),
        ('{"id":"7","method":"GET","status":200}', "7", 400, "MALFORMED"),
        ('{"id":"7","method":"GET","data":"x::D"}::JS', "7", 400, "BAD_VALUE"),
        ('{"id":"7","method":"GET","data":"' + "x" * 2**20 + '"}', "7", 413, "TOO_LARGE"),
        ("hello", None, 400, "MALFORMED"),
    ],
)
def test_what_is_broken_is_answered_and_kills_nothing(text: str, id: str | None, status: int, code: str) -> None:
    session = Session()
    assert session.receive("WSX://" + text, 0.0) is None
    assert brief(session) == [(id, status, code, False)]
    assert (session.closing, session.idle) == (None, True)
    assert session.receive(ask(), 0.0) is not None


def test_messages_about_nothing_are_dropped() -> None:
    session = Session()
    for text in (
        wire(id="9", status=200, data=1),
        wire(id=None, status=400, data={"error": "x"}),
        wire(id="9", seq=0, data=1),
        wire(id="9", credit=3),
    ):
        assert session.receive(text, 0.0) is None
    assert session.outbox == []


def test_lost_connection_ends_everything() -> None:
    session = Session(limits=Limits(ws_in_flight=1))
    call = session.receive(ask("1"), 0.0)
    session.receive(ask("2"), 0.0)
    asked = session.call("GET", "/y", now=0.0)
    assert call is not None
    ended: list[str | None] = []
    call.on_cancel = lambda: ended.append(call.cancel_code)
    session.lost()
    assert ended == ["LOST"]
    assert call.respond(200) is None
    assert session.next_call(0.0) is None
    assert asked.error is not None
    assert (asked.error.status, asked.error.code, asked.error.retry) == (503, "DISCONNECTED", False)
    assert (session.idle, session.outgoing, session.calls) == (True, {}, {})


def test_drain_refuses_what_is_new_and_closes_in_time() -> None:
    session = Session(limits=Limits(ws_in_flight=1))
    call = session.receive(ask("1"), 0.0)
    session.receive(ask("2"), 0.0)
    assert call is not None
    session.drain(1.0, "restart", after_ms=50, grace_ms=2000)
    session.receive(ask("3"), 1.0)
    waiting, goaway, refused = said(session)
    assert [(m["id"], m["status"], m["data"]["code"], m["data"]["retry"]) for m in (waiting, refused)] == [
        ("2", 503, "DRAINING", True),
        ("3", 503, "DRAINING", True),
    ]
    assert goaway == {
        "method": "POST",
        "path": "/_wsx/goaway",
        "data": {"reason": "restart", "after_ms": 50, "grace_ms": 2000},
    }
    assert session.due == 3.0
    session.tick(2.9)
    assert session.closing is None
    assert read(call.respond(200))["status"] == 200
    session.tick(3.0)
    assert session.closing == (1012, "restart")


def test_goaway_is_told() -> None:
    session = Session("client")
    told: list[Any] = []
    session.on_goaway = told.append
    session.receive(ask(None, "/_wsx/goaway", data={"reason": "restart", "after_ms": 50, "grace_ms": "x"}), 0.0)
    assert [(g.reason, g.after_ms, g.grace_ms) for g in told] == [("restart", 50, 0)]
    assert session.peer_goaway == told[0]


def test_silent_peer_is_pinged_then_given_up() -> None:
    session = Session(heartbeat=20.0, now=100.0)
    session.tick(119.0)
    assert (session.outbox, session.due) == ([], 120.0)
    session.tick(120.0)
    assert [m["path"] for m in said(session)] == ["/_wsx/ping"]
    session.receive(wire(id="ping", status=200, data="pong"), 121.0)
    session.tick(140.0)
    assert (session.outbox, session.due) == ([], 141.0)
    session.tick(145.0)
    assert len(said(session)) == 1
    session.tick(164.0)
    assert session.closing is None
    session.tick(165.0)
    assert session.closing == (1011, "no answer to a ping")


@pytest.mark.parametrize("frame", [b"\xff\x00", b"\x80", b"\x81\xa2id\xa17"])
def test_binary_junk_is_answered_without_messagepack_too(frame: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", None)
    session = Session("server")
    assert session.receive(frame, 0.0) is None
    (answer,) = session.take()
    assert isinstance(answer, str)
    assert json.loads(answer)["status"] in (400, 501)


@pytest.mark.parametrize("frame", ["\ufeff{}".encode(), "ciao è".encode(), "è tutto".encode()])
def test_text_that_begins_like_bytes_is_answered_with_text(frame: bytes) -> None:
    session = Session("server", text=bytes)
    assert session.receive(frame, 0.0) is None
    (answer,) = session.take()
    assert json.loads(answer)["data"]["code"] == "MALFORMED"


def test_credentials_expire_and_30_seconds_later_the_connection() -> None:
    session = Session(default_timeout=None)
    running = session.receive(ask("old"), 0.0)
    assert running is not None
    session.expire(10.0)
    assert session.due == 10.0
    assert session.receive(ask("in time"), 9.9) is not None
    session.tick(10.0)
    assert (session.due, session.closing) == (40.0, None)
    assert session.receive(ask("late"), 10.1) is None
    assert session.receive(ask(None), 10.1) is None
    assert brief(session) == [("late", 401, "UNAUTHENTICATED", True)]
    assert session.receive(ask("p", "/_wsx/ping"), 10.1) is None
    assert said(session) == [{"id": "p", "status": 200, "data": "pong"}]
    assert read(running.respond(200, 1)) == {"id": "old", "status": 200, "data": 1}
    session.tick(40.0)
    assert session.closing == (4401, "the credentials have expired")


@pytest.mark.parametrize("until", [100.0, math.inf])
def test_new_credentials_make_calls_welcome_again(until: float) -> None:
    session = Session(default_timeout=None)
    session.expire(10.0)
    session.tick(10.0)
    auth = session.receive(wire(id="a", method="POST", path="/_wsx/auth", data={"token": "x"}), 11.0)
    assert auth is not None
    session.expire(until)
    assert read(session.welcome(auth, "ann")) == {"id": "a", "status": 200, "data": {"identity": "ann"}}
    session.tick(40.0)
    assert (session.due, session.closing) == (until, None)
    assert session.receive(ask("b"), 41.0) is not None


def test_junk_is_answered_and_too_much_of_it_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genro_asgi.wsx.session.MOST_REFUSED", 3)
    session = Session()
    for now in (1.0, 2.0, 59.0, 62.0, 63.0, 64.0):
        session.receive("WSX://{", now)
        assert session.closing is None
    assert len(said(session)) == 6
    session.receive("WSX://{", 65.0)
    assert (session.closing, said(session)) == ((4429, "too many messages that cannot be read"), [])
    client = Session("client")
    for _ in range(9):
        client.receive("{", 1.0)
    assert client.closing is None
