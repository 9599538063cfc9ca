"""Response and its plain kinds: constructors, headers, and the messages they send."""

import subprocess
import sys
from typing import Any

import pytest

from genro_asgi.background import BackgroundTask
from genro_asgi.exceptions import HTTPBadRequest, HTTPException, HTTPMethodNotAllowed, Redirect
from genro_asgi.response import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    error_response,
)


@pytest.mark.parametrize(
    ("response", "headers", "body"),
    [
        (Response(), {"content-length": "0"}, b""),
        (
            Response("è", media_type="text/plain"),
            {"content-length": "2", "content-type": "text/plain; charset=utf-8"},
            b"\xc3\xa8",
        ),
        (Response(b"x", media_type="image/png"), {"content-length": "1", "content-type": "image/png"}, b"x"),
        (Response(memoryview(b"xy")), {"content-length": "2"}, b"xy"),
        (Response(12), {"content-length": "2"}, b"12"),
        (
            Response("a", headers={"Content-Length": "1", "Content-Type": "x/y"}),
            {"content-length": "1", "content-type": "x/y"},
            b"a",
        ),
        (Response("a", headers=[("X-A", "1"), ("X-B", "2")]), {"x-a": "1", "x-b": "2", "content-length": "1"}, b"a"),
        (HTMLResponse("<p>"), {"content-length": "3", "content-type": "text/html; charset=utf-8"}, b"<p>"),
        (PlainTextResponse("p"), {"content-length": "1", "content-type": "text/plain; charset=utf-8"}, b"p"),
        (JSONResponse(None), {"content-length": "4", "content-type": "application/json"}, b"null"),
        (JSONResponse({"a": [1]}, media_type="a/b"), {"content-length": "9", "content-type": "a/b"}, b'{"a":[1]}'),
    ],
)
def test_constructors(response: Response, headers: dict[str, str], body: bytes) -> None:
    assert response.status_code == 200
    assert {name.decode(): value.decode() for name, value in response.raw_headers} == headers
    assert response.body == body


def test_a_long_body_says_its_length() -> None:
    assert Response(b"x" * 5000).headers["content-length"] == "5000"


def test_a_subclass_may_have_no_body() -> None:
    class Events(Response):
        def __init__(self) -> None:
            self.status_code = 200
            self.media_type = "text/event-stream"
            self.init_headers({"x-a": "1"})

    assert Events().headers.items() == [("x-a", "1"), ("content-type", "text/event-stream; charset=utf-8")]


def test_a_subclass_may_have_its_own_media_type_and_charset() -> None:
    class Latin(Response):
        media_type = "text/plain"
        charset = "latin-1"

    response = Latin("è€")
    assert response.body == b"\xe8?"
    assert response.headers["content-type"] == "text/plain; charset=latin-1"


@pytest.mark.asyncio
async def test_the_messages(exchange: Any) -> None:
    done = await exchange().run(Response("hello", 201, {"X-A": "1"}))
    assert done.sent == [
        {"type": "http.response.start", "status": 201, "headers": [(b"x-a", b"1"), (b"content-length", b"5")]},
        {"type": "http.response.body", "body": b"hello"},
    ]


@pytest.mark.asyncio
async def test_head_has_the_length_and_no_body(exchange: Any) -> None:
    done = await exchange("HEAD").run(Response("hello"))
    assert done.headers == {"content-length": "5"}
    assert done.body == b""


@pytest.mark.asyncio
async def test_a_handshake_is_answered_in_its_own_messages(exchange: Any) -> None:
    done = await exchange(type="websocket").run(Response("no", 403))
    assert [message["type"] for message in done.sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert done.body == b"no"


@pytest.mark.asyncio
async def test_background_runs_after_the_answer(exchange: Any) -> None:
    seen: list[int] = []
    here = exchange()
    await here.run(Response("x", background=BackgroundTask(lambda: seen.append(len(here.sent)))))
    assert seen == [2]


@pytest.mark.asyncio
async def test_background_may_be_any_async_callable(exchange: Any) -> None:
    seen: list[str] = []

    async def later() -> None:
        seen.append("later")

    await exchange().run(JSONResponse({}, background=later))
    assert seen == ["later"]


def test_headers_can_be_changed() -> None:
    response = Response("x", headers={"x-a": "1", "x-b": "2"})
    response.headers["X-B"] = "3"
    response.headers.append("x-c", "4")
    del response.headers["x-a"]
    assert response.raw_headers == [(b"x-b", b"3"), (b"content-length", b"1"), (b"x-c", b"4")]


def test_set_header_replaces_and_append_header_adds() -> None:
    response = Response()
    response.set_header("X-A", "1")
    response.set_header("x-a", "2")
    response.append_header("X-A", "3")
    response.set_header("Set-Cookie", "a=1")
    response.set_header("set-cookie", "b=2")
    assert response.headers.getlist("x-a") == ["2", "3"]
    assert response.headers.getlist("set-cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x=1", "a\nb", "a\rb", "a\0b", "€"])
