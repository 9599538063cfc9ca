"""WebSocket: its states, its frames, and every way it ends."""

import datetime as dt
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.connection import WrongScope
from genro_asgi.datastructures import Address
from genro_asgi.exceptions import WebSocketDisconnect
from genro_asgi.response import JSONResponse, Response
from genro_asgi.websocket import (
    WebSocket,
    WebSocketClose,
    WebSocketDataError,
    WebSocketDisconnected,
    WebSocketFrameError,
    WebSocketState,
    cut_reason,
)

CONNECT = {"type": "websocket.connect"}
GONE = {"type": "websocket.disconnect", "code": 1001, "reason": "away"}


def text(data: str | None) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": data}


def binary(data: bytes) -> dict[str, Any]:
    return {"type": "websocket.receive", "bytes": data, "text": None}


class Line:
    """A socket whose peer says what it is told to; `fail` makes the server say that nobody is there."""

    def __init__(self, exchange: Any, *messages: dict[str, Any], **scope: Any) -> None:
        self.here = exchange(type="websocket", messages=[CONNECT, *messages], on_send=self._on_send, **scope)
        self.fail = False
        self.socket = WebSocket(self.here.scope, self.here.receive, self.here.send)

    def _on_send(self, message: dict[str, Any]) -> None:
        if self.fail:
            raise ConnectionResetError("gone")

    @property
    def sent(self) -> list[dict[str, Any]]:
        return list(self.here.sent)

    async def accepted(self) -> "Line":
        await self.socket.accept()
        self.here.sent.clear()
        return self


@pytest.fixture
def line(exchange: Any) -> Any:
    return lambda *messages, **scope: Line(exchange, *messages, **scope)


@pytest.mark.parametrize("error", [ValueError, AssertionError])
def test_only_websocket_scopes(error: type[Exception], exchange: Any) -> None:
    here = exchange()
    with pytest.raises(error, match="WebSocket wants a scope of type websocket, not 'http'"):
        WebSocket(here.scope, here.receive, here.send)
    assert issubclass(WrongScope, error)


def test_what_the_scope_says(line: Any) -> None:
    headers = [("cookie", "a=1"), ("x-a", "2")]
    socket = line(path="/chat", query=b"q=1", headers=headers, scheme="wss", subprotocols=["a", "b"]).socket
    assert socket.path == "/chat"
    assert socket.scheme == "wss"
    assert str(socket.url) == "wss://example.org:80/chat?q=1"
    assert socket.headers["x-a"] == "2"
    assert socket.cookies == {"a": "1"}
    assert socket.query_params["q"] == "1"
    assert socket.client == Address("127.0.0.1", 4321)
    assert socket.subprotocols == ("a", "b")
    assert socket["type"] == "websocket"
    assert socket.asgi_receive == socket._receive
    assert socket.asgi_send == socket._send
    socket.state.x = 1
    assert socket.scope["state"] == {"x": 1}


def test_what_a_poor_scope_says(exchange: Any) -> None:
    here = exchange()
    socket = WebSocket({"type": "websocket", "path": "/", "headers": []}, here.receive, here.send)
    assert (socket.scheme, socket.subprotocols, socket.client) == ("ws", (), None)


@pytest.mark.asyncio
async def test_the_states(line: Any) -> None:
    wire = line(GONE)
    socket = wire.socket
    assert (WebSocketState.CONNECTING, WebSocketState.CONNECTED, WebSocketState.DISCONNECTED) == (0, 1, 2)
    assert socket.connection_state is WebSocketState.CONNECTING
    await socket.accept("wamp", {"X-A": "1"})
    assert wire.sent == [{"type": "websocket.accept", "subprotocol": "wamp", "headers": [(b"x-a", b"1")]}]
    assert socket.accepted_subprotocol == "wamp"
    assert socket.connection_state is WebSocketState.CONNECTED
    assert (await socket.receive()) == GONE
    assert socket.client_state is WebSocketState.DISCONNECTED
    assert socket.application_state is WebSocketState.CONNECTED
    assert socket.connection_state is WebSocketState.DISCONNECTED


@pytest.mark.parametrize(
    ("headers", "raw"),
    [(None, []), ([(b"X-A", b"1")], [(b"x-a", b"1")]), ({"a": "1", "b": "2"}, [(b"a", b"1"), (b"b", b"2")])],
)
@pytest.mark.asyncio
async def test_headers_of_the_handshake(headers: Any, raw: Any, line: Any) -> None:
    wire = line()
    await wire.socket.accept(headers=headers)
    assert wire.sent[0]["headers"] == raw


