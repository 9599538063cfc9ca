"""Subscriptions: what a slow subscriber gets under each policy, topics and patterns, and how they end."""

import json
from typing import Any

import pytest

from genro_asgi.limits import Limits
from genro_asgi.wsx.errors import WsxError
from genro_asgi.wsx.session import Session
from genro_asgi.wsx.subscriptions import Subscription, Topics


def subscribe(
    session: Session,
    policy: Any = "block",
    *,
    id: str = "1",
    path: str = "/t",
    credit: int | None = None,
    **options: Any,
) -> Subscription:
    """A subscription as a peer asks for it."""
    fields = {"id": id, "method": "SUBSCRIBE", "path": path} | ({} if credit is None else {"credit": credit})
    call = session.receive("WSX://" + json.dumps(fields), 0.0)
    assert call is not None
    return call.subscribe(policy, **options)


def said(session: Session) -> list[dict[str, Any]]:
    """What went out, all of it sent."""
    frames = session.take()
    for frame in frames:
        session.sent(len(frame))
    return [json.loads(str(frame).removeprefix("WSX://")) for frame in frames]


def events(session: Session) -> list[Any]:
    """The data of the events that went out."""
    return [message["data"]["data"] for message in said(session)]


def grant(session: Session, credit: int, id: str = "1") -> None:
    """The peer takes more."""
    session.receive(json.dumps({"id": id, "credit": credit}), 0.0)


def test_answer_and_events() -> None:
    session = Session()
    subscription = subscribe(session, presence=["anna"])
    assert subscription.publish("t", "changed", {"n": 1})
    assert said(session) == [
        {"id": "1", "status": 200, "seq": 0, "data": {"sub": "1", "presence": ["anna"]}, "stream": True},
        {
            "id": "1",
            "status": 200,
            "seq": 1,
            "data": {"event": "changed", "topic": "t", "data": {"n": 1}},
            "stream": True,
        },
    ]
    assert (session.running, session.streams) == (0, 1)


def test_block_keeps_some_then_refuses() -> None:
    session = Session()
    subscription = subscribe(session, "block", credit=2, max_queue=2)
    woken: list[bool] = []
    subscription.on_ready = lambda: woken.append(subscription.ready)
    said(session)
    assert [subscription.publish("t", "e", n) for n in range(4)] == [True, True, True, False]
    assert events(session) == [0]
    assert woken == []
    grant(session, 1)
    assert events(session) == [1]
    assert woken == [True]
    assert subscription.publish("t", "e", 4)
    grant(session, 5)
    assert events(session) == [2, 4]


def test_drop_oldest_tells_how_many() -> None:
    session = Session()
    subscription = subscribe(session, "drop_oldest", credit=1, max_queue=2)
    said(session)
    assert all(subscription.publish("t", "e", n) for n in range(5))
    assert said(session) == []
    grant(session, 9)
    first, second = said(session)
    assert (first["data"]["data"], first["headers"]) == (3, {"wsx-dropped": "3"})
    assert (second["data"]["data"], second.get("headers")) == (4, None)
    assert (first["seq"], second["seq"]) == (1, 2)


def test_latest_keeps_the_newest() -> None:
    session = Session()
    subscription = subscribe(session, "latest", credit=1)
    said(session)
    assert all(subscription.publish("t", "e", n) for n in range(5))
    grant(session, 9)
    (only,) = said(session)
    assert (only["data"]["data"], only.get("headers")) == (4, None)


def test_close_ends_a_slow_subscription() -> None:
    session = Session()
    subscription = subscribe(session, "close", credit=1, max_queue=2)
    ended: list[bool] = []
    subscription.on_end = lambda: ended.append(subscription.open)
    said(session)
    assert all(subscription.publish("t", "e", n) for n in range(4))
    (last,) = said(session)
    assert (last["status"], last["data"]["code"], last["seq"]) == (429, "RATE_LIMITED", 1)
    assert "stream" not in last
    assert ended == [False]
    assert (session.streams, session.calls) == (0, {})
    assert subscription.publish("t", "e", 9)
    assert session.outbox == []


