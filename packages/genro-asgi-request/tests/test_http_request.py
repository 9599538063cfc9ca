"""HttpRequest: what a handler can ask about an HTTP exchange."""

import asyncio
import json
import time
import uuid
from decimal import Decimal
from typing import Any

import pytest

from genro_asgi.body import read_body, stream_body, undecodable
from genro_asgi.datastructures import URL, Address, Headers, QueryParams
from genro_asgi.exceptions import ClientDisconnect, HTTPBadRequest, HTTPContentTooLarge, HTTPException
from genro_asgi.limits import Limits
from genro_asgi.request import HttpRequest, Request, get_current_request, route_path, set_current_request


@pytest.fixture
def make(exchange: Any) -> Any:
    """Makes an initialised request out of what an exchange takes."""

    async def make(*args: Any, defer_body: bool = False, limits: Limits | None = None, **options: Any) -> HttpRequest:
        here = exchange(*args, **options)
        request = HttpRequest()
        if limits is not None:
            request.limits = limits
        await request.init(here.scope, here.receive, here.send, defer_body=defer_body)
        return request

    return make


@pytest.mark.asyncio
async def test_the_table_of_properties(make: Any) -> None:
    request = await make(
        "post",
        "/users/42",
        headers=[("Host", "x.it"), ("Content-Type", "application/json"), ("Cookie", "a=1"), ("Cookie", "b=2; a=3")],
        query=b"q=1&q=2&r=a%20b",
        body=b'{"x":1}',
    )
    assert request.method == "POST"
    assert request.path == "/users/42"
    assert request.headers == {"host": "x.it", "content-type": "application/json", "cookie": "b=2; a=3"}
    assert request.cookies == {"a": "3", "b": "2"}
    assert request.query == {"q": ["1", "2"], "r": "a b"}
    assert request.query_values() == {"q": "2", "r": "a b"}
    assert request.data == {"x": 1}
    assert request.transport == "http"
    assert request.body == b'{"x":1}'
    assert request.scheme == "http"
    assert request.url == URL("http://x.it/users/42?q=1&q=2&r=a%20b")
    assert isinstance(request.headers_obj, Headers)
    assert request.headers_obj.getlist("COOKIE") == ["a=1", "b=2; a=3"]
    assert isinstance(request.query_params, QueryParams)
    assert request.query_params.getlist("q") == ["1", "2"]
    assert request.client == Address("127.0.0.1", 4321)
    assert request.content_type == "application/json"
    assert request.scope["type"] == "http"
    assert repr(request) == f"<HttpRequest id={request.id!r} method=POST path='/users/42' transport=http>"
    request.state.user = 1
    assert request.state.user == 1


@pytest.mark.asyncio
async def test_a_poor_request(make: Any) -> None:
    request = await make(client=None)
    assert request.client is None
    assert request.content_type is None
    assert (request.headers, request.cookies, request.query, request.query_values()) == ({}, {}, {}, {})
    assert (request.data, request.body) == (None, b"")
    del request.scope["method"]
    assert request.method == "GET"


@pytest.mark.asyncio
async def test_what_is_read_once_is_kept(make: Any) -> None:
    request = await make(headers=[("cookie", "a=1")], query=b"a=1")
    assert request.headers is request.headers
    assert request.cookies is request.cookies
    assert request.query is request.query
    assert request.header_map is request.header_map
    assert request.id is request.id
    assert request.response is request.response
    assert request.request is request.request


@pytest.mark.parametrize(
    ("asked", "kept"),
    [("abc-1", True), ("a" * 128, True), ("a b", True), ("a" * 129, False), ("", False), ("è", False), ("a\tb", False)],
)
@pytest.mark.asyncio
async def test_a_request_id_of_the_client_is_kept_when_it_is_fit(asked: str, kept: bool, make: Any) -> None:
    request = await make(headers=[("x-request-id", asked)])
    if kept:
        assert request.id == asked
    else:
        assert uuid.UUID(request.id).version == 4
        assert request.id != asked


@pytest.mark.asyncio
async def test_ids_are_different_and_the_external_one_is_the_clients(make: Any) -> None:
    first, second = await make(), await make(headers=[("x-external-id", "mine")])
    assert first.id != second.id
    assert (first.external_id, second.external_id) == (None, "mine")
    second.external_id = "other"
    assert second.external_id == "other"


