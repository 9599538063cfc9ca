import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from genro_asgi.exceptions import ClientDisconnect
from genro_asgi.testing import AsyncClient, Cookies, HttpExchange, make_scope
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send


def client(app: ASGIApp, **options: Any) -> AsyncClient:
    return AsyncClient(app, **{"lifespan": False, "timeout": 2, **options})


async def read_body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message["body"]
        more = message["more_body"]
    return body


async def respond(send: Send, body: bytes = b"", status: int = 200, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def mirror(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was asked."""
    lines = [f"{scope['method']} {scope['path']} ?{scope['query_string'].decode()}".encode()]
    lines += [b"%s: %s" % pair for pair in scope["headers"]]
    await respond(send, b"\n".join([*lines, await read_body(receive)]))


def saying(*messages: Message, fails: bool = False) -> ASGIApp:
    """An application that sends these messages, whatever it is asked."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        if fails:
            raise LookupError("inside")

    return app


START: Message = {"type": "http.response.start", "status": 200, "headers": []}
BODY: Message = {"type": "http.response.body", "body": b"x"}
MORE: Message = {"type": "http.response.body", "body": b"x", "more_body": True}


def start(**changes: Any) -> Message:
    return {**START, **changes}


@pytest.mark.asyncio
async def test_a_request_is_as_a_server_makes_it() -> None:
    async with client(mirror, headers={"X-All": "1"}, cookies={"a": "1"}) as c:
        response = await c.get("/caff%C3%A8/x?a=1", params={"b": [2, 3]}, headers={"X-One": "2"}, cookies={"b": "2"})
    assert response.text.split("\n") == [
        "GET /caffè/x ?a=1&b=2&b=3",
        "host: testserver",
        "accept: */*",
        "user-agent: testclient",
        "x-all: 1",
        "x-one: 2",
        "cookie: a=1; b=2",
        "",
    ]
    assert (response.status_code, response.reason_phrase, response.url) == (200, "OK", "/caff%C3%A8/x?a=1")
    assert repr(response) == "<TestResponse [200 OK]>"


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["get", "head", "options", "post", "put", "patch", "delete"])
async def test_every_method(method: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, scope["method"].encode())

    response = await getattr(client(app), method)("/")
    assert response.content == (b"" if method == "head" else method.upper().encode())


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"json": {"a": [1]}}, ["content-type: application/json", "content-length: 9", '{"a":[1]}']),
        (
            {"data": {"a": "è", "b": ["1", "2"]}},
            ["content-type: application/x-www-form-urlencoded", "content-length: 16", "a=%C3%A8&b=1&b=2"],
        ),
        ({"content": "è"}, ["content-type: text/plain; charset=utf-8", "content-length: 2", "è"]),
        ({"content": b"xy"}, ["content-length: 2", "xy"]),
        ({}, ["content-length: 0", ""]),
        (
            {"json": 1, "headers": {"Content-Type": "application/x"}},
            ["content-type: application/x", "content-length: 1", "1"],
        ),
    ],
)
async def test_bodies(options: dict[str, Any], lines: list[str]) -> None:
    response = await client(mirror).post("/", params="q=1", **options)
    assert response.text.split("\n")[0] == "POST / ?q=1"
    assert response.text.split("\n")[4:] == lines


@pytest.mark.asyncio
async def test_hosts_and_schemes() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["scheme"], scope["server"], dict(scope["headers"])[b"host"], scope["root_path"]))
        seen.append((scope["client"], scope["asgi"]["spec_version"], scope["extensions"], scope["path"]))
        await respond(send)

    options = {"client": None, "spec_version": "2.4", "extensions": {"x": {}}, "root_path": "/r"}
    await client(app, base_url="https://example.org:8443/base/", **options).get("/x")
    await client(app).get("https://other.org", headers={"Host": "fake"})
    assert seen == [
        ("https", ("example.org", 8443), b"example.org:8443", "/r"),
        (None, "2.4", {"x": {}}, "/base/x"),
        ("https", ("other.org", 443), b"fake", ""),
        (("127.0.0.1", 50000), "2.3", {}, "/"),
    ]


@pytest.mark.asyncio
async def test_the_body_is_asked_for_on_demand() -> None:
    made: list[int] = []

    async def upload() -> AsyncIterator[bytes]:
        for n in range(3):
            made.append(n)
            yield b"%d" % n

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (b"transfer-encoding", b"chunked") in scope["headers"]
        assert made == []
        first = await receive()
        assert (first, made) == ({"type": "http.request", "body": b"0", "more_body": True}, [0])
        await respond(send, first["body"] + await read_body(receive))

    assert (await client(app).post("/", content=upload())).content == b"012"


