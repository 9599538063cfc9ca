"""Sessions that outlive their connection, at the server: what is kept, and what a client that comes back is told."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.limits import Limits
from genro_asgi.wsx.incoming import Incoming
from genro_asgi.wsx.keeping import Kept, KeptCall
from genro_asgi.wsx.kinds import TEXT
from genro_asgi.wsx.session import Session
from genro_asgi.wsx.streams import WINDOW


def read(frame: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(frame.removeprefix("WSX://"))
    return fields


def said(session: Session) -> list[dict[str, Any]]:
    frames = session.take()
    for frame in frames:
        session.sent(len(frame))
    return [read(frame) for frame in frames]


def make(limit: int = 10_000, **limits: int) -> Session:
    session = Session(default_timeout=None, limits=Limits(**limits))
    session.keep("t", limit)
    return session


def ask(session: Session, id: str, **fields: Any) -> Incoming:
    call = again(session, id, **fields)
    assert call is not None
    return call


def again(session: Session, id: str, **fields: Any) -> Incoming | None:
    return session.receive("WSX://" + json.dumps({"id": id, "method": "GET", "path": "/x", **fields}), 0.0)


def send(session: Session, frame: Any) -> None:
    """As a transport does, connected or not."""
    assert frame is not None
    session.sent(len(frame))


def lost(call_id: str) -> dict[str, Any]:
    return {"id": call_id, "status": 410, "code": "RESUME_LOST", "retry": False}


def brief(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Errors by what tells them from each other."""
    names = ("code", "retry")
    return [
        {"id": m["id"], "status": m["status"], **{name: m["data"][name] for name in names}} if m["status"] >= 400 else m
        for m in messages
    ]


def test_an_answer_nobody_read_is_said_again_and_not_made_again() -> None:
    session = make()
    call = ask(session, "c1")
    assert type(call) is KeptCall
    send(session, call.respond(200, "done"))
    session.park()
    session.revive({"c1": -1}, TEXT)
    assert said(session) == []
    assert again(session, "c1") is None
    assert said(session) == [{"id": "c1", "status": 200, "data": "done"}]
    # It came once more than it was asked for: that is no reason to run it.
    assert again(session, "c1") is None
    assert brief(said(session)) == [lost("c1")]


def test_a_call_that_runs_goes_on_and_answers_on_the_new_connection() -> None:
    session = make()
    call = ask(session, "c1")
    cancelled: list[str] = []
    call.on_cancel = lambda: cancelled.append("c1")
    session.park()
    assert (call.open, cancelled) == (True, [])
    session.revive({"c1": -1}, TEXT)
    assert again(session, "c1") is None
    assert said(session) == []
    assert read(call.respond(200, 1)) == {"id": "c1", "status": 200, "data": 1}


def test_what_ended_while_nobody_was_there_is_told() -> None:
    session = make()
    first, second = ask(session, "c1"), ask(session, "c2", timeout=1000)
    session.park()
    send(session, first.respond(200, 1))
    session.tick(5.0)
    assert (second.open, second.cancel_code) == (False, "DEADLINE")
    session.take()
    session.revive({"c1": -1, "c2": -1}, TEXT)
    again(session, "c1")
    again(session, "c2")
    told = said(session)
    assert [(m["id"], m["status"]) for m in told] == [("c1", 200), ("c2", 504)]


def test_a_call_that_never_came_runs() -> None:
    session = make()
    ask(session, "c1").respond()
    session.park()
    session.revive({"c2": -1}, TEXT)
    call = ask(session, "c2")
    assert read(call.respond(200, 2)) == {"id": "c2", "status": 200, "data": 2}