@pytest.mark.parametrize("headers", [{"x-a": "1\r\n2"}, [(b"x-a", b"1\n")], {"a b": "1"}])
@pytest.mark.asyncio
async def test_what_is_no_header_is_refused_before_anything_happens(headers: Any, line: Any) -> None:
    wire = line()
    with pytest.raises(ValueError, match=r"take it out|is not a token"):
        await wire.socket.accept(headers=headers)
    assert wire.sent == []
    await wire.socket.accept()


@pytest.mark.asyncio
async def test_a_socket_is_accepted_once(line: Any) -> None:
    wire = await line().accepted()
    with pytest.raises(RuntimeError, match="The WebSocket was accepted or closed before; accept it once"):
        await wire.socket.accept()


@pytest.mark.asyncio
async def test_a_client_that_does_not_wait_for_the_handshake(exchange: Any) -> None:
    here = exchange(type="websocket", messages=[GONE])
    socket = WebSocket(here.scope, here.receive, here.send)
    with pytest.raises(WebSocketDisconnect) as caught:
        await socket.accept()
    assert (caught.value.code, caught.value.reason) == (1001, "away")
    assert here.sent == []


@pytest.mark.parametrize(
    ("connected", "message", "wanted"),
    [
        (False, {"type": "websocket.receive"}, "\"websocket.connect\", but got 'websocket.receive'"),
        (True, {"type": "websocket.connect"}, '"websocket.receive" or "websocket.disconnect", but got'),
    ],
)
@pytest.mark.asyncio
async def test_messages_out_of_place(connected: bool, message: Any, wanted: str, exchange: Any) -> None:
    here = exchange(type="websocket", messages=[*([CONNECT] if connected else []), message])
    socket = WebSocket(here.scope, here.receive, here.send)
    if connected:
        await socket.accept()
    with pytest.raises(RuntimeError, match=wanted):
        await socket.receive()


@pytest.mark.parametrize(
    ("first", "message", "wanted"),
    [
        ([], {"type": "websocket.send"}, '"websocket.accept" or "websocket.close" or "websocket.http.response.start"'),
        ([{"type": "websocket.accept"}], {"type": "websocket.accept"}, '"websocket.send" or "websocket.close"'),
        ([{"type": "websocket.http.response.start"}], {"type": "websocket.close"}, '"websocket.http.response.body"'),
    ],
)
@pytest.mark.asyncio
async def test_sending_out_of_turn(first: Any, message: Any, wanted: str, line: Any) -> None:
    socket = line().socket
    for one in first:
        await socket.send(one)
    with pytest.raises(RuntimeError, match=f"Expected ASGI message {wanted}, but got"):
        await socket.send(message)


# Frames


@pytest.mark.asyncio
async def test_frames_come_and_go(line: Any) -> None:
    wire = await line(
        text("a"), binary(b"b"), text("[1]"), binary(b"[2]"), text("c"), binary(b"d"), text("")
    ).accepted()
    socket = wire.socket
    assert await socket.receive_text() == "a"
    assert await socket.receive_bytes() == b"b"
    assert await socket.receive_json() == [1]
    assert await socket.receive_json("binary") == [2]
    assert await socket.read_message() == "c"
    assert await socket.read_message() == b"d"
    assert await socket.read_message() == ""
    await socket.send_text("a")
    await socket.send_bytes(b"b")
    await socket.send_json({"è": Decimal("1.5")})
    await socket.send_json([1], mode="binary")
    assert wire.sent == [
        {"type": "websocket.send", "text": "a"},
        {"type": "websocket.send", "bytes": b"b"},
        {"type": "websocket.send", "text": '{"è":"1.5"}'},
        {"type": "websocket.send", "bytes": b"[1]"},
    ]


@pytest.mark.asyncio
async def test_the_mode_is_text_or_binary(line: Any) -> None:
    socket = (await line(text("1")).accepted()).socket
    for attempt in (socket.receive_json("x"), socket.send_json(1, "x"), socket.send_typed(1, "x")):
        with pytest.raises(RuntimeError, match='The "mode" argument should be "text" or "binary"'):
            await attempt
    assert await socket.receive_json() == 1