@pytest.mark.parametrize(
    ("path", "root", "below"),
    [
        ("/api/x", "/api", "/x"),
        ("/api", "/api", "/"),
        ("/api/", "/api/", "/"),
        ("/apix", "/api", "/apix"),
        ("/x", "", "/x"),
        ("/x", "/", "/x"),
    ],
)
@pytest.mark.asyncio
async def test_the_path_is_below_the_mount(path: str, root: str, below: str, make: Any) -> None:
    request = await make(path=path, root_path=root)
    assert request.path == request.path == below
    assert route_path({"path": path}) == path


def test_a_path_that_was_cut_by_the_mount_is_not_cut_again() -> None:
    assert route_path({"path": "/api/x", "root_path": "/api", "raw_path": b"/api/api/x"}) == "/api/x"
    assert route_path({"path": "/api/x", "root_path": "/api", "raw_path": b"/api/x"}) == "/x"
    assert route_path({"path": "/api/è", "root_path": "/api", "raw_path": b"/api/api/%C3%A8"}) == "/api/è"
    assert route_path({"path": "/api/è", "root_path": "/api", "raw_path": b"/api/%c3%a8"}) == "/è"
    assert route_path({"path": "/api/x", "root_path": "/api", "raw_path": None}) == "/x"


# Bodies


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        ("application/json", b'{"a":[1]}', {"a": [1]}),
        ("application/json; charset=utf-8", b"[1]", [1]),
        ("Application/JSON", b"1", 1),
        ("application/problem+json", b'"x"', "x"),
        ("application/x-www-form-urlencoded", b"a=1&b=a+b%21&a=2", {"a": ["1", "2"], "b": "a b!"}),
        ("text/plain", "è".encode(), "è"),
        ("text/plain; charset=iso-8859-1", b"\xe8", "è"),
        ("text/plain", b"\xff", "�"),
        ("application/octet-stream", b"\x00", b"\x00"),
        ("multipart/mixed; boundary=x", b"--x--", b"--x--"),
        ("", b'{"a":1}', {"a": 1}),
        ("", b"\x00\x01", b"\x00\x01"),
        ("application/json", b"", None),
    ],
)
@pytest.mark.asyncio
async def test_bodies_by_their_type(content_type: str, body: bytes, data: Any, make: Any) -> None:
    headers = [("content-type", content_type)] if content_type else []
    request = await make("POST", headers=headers, body=body)
    assert request.data == data
    assert request.body == body
    # The same when nobody asked in time.
    request = await make("POST", headers=headers, body=body, defer_body=True)
    await request.load_body()
    assert request.data == data


@pytest.mark.parametrize(
    ("content_type", "body", "status", "detail"),
    [
        ("application/json", b"{", 400, "The request body is not valid JSON."),
        ("application/json", b"\xff", 400, "The request body is not valid JSON."),
        ("application/json", b"[" * 100_000, 400, "The request body is not valid JSON."),
        ("application/json", b"1" * 30, 400, "The request body is not valid JSON."),
        ("application/json", b"NaN", 400, "The request body is not valid JSON."),
        ("application/json; x=y", b"{", 400, "The request body is not valid JSON."),
        ("application/vnd.tytx+json", b"{", 400, "The request body is not a valid TYTX json document."),
        (
            "application/vnd.tytx+json",
            b'{"d":"12::D"}',
            400,
            "The request body is not a valid TYTX json document at /d.",
        ),
        ("application/vnd.tytx+json", b"\xff", 400, "The request body is not a valid TYTX json document."),
        ("application/vnd.tytx+xml", b"<a>", 400, "The request body is not a valid TYTX xml document."),
        ("application/vnd.tytx+yaml", b"a", 400, "X-TYTX-Transport must be json, msgpack or xml."),
        ("text/plain; charset=zip", b"x", 415, "The charset of the body is not supported; use UTF-8."),
        ("text/plain; charset=unicode_escape", b"x", 415, "The charset of the body is not supported; use UTF-8."),
    ],
)
@pytest.mark.asyncio
async def test_bodies_that_are_refused(content_type: str, body: bytes, status: int, detail: str, make: Any) -> None:
    with pytest.raises(HTTPException) as caught:
        await make("POST", headers=[("content-type", content_type)], body=body)
    assert (caught.value.status_code, caught.value.detail) == (status, detail)