def test_a_call_whose_answer_is_forgotten_does_not_run_again() -> None:
    session = make(limit=60)
    for number in range(3):
        send(session, ask(session, f"c{number}").respond(200, "x" * 20))
    session.park()
    session.revive({"c0": -1, "c2": -1}, TEXT)
    assert again(session, "c0") is None
    assert again(session, "c2") is None
    told = said(session)
    assert brief(told[:1]) == [lost("c0")]
    assert told[1:] == [{"id": "c2", "status": 200, "data": "x" * 20}]
    assert told[0]["data"]["retry"] is False


def test_calls_that_are_not_wanted_any_more_are_cancelled() -> None:
    session = make()
    wanted, unwanted = ask(session, "c1"), ask(session, "c2")
    cancelled: list[str] = []
    wanted.on_cancel, unwanted.on_cancel = lambda: cancelled.append("c1"), lambda: cancelled.append("c2")
    ask(session, "c3").respond(200, "read")
    session.park()
    session.revive({"c1": -1}, TEXT)
    assert (cancelled, unwanted.cancel_code) == (["c2"], "LOST")
    assert brief(said(session)) == []
    assert again(session, "c3") is None
    assert brief(said(session)) == [lost("c3")]


@pytest.mark.parametrize("fields", [{"id": "nothing"}, {"id": "c2", "stream": True}])
def test_what_cannot_be_kept_ends_with_the_connection(fields: dict[str, Any]) -> None:
    session = make()
    ask(session, "c1").respond()
    call = ask(session, **fields)
    session.park()
    assert (call.open, call.cancel_code) == (False, "LOST")


def test_calls_of_ours_fail_and_events_go_on() -> None:
    session = make()
    ours = session.call("POST", "/y", now=0.0)
    event = session.receive('WSX://{"method":"POST","path":"/x"}', 0.0)
    session.park()
    assert ours.error is not None
    assert (ours.error.status, ours.error.code) == (503, "DISCONNECTED")
    assert event is not None
    assert event.open
    assert session.outbox == []


def test_calls_that_waited_run_on_in_their_turn() -> None:
    session = make(ws_in_flight=1)
    first = ask(session, "c1")
    assert again(session, "c2") is None
    assert again(session, "c3", stream=True) is not None
    session.park()
    send(session, first.respond())
    second = session.next_call(0.0)
    assert second is not None
    assert second.id == "c2"


def items(session: Session, call: Incoming, *values: Any) -> None:
    for value in values:
        send(session, call.item(value))


def test_a_stream_goes_on_after_the_last_item_that_was_seen() -> None:
    session = make()
    call = ask(session, "c1", credit=4)
    items(session, call, "a", "b", "c")
    session.park()
    assert not call.ready
    ready: list[bool] = []
    call.on_ready = lambda: ready.append(True)
    session.sent(0)
    assert ready == []
    session.revive({"c1": 0}, TEXT)
    assert [(m["seq"], m["data"]) for m in said(session)] == [(1, "b"), (2, "c")]
    # The window is that of the request again, and what was said again has used some of it.
    assert (ready[:1], call.ready) == ([True], True)
    items(session, call, "d", "e")
    assert not call.ready
    session.receive('WSX://{"id":"c1","credit":1}', 0.0)
    assert call.ready
    assert read(call.respond())["seq"] == 5


def test_a_stream_of_which_nothing_was_seen_begins_when_it_is_asked_for_again() -> None:
    session = make()
    call = ask(session, "c1", credit=2)
    items(session, call, "a")
    session.park()
    session.revive({"c1": -1}, TEXT)
    assert not call.ready  # nothing of it may come before its beginning
    assert again(session, "c1", credit=2) is None
    assert [m["seq"] for m in said(session)] == [0]
    assert call.ready
    items(session, call, "b")
    assert not call.ready


def test_a_stream_without_credit_goes_on_with_a_whole_window() -> None:
    session = make()
    call = ask(session, "c1")
    for number in range(WINDOW):
        frame = call.item(number)
        assert frame is not None  # and none of it leaves
    session.park()
    assert not call.ready
    session.revive({"c1": WINDOW - 2}, TEXT)
    assert [m["seq"] for m in said(session)] == [WINDOW - 1]
    assert call.ready


