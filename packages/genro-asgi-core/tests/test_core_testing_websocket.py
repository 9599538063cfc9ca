import asyncio
from typing import Any

import pytest

from genro_asgi.exceptions import WebSocketDisconnect
from genro_asgi.testing import AsyncClient, WebSocketDenied, WebSocketSession
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

ACCEPT: Message = {"type": "websocket.accept"}
DENY: Message = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-a", b"1")]}
DENIED: Message = {"type": "websocket.http.response.body", "body": b"no"}


def connect(app: ASGIApp, path: str = "/ws", *, strict: bool = True, **options: Any) -> WebSocketSession:
    client = AsyncClient(app, lifespan=False, timeout=1, raise_app_exceptions=strict)
    return client.websocket(path, **options)


def saying(*messages: Any, fails: bool = False) -> ASGIApp:
    """An application that answers the handshake with these messages."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == {"type": "websocket.connect"}
        for message in messages:
            await send(message)
        if fails:
            raise LookupError("inside")

    return app


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({**ACCEPT, "headers": [(b"x-a", b"1")], "subprotocol": next(iter(scope["subprotocols"]), None)})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    scope["state"]["closed"].append((message["code"], message["reason"]))
    assert await receive() == message


async def echo_to(closed: list[Any], scope: Scope, receive: Receive, send: Send) -> None:
    scope["state"]["closed"] = closed
    await echo(scope, receive, send)


def echoing(closed: list[Any]) -> ASGIApp:
    return lambda scope, receive, send: echo_to(closed, scope, receive, send)


@pytest.mark.asyncio
async def test_messages_go_both_ways() -> None:
    closed: list[Any] = []
    async with connect(echoing(closed), subprotocols=["a", "b"]) as ws:
        assert (ws.accepted_subprotocol, ws.headers["x-a"]) == ("a", "1")
        await ws.send_text("è")
        assert await ws.receive_text() == "è"
        await ws.send_bytes(b"\xff")
        assert await ws.receive_bytes() == b"\xff"
        await ws.send_json({"a": [1]})
        assert await ws.receive_json() == {"a": [1]}
        await ws.send_json({"b": 2}, mode="binary")
        assert await ws.receive_json(mode="binary") == {"b": 2}
        await ws.send_message({"type": "websocket.receive", "text": "x", "bytes": None})
        assert (await ws.receive_message())["text"] == "x"
    assert closed == [(1000, "")]


@pytest.mark.asyncio
async def test_the_application_waits_for_the_client() -> None:
    async with connect(echoing([])) as ws:
        for _ in range(10):
            await asyncio.sleep(0)
        await ws.send_text("x")
        assert await ws.receive_text() == "x"


@pytest.mark.asyncio
async def test_the_handshake_is_as_a_server_makes_it() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await saying(ACCEPT)(scope, receive, send)

    options = {"params": {"a": 1}, "headers": {"X-A": "1"}, "cookies": {"c": "2"}, "subprotocols": ["p", "q"]}
    async with connect(app, "/w?x=y", **options) as ws:
        assert ws.accepted_subprotocol is None
    (scope,) = seen
    assert (scope["type"], scope["scheme"], scope["path"], scope["query_string"]) == (
        "websocket",
        "ws",
        "/w",
        b"x=y&a=1",
    )
    assert "method" not in scope
    assert scope["subprotocols"] == ["p", "q"]
    assert scope["headers"][-3:] == [(b"x-a", b"1"), (b"sec-websocket-protocol", b"p, q"), (b"cookie", b"c=2")]
    async with connect(app, "wss://h/"):
        assert seen[-1]["scheme"] == "wss"


@pytest.mark.asyncio
async def test_the_client_closes_with_a_code() -> None:
    closed: list[Any] = []
    async with connect(echoing(closed)) as ws:
        await ws.close(4000, "bye")
        await ws.close(4001)
        with pytest.raises(RuntimeError, match="The socket was closed on this side"):
            await ws.send_text("x")
    async with connect(echoing(closed)) as ws:
        await ws.disconnect()
    assert closed == [(4000, "bye"), (1006, "")]


@pytest.mark.asyncio
async def test_the_application_closes_with_a_code() -> None:
    close = {"type": "websocket.close", "code": 4001, "reason": "expired"}
    async with connect(saying(ACCEPT, {"type": "websocket.send", "text": "last"}, close)) as ws:
        assert await ws.receive_text() == "last"
        for attempt in (ws.receive_text(), ws.send_text("x")):
            with pytest.raises(WebSocketDisconnect) as caught:
                await attempt
            assert (caught.value.code, caught.value.reason) == (4001, "expired")


@pytest.mark.asyncio
async def test_iteration_ends_with_the_socket() -> None:
    messages = [{"type": "websocket.send", "text": "a"}, {"type": "websocket.send", "bytes": b"b"}]
    async with connect(saying(ACCEPT, *messages, {"type": "websocket.close"})) as ws:
        assert [message async for message in ws] == ["a", b"b"]


@pytest.mark.asyncio
async def test_an_application_that_returns_has_closed() -> None:
    async with connect(saying(ACCEPT)) as ws:
        with pytest.raises(WebSocketDisconnect) as caught:
            await ws.receive_text()
    assert caught.value.code == 1000


@pytest.mark.asyncio
async def test_an_application_that_fails_raises_here_or_closes_1011() -> None:
    with pytest.raises(LookupError, match="inside"):
        async with connect(saying(ACCEPT, fails=True)) as ws:
            await ws.receive_text()
    with pytest.raises(LookupError, match="inside"):
        async with connect(saying(ACCEPT, fails=True)):
            pass
    async with connect(saying(ACCEPT, fails=True), strict=False) as ws:
        with pytest.raises(WebSocketDisconnect) as caught:
            await ws.receive_text()
    assert caught.value.code == 1011


@pytest.mark.asyncio
async def test_a_frame_of_the_other_kind_is_told() -> None:
    messages = [{"type": "websocket.send", "bytes": b"x"}, {"type": "websocket.send", "text": "x", "bytes": None}]
    async with connect(saying(ACCEPT, *messages)) as ws:
        with pytest.raises(AssertionError, match="The application sent bytes, text was expected"):
            await ws.receive_text()
        with pytest.raises(AssertionError, match="The application sent text, bytes were expected"):
            await ws.receive_bytes()


@pytest.mark.asyncio
async def test_a_refused_handshake_is_a_403() -> None:
    with pytest.raises(WebSocketDenied) as caught:
        async with connect(saying({"type": "websocket.close", "code": 4403, "reason": "no"})):
            raise AssertionError("not reached")
    error = caught.value
    assert (error.status_code, error.code, error.reason, error.content) == (403, 4403, "no", b"")
    assert str(error) == "WebSocket handshake refused with status 403"
    assert isinstance(error, WebSocketDisconnect)


@pytest.mark.asyncio
async def test_a_handshake_may_be_refused_with_a_response() -> None:
    more = {**DENIED, "more_body": True}
    with pytest.raises(WebSocketDenied) as caught:
        async with connect(saying(DENY, more, DENIED)):
            raise AssertionError("not reached")
    error = caught.value
    assert (error.status_code, error.headers.items(), error.content) == (401, [("x-a", "1")], b"nono")


@pytest.mark.asyncio
async def test_a_handshake_that_fails_is_a_500() -> None:
    with pytest.raises(WebSocketDenied) as caught:
        async with connect(saying(fails=True), strict=False):
            raise AssertionError("not reached")
    assert caught.value.status_code == 500
    with pytest.raises(LookupError, match="inside"):
        async with connect(saying(fails=True)):
            raise AssertionError("not reached")


@pytest.mark.asyncio
async def test_a_handshake_is_refused_with_any_code() -> None:
    with pytest.raises(WebSocketDenied) as caught:
        async with connect(saying({"type": "websocket.close", "code": 1006, "reason": "è" * 62})):
            raise AssertionError("not reached")
    assert (caught.value.code, caught.value.reason) == (1006, "è" * 62)


async def drain(session: WebSocketSession) -> None:
    async with session as ws:
        async for _ in ws:
            pass


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([], "The application returned without answering the handshake"),
        ([DENY], "The application returned without answering the handshake"),
        ([{"type": "websocket.send", "text": "x"}], "websocket.send was sent before websocket.accept"),
        ([ACCEPT, ACCEPT], "websocket.accept was sent after the handshake had been answered"),
        ([DENY, ACCEPT], "websocket.accept was sent after the handshake had been answered"),
        ([{**ACCEPT, "subprotocol": "x"}], r"The subprotocol 'x' was accepted, offered were \[\]"),
        ([{**ACCEPT, "headers": [("a", "b")]}], "A header must be a pair of bytes"),
        ([ACCEPT, {"type": "websocket.send"}], "websocket.send takes one of text and bytes"),
        (
            [ACCEPT, {"type": "websocket.send", "text": "x", "bytes": b"y"}],
            "websocket.send takes one of text and bytes",
        ),
        ([ACCEPT, {"type": "websocket.send", "text": b"x"}], "takes text that is a str .*, got bytes"),
        ([ACCEPT, {"type": "websocket.send", "bytes": "x"}], "takes text that is a str .*, got str"),
        ([ACCEPT, {"type": "websocket.close", "code": 1006}], "1006 is not a close code an application may send"),
        ([ACCEPT, {"type": "websocket.close", "code": 999}], "999 is not a close code"),
        ([ACCEPT, {"type": "websocket.close", "code": "1000"}], "'1000' is not a close code"),
        ([ACCEPT, {"type": "websocket.close", "reason": "è" * 62}], "The reason of websocket.close has more than 123"),
        ([DENY, {"type": "websocket.close"}], "websocket.close was sent in the middle of a denial response"),
        ([ACCEPT, {"type": "websocket.close"}, {"type": "websocket.close"}], "sent after the socket had been closed"),
        ([DENY, DENIED, DENIED], "was sent after the socket had been closed"),
        ([ACCEPT, DENY], "was sent after websocket.accept"),
        ([DENY, DENY], "was sent twice"),
        ([DENIED], "was sent before its start"),
        ([{"type": "websocket.http.response.trailers"}], "is not a message of a WebSocket"),
        ([{"type": "http.response.start"}], "'http.response.start' is not a message of a WebSocket"),
        ([5], "A message must be a mapping with a type, got 5"),
    ],
)
async def test_the_specification_is_kept(messages: list[Any], text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        await drain(connect(saying(*messages), strict=False))


@pytest.mark.asyncio
async def test_denial_responses_must_be_offered() -> None:
    session = connect(saying(DENY, DENIED))
    session.scope["extensions"] = None
    with pytest.raises(AssertionError, match=r"the server does not offer websocket\.http\.response"):
        async with session:
            raise AssertionError("not reached")


@pytest.mark.asyncio
async def test_sending_to_a_client_that_has_left_raises() -> None:
    caught: list[OSError] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await saying(ACCEPT)(scope, receive, send)
        while (await receive())["type"] != "websocket.disconnect":
            pass
        try:
            await send({"type": "websocket.send", "text": "x"})
        except OSError as error:
            caught.append(error)

    async with connect(app):
        pass
    assert [str(error) for error in caught] == ["The client has left."]


@pytest.mark.asyncio
async def test_every_wait_ends() -> None:
    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/accepts":
            await send(ACCEPT)
        await asyncio.Event().wait()

    client = AsyncClient(deaf, lifespan=False, timeout=0.05)
    with pytest.raises(TimeoutError, match="did not answer the handshake within"):
        async with client.websocket("/"):
            raise AssertionError("not reached")
    with pytest.raises(TimeoutError, match="did not send a message within"):
        async with client.websocket("/accepts") as ws:
            await ws.receive_text()
    with pytest.raises(TimeoutError, match="did not return within"):
        async with client.websocket("/accepts"):
            pass