@pytest.mark.asyncio
async def test_malformed_json_is_what_parsers_raise_too(make: Any) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        await make("POST", headers=[("content-type", "application/json")], body=b"[1,")
    assert isinstance(caught.value, HTTPBadRequest)
    assert (caught.value.doc, caught.value.lineno) == ("", 1)
    assert str(caught.value) == "400: The request body is not valid JSON."


@pytest.mark.parametrize("content_type", ["application/json", "application/json;a=b", "", "application/vnd.tytx+json"])
@pytest.mark.asyncio
async def test_json_has_the_depth_of_the_limits(content_type: str, make: Any) -> None:
    headers = [("content-type", content_type)] if content_type else []
    assert (await make("POST", headers=headers, body=b"[[1]]", limits=Limits(json_depth=2))).data == [[1]]
    if content_type:
        with pytest.raises(HTTPBadRequest):
            await make("POST", headers=headers, body=b"[[[1]]]", limits=Limits(json_depth=2))
    else:
        assert (await make("POST", body=b"[[[1]]]", limits=Limits(json_depth=2))).data == b"[[[1]]]"


@pytest.mark.parametrize(
    ("messages", "body"),
    [
        ([{"type": "http.request"}], b""),
        ([{"type": "http.request", "body": b""}], b""),
        ([{"type": "http.request", "body": None}], b""),
        ([{"type": "http.request", "body": b"a"}], b"a"),
        ([{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.request"}], b"a"),
        (
            [
                {"type": "http.request", "more_body": True},
                {"type": "http.request", "body": b"a", "more_body": True},
                {"type": "http.request", "body": b"", "more_body": True},
                {"type": "http.request", "body": b"b", "more_body": False},
            ],
            b"ab",
        ),
    ],
)
@pytest.mark.asyncio
async def test_chunks_may_be_empty_and_keys_may_miss(messages: Any, body: bytes, make: Any) -> None:
    assert (await make("POST", messages=messages)).body == body
    request = await make("POST", messages=messages, defer_body=True)
    assert b"".join([chunk async for chunk in request.stream()]) == body


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.disconnect"}],
        [{"type": "http.request", "body": b'{"a":1}', "more_body": True}, {"type": "http.disconnect"}],
    ],
)
@pytest.mark.asyncio
async def test_a_cut_body_is_never_handed_over(messages: Any, make: Any) -> None:
    request = await make("POST", messages=messages, defer_body=True)
    with pytest.raises(ClientDisconnect, match="The client left before its request body was complete"):
        await request.load_body()
    assert (request.body, request.body_read) == (b"", False)
    request = await make("POST", messages=messages, defer_body=True)
    with pytest.raises(ClientDisconnect):
        [chunk async for chunk in request.stream()]


@pytest.mark.parametrize("chunks", [[b"12345"], [b"123", b"45"], [b"1"] * 5])
@pytest.mark.asyncio
async def test_a_body_over_the_limit_is_not_read_to_its_end(chunks: list[bytes], make: Any, exchange: Any) -> None:
    here = exchange("POST", body=[*chunks, b"never", b"read"])
    request = HttpRequest()
    await request.init(here.scope, here.receive, here.send, defer_body=True)
    with pytest.raises(HTTPContentTooLarge) as caught:
        await request.load_body(4)
    assert caught.value.detail == "The request body is larger than 4 bytes."
    assert here.incoming
    assert (await make("POST", body=b"1234", limits=Limits(max_body=4))).body == b"1234"
    with pytest.raises(HTTPContentTooLarge):
        await make("POST", body=b"12345", limits=Limits(max_body=4))


@pytest.mark.parametrize(
    ("length", "status"), [("5", 413), ("x", 400), ("-1", 400), ("", 400), ("1" * 19, 400), ("4", None)]
)
@pytest.mark.asyncio
async def test_the_length_is_believed_when_it_is_too_much(length: str, status: int | None, exchange: Any) -> None:
    for read in (HttpRequest.load_body, lambda request, limit: anext(request.stream(limit))):
        here = exchange("POST", headers=[("content-length", length)], body=b"1234")
        request = HttpRequest()
        await request.init(here.scope, here.receive, here.send, defer_body=True)
        if status is None:
            await read(request, 4)
            continue
        with pytest.raises(HTTPException) as caught:
            await read(request, 4)
        assert caught.value.status_code == status
        assert here.receives == 0


@pytest.mark.asyncio
async def test_a_body_is_read_once(make: Any) -> None:
    request = await make("POST", body=b"a", defer_body=True)
    assert (request.body_read, request.phase) == (False, "handler")
    await request.load_body()
    await request.load_body()
    assert (request.body, request.body_read, request.phase) == (b"a", True, "handler")
    assert [chunk async for chunk in request.stream()] == [b"a"]
    empty = await make("POST", body=b"")
    assert [chunk async for chunk in empty.stream()] == []
    await HttpRequest().load_body()  # one without a channel has no body


@pytest.mark.asyncio
async def test_a_streamed_body_is_not_kept(make: Any) -> None:
    request = await make("POST", body=[b"a", b"b"], defer_body=True)
    assert [chunk async for chunk in request.stream()] == [b"a", b"b"]
    assert (request.body, request.body_read, request.chunks) == (b"", True, 2)


@pytest.mark.asyncio
async def test_while_a_stream_waits_for_the_client_the_time_is_the_clients(exchange: Any) -> None:
    phases: list[str] = []
    here = exchange("POST", body=[b"a", b"b"])
    request = HttpRequest()

    async def receive() -> dict[str, Any]:
        phases.append(request.phase)
        message: dict[str, Any] = await here.receive()
        return message

    await request.init(here.scope, receive, defer_body=True)
    async for _ in request.stream():
        phases.append(request.phase)
        if len(phases) == 2:
            request.phase = "sending"
    assert phases == ["body", "handler", "sending", "sending"]
    assert request.phase == "sending"


@pytest.mark.asyncio
async def test_a_body_that_came_while_nobody_was_reading(make: Any) -> None:
    request = await make("POST", defer_body=True)
    request.keep({"type": "http.request", "body": b"a", "more_body": True})
    assert (request.body, request.body_read) == (b"a", False)
    request.keep({"type": "http.request"})
    assert (request.body, request.body_read) == (b"a", True)
    assert request.data == b"a"


@pytest.mark.asyncio
async def test_a_second_reader_beside_the_watcher(make: Any) -> None:
    gone = asyncio.Event()
    request = await make("POST", body=b"a")
    request.watcher = asyncio.ensure_future(gone.wait())
    view = request.request
    assert await view.receive() == {"type": "http.request", "body": b"a", "more_body": False}
    gone.set()
    assert await view.receive() == {"type": "http.disconnect"}


@pytest.mark.asyncio
async def test_the_limit_of_a_stream(make: Any) -> None:
    request = await make("POST", body=[b"123", b"45"], defer_body=True)
    request.max_body = 4
    with pytest.raises(HTTPContentTooLarge):
        [chunk async for chunk in request.stream()]
    request = await make("POST", body=[b"123", b"45"], defer_body=True)
    assert [chunk async for chunk in request.stream(5)] == [b"123", b"45"]


@pytest.mark.asyncio
async def test_pieces_are_counted_while_a_body_is_read(make: Any) -> None:
    request = await make("POST", body=[b"a", b"b", b"c"])
    assert request.chunks == 3
    request = await make("POST", body=b"", defer_body=True)
    assert await request.read_rest({"type": "http.request", "body": b"x"}) == b"x"


@pytest.mark.parametrize(
    ("method", "headers", "may"),
    [
        ("GET", [], False),
        ("POST", [], True),
        ("DELETE", [], True),
        ("GET", [("content-length", "1")], True),
        ("POST", [("content-length", "0")], False),
        ("GET", [("transfer-encoding", "chunked")], True),
    ],
)
@pytest.mark.asyncio
async def test_whether_a_body_may_follow(method: str, headers: Any, may: bool, make: Any) -> None:
    assert (await make(method, headers=headers, defer_body=True)).may_have_body() is may


@pytest.mark.asyncio
async def test_the_view_of_starlette_shares_the_body(make: Any) -> None:
    request = await make("POST", body=b'{"a":1}', headers=[("content-type", "application/json")])
    view = request.request
    assert isinstance(view, Request)
    assert await view.json() == {"a": 1}
    assert await view.body() == b'{"a":1}'
    assert await view.is_disconnected() is False
    streamed = await make("POST", body=[b"a", b"b"], defer_body=True, limits=Limits(max_body=1))
    with pytest.raises(HTTPContentTooLarge):
        await streamed.request.body()


@pytest.mark.asyncio
async def test_readers_that_count_nothing(exchange: Any) -> None:
    here = exchange(body=[b"a", b"b"])
    assert await read_body(here.receive) == b"ab"
    here = exchange(body=[b"a", b"b"])
    assert [chunk async for chunk in stream_body(here.receive)] == [b"a", b"b"]


@pytest.mark.asyncio
async def test_names_that_come_again_hold_all_their_values(make: Any) -> None:
    assert (await make(query=b"a=1&a=2&b=3&a=4")).query == {"a": ["1", "2", "4"], "b": "3"}


@pytest.mark.parametrize(
    ("limits", "body", "text"),
    [
        (Limits(form_fields=2), b"a=1&b=2", None),
        (Limits(form_fields=2), b"a=1&b=2&c=3", "Too many fields. Maximum number of fields is 2."),
        (Limits(field_bytes=4), b"a=12&b=3", None),
        (Limits(field_bytes=4), b"a=123&b=3", "Field exceeded maximum size of 4 bytes."),
    ],
)
@pytest.mark.asyncio
async def test_limits_of_urlencoded_bodies(limits: Limits, body: bytes, text: str | None, make: Any) -> None:
    headers = [("content-type", "application/x-www-form-urlencoded")]
    if text is None:
        assert len((await make("POST", headers=headers, body=body, limits=limits)).data) == 2
        return
    with pytest.raises(HTTPContentTooLarge) as caught:
        await make("POST", headers=headers, body=body, limits=limits)
    assert caught.value.detail == text


@pytest.mark.parametrize(
    ("content_type", "named"), [("a/b; c=d", "a/b"), ("", "no media type"), ("x" * 200, "x" * 100)]
)
def test_what_nobody_can_decode_is_named(content_type: str, named: str) -> None:
    error = undecodable(content_type)
    assert error.status_code == 415
    assert error.detail == f"A body of {named} cannot be decoded here; send JSON or a form."


# TYTX


@pytest.mark.parametrize(
    ("headers", "transport"),
    [
        ([], None),
        ([("x-tytx-transport", "json")], "json"),
        ([("x-tytx-transport", " MsgPack ")], "msgpack"),
        ([("x-tytx-transport", "")], "json"),
        ([("content-type", "application/vnd.tytx+json; charset=utf-8")], "json"),
        ([("content-type", "Application/VND.tytx+XML")], "xml"),
        ([("content-type", "text/plain; x=application/vnd.tytx+json")], None),
        ([("content-type", "application/json"), ("x-tytx-transport", "xml")], "xml"),
    ],
)
@pytest.mark.asyncio
async def test_tytx_is_asked_for(headers: Any, transport: str | None, make: Any) -> None:
    request = await make(headers=headers)
    assert request.tytx_transport == transport
    assert request.tytx_mode is (transport is not None)


@pytest.mark.asyncio
async def test_tytx_mode_can_be_set(make: Any) -> None:
    request = await make()
    request.tytx_mode = True
    assert request.tytx_transport == "json"
    request.tytx_transport = "xml"
    request.tytx_mode = True
    assert request.tytx_transport == "xml"
    request.tytx_mode = False
    assert request.tytx_transport is None


@pytest.mark.asyncio
async def test_an_unknown_transport_is_refused(make: Any) -> None:
    with pytest.raises(HTTPBadRequest) as caught:
        (await make(headers=[("x-tytx-transport", "yaml")])).tytx_mode  # noqa: B018
    assert caught.value.detail == "X-TYTX-Transport must be json, msgpack or xml."


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([("content-type", "application/vnd.tytx+json")], b'"{"p":"9.90::N","s":"a"}::JS"'),
        ([("content-type", "application/json"), ("x-tytx-transport", "json")], b'{"p":"9.90::N","s":"a"}::JS'),
        ([("x-tytx-transport", "json")], b'{"p":"9.90::N","s":"a"}'),
        (
            [("content-type", "application/xml"), ("x-tytx-transport", "xml")],
            b'<?xml version="1.0" ?><tytx_root>{"p":"9.90::N","s":"a"}::JS</tytx_root>',
        ),
    ],
)
@pytest.mark.asyncio
async def test_typed_bodies(headers: Any, body: bytes, make: Any) -> None:
    assert (await make("POST", headers=headers, body=body)).data == {"p": Decimal("9.90"), "s": "a"}


