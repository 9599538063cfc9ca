import asyncio
import sys
import threading
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from genro_asgi import testing
from genro_asgi.exceptions import WebSocketDisconnect
from genro_asgi.types import ASGIApp, Receive, Scope, Send

httpx = pytest.importorskip("httpx")

if TYPE_CHECKING:
    from genro_asgi.testing import TestClient, WebSocketDenialResponse
else:
    TestClient, WebSocketDenialResponse = testing.TestClient, testing.WebSocketDenialResponse


async def mirror(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was asked."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    lines = [f"{scope['method']} {scope['scheme']} {scope['path']} ?{scope['query_string'].decode()}"]
    lines += [f"{name.decode()}: {value.decode()}" for name, value in scope["headers"]]
    lines += [f"{scope['client']} {scope['server']} {scope['root_path']} {scope['state']}", body.decode()]
    headers = [(b"content-type", b"text/plain"), (b"set-cookie", b"seen=1; Path=/")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": "\n".join(lines).encode()})


def saying(*messages: Any, fails: bool = False) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        if fails:
            raise LookupError("inside")

    return app


def test_a_request_goes_to_the_application() -> None:
    client = TestClient(mirror, headers={"X-All": "1"}, cookies={"a": "1"}, root_path="/r")
    response = client.get("/caff%C3%A8?a=1", headers={"X-One": "2"})
    lines = response.text.split("\n")
    assert lines[0] == "GET http /caffè ?a=1"
    assert {"host: testserver", "user-agent: testclient", "x-all: 1", "x-one: 2", "cookie: a=1"} <= set(lines)
    assert lines[-2] == "('testclient', 50000) ('testserver', 80) /r {}"
    assert (response.status_code, str(response.url)) == (200, "http://testserver/caff%C3%A8?a=1")
    assert "cookie: a=1; seen=1" in client.get("/").text


@pytest.mark.parametrize(
    ("options", "line", "body"),
    [
        ({"json": {"a": 1}}, "content-type: application/json", '{"a":1}'),
        ({"data": {"a": "è"}}, "content-type: application/x-www-form-urlencoded", "a=%C3%A8"),
        ({"content": b"xy"}, "content-length: 2", "xy"),
        ({"content": iter([b"x", b"y"])}, "transfer-encoding: chunked", "xy"),
    ],
)
def test_bodies(options: dict[str, Any], line: str, body: str) -> None:
    text = TestClient(mirror).post("/", **options).text
    assert line in text
    assert text.endswith(f"\n{body}")


def test_other_hosts_and_schemes() -> None:
    client = TestClient(mirror, "https://example.org:8443/base", client=("me", 1))
    assert client.get("/x").text.startswith("GET https /base/x ?")
    assert "('me', 1) ('example.org', 8443)" in client.get("x").text
    assert "('me', 1) ('h', 443)" in client.get("https://h/").text


def test_redirects_are_followed_unless_told_otherwise() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        status, headers = (302, [(b"location", b"/there")]) if scope["path"] == "/" else (200, [])
        await saying(
            {"type": "http.response.start", "status": status, "headers": headers}, {"type": "http.response.body"}
        )(scope, receive, send)

    response = TestClient(app).get("/")
    assert (response.status_code, response.url.path) == (200, "/there")
    assert TestClient(app, follow_redirects=False).get("/").status_code == 302


def test_exceptions_are_raised_or_become_a_500() -> None:
    with pytest.raises(LookupError, match="inside"):
        TestClient(saying(fails=True)).get("/")
    response = TestClient(saying(fails=True), raise_server_exceptions=False).get("/")
    assert (response.status_code, response.text) == (500, "")
    with pytest.raises(AssertionError, match=r"http\.response\.start must be an int"):
        TestClient(saying({"type": "http.response.start"}), raise_server_exceptions=False).get("/")


@pytest.mark.parametrize("bodies", [0, 1, 2])
def test_what_was_sent_before_an_exception(bodies: int) -> None:
    body = {"type": "http.response.body", "body": b"x", "more_body": True}
    app = saying({"type": "http.response.start", "status": 200}, *[body] * bodies, fails=True)
    with pytest.raises(LookupError, match="inside"):
        TestClient(app).get("/")
    response = TestClient(app, raise_server_exceptions=False).get("/")
    assert (response.status_code, response.content) == (200, b"x" * bodies)


def test_a_stream_can_be_read_whole() -> None:
    body = {"type": "http.response.body", "body": b"x" * 100_000, "more_body": True}
    end = {"type": "http.response.body"}
    app = saying({"type": "http.response.start", "status": 200}, body, body, end)
    with TestClient(app).stream("GET", "/") as response:
        assert b"".join(response.iter_bytes()) == b"x" * 200_000


class Site:
    """An application with a lifespan, that remembers the threads and loops it ran in."""

    def __init__(self, startup: str = "complete", fails: bool = False) -> None:
        self.startup = startup
        self.fails = fails
        self.seen: list[tuple[str, int, int]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append((scope["type"], threading.get_ident(), id(asyncio.get_running_loop())))
        if scope["type"] == "http":
            scope["state"]["own"] = 1
            await mirror(scope, receive, send)
        elif scope["type"] == "websocket":
            await echo(scope, receive, send)
        else:
            await receive()
            scope["state"]["pool"] = "open"
            await send({"type": f"lifespan.startup.{self.startup}", "message": "text"})
            await receive()
            scope["state"]["pool"] = "closed"
            await send({"type": "lifespan.shutdown.complete"})
            if self.fails:
                raise LookupError("inside")


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    protocol = next(iter(scope["subprotocols"]), None)
    await send({"type": "websocket.accept", "subprotocol": protocol, "headers": [(b"x-a", b"1")]})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    scope["state"]["closed"] = (message["code"], message["reason"])


def test_a_block_runs_the_lifespan_and_keeps_one_loop() -> None:
    site = Site()
    with TestClient(site) as client:
        assert client.app_state == {"pool": "open"}
        assert "{'pool': 'open'" in client.get("/").text
        assert "{'pool': 'open'" in client.get("/").text
        with client.websocket_connect("/"):
            pass
        assert [kind for kind, _, _ in site.seen] == ["lifespan", "http", "http", "websocket"]
        assert len({where[1:] for where in site.seen}) == 1
        assert site.seen[0][1] != threading.get_ident()
    assert client.app_state == {"pool": "closed"}
    client.get("/")
    assert site.seen[-1][1:] != site.seen[0][1:]


def test_a_start_or_stop_that_fails_is_raised() -> None:
    failing = TestClient(saying({"type": "lifespan.startup.failed", "message": "text"}))
    with pytest.raises(RuntimeError, match="failed at its startup: text"), failing:
        raise AssertionError("not reached")
    with pytest.raises(LookupError, match="inside"), TestClient(Site(fails=True)):
        pass
    with pytest.raises(ZeroDivisionError), TestClient(Site(fails=True)):
        raise ZeroDivisionError


@pytest.mark.asyncio
async def test_it_works_inside_a_running_loop() -> None:
    with TestClient(Site()) as client:
        assert client.get("/").status_code == 200


def test_messages_go_both_ways() -> None:
    with TestClient(echo).websocket_connect("/", subprotocols=["a", "b"]) as ws:
        assert (ws.accepted_subprotocol, ws.extra_headers) == ("a", [(b"x-a", b"1")])
        ws.send_text("è")
        assert ws.receive_text() == "è"
        ws.send_bytes(b"\xff")
        assert ws.receive_bytes() == b"\xff"
        ws.send_json({"a": 1})
        assert ws.receive_json() == {"a": 1}
        ws.send_json({"a": 1}, mode="binary")
        assert ws.receive_json(mode="binary") == {"a": 1}
        ws.send({"type": "websocket.receive", "text": "x"})
        assert ws.receive() == {"type": "websocket.send", "text": "x"}
        ws.close(4000, "bye")
    assert ws.scope["state"]["closed"] == (4000, "bye")


def test_the_handshake_is_a_request() -> None:
    client = TestClient(echo, headers={"X-All": "1"}, cookies={"c": "1"})
    with client.websocket_connect("/ws?a=1", params={"b": "2"}, headers={"X-One": "2"}) as ws:
        scope = ws.scope
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    assert (scope["type"], scope["scheme"], scope["path"]) == ("websocket", "ws", "/ws")
    assert (headers["x-all"], headers["x-one"], headers["cookie"]) == ("1", "2", "c=1")
    assert (headers["connection"], headers["sec-websocket-version"]) == ("upgrade", "13")
    assert scope["subprotocols"] == []


def test_the_application_closes() -> None:
    app = saying({"type": "websocket.accept"}, {"type": "websocket.close", "code": 4001, "reason": "expired"})
    with TestClient(app).websocket_connect("/") as ws:
        assert ws.receive() == {"type": "websocket.close", "code": 4001, "reason": "expired"}
        with pytest.raises(WebSocketDisconnect) as caught:
            ws.receive_text()
    assert (caught.value.code, caught.value.reason) == (4001, "expired")


def test_a_refused_handshake() -> None:
    session = TestClient(saying({"type": "websocket.close", "code": 4403})).websocket_connect("/")
    with pytest.raises(WebSocketDisconnect) as caught, session:
        raise AssertionError("not reached")
    assert caught.value.code == 4403
    assert not isinstance(caught.value, httpx.Response)


def test_a_handshake_refused_with_a_response() -> None:
    start = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-a", b"1")]}
    app = saying(start, {"type": "websocket.http.response.body", "body": b"no"})
    with pytest.raises(WebSocketDenialResponse) as caught, TestClient(app).websocket_connect("/"):
        raise AssertionError("not reached")
    error = caught.value
    assert (error.status_code, error.headers["x-a"], error.content) == (401, "1", b"no")
    assert isinstance(error, WebSocketDisconnect)
    assert (error.code, error.reason) == (1006, "")


def test_a_socket_that_fails_raises() -> None:
    session = TestClient(saying({"type": "websocket.accept"}, fails=True)).websocket_connect("/")
    with pytest.raises(LookupError, match="inside"), session as ws:
        ws.receive_text()


@pytest.fixture
def without_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "genro_asgi.testing.sync_client")
    monkeypatch.delattr(testing, "sync_client")
    monkeypatch.setitem(sys.modules, "httpx", None)


@pytest.mark.usefixtures("without_httpx")
def test_without_httpx_it_says_what_to_install() -> None:
    with pytest.raises(ImportError, match=r'^TestClient needs httpx; run pip install "genro-asgi-core\[testing\]"\.$'):
        _ = testing.TestClient


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match=r"module 'genro_asgi.testing' has no attribute 'nope'"):
        _ = testing.nope  # type: ignore[attr-defined]


START = {"type": "http.response.start", "status": 200}
MORE = {"type": "http.response.body", "body": b"x", "more_body": True}
BODY = {"type": "http.response.body", "body": b"y"}


def test_a_stream_comes_as_it_is_read_and_leaving_ends_it() -> None:
    steps: list[str] = []

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(START)
            for number in range(1_000_000):
                steps.append(f"step {number}")
                await send(MORE)
        finally:
            steps.append("closed")

    with TestClient(endless).stream("GET", "/") as response:
        assert (response.status_code, steps) == (200, [])
        chunks = response.iter_raw()
        assert (next(chunks), next(chunks)) == (b"x", b"x")
        assert len(steps) <= 3
    assert steps[-1] == "closed"


@pytest.mark.parametrize("raising", [True, False])
def test_what_happens_after_the_answer_is_waited_for(raising: bool) -> None:
    done: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(BODY)
        await asyncio.sleep(0)
        done.append("later")
        raise LookupError("inside")

    client = TestClient(app, raise_server_exceptions=raising)
    expected = pytest.raises(LookupError, match="inside") if raising else nullcontext()
    with expected, client.stream("GET", "/") as response:
        assert next(response.iter_raw()) == b"y"
    assert done == ["later"]


@pytest.mark.parametrize("in_block", [True, False])
def test_a_response_nobody_closed_ends_with_the_client(in_block: bool) -> None:
    ended: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await Site()(scope, receive, send)
            return
        try:
            await send(START)
            await send(BODY)
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    client = TestClient(app)
    with client if in_block else closing(client):
        response = client.send(client.build_request("GET", "/"), stream=True)
        assert next(response.iter_raw()) == b"y"
    assert ended == [True]


def trailers(*names: str, more: bool = False) -> dict[str, Any]:
    headers = [(name.encode(), b"1") for name in names]
    return {"type": "http.response.trailers", "headers": headers, "more_trailers": more}


def test_trailers_and_what_is_for_debugging() -> None:
    debug = {"type": "http.response.debug", "info": {"template": "a.html", "context": {"b": 1}}}
    app = saying({**START, "trailers": True}, debug, BODY, trailers("x-a", more=True), trailers("x-b"))
    response = TestClient(app).get("/")
    assert (response.text, "x-a" in response.headers) == ("y", False)
    assert response.extensions["http.response.trailers"] == [(b"x-a", b"1"), (b"x-b", b"1")]
    assert response.extensions["http.response.debug"] == debug["info"]
    assert (vars(response)["template"], vars(response)["context"]) == ("a.html", {"b": 1})
    assert TestClient(saying({**START, "trailers": True}, BODY)).get("/").extensions["http.response.trailers"] == []


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([], "TestClient did not receive any response"),
        ([START, trailers()], "without declaring trailers"),
        ([{**START, "trailers": True}, trailers()], "before body completed"),
        ([{**START, "trailers": True}, BODY, BODY], "after body completed"),
        ([{**START, "trailers": True}, BODY, trailers(), trailers()], "after response completed"),
        ([{"type": "http.response.push", "path": "/"}], "is not a message of an HTTP response"),
    ],
)
def test_messages_out_of_turn(messages: list[Any], text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        TestClient(saying(*messages)).get("/")


def test_a_server_that_pushes() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"]["http.response.push"] = {}
        await saying({"type": "http.response.push", "path": "/a.css", "headers": []}, START, BODY)(scope, receive, send)

    assert TestClient(app).get("/").text == "y"


def test_applications_of_asgi_2() -> None:
    def app(scope: Scope) -> Any:
        async def instance(receive: Receive, send: Send) -> None:
            await mirror(scope, receive, send)

        return instance

    assert TestClient(app).get("/x").text.startswith("GET http /x ?")  # type: ignore[arg-type]


def test_port_zero_of_a_base_url() -> None:
    assert "('::1', 0)" in TestClient(mirror, "http://[::1]:0").get("/").text


def test_a_socket_whose_application_goes_on_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genro_asgi.testing.sync_client._GRACE", 0.01)
    ended: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with TestClient(app).websocket_connect("/"):
        pass
    assert ended == [True]


def test_capitals_in_header_names_are_let_pass() -> None:
    assert TestClient(saying({**START, "headers": [(b"X-A", b"1")]}, BODY)).get("/").headers["x-a"] == "1"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept", "headers": [(b"X-A", b"1")]})
        await send({"type": "websocket.send", "text": dict(scope["headers"])[b"authorization"].decode()})

    with TestClient(app).websocket_connect("/", auth=("a", "b")) as socket:
        assert (socket.extra_headers, socket.receive_text()) == ([(b"X-A", b"1")], "Basic YTpi")