def test_clogged_connection_holds_events_and_nobody_else() -> None:
    slow, fast = Session(limits=Limits(ws_queue=500)), Session()
    topics = Topics()
    for session in (slow, fast):
        call = session.receive('{"id":"1","method":"SUBSCRIBE","path":"t"}', 0.0)
        assert call is not None
        topics.subscribe(call, "latest")
        said(session)
    for n in range(10):
        assert topics.publish("t", "e", [n, "x" * 300]) == []
        assert [data[0] for data in events(fast)] == [n]
    assert slow.queued < 1000
    sizes = [len(frame) for frame in slow.take()]
    for size in sizes:
        slow.sent(size)
    assert [data[0] for data in events(slow)] == [9]


def test_credit_zero_still_gets_the_answer() -> None:
    session = Session()
    subscription = subscribe(session, credit=0)
    assert [message["seq"] for message in said(session)] == [0]
    subscription.publish("t", "e", 1)
    grant(session, 1)
    assert said(session) == []
    grant(session, 1)
    assert events(session) == [1]


@pytest.mark.parametrize("how", ["cancel", "lost", "end"])
def test_end_frees_everything(how: str) -> None:
    session, topics = Session(), Topics()
    call = session.receive('{"id":"1","method":"SUBSCRIBE","path":"/a/*"}', 0.0)
    assert call is not None
    subscription = topics.subscribe(call)
    ended: list[bool] = []
    forget = subscription.on_end
    assert forget is not None
    subscription.on_end = lambda: (forget(), ended.append(True))[1]
    said(session)
    if how == "cancel":
        session.receive('{"method":"POST","path":"/_wsx/cancel","data":{"id":"1"}}', 0.0)
        assert [message["status"] for message in said(session)] == [499]
    elif how == "lost":
        session.lost()
    else:
        subscription.end()
        subscription.end()
        assert [message["status"] for message in said(session)] == [200]
    assert ended == [True]
    assert list(topics.subscribers("a/b")) == []
    assert (session.streams, session.senders, session.idle) == (0, {}, True)


@pytest.mark.parametrize(
    ("pattern", "topics"),
    [
        ("a/b", {"a/b"}),
        ("/a/b/", {"a/b"}),
        ("a/*", {"a/b", "a/c"}),
        ("*/b", {"a/b"}),
        ("a/**", {"a/b", "a/c", "a/b/c"}),
        ("**", {"a", "a/b", "a/c", "a/b/c"}),
        ("*", {"a"}),
        ("a/*/c", {"a/b/c"}),
        ("b", set()),
    ],
)
def test_patterns(pattern: str, topics: set[str]) -> None:
    hub, session = Topics(), Session()
    hub.add(pattern, subscribe(session, path="/x"))
    assert {topic for topic in ("a", "a/b", "a/c", "a/b/c") if list(hub.subscribers(topic))} == topics


def test_two_patterns_one_event() -> None:
    hub, session = Topics(), Session()
    subscription = subscribe(session)
    hub.add("a/*", subscription)
    hub.add("a/b", subscription)
    said(session)
    hub.publish("a/b", "e", 1)
    assert events(session) == [1]
    hub.remove("a/*", subscription)
    hub.publish("a/b", "e", 2)
    assert events(session) == [2]
    subscription.end()
    assert list(hub.subscribers("a/b")) == []


def test_pattern_that_is_none() -> None:
    call = Session().receive('{"id":"1","method":"SUBSCRIBE","path":"/**/a"}', 0.0)
    assert call is not None
    with pytest.raises(WsxError, match=r"before its end") as refusal:
        Topics().subscribe(call)
    assert (refusal.value.status, refusal.value.code) == (400, "VALIDATION")


def test_more_streams_than_allowed() -> None:
    session = Session(limits=Limits(ws_streams=1))
    subscribe(session)
    call = session.receive('{"id":"2","method":"SUBSCRIBE","path":"/t"}', 0.0)
    assert call is not None
    with pytest.raises(WsxError) as refusal:
        call.subscribe()
    assert refusal.value.status == 429
    call.refuse(refusal.value)
    assert (session.running, session.streams) == (0, 1)


def test_bad_arguments() -> None:
    session = Session()
    with pytest.raises(ValueError, match="'slow' is unknown"):
        subscribe(session, "slow")
    with pytest.raises(ValueError, match="max_queue 0"):
        subscribe(session, id="2", max_queue=0)