@pytest.mark.asyncio
async def test_typed_values(line: Any) -> None:
    value = {"p": Decimal("9.90"), "d": dt.date(2025, 1, 15), "n": 1}
    wire = await line(text('{"p":"9.90::N","d":"2025-01-15::D","n":1}::JS'), text('{"n":1}')).accepted()
    assert await wire.socket.receive_typed() == value
    assert await wire.socket.receive_typed() == {"n": 1}
    await wire.socket.send_typed(value)
    assert wire.sent == [{"type": "websocket.send", "text": '{"p":"9.90::N","d":"2025-01-15::D","n":1}::JS'}]


@pytest.mark.asyncio
async def test_typed_values_in_binary_frames(line: Any) -> None:
    pytest.importorskip("msgpack")
    value = {"p": Decimal("9.90")}
    wire = await line().accepted()
    await wire.socket.send_typed(value, "binary")
    wire.here.incoming.append(binary(wire.sent[0]["bytes"]))
    assert await wire.socket.receive_typed() == value


@pytest.mark.asyncio
async def test_binary_typed_values_without_msgpack(line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", None)
    wire = await line(binary(b"\x80")).accepted()
    with pytest.raises(WebSocketFrameError):
        await wire.socket.receive_typed()
    assert wire.sent == [{"type": "websocket.close", "code": 1003, "reason": "MessagePack is not understood here."}]


@pytest.mark.parametrize(
    ("frame", "read", "error", "code"),
    [
        (binary(b"x"), WebSocket.receive_text, WebSocketFrameError, 1003),
        (text("x"), WebSocket.receive_bytes, WebSocketFrameError, 1003),
        (text(None), WebSocket.receive_text, WebSocketFrameError, 1003),
        (binary(b"{}"), WebSocket.receive_json, WebSocketFrameError, 1003),
        (text("{"), WebSocket.receive_json, WebSocketDataError, 1007),
        (text("[" * 100_000), WebSocket.receive_json, WebSocketDataError, 1007),
        (text("1" * 100), WebSocket.receive_json, WebSocketDataError, 1007),
        (text("NaN"), WebSocket.receive_json, WebSocketDataError, 1007),
        (text("12::D"), WebSocket.receive_typed, WebSocketDataError, 1007),
        (text('{"d":"12::D"}::JS'), WebSocket.receive_typed, WebSocketDataError, 1007),
    ],
)
@pytest.mark.asyncio
async def test_frames_nobody_can_read_close_the_socket(
    frame: Any, read: Any, error: type[WebSocketDisconnect], code: int, line: Any
) -> None:
    wire = await line(frame, text("never read")).accepted()
    with pytest.raises(error) as caught:
        await read(wire.socket)
    assert caught.value.code == code
    assert wire.sent == [{"type": "websocket.close", "code": code, "reason": caught.value.reason}]
    # Whoever only knows of disconnects is told that it is over, and so is who goes on.
    assert isinstance(caught.value, TypeError if code == 1003 else ValueError)
    with pytest.raises(WebSocketDisconnect) as again:
        await wire.socket.receive_text()
    assert (again.value.code, again.value.reason) == (code, caught.value.reason)


@pytest.mark.asyncio
async def test_bad_json_in_a_binary_frame(line: Any) -> None:
    wire = await line(binary(b"\xff")).accepted()
    with pytest.raises(WebSocketDataError):
        await wire.socket.receive_json("binary")
    assert wire.sent[0]["code"] == 1007


@pytest.mark.asyncio
async def test_iteration_ends_with_the_socket(line: Any) -> None:
    wire = await line(text("a"), text("b"), GONE).accepted()
    assert [item async for item in wire.socket] == ["a", "b"]
    wire = await line(binary(b"a"), GONE).accepted()
    assert [item async for item in wire.socket.iter_bytes()] == [b"a"]
    wire = await line(text("1"), GONE).accepted()
    assert [item async for item in wire.socket.iter_json()] == [1]
    wire = await line(binary(b"1"), GONE).accepted()
    assert [item async for item in wire.socket.iter_json("binary")] == [1]


@pytest.mark.parametrize(
    ("frame", "iterate", "error"),
    [
        (binary(b"x"), WebSocket.iter_text, TypeError),
        (text("x"), WebSocket.iter_bytes, TypeError),
        (text("{"), WebSocket.iter_json, ValueError),
    ],
)
@pytest.mark.asyncio
async def test_iteration_does_not_hide_frames_nobody_can_read(
    frame: Any, iterate: Any, error: type[Exception], line: Any
) -> None:
    wire = await line(frame, GONE).accepted()
    with pytest.raises(error):
        [item async for item in iterate(wire.socket)]


@pytest.mark.parametrize(
    "use",
    [
        lambda socket: socket.receive_text(),
        lambda socket: socket.receive_bytes(),
        lambda socket: socket.receive_json(),
        lambda socket: socket.receive_typed(),
        lambda socket: socket.read_message(),
        lambda socket: socket.send_text("x"),
        lambda socket: socket.send_json({}),
        lambda socket: anext(socket.iter_text()),
    ],
)
@pytest.mark.asyncio
async def test_nothing_is_said_before_the_handshake(use: Any, line: Any) -> None:
    wire = line(text("x"))
    with pytest.raises(RuntimeError, match=r'WebSocket is not connected\. Need to call "accept" first') as caught:
        await use(wire.socket)
    assert not isinstance(caught.value, WebSocketDisconnect)
    assert wire.sent == []


# The end


@pytest.mark.parametrize(
    "use",
    [
        lambda socket: socket.receive_text(),
        lambda socket: socket.receive(),
        lambda socket: socket.send_text("x"),
        lambda socket: socket.send({"type": "websocket.send", "text": "x"}),
    ],
)
@pytest.mark.asyncio
async def test_code_and_reason_are_kept(use: Any, line: Any) -> None:
    wire = await line(GONE).accepted()
    with pytest.raises(WebSocketDisconnect) as caught:
        await wire.socket.receive_text()
    assert not isinstance(caught.value, WebSocketDisconnected)
    assert (caught.value.code, caught.value.reason) == (1001, "away")
    with pytest.raises(WebSocketDisconnected) as again:
        await use(wire.socket)
    assert (again.value.code, again.value.reason) == (1001, "away")
    assert isinstance(again.value, RuntimeError)
    assert wire.sent == []


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [({}, 1005, ""), ({"code": None, "reason": None}, 1005, ""), ({"code": 4000, "reason": "x"}, 4000, "x")],
)
@pytest.mark.asyncio
async def test_a_disconnect_may_say_little(message: Any, code: int, reason: str, line: Any) -> None:
    wire = await line({"type": "websocket.disconnect", **message}).accepted()
    with pytest.raises(WebSocketDisconnect) as caught:
        await wire.socket.receive_text()
    assert (caught.value.code, caught.value.reason) == (code, reason)


