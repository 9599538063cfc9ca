"""Request: the raw view of Starlette, and where it keeps more than Starlette does."""

import asyncio
import gzip
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from genro_asgi.datastructures import URL, Address, FormData
from genro_asgi.exceptions import ClientDisconnect, HTTPContentTooLarge
from genro_asgi.limits import Limits
from genro_asgi.request import HTTPConnection, Request


@pytest.fixture
def make(exchange: Any) -> Any:
    """Makes a request out of what an exchange takes."""

    def make(*args: Any, **options: Any) -> Request:
        here = exchange(*args, **options)
        request = Request(here.scope, here.receive, here.send)
        request.here = here  # type: ignore[attr-defined]
        return request

    return make


@pytest.mark.parametrize("error", [ValueError, AssertionError])
def test_only_the_right_scopes(error: type[Exception]) -> None:
    with pytest.raises(error, match="Request wants a scope of type http, not 'websocket'"):
        Request({"type": "websocket"})
    with pytest.raises(error, match="HTTPConnection wants a scope of type http or websocket, not 'lifespan'"):
        HTTPConnection({"type": "lifespan"})


def test_a_view_is_a_mapping_over_the_scope(make: Any) -> None:
    request = make()
    assert request["method"] == "GET"
    assert dict(request) == request.scope
    assert len(request) == len(request.scope)
    assert request == request
    assert request != Request(request.scope)
    assert len({request, Request(request.scope)}) == 2


def test_the_parts_of_a_request(make: Any) -> None:
    request = make(
        "PATCH",
        "/base/a b",
        headers=[("host", "x.it:8000"), ("cookie", "a=1"), ("cookie", "b=2")],
        query=b"q=1",
        root_path="/base",
        path_params={"id": 1},
        app="the app",
        session={"s": 1},
        user="me",
        auth="auth",
    )
    assert request.method == "PATCH"
    assert str(request.url).startswith("http://x.it:8000/")
    assert str(request.base_url) == "http://x.it:8000/base/"
    below = make("GET", "/base/", headers=[("host", "x.it")], root_path="/base", raw_path=b"/base/base/")
    assert (str(below.url), str(below.base_url)) == ("http://x.it/base/base/", "http://x.it/base/")
    assert request.headers["HOST"] == "x.it:8000"
    assert request.query_params["q"] == "1"
    assert request.path_params == {"id": 1}
    assert request.cookies == {"a": "1", "b": "2"}
    assert request.client == Address("127.0.0.1", 4321)
    assert (request.app, request.session, request.user, request.auth) == ("the app", {"s": 1}, "me", "auth")
    assert request.headers is request.headers
    request.state.x = 1
    assert request.state.x == 1
    assert request.scope["state"] == {"x": 1}
    assert request.receive == request.here.receive


def test_a_poor_scope() -> None:
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": []})
    assert (request.client, request.cookies, dict(request.query_params), request.path_params) == (None, {}, {}, {})
    assert isinstance(request.base_url, URL)
    for name, who in (("session", "SessionMiddleware"), ("user", "Auth"), ("auth", "AuthenticationMiddleware")):
        with pytest.raises(AssertionError, match=f"{who}.* must be installed to access request.{name}"):
            getattr(request, name)


@pytest.mark.asyncio
async def test_without_channels_there_is_nothing_to_read_or_say() -> None:
    scope = {"type": "http", "headers": [], "extensions": {"http.response.early_hint": {}}}
    with pytest.raises(RuntimeError, match="Receive channel has not been made available; pass receive to Request"):
        await Request(scope).body()
    with pytest.raises(RuntimeError, match="Send channel has not been made available; pass send to Request"):
        await Request(scope).send_early_hints("</a.css>")


# The body


@pytest.mark.asyncio
async def test_body_json_and_stream_in_any_order(make: Any) -> None:
    for first, second in (("body", "json"), ("json", "stream"), ("stream", "body"), ("stream", "stream")):
        request = make("POST", body=[b'{"a"', b":1}"])
        for name in (first, second, first):
            if name == "stream":
                assert b"".join([chunk async for chunk in request.stream()]) == b'{"a":1}'
            elif name == "body":
                assert await request.body() == b'{"a":1}'
            else:
                assert await request.json() == {"a": 1}


@pytest.mark.asyncio
async def test_a_stream_ends_with_an_empty_chunk(make: Any) -> None:
    request = make("POST", body=[b"a", b"", b"b"])
    assert [chunk async for chunk in request.stream()] == [b"a", b"b", b""]
    assert [chunk async for chunk in request.stream()] == [b"ab", b""]
    assert [chunk async for chunk in make().stream()] == [b""]