@pytest.mark.asyncio
async def test_a_client_may_leave_in_the_middle_of_an_upload() -> None:
    left = asyncio.Event()

    async def upload() -> AsyncIterator[bytes]:
        yield b"half"
        raise ClientDisconnect

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await read_body(receive)
        except ClientDisconnect:
            left.set()
            assert await receive() == {"type": "http.disconnect"}
            await respond(send)  # goes nowhere
            raise

    with pytest.raises(ClientDisconnect):
        await client(app).post("/", content=upload())
    assert left.is_set()


@pytest.mark.asyncio
async def test_an_error_of_the_upload_is_the_testers() -> None:
    async def upload() -> AsyncIterator[bytes]:
        raise LookupError("mine")
        yield b""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.disconnect"

    with pytest.raises(LookupError, match="mine"):
        await client(app).post("/", content=upload())


@pytest.mark.asyncio
async def test_after_the_body_receive_waits_for_the_end() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        waiting = asyncio.create_task(receive())  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await send(START)
        await send(MORE)
        seen.append("waits" if not waiting.done() else "returned")
        await send(BODY)
        seen.append((await waiting)["type"])
        seen.append((await receive())["type"])

    assert (await client(app).post("/", content=b"a")).content == b"xx"
    assert seen == ["waits", "http.disconnect", "http.disconnect"]


@pytest.mark.asyncio
async def test_a_stream_is_read_as_it_is_sent() -> None:
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(headers=[(b"x-a", b"1")]))
        await send({**MORE, "body": b"one"})
        await send({**MORE, "body": b""})
        await go.wait()
        await send({**MORE, "body": bytearray(b"two")})
        await send({"type": "http.response.body"})

    async with client(app).stream("GET", "/") as response:
        assert (response.status_code, response.headers["x-a"], response.content) == (200, "1", b"")
        chunks = []
        async for chunk in response:
            chunks.append(chunk)
            go.set()
    assert chunks == response.chunks == [b"one", b"two"]
    assert await response.read() == b"onetwo"


@pytest.mark.asyncio
@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_leaving_a_stream_is_noticed(spec_version: str) -> None:
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        gone = asyncio.create_task(receive())  # type: ignore[arg-type]
        await send(START)
        try:
            while not gone.done():
                await send(MORE)
        except OSError as error:
            ended.append(str(error))
        ended.append((await gone)["type"])

    c = client(app, spec_version=spec_version)
    async with c.stream("GET", "/") as response:
        async for _ in response:
            break
    assert ended[-1] == "http.disconnect"
    async with c.stream("GET", "/") as response:
        response.disconnect()
    assert ended[-1] == "http.disconnect"
    if spec_version == "2.3":
        assert set(ended) == {"http.disconnect"}


@pytest.mark.asyncio
async def test_from_2_4_on_sending_to_nobody_raises() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        while (await receive())["type"] != "http.disconnect":
            pass
        await send(MORE)

    with pytest.raises(OSError, match="The client has left"):
        async with client(app, spec_version="2.4").stream("GET", "/") as response:
            response.disconnect()


@pytest.mark.asyncio
async def test_a_slow_reader_holds_the_application() -> None:
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send(START)
        for _ in range(10):
            sent += 1
            await send({**MORE, "body": b"x" * 30_000})
        await send(BODY)

    async with client(app).stream("GET", "/") as response:
        for _ in range(50):
            await asyncio.sleep(0)
        assert sent == 3
        assert len(await response.read()) == 300_001
    assert sent == 10


@pytest.mark.asyncio
async def test_an_application_that_does_not_notice_is_ended() -> None:
    cancelled = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(MORE)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError, match=r"The application did not return within 0\.05 s"):
        async with client(app, timeout=0.05).stream("GET", "/") as response:
            response.disconnect()
    assert cancelled.is_set()


@pytest.mark.asyncio
async def test_every_wait_ends() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/more":
            await send(START)
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match=r"did not start its response within 0\.05 s"):
        await client(app, timeout=0.05).get("/")
    with pytest.raises(TimeoutError, match=r"did not send more of the response within 0\.05 s"):
        await client(app, timeout=0.05).get("/more")