@pytest.mark.asyncio
async def test_plain_requests_are_never_typed(make: Any) -> None:
    headers = [("content-type", "application/json"), ("x-a", "1::N"), ("cookie", "c=1::N")]
    request = await make("POST", headers=headers, query=b"q=1::N&d=zz::D", body=b'{"p":"9.90::N"}')
    assert request.data == {"p": "9.90::N"}
    assert request.query == {"q": "1::N", "d": "zz::D"}
    assert (request.headers["x-a"], request.cookies["c"]) == ("1::N", "1::N")


@pytest.mark.asyncio
async def test_typed_queries(make: Any) -> None:
    request = await make(headers=[("x-tytx-transport", "json")], query=b"p=9.90%3A%3AN&p=1::N&s=a")
    assert request.query == {"p": [Decimal("9.90"), Decimal(1)], "s": "a"}
    assert request.query_values() == {"p": Decimal(1), "s": "a"}
    assert (await make(headers=[("x-tytx-transport", "json")])).query == {}
    request = await make(headers=[("x-tytx-transport", "json")], query=b"d=12::D")
    with pytest.raises(HTTPBadRequest) as caught:
        request.query  # noqa: B018
    assert caught.value.detail == "The query holds a malformed TYTX value at /d."


@pytest.mark.asyncio
async def test_forms_and_texts_in_tytx_mode(make: Any) -> None:
    headers = [("x-tytx-transport", "json"), ("content-type", "application/x-www-form-urlencoded")]
    assert (await make("POST", headers=headers, body=b"a=1::N")).data == {"a": "1::N"}
    headers = [("x-tytx-transport", "json"), ("content-type", "text/plain")]
    assert (await make("POST", headers=headers, body=b'"1::N"')).data == Decimal(1)
    headers = [("x-tytx-transport", "json"), ("content-type", "text/csv")]
    assert (await make("POST", headers=headers, body=b"1::N")).data == "1::N"


