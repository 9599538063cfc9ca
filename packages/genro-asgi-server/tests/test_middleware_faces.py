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
from genro_asgi.middleware.bodylimit import RequestBodyLimitMiddleware
from genro_asgi.middleware.exceptions import ExceptionMiddleware, ServerErrorMiddleware
from genro_asgi.middleware.gzip import GZipMiddleware
from genro_asgi.middleware.sessions import SessionMiddleware
from genro_asgi.request import Request
from genro_asgi.response import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
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
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert first.headers["vary"] == "Cookie"
        assert (await asking.get("/")).json() == {"user": "ann", "n": 1}
        gone = await asking.get("/clear")
        assert "Max-Age=0" in gone.headers["set-cookie"]
        assert (await asking.get("/")).json() == {}
        with pytest.raises(ValueError, match="a cookie holds 4000"):
            await asking.get("/big")


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
    raise {"/404": HTTPNotFound("no"), "/418": HTTPException(418), "/key": KeyError("k")}[scope["path"]]


@pytest.mark.asyncio
async def test_exceptions_and_their_handlers() -> None:
    async def teapot(request: Request, exc: Exception) -> Response:
        return PlainTextResponse("tea", 418)

    def lookup(request: Request, exc: Exception) -> Response:
        return PlainTextResponse("looked up", 404)

    app = ExceptionMiddleware(raising, {418: teapot, LookupError: lookup})
    async with client(app) as asking:
        assert (await asking.get("/404")).json()["detail"] == "no"
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
        assert (answer.status_code, answer.json()["detail"]) == (500, "Internal Server Error")
    async with client(ServerErrorMiddleware(raising, debug=True), raise_app_exceptions=False) as asking:
        assert "KeyError: 'k'" in (await asking.get("/key")).text
    async with client(ServerErrorMiddleware(raising)) as asking:
        with pytest.raises(KeyError):
            await asking.get("/key")


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
        assert (await asking.post("/", content=b"x" * 101)).status_code == 413
        assert (await asking.post("/", content=pieces())).status_code == 413


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