@pytest.mark.asyncio
async def test_closing_twice_closes_once(line: Any) -> None:
    wire = await line().accepted()
    await wire.socket.close(4000, "bye")
    await wire.socket.close(4001)
    assert wire.sent == [{"type": "websocket.close", "code": 4000, "reason": "bye"}]
    with pytest.raises(WebSocketDisconnected) as caught:
        await wire.socket.send_text("x")
    assert (caught.value.code, caught.value.reason) == (4000, "bye")
    with pytest.raises(WebSocketDisconnected):
        await wire.socket.receive_text()


@pytest.mark.asyncio
async def test_closing_after_the_peer_has(line: Any) -> None:
    wire = await line(GONE).accepted()
    await wire.socket.receive()
    await wire.socket.close()
    assert wire.sent == []
    assert wire.socket.application_state is WebSocketState.DISCONNECTED


@pytest.mark.asyncio
async def test_a_peer_that_vanishes_while_we_send(line: Any) -> None:
    wire = await line().accepted()
    wire.fail = True
    with pytest.raises(WebSocketDisconnect) as caught:
        await wire.socket.send_text("x")
    assert caught.value.code == 1006
    assert wire.socket.connection_state is WebSocketState.DISCONNECTED
    for attempt in (wire.socket.send_text("y"), wire.socket.receive_text()):
        with pytest.raises(WebSocketDisconnected) as again:
            await attempt
        assert again.value.code == 1006
    await wire.socket.close()


@pytest.mark.asyncio
async def test_a_peer_that_vanishes_while_we_close_or_accept(line: Any) -> None:
    wire = await line().accepted()
    wire.fail = True
    await wire.socket.close(4000)
    assert wire.socket.connection_state is WebSocketState.DISCONNECTED
    wire = line()
    wire.fail = True
    with pytest.raises(WebSocketDisconnect):
        await wire.socket.accept()


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
@pytest.mark.asyncio
async def test_codes_that_cannot_be_sent(code: int, line: Any) -> None:
    wire = await line().accepted()
    with pytest.raises(ValueError, match=f"WebSocket close code {code} cannot be sent; use 1000"):
        await wire.socket.close(code)
    with pytest.raises(ValueError, match="cannot be sent"):
        WebSocketClose(code)
    assert wire.sent == []
    wire = line()
    await wire.socket.close(code)
    assert wire.sent == [{"type": "websocket.close", "code": code, "reason": ""}]


