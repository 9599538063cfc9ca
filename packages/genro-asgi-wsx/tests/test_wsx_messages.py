"""Plain WSX messages: golden texts, every accepted spelling, one error for everything else."""

import pickle
import sys
from contextlib import suppress
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.limits import Limits
from genro_asgi.wsx.envelope import check_envelope, readable_id
from genro_asgi.wsx.errors import WsxError
from genro_asgi.wsx.messages import (
    WSX_PREFIX,
    Chunk,
    Event,
    Form,
    Grant,
    Request,
    Response,
    build_wsx_message,
    build_wsx_response,
    is_wsx_message,
    parse_message,
    parse_wsx_message,
)
from genro_asgi.wsx.tytx import encode

ALL_FIELDS = (
    'WSX://{"id": "1", "method": "POST", "path": "/a/b", "headers": {"content-type": "application/json"}, '
    '"cookies": {"s": "1"}, "query": {"q": [1, 2]}, "data": {"\\u00e8": null}, "tytx": true}'
)


def test_published_texts() -> None:
    assert WSX_PREFIX == "WSX://"
    assert build_wsx_message(id="1", method="GET") == 'WSX://{"id": "1", "method": "GET", "path": "/"}'
    text = build_wsx_message(
        id="1",
        method="POST",
        path="/a/b",
        headers={"content-type": "application/json"},
        cookies={"s": "1"},
        query={"q": [1, 2]},
        data={"è": None},
        tytx=True,
    )
    assert text == ALL_FIELDS
    assert build_wsx_response(id="1") == 'WSX://{"id": "1", "status": 200}'
    assert (
        build_wsx_response(id="1", status=404, data={"error": "x"})
        == 'WSX://{"id": "1", "status": 404, "data": {"error": "x"}}'
    )
    assert build_wsx_response(id="1", data=0) == 'WSX://{"id": "1", "status": 200, "data": 0}'
    assert build_wsx_response(id="1", data=[]) == 'WSX://{"id": "1", "status": 200, "data": []}'
    assert build_wsx_response(id="1", headers={}, cookies={}) == 'WSX://{"id": "1", "status": 200}'
    assert (
        build_wsx_response(id="1", headers={"a": "b"}, cookies={"s": {"value": "1", "max_age": 5}})
        == 'WSX://{"id": "1", "status": 200, "headers": {"a": "b"}, "cookies": {"s": {"value": "1", "max_age": 5}}}'
    )


def test_typed_values_in_a_built_message() -> None:
    text = build_wsx_message(id="1", method="GET", query={"d": date(2025, 1, 1)}, data=["5::N", Decimal(5)], tytx=True)
    assert text == (
        'WSX://{"id": "1", "method": "GET", "path": "/", "query": {"d": "2025-01-01::D"}, '
        '"data": ["5::N::T", "5::N"], "tytx": true}'
    )
    fields = parse_wsx_message(text)
    assert fields["query"] == {"d": date(2025, 1, 1)}
    assert fields["data"] == ["5::N", Decimal(5)]


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        ("WSX://{}", True),
        (b"WSX://{}", True),
        ("WSX://", True),
        ("wsx://{}", False),
        (" WSX://{}", False),
        ("{}", False),
        (b"\x80", False),
    ],
)
def test_the_prefix_tells_a_message(data: str | bytes, answer: bool) -> None:
    assert is_wsx_message(data) is answer


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        ("{}", {}),
        ("WSX://{}", {}),
        (b"WSX://{}", {}),
        ("WSX://{}::JS", {}),
        ('WSX://{"id": "1", "status": 200}', {"id": "1", "status": 200}),
        ('{"data":"5::N"}', {"data": "5::N"}),
        ('{"data":"5::N"}::JS', {"data": Decimal(5)}),
        ('{"path":"a"}', {"path": "a"}),
        (ALL_FIELDS[6:], parse_wsx_message(ALL_FIELDS)),
    ],
)
def test_plain_parsing(data: str | bytes, fields: dict[str, Any]) -> None:
    assert parse_wsx_message(data) == fields


TYPED = (
    '{"id":"5::N","method":"post","path":"x::D","headers":{"X-A":"1::N"},"query":{"n":"1::L"},'
    '"cookies":{"c":"x::T"},"data":["9.90::N"],"extra":"5::N"'
)


