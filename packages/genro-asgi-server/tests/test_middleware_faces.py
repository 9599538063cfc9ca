"""The middleware faces Starlette's users know: gzip, sessions, exceptions, body limit, dispatch functions."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.background import BackgroundTask
from genro_asgi.exceptions import HTTPException, HTTPNotFound
from genro_asgi.middleware.base_http import BaseHTTPMiddleware
from genro_asgi.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY, RequestBodyLimitMiddleware
from genro_asgi.middleware.exceptions import ExceptionMiddleware, ServerErrorMiddleware
from genro_asgi.middleware.gzip import GZipMiddleware
from genro_asgi.middleware.sessions import Session, SessionMiddleware
from genro_asgi.request import Request
from genro_asgi.response import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient, WebSocketDenied

GZIP = {"accept-encoding": "gzip"}


def client(app: Any, **options: Any) -> AsyncClient:
    return AsyncClient(app, lifespan=False, **options)


@pytest.mark.asyncio
async def test_gzip_of_what_is_worth_it() -> None:
    text = "a long text " * 100
    async with client(GZipMiddleware(PlainTextResponse(text, headers={"etag": '"x"'}))) as asking:
        answer = await asking.get("/", headers=GZIP)
        assert answer.headers["content-encoding"] == "gzip"
        assert (answer.headers["vary"], answer.headers["etag"]) == ("Accept-Encoding", 'W/"x"')
        assert gzip.decompress(answer.content).decode() == text
        assert int(answer.headers["content-length"]) == len(answer.content)
        plain = await asking.get("/", headers={"accept-encoding": "gzip;q=0"})
        assert (plain.text, plain.headers["vary"]) == (text, "Accept-Encoding")
    for response in (PlainTextResponse("small"), Response(b"x" * 999, media_type="image/png"),
                     Response(b"x" * 999, headers={"content-encoding": "br"}), Response(b"x" * 999, 206)):  # fmt: skip
        async with client(GZipMiddleware(response)) as asking:
            assert (await asking.get("/", headers=GZIP)).content == response.body


@pytest.mark.parametrize(
    ("content_type", "excluded"),
    [
        ("image/png", True), ("Video/MP4; x=1", True), ("application/grpc+proto", True), ("text/event-stream", True),
        ("image/svg+xml", False), ("text/html", False), ("", False),
    ],
)  # fmt: skip
def test_what_gzip_leaves_alone(content_type: str, excluded: bool) -> None:
    assert GZipMiddleware(raising).excludes(content_type) is excluded
    assert GZipMiddleware(raising, exclude_content_types=["Text/HTML; a=b"]).excludes("text/html;q=1")


@pytest.mark.asyncio
async def test_gzip_holds_no_start_back_without_a_reason() -> None:
    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        assert sent == ["http.response.start"]
        await send({"type": "http.response.body", "body": b"data: hi"})

    scope = {"type": "http", "method": "GET", "headers": [(b"accept-encoding", b"gzip")]}
    await GZipMiddleware(app)(scope, no_receive, send)
    assert sent == ["http.response.start", "http.response.body"]


@pytest.mark.asyncio
async def test_gzip_leaves_large_pieces_to_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    async def elsewhere(function: Any, body: bytes, more: bool) -> Any:
        sizes.append(len(body))
        return function(body, more)

    monkeypatch.setattr("genro_asgi.middleware.gzip.run_in_threadpool", elsewhere)
    body = bytes(range(256)) * 1024
    for size, expected in [(1024, [len(body)]), (len(body) + 1, [])]:
        sizes.clear()
        async with client(GZipMiddleware(Response(body), 0, 1, size)) as asking:
            assert gzip.decompress((await asking.get("/", headers=GZIP)).content) == body
        assert sizes == expected


@pytest.mark.asyncio
async def test_gzip_of_what_has_trailers() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"900")]
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
        await send({"type": "http.response.body", "body": b"x" * 900})
        await send({"type": "http.response.trailers", "headers": [(b"x-a", b"1")]})

    scope = {"type": "http", "method": "GET", "headers": [(b"accept-encoding", b"gzip")]}
    await GZipMiddleware(app)(scope, no_receive, send)
    assert b"content-length" not in dict(sent[0]["headers"])
    assert [message["type"].rpartition(".")[2] for message in sent] == ["start", "body", "trailers"]


@pytest.mark.asyncio
async def test_gzip_of_a_stream_arrives_piece_by_piece() -> None:
    async def pieces() -> AsyncIterator[str]:
        for number in range(3):
            yield f"piece {number}"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await StreamingResponse(pieces(), media_type="text/plain")(scope, receive, send)

    async with client(GZipMiddleware(app)) as asking:
        answer = await asking.get("/", headers=GZIP)
        assert "content-length" not in answer.headers
        assert gzip.decompress(answer.content) == b"piece 0piece 1piece 2"


async def session_app(scope: Any, receive: Any, send: Any) -> None:
    request = Request(scope, receive)
    if request.url.path == "/set":
        request.session.update({"user": "ann", "n": 1})
    elif request.url.path == "/clear":
        request.session.clear()
    elif request.url.path == "/big":
        request.session["big"] = "x" * 5000
    await JSONResponse(dict(request.session))(scope, receive, send)


@pytest.mark.asyncio
async def test_sessions_in_a_signed_cookie() -> None:
    async with client(SessionMiddleware(session_app, "secret", https_only=False)) as asking:
        assert (await asking.get("/")).json() == {}
        first = await asking.get("/set")
        cookie = first.headers["set-cookie"]
        assert cookie.endswith("; path=/; Max-Age=1209600; httponly; samesite=lax")
        assert first.headers["vary"] == "Cookie"
        assert (await asking.get("/")).json() == {"user": "ann", "n": 1}
        gone = await asking.get("/clear")
        assert "Max-Age=0" in gone.headers["set-cookie"]
        assert (await asking.get("/")).json() == {}
        with pytest.raises(ValueError, match="a cookie holds 4000"):
            await asking.get("/big")


@pytest.mark.asyncio
async def test_a_session_is_written_when_it_changes_and_varies_when_it_is_looked_at() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if path == "/new":
            Request(scope).session["cart"] = [1]
        elif path == "/deep":
            scope["session"]["cart"].append(2)
        elif path == "/other":
            scope["session"] = {"cart": [9]}
        elif path != "/none":
            Request(scope).session.get("cart")
        await Response()(scope, receive, send)

    async with client(SessionMiddleware(app, "secret", domain="example.org", partitioned=True)) as asking:
        new = await asking.get("/new")
        assert new.headers["set-cookie"].endswith("; httponly; samesite=lax; secure; domain=example.org; partitioned")
        cookie = {"cookie": new.headers["set-cookie"].partition(";")[0]}
        for path, written, varies in [("/read", 0, 1), ("/deep", 1, 1), ("/other", 1, 1), ("/none", 0, 0)]:
            answer = await asking.get(path, headers=cookie)
            assert ("set-cookie" in answer.headers, "vary" in answer.headers) == (written, varies), path


@pytest.mark.parametrize("options", [{"path": "/; domain=evil"}, {"domain": "a\r\nb"}, {"session_cookie": "a b"}])
def test_the_attributes_of_a_session_cookie_are_checked(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="Cookie"):
        SessionMiddleware(session_app, "secret", **options)  # type: ignore[arg-type]


def test_a_session_knows_what_was_done_to_it() -> None:
    done: list[tuple[Any, bool, bool]] = [
        (lambda s: s.update(b=1), True, True), (lambda s: s.pop("a"), True, True), (lambda s: s.clear(), True, True),
        (lambda s: s.popitem(), True, True), (lambda s: s.setdefault("b"), True, True),
        (lambda s: s.__delitem__("a"), True, True), (lambda s: s.pop("x", None), False, False),
        (lambda s: s.setdefault("a"), False, False), (lambda s: s["a"], True, False), (lambda s: "a" in s, True, False),
        (lambda s: s.get("x"), True, False),
    ]  # fmt: skip
    for act, accessed, modified in done:
        session = Session({"a": 1})
        act(session)
        assert (session.accessed, session.modified) == (accessed, modified)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=60), st.integers(0, 200))
def test_no_other_cookie_is_a_session(text: str, position: int) -> None:
    middleware = SessionMiddleware(session_app, "secret")
    assert middleware.unsign(text) == {}
    good = middleware.sign({"admin": True})
    assert middleware.unsign(good) == {"admin": True}
    at = position % len(good)
    forged = good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :]
    assert middleware.unsign(forged) == {}
    assert SessionMiddleware(session_app, "other").unsign(good) == {}


def test_an_old_session_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    middleware = SessionMiddleware(session_app, "secret", max_age=100)
    good = middleware.sign({"a": 1})
    later = __import__("time").time() + 101
    monkeypatch.setattr("genro_asgi.middleware.sessions.time", lambda: later)
    assert middleware.unsign(good) == {}


async def raising(scope: Any, receive: Any, send: Any) -> None:
    raise {
        "/404": HTTPNotFound("no"),
        "/418": HTTPException(418),
        "/503": HTTPException(503, "the disk is full", {"x-a": "1"}),
        "/key": KeyError("k"),
    }[scope["path"]]


@pytest.mark.asyncio
async def test_exceptions_and_their_handlers() -> None:
    async def teapot(request: Request, exc: Exception) -> Response:
        return PlainTextResponse("tea", 418)

    def lookup(request: Request, exc: Exception) -> Response:
        return PlainTextResponse("looked up", 404)

    app = ExceptionMiddleware(raising, {418: teapot, LookupError: lookup})
    async with client(app) as asking:
        refused = await asking.get("/404")
        assert (refused.status_code, refused.text) == (404, "no")
        assert refused.headers["content-type"] == "text/plain; charset=utf-8"
        hidden = await asking.get("/503")
        assert (hidden.status_code, hidden.text, hidden.headers["x-a"]) == (503, "Service Unavailable", "1")
        assert (await asking.get("/418")).text == "tea"
        assert (await asking.get("/key")).text == "looked up"


@pytest.mark.asyncio
async def test_a_subclass_writes_its_own_answers() -> None:
    class Terse(ExceptionMiddleware):
        async def http_exception(self, request: Request, exc: Exception) -> Response:
            assert isinstance(exc, HTTPException)
            return PlainTextResponse(exc.detail, exc.status_code)

    shared = HTTPException(404, "no")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise shared

    async with client(Terse(app)) as asking:
        assert (await asking.get("/")).text == "no"
    assert shared.__traceback__ is None


@pytest.mark.asyncio
@pytest.mark.parametrize(("offered", "status"), [(True, 404), (False, 403)])
async def test_an_http_exception_refuses_a_handshake(offered: bool, status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if not offered:
            scope["extensions"] = {}
        raise HTTPException(404)

    async with client(ExceptionMiddleware(app)) as asking:
        with pytest.raises(WebSocketDenied) as denied:
            await asking.websocket("/").__aenter__()
    assert denied.value.status_code == status


@pytest.mark.asyncio
async def test_server_errors_are_answered_and_raised() -> None:
    async with client(ServerErrorMiddleware(raising), raise_app_exceptions=False) as asking:
        answer = await asking.get("/key")
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    async with client(ServerErrorMiddleware(raising, debug=True), raise_app_exceptions=False) as asking:
        assert "KeyError: 'k'" in (await asking.get("/key")).text
    async with client(ServerErrorMiddleware(raising, debug=True), raise_app_exceptions=False) as asking:
        page = await asking.get("/key", headers={"accept": "text/html"})
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "<h1>500: KeyError: &#x27;k&#x27;</h1>" in page.text
    async with client(ServerErrorMiddleware(raising)) as asking:
        with pytest.raises(KeyError):
            await asking.get("/key")


@pytest.mark.asyncio
async def test_a_handler_of_server_errors_is_told_after_the_answer_too() -> None:
    told: list[str] = []

    async def failing_late(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("out")(scope, receive, send)
        raise KeyError("late")

    def handler(request: Request, exc: Exception) -> None:
        told.append(str(exc))

    async with client(ServerErrorMiddleware(failing_late, handler), raise_app_exceptions=False) as asking:
        assert (await asking.get("/")).text == "out"
    assert told == ["'late'"]


def test_they_are_where_starlettes_users_look() -> None:
    from genro_asgi.middleware.base import BaseHTTPMiddleware as Base
    from genro_asgi.middleware.errors import ServerErrorMiddleware as Errors

    assert (Base, Errors) == (BaseHTTPMiddleware, ServerErrorMiddleware)


async def reading(scope: Any, receive: Any, send: Any) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


@pytest.mark.asyncio
async def test_bodies_over_the_limit() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 40

    async with client(RequestBodyLimitMiddleware(reading, 100)) as asking:
        assert (await asking.post("/", content=b"x" * 100)).text == "100"
        for content in (b"x" * 101, pieces()):
            refused = await asking.post("/", content=content)
            assert (refused.status_code, refused.text) == (413, "Content Too Large")


@pytest.mark.asyncio
@pytest.mark.parametrize(("inner", "length", "status"), [(20, 15, 200), (20, 21, 413), (5, 6, 413), (5, 5, 200)])
async def test_the_innermost_limit_counts(inner: int, length: int, status: int) -> None:
    async def copying(scope: Any, receive: Any, send: Any) -> None:
        await RequestBodyLimitMiddleware(app, inner)(dict(scope), receive, send)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope[MAX_BODY_SIZE_SCOPE_KEY] == inner
        await reading(scope, receive, send)

    async with client(RequestBodyLimitMiddleware(copying, 10)) as asking:
        assert (await asking.post("/", content=b"x" * length)).status_code == status


@pytest.mark.asyncio
async def test_a_limit_below_what_was_read_already() -> None:
    async def dispatch(request: Request, call_next: Any) -> Response:
        await request.body()
        return await call_next(request)  # type: ignore[no-any-return]

    inside = ServerErrorMiddleware(BaseHTTPMiddleware(RequestBodyLimitMiddleware(reading, 5), dispatch=dispatch))
    async with client(RequestBodyLimitMiddleware(inside, 10)) as asking:
        assert (await asking.post("/", content=b"x" * 5)).text == "5"
        for length in (6, 11):
            refused = await asking.post("/", content=b"x" * length)
            assert (refused.status_code, refused.text) == (413, "Content Too Large")


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_to_a_large_body_nobody_reads(streamed: bool) -> None:
    ended: list[str] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            ended.append("closed")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (StreamingResponse(endless()) if streamed else PlainTextResponse("hi"))(scope, receive, send)
        ended.append("done")

    async with client(RequestBodyLimitMiddleware(app, 5)) as asking:
        refused = await asking.post("/", content=b"x" * 6)
        assert (refused.status_code, refused.text) == (413, "Content Too Large")
    assert ended == (["closed"] if streamed else ["done"])


@pytest.mark.asyncio
async def test_a_limit_around_a_server_is_told_in_its_one_error_body() -> None:
    class Site(AsgiServer):
        @route(methods="POST")
        async def size(self, body_raw: bytes) -> int:
            return len(body_raw)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"xxx"
        yield b"xxx"

    server = Site()
    server.add_middleware(RequestBodyLimitMiddleware, max_body_size=5)
    async with AsyncClient(server) as asking:
        assert (await asking.post("/size", content=b"xxxxx")).text == "5"
        for content in (b"xxxxxx", pieces()):
            refused = await asking.post("/size", content=content)
            assert (refused.status_code, refused.json()["detail"]) == (413, "Content Too Large")


@pytest.mark.asyncio
async def test_a_limit_passed_after_the_answer_has_begun() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (await receive()).get("more_body"):
            pass

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"xxx"

    async with client(RequestBodyLimitMiddleware(app, 5)) as asking:
        with pytest.raises(HTTPException) as caught:
            await asking.post("/", content=pieces())
    assert caught.value.status_code == 413


@pytest.mark.asyncio
async def test_dispatch_functions_see_request_and_response() -> None:
    async def dispatch(request: Request, call_next: Any) -> Response:
        length = len(await request.body())
        response: Response = await call_next(request)
        response.headers["x-length"] = str(length)
        return response

    async with client(BaseHTTPMiddleware(reading, dispatch=dispatch)) as asking:
        answer = await asking.post("/", content=b"abc")
        assert (answer.text, answer.headers["x-length"]) == ("3", "3")
    async with client(BaseHTTPMiddleware(raising, dispatch=lambda request, call_next: call_next(request))) as asking:
        with pytest.raises(KeyError):
            await asking.get("/key")
    async with client(BaseHTTPMiddleware(reading)) as asking:
        with pytest.raises(NotImplementedError):
            await asking.get("/")


def passing(app: Any) -> BaseHTTPMiddleware:
    async def dispatch(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    return BaseHTTPMiddleware(app, dispatch=dispatch)


@pytest.mark.asyncio
async def test_a_background_task_behind_begins_when_the_answer_is_out() -> None:
    events: list[str] = []

    async def later() -> None:
        events.append("background")
        raise LookupError("late")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("hi", background=BackgroundTask(later))(scope, receive, send)

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        events.append(message["type"])

    with pytest.raises(LookupError, match="late"):
        await passing(app)({"type": "http", "method": "GET", "headers": []}, no_receive, send)
    assert events == ["http.response.start", "http.response.body", "http.response.body", "background"]


async def no_receive() -> Any:
    raise AssertionError("nobody asks")


@pytest.mark.asyncio
async def test_an_exception_behind_can_be_answered() -> None:
    async def dispatch(request: Request, call_next: Any) -> Response:
        try:
            return await call_next(request)  # type: ignore[no-any-return]
        except KeyError as error:
            return PlainTextResponse(str(error), 400)

    async with client(BaseHTTPMiddleware(raising, dispatch=dispatch)) as asking:
        assert (await asking.get("/key")).status_code == 400


@pytest.mark.asyncio
@pytest.mark.parametrize("reading_whole", [True, False])
async def test_a_body_the_application_has_read_is_gone_and_nobody_waits_for_it(reading_whole: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        await (request.body() if reading_whole else anext(request.stream()))
        await PlainTextResponse("hi")(scope, receive, send)

    async def dispatch(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        with pytest.raises(RuntimeError, match="Stream consumed"):
            await anext(request.stream())
        return response

    async with client(BaseHTTPMiddleware(app, dispatch=dispatch)) as asking:
        assert (await asking.post("/", content=b"a")).text == "hi"


@pytest.mark.asyncio
async def test_a_disconnect_is_seen_on_both_sides_and_asked_for_once() -> None:
    messages = iter([{"type": "http.request", "body": b"hi"}, {"type": "http.disconnect"}])
    seen: list[str] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        pass

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([(await receive())["type"] for _ in range(3)])
        await Response()(scope, receive, send)

    async def dispatch(request: Request, call_next: Any) -> Response:
        assert await request.body() == b"hi"
        response: Response = await call_next(request)
        assert await request.is_disconnected()
        return response

    await BaseHTTPMiddleware(app, dispatch=dispatch)({"type": "http", "method": "GET", "headers": []}, receive, send)
    assert seen == ["http.request", "http.disconnect", "http.disconnect"]


@pytest.mark.asyncio
async def test_a_discarded_answer_ends_its_application() -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.body", "body": b"lost"})
        ended.append("told")

    async def dispatch(request: Request, call_next: Any) -> Response:
        await call_next(request)
        return PlainTextResponse("mine")

    async with client(BaseHTTPMiddleware(app, dispatch=dispatch)) as asking:
        assert (await asking.get("/")).text == "mine"
    assert ended == ["told"]


@pytest.mark.asyncio
async def test_a_dispatch_that_fails_cancels_the_application() -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def dispatch(request: Request, call_next: Any) -> Response:
        await call_next(request)
        raise KeyError("mine")

    async with client(BaseHTTPMiddleware(app, dispatch=dispatch)) as asking:
        with pytest.raises(KeyError):
            await asking.get("/")
    assert ended == ["cancelled"]


@pytest.mark.asyncio
async def test_files_are_handed_over_and_hints_go_ahead(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("text")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Request(scope, receive, send).send_early_hints("</a.css>; rel=preload")
        await FileResponse(file)(scope, receive, send)

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    extensions: dict[str, Any] = {"http.response.pathsend": {}, "http.response.early_hint": {}}
    scope = {"type": "http", "method": "GET", "headers": [], "extensions": extensions, "asgi": {"spec_version": "2.4"}}
    await passing(app)(scope, no_receive, send)
    assert sent == ["http.response.early_hint", "http.response.start", "http.response.pathsend"]


@pytest.mark.asyncio
async def test_the_pieces_of_an_answer_can_be_changed() -> None:
    async def dispatch(request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        pieces = response.body_iterator

        async def louder() -> AsyncIterator[bytes]:
            async for piece in pieces:
                yield piece.upper()

        response.body_iterator = louder()
        return response  # type: ignore[no-any-return]

    async with client(BaseHTTPMiddleware(PlainTextResponse("hi"), dispatch=dispatch)) as asking:
        answer = await asking.get("/")
        assert (answer.text, answer.headers["content-length"]) == ("HI", "2")
        assert (await asking.head("/")).headers["content-length"] == "2"
