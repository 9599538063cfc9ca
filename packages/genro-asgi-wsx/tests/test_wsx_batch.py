"""Several messages in one frame: each is answered on its own, and joining loses nothing."""

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.limits import Limits
from genro_asgi.wsx.batch import MOST_BYTES, MOST_MESSAGES, MOST_TAKEN, join_frames
from genro_asgi.wsx.codec import decode_batch, decode_message
from genro_asgi.wsx.session import Session


def negotiated(limits: Limits | None = None) -> Session:
    """A session whose peer said that it may send batches."""
    session = Session(limits=limits or Limits())
    session.receive('{"id":"h","method":"POST","path":"/_wsx/hello","data":{"v":1,"features":["batch"]}}', 0.0)
    session.take()
    return session


def read(frame: Any) -> dict[str, Any]:
    """The fields of a frame."""
    fields: dict[str, Any] = json.loads(str(frame).removeprefix("WSX://"))
    return fields


def ask(id: str, path: str = "/x", **fields: Any) -> dict[str, Any]:
    """A request."""
    return {"id": id, "method": "GET", "path": path, **fields}


def everything(session: Session, data: str | bytes) -> list[Any]:
    """All calls a frame brings."""
    calls = [session.receive(data, 0.0)]
    while calls[-1] is not None:
        calls.append(session.next_call(0.0))
    return calls[:-1]


def test_each_is_answered_on_its_own() -> None:
    session = negotiated()
    batch = [ask("1"), ask("p", "/_wsx/ping"), {"id": "7"}, ask("2"), 5, ask("1"), {"method": "GET", "path": "/event"}]
    calls = everything(session, "WSX://" + json.dumps(batch))
    assert [call.id for call in calls] == ["1", "2", None]
    answers = [read(frame) for frame in session.take()]
    assert [(m["id"], m["status"]) for m in answers] == [("p", 200), ("7", 400), (None, 400), ("1", 409)]
    assert [read(call.respond(200, call.id))["data"] for call in calls[:2]] == ["1", "2"]
    calls[2].close()
    assert (session.running, session.held, session.calls) == (0, 0, {})


def test_limits_hold_inside_a_batch() -> None:
    session = negotiated(Limits(ws_in_flight=3))
    calls = everything(session, json.dumps([ask(str(n)) for n in range(3)]))
    assert (len(calls), session.running) == (3, 3)
    assert everything(session, json.dumps([ask(str(n)) for n in range(3, 6)])) == []
    assert session.paused
    calls[0].respond()
    assert [session.next_call(0.0) is None, session.next_call(0.0) is None] == [False, True]


def test_stream_and_its_chunks_in_one_batch() -> None:
    session = negotiated()
    batch = [ask("1", stream=True), {"id": "1", "seq": 0, "data": 5, "stream": True}, {"id": "1", "seq": 1}, ask("2")]
    first, second = everything(session, json.dumps(batch))
    assert (first.chunks.take(), first.chunks.ended, second.chunks) == (5, True, None)
    assert (session.running, session.streams) == (1, 1)


@pytest.mark.parametrize("how", ["cancel", "lost", "drain", "deadline"])
def test_stream_that_waited_in_a_batch_frees_its_place(how: str) -> None:
    session = negotiated(Limits(ws_in_flight=2))
    assert session.receive(json.dumps([ask("0"), ask("1", stream=True, timeout=50)]), 0.0) is not None
    assert session.streams == 1
    if how == "cancel":
        session.cancel("1")
    elif how == "lost":
        session.lost()
    elif how == "drain":
        session.drain(0.0)
    else:
        session.tick(1.0)
    assert (session.streams, session.backlog) == (0, [])


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        ("[", 400, "MALFORMED"),
        ("[" + " " * 2**20 + "]", 413, "TOO_LARGE"),
    ],
)
def test_batch_that_is_none(data: str, status: int, code: str) -> None:
    session = negotiated()
    assert everything(session, data) == []
    (answer,) = [read(frame) for frame in session.take()]
    assert (answer["id"], answer["status"], answer["data"]["code"]) == (None, status, code)


def test_batch_that_holds_too_much() -> None:
    session = negotiated()
    calls = everything(session, json.dumps([ask(str(n)) for n in range(MOST_TAKEN + 2)]))
    assert [call.id for call in calls] == [str(n) for n in range(MOST_TAKEN)]
    answers = [read(frame) for frame in session.take()]
    assert [(m["id"], m["status"]) for m in answers] == [("64", 413), ("65", 413)]


def test_batch_of_a_peer_that_did_not_ask_for_it() -> None:
    session = Session()
    assert session.receive(json.dumps([ask("1")]), 0.0) is None
    (answer,) = [read(frame) for frame in session.take()]
    assert (answer["id"], answer["data"]["code"]) == (None, "MALFORMED")


def test_empty_batch_says_nothing() -> None:
    session = negotiated()
    assert everything(session, "[]") == []
    assert session.take() == []


def test_msgpack() -> None:
    msgpack = pytest.importorskip("msgpack")
    session = negotiated()
    (call,) = everything(session, msgpack.packb([ask("1")]))
    assert msgpack.unpackb(call.respond(200, 1)) == {"id": "1", "status": 200, "data": 1}


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.booleans()), max_size=100))
def test_joined_frames_hold_the_same_messages(shapes: list[tuple[int, bool, bool]]) -> None:
    frames = [
        ("WSX://" if prefixed else "") + json.dumps(ask(str(n), data="x" * 200 * size)) + ("::JS" if marked else "")
        for n, (size, prefixed, marked) in enumerate(shapes)
    ]
    joined = join_frames(frames)
    messages: list[Any] = []
    for frame in joined:
        if "[" in str(frame)[:7]:
            parts = decode_batch(frame)
            assert 1 < len(parts) <= MOST_MESSAGES
            assert len(frame) <= MOST_BYTES
            messages += parts
        else:
            messages.append(decode_message(frame))
    assert [parsed.fields["id"] for _, parsed in messages] == [str(n) for n in range(len(shapes))]
    assert sum(map(len, joined)) <= sum(map(len, frames))