@pytest.mark.asyncio
async def test_a_stream_left_half_way_is_begun_again(make: Any) -> None:
    request = make("POST", body=[b"a", b"b", b"c"])
    async with aclosing(request.stream()) as chunks:
        assert await anext(chunks) == b"a"
    async with aclosing(request.stream()) as chunks:
        assert [await anext(chunks), await anext(chunks)] == [b"a", b"b"]
    assert await request.body() == b"abc"


@pytest.mark.asyncio
async def test_of_a_long_stream_nothing_is_kept(make: Any) -> None:
    request = make("POST", body=[b"abc", b"def"])
    request.limits = Limits(upload_memory=4)
    assert b"".join([chunk async for chunk in request.stream()]) == b"abcdef"
    for again in (request.body(), request.json(), anext(request.stream())):
        with pytest.raises(RuntimeError, match="Stream consumed"):
            await again
    # One that was asked for as a whole is kept, however long.
    request = make("POST", body=[b"abc", b"def"])
    request.limits = Limits(upload_memory=4)
    assert await request.body() == await request.body() == b"abcdef"


@pytest.mark.asyncio
async def test_json_is_read_once_and_told_apart(make: Any) -> None:
    request = make("POST", body=b"[1]")
    assert await request.json() is await request.json()
    with pytest.raises(json.JSONDecodeError):
        await make("POST", body=b"{").json()
    request = make("POST", body=b"[[1]]")
    request.limits = Limits(json_depth=1)
    with pytest.raises(ValueError, match="not valid JSON"):
        await request.json()


@pytest.mark.asyncio
async def test_a_limit_where_one_is_set(make: Any) -> None:
    request = make("POST", body=[b"abc", b"def"])
    assert request.max_body is None
    request.max_body = 4
    with pytest.raises(HTTPContentTooLarge, match="larger than 4 bytes"):
        await request.body()
    with pytest.raises(RuntimeError, match="Stream consumed"):
        await request.body()