def test_a_stream_that_had_not_begun_has_the_credit_of_the_second_asking() -> None:
    session = make()
    call = ask(session, "c1", credit=0)
    session.receive('WSX://{"id":"c1","credit":5}', 0.0)
    session.park()
    session.revive({"c1": -1}, TEXT)
    assert again(session, "c1", credit=1) is None
    assert call.ready
    items(session, call, "a")
    assert not call.ready


def test_the_end_of_a_stream_is_kept_too() -> None:
    session = make()
    call = ask(session, "c1", credit=9)
    items(session, call, "a", "b")
    send(session, call.respond(200))
    session.park()
    session.revive({"c1": 1}, TEXT)
    assert said(session) == [{"id": "c1", "status": 200, "seq": 2}]


@pytest.mark.parametrize(("seen", "limit"), [(0, 120), (5, 10_000)])
def test_a_stream_with_a_gap_is_lost(seen: int, limit: int) -> None:
    session = make(limit)
    call = ask(session, "c1", credit=9)
    items(session, call, "x" * 30, "y" * 30, "z" * 30)
    session.park()
    session.revive({"c1": seen}, TEXT)
    assert brief(said(session)) == [lost("c1")]
    assert (call.open, call.cancel_code) == (False, "LOST")


def test_a_call_nobody_made_is_lost_and_one_that_only_could_have_been_seen_partly() -> None:
    session = make()
    call = ask(session, "c1")
    session.park()
    session.revive({"c1": 3, "c7": 2}, TEXT)
    assert brief(said(session)) == [lost("c1"), lost("c7")]
    assert not call.open


def test_an_open_id_is_still_refused() -> None:
    session = make()
    ask(session, "c1")
    assert again(session, "c1") is None
    assert [(m["status"], m["data"]["code"]) for m in said(session)] == [(409, "DUPLICATE_ID")]


def test_ids_that_do_not_grow_are_served_but_not_kept() -> None:
    session = make()
    ask(session, "c5").respond()
    assert type(ask(session, "c3")) is Incoming
    assert type(ask(session, "c6")) is KeptCall


def test_it_can_be_lost_again() -> None:
    session = make()
    call = ask(session, "c1", credit=9)
    items(session, call, "a", "b")
    for seen in (-1, 0):
        session.park()
        session.revive({"c1": seen}, TEXT)
        if seen < 0:
            again(session, "c1", credit=9)
        assert [m["seq"] for m in said(session)] == list(range(seen + 1, 2))
    items(session, call, "c")
    assert session.calls == {"c1": call}


def test_binary_and_text_frames_are_said_as_the_new_connection_says_them() -> None:
    session = Session(text=bytes)
    session.keep("t", 1000)
    frame = ask(session, "c1").respond(200, "é")
    assert isinstance(frame, bytes)
    session.park()
    session._text = True
    session.revive({"c1": -1}, TEXT)
    again(session, "c1")
    assert said(session) == [{"id": "c1", "status": 200, "data": "é"}]


def test_what_is_kept_is_bounded_and_grows_old() -> None:
    kept = Kept("t", 10)
    for number in range(5):
        kept.keep(f"c{number % 2}", number, False, "abc")
    assert (len(kept), [one.seq for one in kept.after("c0", -1)]) == (3, [2, 4])
    kept.age()
    kept.keep("c1", 5, True, "ab")
    kept.age()
    assert (len(kept), "c0" in kept) == (1, False)
    assert [one.seq for one in kept.after("c1", -1)] == [5]
    kept.keep("c1", 6, True, "x" * 11)
    assert (len(kept), "c1" in kept) == (0, False)
    kept.age()
    kept.age()
    assert len(kept) == 0