@pytest.mark.asyncio
async def test_msgpack_bodies(make: Any) -> None:
    pytest.importorskip("msgpack")
    body = bytes.fromhex("81a170d601392e3930")
    for headers in (
        [("content-type", "application/vnd.tytx+msgpack")],
        [("content-type", "application/msgpack")],
        [("content-type", "application/x-msgpack"), ("x-tytx-transport", "msgpack")],
    ):
        assert (await make("POST", headers=headers, body=body)).data == {"p": Decimal("9.90")}
    with pytest.raises(HTTPBadRequest) as caught:
        await make("POST", headers=[("content-type", "application/msgpack")], body=b"\xc1")
    assert caught.value.detail == "The request body is not a valid TYTX msgpack document."


@pytest.mark.asyncio
async def test_msgpack_where_it_is_not_installed(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "msgpack", None)
    with pytest.raises(HTTPException) as caught:
        await make("POST", headers=[("content-type", "application/msgpack")], body=b"\x80")
    assert caught.value.status_code == 415


@pytest.mark.parametrize(
    ("transport", "result", "content_type", "body"),
    [
        ("json", {"n": 1}, "application/vnd.tytx+json", b'"{"n":1}"'),
        ("json", {"p": Decimal("9.90")}, "application/vnd.tytx+json", b'"{"p":"9.90::N"}::JS"'),
        ("json", [Decimal(1)], "application/vnd.tytx+json", b'"["1::N"]::JS"'),
        (
            "xml",
            {"p": Decimal("9.90")},
            "application/vnd.tytx+xml",
            b'<?xml version="1.0" ?><tytx_root>{"p":"9.90::N"}::JS</tytx_root>',
        ),
        ("json", Decimal("9.90"), "text/plain; charset=utf-8", b"9.90"),
        ("json", "x", "text/plain; charset=utf-8", b"x"),
    ],
)
@pytest.mark.asyncio
async def test_the_answer_speaks_tytx_too(
    transport: str, result: Any, content_type: str, body: bytes, make: Any
) -> None:
    request = await make(headers=[("x-tytx-transport", transport)])
    request.response.set_result(result)
    assert (request.response.headers["content-type"], request.response.body) == (content_type, body)