@pytest.mark.parametrize(
    ("data", "prefixed"),
    [
        (f"{TYPED}}}::JS", False),
        (f"WSX://{TYPED}}}::JS", True),
        (f'WSX://{TYPED},"tytx":true}}', True),
        (f"{TYPED}}}::JS".encode(), False),
    ],
)
def test_only_query_data_and_cookies_hold_typed_values(data: str | bytes, prefixed: bool) -> None:
    message = parse_message(data)
    message.fields.pop("tytx", None)
    assert message.fields == {
        "id": "5::N",
        "method": "POST",
        "path": "/x::D",
        "headers": {"x-a": "1::N"},
        "query": {"n": 1},
        "cookies": {"c": "x"},
        "data": [Decimal("9.90")],
        "extra": "5::N",
    }
    assert message.form == Form("json", True, prefixed)


def test_a_message_answers_for_fields_that_are_not_there() -> None:
    message = parse_message(f"{TYPED}}}::JS")
    assert (message.id, message.method, message.path, message.headers) == ("5::N", "POST", "/x::D", {"x-a": "1::N"})
    assert (message.query, message.cookies, message.data) == ({"n": 1}, {"c": "x"}, [Decimal("9.90")])
    message = parse_message('{"headers":null}')
    assert (message.id, message.method, message.path, message.headers) == (None, None, "/", {})
    assert (message.query, message.cookies, message.data) == ({}, {}, None)


@pytest.mark.parametrize(
    ("headers", "typed"),
    [
        ('{"Content-Type":"application/vnd.TYTX+json"}', True),
        ('{"accept":"tytx","content-type":"application/json"}', False),
        ('{"accept":"tytx"}', False),
        ("null", False),
    ],
)
def test_the_content_type_may_say_tytx(headers: str, typed: bool) -> None:
    message = parse_message(f'{{"headers":{headers},"data":"5::N"}}')
    assert message.typed is typed
    assert message.fields["data"] == (Decimal(5) if typed else "5::N")


def test_an_untyped_message_keeps_its_strings() -> None:
    message = parse_message('{"tytx":false,"data":["5::N","12::D"],"query":{"a":"x::T"}}')
    assert message.fields == {"tytx": False, "data": ["5::N", "12::D"], "query": {"a": "x::T"}}
    assert message.form == Form("json", False, False)
    assert (message.typed, message.transport) == (False, "json")


def test_messagepack_is_typed_by_itself() -> None:
    pytest.importorskip("msgpack")
    data = encode({"id": "1", "method": "GET", "data": {"p": Decimal("9.90"), "s": "5::N"}}, "msgpack")
    message = parse_message(data)
    assert message.fields == {"id": "1", "method": "GET", "data": {"p": Decimal("9.90"), "s": "5::N"}}
    assert message.form == Form("msgpack", True, False)
    assert (message.typed, message.transport) == (True, "msgpack")
    with pytest.raises(WsxError) as caught:
        parse_message(b"\x81\xa4data\xd4\x01x")
    assert str(caught.value) == "'x::N' is not a decimal number (at /data)"
    assert (caught.value.status, caught.value.code) == (400, "BAD_VALUE")


def test_messagepack_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(WsxError) as caught:
        parse_message(b"\x80")
    assert str(caught.value) == "MessagePack is not spoken here; send the message as text"
    assert (caught.value.status, caught.value.code) == (501, "UNSUPPORTED")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"method": "get"}, {"method": "GET"}),
        ({"method": "WSK"}, {"method": "POST"}),
        ({"method": "subscribe"}, {"method": "SUBSCRIBE"}),
        ({"path": ""}, {"path": "/"}),
        ({"path": "a/..b/c.."}, {"path": "/a/..b/c.."}),
        ({"path": "/" + "a" * 2047}, {"path": "/" + "a" * 2047}),
        ({"id": "x" * 128}, {"id": "x" * 128}),
        ({"id": None, "data": None, "headers": None}, {"id": None, "data": None, "headers": None}),
        ({"headers": {"X-A": "1", "x-a": "2\tb"}}, {"headers": {"x-a": "2\tb"}}),
        ({"cookies": {"a": {"value": "1"}}, "status": 200}, {"cookies": {"a": {"value": "1"}}, "status": 200}),
        ({"timeout": 1, "credit": 0, "seq": 0, "stream": True}, {"timeout": 1, "credit": 0, "seq": 0, "stream": True}),
        ({"from": "a", "unknown": [1], "query": {}}, {"from": "a", "unknown": [1], "query": {}}),
    ],
)
def test_fields_have_one_spelling(given: dict[str, Any], kept: dict[str, Any]) -> None:
    check_envelope(given, Limits())
    assert given == kept