@pytest.mark.parametrize("acks", [[], {"c1": "0"}, {"c1": -2}, {"c1": True}, 7])
def test_acks_that_are_none_are_refused(acks: Any) -> None:
    session = Session()
    session.receive(
        "WSX://" + json.dumps({"id": "1", "method": "POST", "path": "/_wsx/hello", "data": {"acks": acks}}), 0
    )
    assert [(m["status"], m["data"]["code"]) for m in said(session)] == [(400, "VALIDATION")]


IDS = st.sampled_from(["c1", "c2", "c3", "x", "9", "c999999999999999999999", "\u0663"])
ACTIONS = st.one_of(
    st.tuples(st.just("call"), IDS, st.fixed_dictionaries({}, optional={"credit": st.integers(0, 3)})),
    st.tuples(st.just("stream"), IDS, st.just({"stream": True})),
    st.tuples(st.just("raw"), st.text(max_size=20), st.none()),
    st.tuples(st.just("chunk"), IDS, st.integers(0, 3)),
    st.tuples(st.just("grant"), IDS, st.integers(0, 3)),
    st.tuples(st.just("cancel"), IDS, st.none()),
    st.tuples(st.just("item"), st.just(""), st.none()),
    st.tuples(st.just("end"), st.just(""), st.none()),
    st.tuples(st.just("age"), st.just(""), st.none()),
    st.tuples(st.just("park"), st.just(""), st.none()),
    st.tuples(st.just("revive"), st.just(""), st.dictionaries(IDS, st.integers(-1, 5), max_size=4)),
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(ACTIONS, max_size=40))
def test_no_client_confuses_a_session(actions: list[tuple[str, str, Any]]) -> None:
    session = make(limit=300, ws_in_flight=2, ws_streams=3)
    started: list[Incoming] = []

    def take(text: str) -> None:
        call = session.receive(text, 0.0)
        while call is not None:
            call.on_cancel = call.close
            started.append(call)
            call = session.next_call(0.0)

    for what, id, more in actions:
        if what in ("call", "stream"):
            take(json.dumps({"id": id, "method": "GET", "path": "/x", **more}))
        elif what == "raw":
            take(id)
        elif what == "chunk":
            take(json.dumps({"id": id, "seq": more, "data": 1}))
        elif what == "grant":
            take(json.dumps({"id": id, "credit": more}))
        elif what == "cancel":
            take(json.dumps({"method": "POST", "path": "/_wsx/cancel", "data": {"id": id}}))
        elif what == "item" and started and started[-1].ready and session.streams < 3:
            session.tell(started[-1].item("x" * 20))
        elif what == "end" and started:
            session.tell(started.pop().respond(200, "y" * 20))
        elif what == "age":
            assert session.kept is not None
            session.kept.age()
        elif what == "park":
            session.park()
        elif what == "revive":
            session.revive(more, TEXT)
        said(session)
        assert session.kept is not None
        assert session.kept._size <= 300
        assert session.running >= 0
        assert session.streams >= 0
    session.lost()
    for call in started:
        call.close()
    assert (session.calls, session.running, session.streams, session.senders) == ({}, 0, 0, {})


def test_what_an_idle_session_keeps_is_small() -> None:
    def used_once(features: list[str]) -> Session:
        session = Session(features=["stream", "sub", "resume"])
        hello = ask(session, "h", path="/_wsx/hello", data={"features": features}) if "resume" in features else None
        if hello is None:
            assert again(session, "h", path="/_wsx/hello", data={"features": features}) is None
        else:
            session.keep("t", 10_000)
            send(session, session.welcome(hello, None))
        said(session)
        send(session, ask(session, "c1").respond(200, "done"))
        return session

    def weight(features: list[str]) -> float:
        kept = [used_once(features) for _ in range(20)]
        tracemalloc.start()
        kept += [used_once(features) for _ in range(100)]
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size / (len(kept) - 20)

    assert weight(["sub", "resume"]) - weight(["sub"]) < 1000