@pytest.mark.asyncio
async def test_a_cut_body_is_never_handed_over(make: Any) -> None:
    messages = [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"}]
    request = make("POST", messages=messages)
    with pytest.raises(ClientDisconnect):
        await request.body()
    assert await request.is_disconnected()


# Disconnects


@pytest.mark.asyncio
async def test_asking_for_the_client_does_not_wait_and_loses_nothing(make: Any) -> None:
    request = make("POST", body=[b"a", b"b"])
    for _ in range(5):
        assert await request.is_disconnected() is False
    assert await request.body() == b"ab"
    assert await request.is_disconnected() is False
    request.here.leave()
    assert await request.is_disconnected() is True
    receives = request.here.receives
    assert await request.is_disconnected() is True
    assert request.here.receives == receives


@pytest.mark.asyncio
async def test_a_chunk_that_comes_while_the_question_is_withdrawn_is_kept() -> None:
    # A server that answers although its receive was cancelled: the message must not be lost.
    messages = [{"type": "http.request", "body": b"late", "more_body": False}]

    async def receive() -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return messages.pop(0)
        raise AssertionError

    request = Request({"type": "http", "headers": []}, receive)
    assert await request.is_disconnected() is False
    assert await request.body() == b"late"


@pytest.mark.asyncio
async def test_a_disconnect_that_was_seen_ends_the_body(make: Any) -> None:
    request = make("POST", messages=[{"type": "http.disconnect"}])
    assert await request.is_disconnected() is True
    with pytest.raises(ClientDisconnect):
        await request.body()


# What some servers can


@pytest.mark.parametrize("extensions", [{}, None, {"http.response.push": {}, "http.response.early_hint": {}}])
@pytest.mark.asyncio
async def test_push_and_early_hints_where_offered(extensions: Any, make: Any) -> None:
    headers = [("accept", "a/b"), ("user-agent", "x"), ("x-a", "1")]
    request = make(headers=headers, extensions=extensions)
    await request.send_push_promise("/style.css")
    await request.send_early_hints("</a.css>; rel=preload", "</b.js>")
    assert request.here.sent == (
        [
            {
                "type": "http.response.push",
                "path": "/style.css",
                "headers": [(b"accept", b"a/b"), (b"user-agent", b"x")],
            },
            {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>"]},
        ]
        if extensions
        else []
    )


# Forms that need no library

FORM = [("content-type", "application/x-www-form-urlencoded")]


@pytest.mark.asyncio
async def test_a_urlencoded_form(make: Any) -> None:
    request = make("POST", headers=FORM, body=[b"a=1&b=", b"x%20y&a=%C3%A8&&c"])
    form = await request.form()
    assert form == FormData([("a", "1"), ("b", "x y"), ("a", "è"), ("c", "")])
    assert await request.form() is form
    assert await request.body() == b"a=1&b=x%20y&a=%C3%A8&&c"
    assert b"".join([chunk async for chunk in request.stream()]) == await request.body()
    await request.close()


@pytest.mark.parametrize("first", ["body", "stream", "form"])
@pytest.mark.asyncio
async def test_a_form_and_the_body_in_any_order(first: str, make: Any) -> None:
    request = make("POST", headers=FORM, body=[b"a=1", b"&b=2"])
    if first == "body":
        await request.body()
    elif first == "stream":
        async with aclosing(request.stream()) as chunks:
            await anext(chunks)
    async with request.form() as form:
        assert dict(form) == {"a": "1", "b": "2"}
    assert await request.body() == b"a=1&b=2"
    if first != "stream":
        await request.form()
    assert dict(await request.form()) == {"a": "1", "b": "2"}


@pytest.mark.asyncio
async def test_another_body_is_an_empty_form_and_stays_readable(make: Any) -> None:
    request = make("POST", headers=[("content-type", "application/json")], body=b"{}")
    assert await request.form() == FormData()
    assert await request.json() == {}
    assert await make("POST", body=b"a=1").form() == FormData()


@pytest.mark.parametrize(
    ("options", "body", "text"),
    [
        ({"max_fields": 2}, b"a=1&b=2&c=3", "Too many fields. Maximum number of fields is 2."),
        ({"max_part_size": 4}, b"a=1&b=45", None),
        ({"max_part_size": 4}, b"a=1&b=456", "Field exceeded maximum size of 4 bytes."),
        ({"max_part_size": 4}, b"bcdef", "Field exceeded maximum size of 4 bytes."),
        ({"max_files": 0, "max_fields": float("inf")}, b"a&b", None),
    ],
)
@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.asyncio
async def test_limits_of_a_urlencoded_form(options: Any, body: bytes, text: str | None, size: int, make: Any) -> None:
    request = make("POST", headers=FORM, body=[body[at : at + size] for at in range(0, len(body), size)])
    if text is None:
        await request.form(**options)
        return
    with pytest.raises(HTTPContentTooLarge) as caught:
        await request.form(**options)
    assert caught.value.detail == text
    with pytest.raises(RuntimeError, match="Stream consumed"):
        await request.body()


@pytest.mark.asyncio
async def test_a_form_over_a_limit_leaves_a_body_that_was_read(make: Any) -> None:
    request = make("POST", headers=FORM, body=b"a=1&b=2")
    await request.body()
    with pytest.raises(HTTPContentTooLarge):
        await request.form(max_fields=1)
    assert await request.body() == b"a=1&b=2"
    await request.close()


@pytest.mark.asyncio
async def test_a_form_that_is_cut(make: Any) -> None:
    messages = [{"type": "http.request", "body": b"a=1", "more_body": True}, {"type": "http.disconnect"}]
    with pytest.raises(ClientDisconnect):
        await make("POST", headers=FORM, messages=messages).form()


class GzipBody(Request):
    """As the documentation of FastAPI has it."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = gzip.decompress(await super().body())
        return self._body


class GzipStream(Request):
    async def stream(self) -> AsyncGenerator[bytes, None]:
        yield gzip.decompress(b"".join([chunk async for chunk in super().stream()]))


@pytest.mark.parametrize("kind", [GzipBody, GzipStream])
@pytest.mark.asyncio
async def test_a_subclass_may_undo_a_compression(kind: type[Request], exchange: Any) -> None:
    body = gzip.compress(b'{"a": 1}')
    here = exchange("POST", body=[body[:9], body[9:]])
    request = kind(here.scope, here.receive)
    assert (await request.json(), await request.body()) == ({"a": 1}, b'{"a": 1}')


@pytest.mark.asyncio
async def test_a_form_is_read_through_the_stream_of_a_subclass(exchange: Any) -> None:
    here = exchange("POST", headers=FORM, body=[gzip.compress(b"a=1&b=2")])
    assert dict(await GzipStream(here.scope, here.receive).form()) == {"a": "1", "b": "2"}