@pytest.mark.parametrize(
    ("fields", "text", "pointer"),
    [
        ({"id": 5}, "id must be a string of 1 to 128 characters", "/id"),
        ({"id": ""}, "id must be a string of 1 to 128 characters", "/id"),
        ({"id": "x" * 129}, "id must be a string of 1 to 128 characters", "/id"),
        ({"method": 5}, "method must be a string", "/method"),
        ({"path": 5}, "path must be a string", "/path"),
        ({"path": "a" * 2048}, "path is longer than 2048 characters", "/path"),
        ({"path": "/a?b=1"}, "path must not have a query part; put it into the field query", "/path"),
        ({"path": "/a/../b"}, "path must not have a segment '..'", "/path"),
        ({"path": ".."}, "path must not have a segment '..'", "/path"),
        ({"path": "/a\x00"}, "path must not hold control characters", "/path"),
        ({"headers": []}, "headers must be an object", "/headers"),
        ({"headers": {"a b": "1"}}, "headers must not have a field named 'a b'", "/headers"),
        ({"headers": {"a": 1}}, "headers must have a string without control characters as 'a'", "/headers"),
        ({"headers": {"a": "1\r\nb: 2"}}, "headers must have a string without control characters as 'a'", "/headers"),
        ({"cookies": "a=1"}, "cookies must be an object", "/cookies"),
        ({"cookies": {"a": [1]}}, "cookies must not have a list as 'a'", "/cookies"),
        ({"method": "GET", "cookies": {"a": {"value": "1"}}}, "cookies must not hold objects in a request", "/cookies"),
        ({"query": []}, "query must be an object", "/query"),
        ({"status": 99}, "status must be a whole number from 100 to 599", "/status"),
        ({"status": True}, "status must be a whole number from 100 to 599", "/status"),
        ({"status": 200.0}, "status must be a whole number from 100 to 599", "/status"),
        ({"timeout": 0}, "timeout must be a whole number from 1 to 9007199254740992", "/timeout"),
        ({"credit": -1}, "credit must be a whole number from 0 to 9007199254740992", "/credit"),
        ({"seq": "0"}, "seq must be a whole number from 0 to 9007199254740992", "/seq"),
        ({"stream": 1}, "stream must be true or false", "/stream"),
        ({"tytx": "yes"}, "tytx must be true or false", "/tytx"),
        ({"from": 5}, "from must be a string of at most 2048 characters without control characters", "/from"),
        ({"from": "a\nb"}, "from must be a string of at most 2048 characters without control characters", "/from"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], text: str, pointer: str) -> None:
    fields = {"id": "7"} | fields
    with pytest.raises(WsxError) as caught:
        check_envelope(fields, Limits())
    error = caught.value
    assert (error.text, error.pointer, error.status, error.code) == (text, pointer, 400, "BAD_ENVELOPE")
    assert error.id == (None if pointer == "/id" else "7")


def test_errors_of_their_own_status() -> None:
    with pytest.raises(WsxError) as caught:
        parse_message('{"id":"7","method":"FETCH"}')
    assert caught.value.text == "method 'FETCH' is not one of DELETE, EXEC, GET, PATCH, POST, PUT, SUBSCRIBE"
    assert (caught.value.status, caught.value.code, caught.value.id) == (405, "BAD_METHOD", "7")
    for headers in ({str(number): "" for number in range(65)}, {"a": "é" * 4096}):
        with pytest.raises(WsxError) as caught:
            check_envelope({"id": "7", "headers": headers}, Limits())
        assert caught.value.text == "headers has more than 64 fields or 8192 bytes"
        assert (caught.value.status, caught.value.code, caught.value.id) == (431, "HEADERS_TOO_LARGE", "7")


LIMITS = Limits(ws_message=40, ws_depth=2)


@pytest.mark.parametrize(
    ("data", "text", "id", "code"),
    [
        ("", "the text begins neither with WSX:// nor with {", None, "MALFORMED"),
        ("[]", "the text begins neither with WSX:// nor with {", None, "MALFORMED"),
        (b"", "the message is neither text nor MessagePack", None, "MALFORMED"),
        (b"[]", "the message is neither text nor MessagePack", None, "MALFORMED"),
        (b"\x91\x01", "the message is neither text nor MessagePack", None, "MALFORMED"),
        ("WSX://", "JSON", None, "MALFORMED"),
        ("WSX://{", "JSON", None, "MALFORMED"),
        ("WSX:/{}", "JSON", None, "MALFORMED"),
        ("WSX://[1]", "the message is not a JSON object", None, "MALFORMED"),
        ('WSX://{"id": "7", "data": NaN}', "JSON", "7", "MALFORMED"),
        ('{ "id" :"7", "method":', "JSON", "7", "MALFORMED"),
        ('{"id":"7","data":[[[]]]}', "deeper than 2 levels", "7", "MALFORMED"),
        ('{"data":1,"id":"7"', "JSON", None, "MALFORMED"),
        (b'{"id":"7","data":"\xff"}', "JSON", "7", "MALFORMED"),
        ('{"id":"7","data":"\ud800"}', "the text holds half of a surrogate pair", "7", "MALFORMED"),
        ('{"id":"7","data":"x::D"}::JS', "'x::D' is not a date written YYYY-MM-DD", "7", "BAD_VALUE"),
        ('{"id":"7","data":[["1::N"]]}::JS', "deeper than 2 levels", "7", "MALFORMED"),
        ('WSX://{"id":"7","data":"' + "x" * 40 + '"}', "the message is longer than 40 bytes", "7", "TOO_LARGE"),
        ('{"id":"7","data":"' + "é" * 12 + '"}', "the message is longer than 40 bytes", "7", "TOO_LARGE"),
        (b'{"id":"7","data":"' + b"x" * 40 + b'"}', "the message is longer than 40 bytes", "7", "TOO_LARGE"),
        (b"\x81" * 41, "the message is longer than 40 bytes", None, "TOO_LARGE"),
    ],
)
def test_malformed_messages(data: Any, text: str, id: str | None, code: str) -> None:
    with pytest.raises(WsxError) as caught:
        parse_message(data, limits=LIMITS)
    error = caught.value
    assert text in error.text
    assert (error.id, error.code) == (id, code)
    assert error.status == (413 if code == "TOO_LARGE" else 400)


def test_a_bad_value_is_found() -> None:
    with pytest.raises(WsxError) as caught:
        parse_message('{"id":"7","query":{"a":["1::N","x::N"]}}::JS')
    error = caught.value
    assert str(error) == "'x::N' is not a decimal number (at /query/a/1)"
    assert error.pointer == "/query/a/1"
    assert error.data() == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "'x::N' is not a decimal number (at /query/a/1)",
        "error": "'x::N' is not a decimal number (at /query/a/1)",
        "code": "BAD_VALUE",
        "retry": False,
    }
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.status, copy.code, copy.id) == (str(error), 400, "BAD_VALUE", "7")