@pytest.mark.asyncio
async def test_a_msgpack_answer(make: Any) -> None:
    pytest.importorskip("msgpack")
    request = await make(headers=[("x-tytx-transport", "msgpack")])
    request.response.set_result({"p": Decimal("9.90")})
    assert request.response.body == bytes.fromhex("81a170d601392e3930")
    assert request.response.headers["content-type"] == "application/vnd.tytx+msgpack"


# Deadlines and cancellation


@pytest.mark.asyncio
async def test_a_deadline_cancels_the_task(make: Any) -> None:
    request = await make(headers=[("x-request-timeout", "1")])

    async def answer() -> None:
        request.task = asyncio.current_task()
        request.start_deadline(None)
        await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await answer_in_task(answer())
    assert request.cancelled == "deadline"
    assert request.has_deadline
    request.cancel("again")
    assert request.cancelled == "deadline"


async def answer_in_task(work: Any) -> Any:
    return await asyncio.ensure_future(work)


@pytest.mark.parametrize(
    ("asked", "own", "seconds"),
    [("2000", None, 2.0), ("2000", 1.0, 1.0), ("1000", 5.0, 1.0), ("9" * 12, None, 10.0), (None, 3.0, 3.0)],
)
@pytest.mark.asyncio
async def test_the_sooner_deadline_counts(asked: str | None, own: float | None, seconds: float, make: Any) -> None:
    headers = [("x-request-timeout", asked)] if asked else []
    request = await make(headers=headers, limits=Limits(max_request_timeout=10.0))
    request.task = asyncio.current_task()
    request.start_deadline(own)
    assert request.timer is not None
    assert request.timer.when() == pytest.approx(asyncio.get_running_loop().time() + seconds, abs=0.5)
    request.timer.cancel()