@pytest.mark.asyncio
async def test_long_reasons_are_cut(line: Any) -> None:
    wire = await line().accepted()
    await wire.socket.close(1000, "è" * 100)
    assert wire.sent[0]["reason"] == "è" * 61


@pytest.mark.asyncio
async def test_a_reason_may_be_the_errors_of_a_validation(line: Any) -> None:
    wire = await line().accepted()
    await wire.socket.close(1008, [{"loc": ["x"]}])
    assert wire.sent[0]["reason"] == "[{'loc': ['x']}]"


@given(st.text(st.characters(), max_size=200))
@settings(derandomize=True, deadline=None)
def test_a_reason_fits_and_is_a_beginning_of_what_was_said(reason: str) -> None:
    short = cut_reason(reason)
    assert len(short.encode()) <= 123
    said = reason.encode("utf-8", "replace").decode()
    assert said.startswith(short)
    assert len(short) == len(said) or len(said[: len(short) + 1].encode()) > 123


def test_no_reason_is_an_empty_one() -> None:
    assert cut_reason(None) == ""


# Refusals


@pytest.mark.asyncio
async def test_a_handshake_can_be_refused(line: Any) -> None:
    wire = line()
    await wire.socket.refuse(1008, "no")
    assert wire.sent == [{"type": "websocket.close", "code": 1008, "reason": "no"}]
    assert wire.socket.connection_state is WebSocketState.DISCONNECTED
    wire = line()
    await wire.socket.close()
    assert wire.sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]
    wire = await line().accepted()
    with pytest.raises(RuntimeError, match="The WebSocket was accepted before and can only be closed"):
        await wire.socket.refuse()


@pytest.mark.asyncio
async def test_a_refusal_may_be_an_http_response(line: Any) -> None:
    wire = line(extensions={"websocket.http.response": {}})
    await wire.socket.send_denial_response(JSONResponse({"no": 1}, 401, {"www-authenticate": "Basic"}))
    assert wire.sent == [
        {
            "type": "websocket.http.response.start",
            "status": 401,
            "headers": [
                (b"www-authenticate", b"Basic"),
                (b"content-length", b"8"),
                (b"content-type", b"application/json"),
            ],
        },
        {"type": "websocket.http.response.body", "body": b'{"no":1}'},
    ]
    assert wire.socket.connection_state is WebSocketState.DISCONNECTED
    with pytest.raises(WebSocketDisconnected):
        await wire.socket.send({"type": "websocket.http.response.body", "body": b""})


@pytest.mark.asyncio
async def test_while_a_refusal_is_sent_the_socket_is_not_connected(line: Any) -> None:
    socket = line().socket
    await socket.send({"type": "websocket.http.response.start", "status": 403, "headers": []})
    assert socket.application_state is WebSocketState.RESPONSE
    assert socket.connection_state is WebSocketState.CONNECTING
    await socket.send({"type": "websocket.http.response.body", "body": b"a", "more_body": True})
    assert socket.application_state is WebSocketState.RESPONSE


@pytest.mark.asyncio
async def test_a_handshake_that_was_received_is_not_waited_for_again(line: Any) -> None:
    wire = line(extensions={})
    assert await wire.socket.receive() == CONNECT
    await wire.socket.send_denial_response(Response(status_code=401))
    assert wire.here.receives == 1
    wire = line()
    await wire.socket.receive()
    await wire.socket.accept()
    assert wire.here.receives == 1


@pytest.mark.parametrize("extensions", [{}, None])
@pytest.mark.asyncio
async def test_a_server_that_cannot_answer_just_closes(extensions: Any, line: Any) -> None:
    wire = line(extensions=extensions)
    await wire.socket.send_denial_response(Response(status_code=401))
    assert wire.sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


@pytest.mark.asyncio
async def test_nobody_is_there_to_be_refused(exchange: Any) -> None:
    here = exchange(type="websocket", messages=[GONE])
    with pytest.raises(WebSocketDisconnect):
        await WebSocket(here.scope, here.receive, here.send).send_denial_response(Response())


@pytest.mark.asyncio
async def test_websocket_close_is_an_application(exchange: Any) -> None:
    done = await exchange(type="websocket").run(WebSocketClose(4000, "x" * 200))
    assert done.sent == [{"type": "websocket.close", "code": 4000, "reason": "x" * 123}]
    done = await exchange(type="websocket").run(WebSocketClose())
    assert done.sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]