@pytest.mark.parametrize(
    ("fields", "id"), [({"id": "7"}, "7"), ({"id": ""}, None), ({"id": 7}, None), ({}, None), ({"id": "x" * 129}, None)]
)
def test_the_id_an_error_is_answered_with(fields: dict[str, Any], id: str | None) -> None:
    assert readable_id(fields) == id


def test_kinds() -> None:
    request = Request(id="1", method="GET")
    assert (request.path, request.headers, request.query, request.data, request.stream) == ("/", {}, {}, None, False)
    assert Event(method="GET") == Event(method="GET", path="/")
    assert not isinstance(request, Event)
    assert Response(id=None, status=400).data is None
    assert Chunk(id="1", seq=0).stream is True
    with pytest.raises(AttributeError):
        Grant(id="1", credit=5).credit = 6  # type: ignore[misc]


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.one_of(
        st.text(max_size=60),
        st.binary(max_size=60),
        st.builds("WSX://{}".format, st.text(max_size=30)),
        st.builds(
            lambda fields: build_wsx_message(id="1", method="GET", tytx=True) if not fields else str(fields),
            st.dictionaries(st.sampled_from(["id", "method", "path", "data", "headers"]), st.text(max_size=5)),
        ),
    )
)
def test_anything_is_a_message_or_the_one_error(data: Any) -> None:
    with suppress(WsxError):
        assert isinstance(parse_message(data).fields, dict)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(derandomize=True, deadline=None)
@given(st.text(min_size=1, max_size=20), json_values, st.booleans())
def test_what_is_built_is_parsed(id: str, data: Any, typed: bool) -> None:
    fields = parse_message(build_wsx_message(id=id, method="PUT", path="/p", data=data, tytx=typed)).fields
    assert (fields["id"], fields["method"], fields["path"], fields.get("data")) == (id, "PUT", "/p", data)
    fields = parse_message(build_wsx_response(id=id, data=data)).fields
    assert (fields["id"], fields["status"], fields.get("data")) == (id, 200, data)


def test_the_text_helpers_are_names_of_the_package_too() -> None:
    import genro_asgi.wsx
    from genro_asgi.wsx import messages

    assert all(getattr(genro_asgi.wsx, name) is getattr(messages, name) for name in genro_asgi.wsx.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = genro_asgi.wsx.Nonsense