@pytest.mark.asyncio
async def test_without_deadline_or_task_there_is_no_timer(make: Any) -> None:
    request = await make()
    request.task = asyncio.current_task()
    request.start_deadline(None)
    assert (request.timer, request.has_deadline, request.has_credentials) == (None, False, False)
    request.task = None
    request.start_deadline(1.0)
    request.cancel("deadline")
    assert (request.timer, request.cancelled) == (None, None)


@pytest.mark.parametrize("asked", ["0", "-1", "1.5", "x", "", "9" * 13])
@pytest.mark.asyncio
async def test_a_deadline_is_a_whole_number(asked: str, make: Any) -> None:
    request = await make(headers=[("x-request-timeout", asked)])
    with pytest.raises(HTTPBadRequest, match="x-request-timeout must be a whole number of milliseconds above 0"):
        request.start_deadline(None)


@pytest.mark.asyncio
async def test_credentials_and_session(make: Any) -> None:
    request = await make(headers=[("authorization", "Basic x")])
    assert request.has_credentials
    assert request.auth_scope() is request.scope
    with pytest.raises(RuntimeError, match=r"There is no session: server\.add_middleware"):
        request.session  # noqa: B018
    request.scope["session"] = {"a": 1}
    assert request.session == {"a": 1}


@pytest.mark.asyncio
async def test_age_and_creation(make: Any) -> None:
    before = time.time()
    request = await make()
    assert before <= request.created_at <= time.time()
    assert 0 <= request.age < 60
    assert HttpRequest().created_at == 0.0


def test_the_current_request() -> None:
    assert get_current_request() is None
    request = HttpRequest()
    set_current_request(request)
    assert get_current_request() is request
    set_current_request(None)
    assert get_current_request() is None