@pytest.mark.asyncio
async def test_a_cancelled_client_leaves() -> None:
    entered, noticed = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        entered.set()
        assert (await receive())["type"] == "http.disconnect"
        noticed.set()

    task = asyncio.create_task(client(app).get("/"))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert noticed.is_set()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([BODY], "A body was sent before http.response.start"),
        ([START, START], "http.response.start was sent twice"),
        ([START, BODY, BODY], "A body was sent after body completed"),
        ([START], "The application returned without a whole response"),
        ([START, MORE], "The application returned without a whole response"),
        ([], "The application returned without a whole response"),
        ([{"type": "http.response.end"}], "'http.response.end' is not a message of an HTTP response"),
        ([{"type": "websocket.send"}], "'websocket.send' is not a message of an HTTP response"),
        ([{"type": "http.response.pathsend", "path": "/x"}], "is not a message of an HTTP response"),
        ([{}], r"A message must be a mapping with a type, got \{\}"),
        ([None], "A message must be a mapping with a type, got None"),
        ([{"type": 5}], "A message must be a mapping with a type"),
        ([start(status="200")], "The status of http.response.start must be an int from 100 to 599, got '200'"),
        ([start(status=99)], "must be an int from 100 to 599, got 99"),
        ([{"type": "http.response.start"}], "must be an int from 100 to 599, got None"),
        ([start(headers=[("a", "b")])], r"A header must be a pair of bytes, got \('a', 'b'\)"),
        ([start(headers=[b"ab"])], "A header must be a pair of bytes, got b'ab'"),
        ([start(headers=[(b"a",)])], "A header must be a pair of bytes"),
        ([start(headers=[(b"A", b"b")])], "A header name must be in lower case, got b'A'"),
        ([start(headers=[(b"a", b"b\r\nc")])], "The header b'a': b'b.*' would break the response"),
        ([start(headers=[(b"", b"b")])], "would break the response"),
        ([start(headers=[(b":status", b"b")])], "would break the response"),
        ([start(headers=[(b"content-length", b"5"), (b"content-length", b"6")])], "content-length must be one number"),
        ([start(headers=[(b"content-length", b"five")])], "content-length must be one number"),
        ([start(headers=[(b"content-length", b"5")]), BODY], "content-length says 5 bytes, the body has 1"),
        ([start(headers=[(b"content-length", b"1")]), MORE, BODY], "content-length says 1 bytes, the body has 2"),
        ([start(status=204), BODY], "A response with status 204 has no body, got 1 bytes"),
        ([START, {**BODY, "body": "x"}], "The body of http.response.body must be bytes, got str"),
    ],
)
async def test_the_specification_is_kept(messages: list[Any], text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        await client(saying(*messages), raise_app_exceptions=False).get("/")


@pytest.mark.asyncio
async def test_a_violation_is_not_hidden_by_the_application() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(BODY)
        except Exception:
            await respond(send, status=500)

    with pytest.raises(AssertionError, match="A body was sent before"):
        await client(app, raise_app_exceptions=False).get("/")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("method", "messages", "content"),
    [
        ("GET", [start(headers=[[b"content-length", b"1"]]), BODY], b"x"),
        ("GET", [start(headers=((b"content-length", b"2"),)), MORE, BODY], b"xx"),
        ("GET", [{"type": "http.response.start", "status": 204}, {"type": "http.response.body"}], b""),
        ("GET", [start(status=304, headers=[(b"content-length", b"9")]), {"type": "http.response.body"}], b""),
        ("HEAD", [start(headers=[(b"content-length", b"9")]), {"type": "http.response.body"}], b""),
        ("HEAD", [START, BODY], b""),
    ],
)
async def test_what_the_specification_allows(method: str, messages: list[Message], content: bytes) -> None:
    assert (await client(saying(*messages)).request(method, "/")).content == content


@pytest.mark.asyncio
async def test_exceptions_of_the_application_are_raised() -> None:
    for messages in ([], [START, MORE], [START, BODY]):
        with pytest.raises(LookupError, match="inside"):
            await client(saying(*messages, fails=True)).get("/")


@pytest.mark.asyncio
async def test_or_become_what_a_server_makes_of_them() -> None:
    response = await client(saying(fails=True), raise_app_exceptions=False).get("/")
    assert (response.status_code, response.text) == (500, "Internal Server Error")
    assert (await client(saying(START, BODY, fails=True), raise_app_exceptions=False).get("/")).text == "x"
    with pytest.raises(ConnectionResetError, match="failed in the middle of its response"):
        await client(saying(START, MORE, fails=True), raise_app_exceptions=False).get("/")


@pytest.mark.asyncio
async def test_a_test_that_fails_inside_a_stream_fails_as_it_did() -> None:
    with pytest.raises(ZeroDivisionError):
        async with client(saying(START, MORE, BODY)).stream("GET", "/"):
            raise ZeroDivisionError


@pytest.mark.asyncio
async def test_what_comes_after_the_response_is_waited_for() -> None:
    done: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send)
        for _ in range(10):
            await asyncio.sleep(0)
        done.append(1)

    await client(app).get("/")
    assert done == [1]