def test_values_that_are_no_header_are_refused_everywhere(value: str) -> None:
    response = Response()
    for attempt in (
        lambda: response.set_header("x-a", value),
        lambda: response.append_header("x-a", value),
        lambda: response.headers.__setitem__("x-a", value),
        lambda: Response(headers={"x-a": value}),
        lambda: Response(headers=[("x-a", value)]),
        lambda: Response(media_type=value),
    ):
        with pytest.raises(ValueError, match=r"take it out|not latin-1"):
            attempt()
    assert response.raw_headers == [(b"content-length", b"0")]


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "è", "a\0"])
def test_names_that_are_no_header_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        Response().set_header(name, "1")


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("/a", "/a"),
        ("https://x.it/a?b=c&d=e#f", "https://x.it/a?b=c&d=e#f"),
        ("/I ♥ Starlette/", "/I%20%E2%99%A5%20Starlette/"),
        ("/a%20b", "/a%20b"),
        ("/a\r\nX-Evil: 1", "/a%0D%0AX-Evil:%201"),
    ],
)
def test_redirect(url: str, location: str) -> None:
    response = RedirectResponse(url)
    assert response.status_code == 307
    assert response.headers["location"] == location
    assert response.headers["content-length"] == "0"
    assert RedirectResponse(url, 303, {"x-a": "1"}).headers["x-a"] == "1"


def test_an_error_has_the_one_body() -> None:
    response = error_response(HTTPMethodNotAllowed("No.", headers=[("Allow", "GET")]))
    assert response.status_code == 405
    assert response.headers["allow"] == "GET"
    assert response.headers["content-type"] == "application/problem+json"
    assert response.body == (
        b'{"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"No.","error":"No.",'
        b'"code":"BAD_METHOD","retry":false}'
    )


def test_error_headers_may_be_a_mapping_and_details_are_told() -> None:
    response = error_response(HTTPBadRequest("No.", headers={"X-A": "1"}, details=[1]))
    assert response.headers["x-a"] == "1"
    assert response.body.endswith(b'"details":[1]}')


def test_a_redirect_exception_has_no_body() -> None:
    response = error_response(Redirect("/a"))
    assert (response.status_code, response.headers["location"], response.body) == (302, "/a", b"")


def test_the_text_of_a_5xx_stays_inside() -> None:
    assert b"secret" not in error_response(HTTPException(500, "secret")).body


def test_a_call_of_its_own_makes_a_response_foreign() -> None:
    class Own(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    class Child(Own):
        pass

    class Plain(Response):
        pass

    assert (Own.is_foreign, Child.is_foreign, Plain.is_foreign, JSONResponse.is_foreign) == (True, True, False, False)


def test_the_responses_pull_no_third_party_module() -> None:
    code = (
        "import sys; import genro_asgi.response\n"
        "names = {name.partition('.')[0] for name in sys.modules if getattr(sys.modules[name], '__file__', None)}\n"
        "print(sorted(names - set(sys.stdlib_module_names)))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, timeout=30, capture_output=True, text=True).stdout
    allowed = {"genro_asgi", "orjson"}
    # What site brings in by itself (.pth files, editable installs) is none of ours.
    at_start = subprocess.run(
        [sys.executable, "-c", "import sys; print({name.partition('.')[0] for name in sys.modules})"],
        check=True,
        timeout=30,
        capture_output=True,
        text=True,
    ).stdout
    assert set(eval(output)) - eval(at_start) <= allowed