@pytest.mark.asyncio
async def test_a_file_can_be_sent_by_path(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"file")
    message = {"type": "http.response.pathsend", "path": str(path)}
    offered = {"http.response.pathsend": {}}
    assert (await client(saying(START, message), extensions=offered).get("/")).content == b"file"
    with pytest.raises(AssertionError, match=r"must be absolute, got 'a\.txt'"):
        await client(saying(START, {**message, "path": "a.txt"}), extensions=offered).get("/")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        (b"text/plain", "è".encode(), "è"),
        (b"text/plain; charset=latin-1", b"\xe8", "è"),
        (b'text/html; charset="utf-16-le"; x=y', "è".encode("utf-16-le"), "è"),
    ],
)
async def test_text_is_decoded_as_its_charset_says(content_type: bytes, body: bytes, text: str) -> None:
    app = saying(start(headers=[(b"content-type", content_type)]), {**BODY, "body": body})
    assert (await client(app).get("/")).text == text


@pytest.mark.asyncio
async def test_json_is_decoded() -> None:
    assert (await client(saying(START, {**BODY, "body": b'{"a":1}'})).get("/")).json() == {"a": 1}


@pytest.mark.asyncio
async def test_cookies_are_kept_between_calls() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        value = scope["query_string"]
        await respond(
            send, dict(scope["headers"]).get(b"cookie", b""), headers=[(b"set-cookie", value)] if value else []
        )

    c = client(app)
    response = await c.get("/?a=1;Path=/")
    assert (response.cookies, dict(c.cookies)) == ({"a": "1"}, {"a": "1"})
    assert (await c.get("/")).text == "a=1"
    await c.get("/deep/er?b=2")
    await c.get("/?s=3;Path=/;Secure")
    assert (await c.get("/deep/x")).text == "a=1; b=2"
    assert (await c.get("/deeper")).text == "a=1"
    assert (await c.get("https://testserver/")).text == "a=1; s=3"
    await c.get("/?a=;Max-Age=0;Path=/")
    assert "a" not in c.cookies


@pytest.mark.parametrize(
    ("attributes", "kept"),
    [
        ("Max-Age=10", True),
        ("Max-Age=0", False),
        ("Max-Age=-1", False),
        ("Max-Age=x", True),
        ("Expires=Wed, 21 Oct 2015 07:28:00 GMT", False),
        ("Expires=Wed, 21 Oct 2115 07:28:00 GMT", True),
        ("Expires=soon", True),
        ("Max-Age=10; Expires=Wed, 21 Oct 2015 07:28:00 GMT", True),
        ("Path=x; HttpOnly; SameSite=Lax", True),
    ],
)
def test_cookies_expire(attributes: str, kept: bool) -> None:
    cookies = Cookies()
    cookies.extract("a=1", "/")
    cookies.extract(f"a=2; {attributes}", "/x")
    assert dict(cookies) == ({"a": "2"} if kept else {})


def test_cookies_are_a_mapping() -> None:
    cookies = Cookies({"a": "1"})
    cookies["b"] = "2"
    cookies.extract("a=3; Path=/x", "/")
    assert (cookies["a"], len(cookies), list(cookies)) == ("1", 2, ["a", "b"])
    assert repr(cookies) == "Cookies({'a': '1', 'b': '2'})"
    assert cookies.header("/x", False) == "a=1; b=2; a=3"
    del cookies["a"]
    assert dict(cookies) == {"b": "2"}
    for missing in (lambda: cookies["a"], lambda: cookies.__delitem__("a")):
        with pytest.raises(KeyError):
            missing()


def test_a_scope_is_as_a_server_makes_it() -> None:
    scope = make_scope("post", "/a%20b/è", b"q=1", {"X-A": "è"}, root_path="/r")
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/a b/è",
        "raw_path": b"/a%20b/%C3%A8",
        "query_string": b"q=1",
        "root_path": "/r",
        "headers": [(b"x-a", b"\xe8")],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        "state": {},
        "extensions": {},
    }
    websocket = make_scope(path="/ws", query="a=1", headers=[(b"A", b"\xff")], type="websocket")
    assert "method" not in websocket
    assert (websocket["scheme"], websocket["subprotocols"], websocket["query_string"]) == ("ws", [], b"a=1")
    assert websocket["headers"] == [(b"a", b"\xff")]
    assert websocket["extensions"] == {"websocket.http.response": {}}


@pytest.mark.asyncio
async def test_an_exchange_can_be_driven_by_hand() -> None:
    scope = make_scope()
    del scope["extensions"]
    exchange = HttpExchange(saying(START, BODY), scope, b"", timeout=1)
    assert not exchange.ended
    assert exchange.error is None
    await exchange.cancel()  # nothing runs yet
    exchange.start()
    assert await exchange.read() == b"x"
    assert await exchange.read() is None
    await exchange.finish()
    assert exchange.ended
    assert exchange.error is None
