"""The WSX codec: kinds, forms, batches, and one error for whatever is not a message."""

import json
import time as clock
from contextlib import suppress
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.limits import Limits
from genro_asgi.wsx.codec import (
    as_fields,
    as_message,
    classify,
    decode_batch,
    decode_message,
    encode_batch,
    encode_fields,
    encode_message,
)
from genro_asgi.wsx.errors import TytxError, WsxError
from genro_asgi.wsx.kinds import BINARY, TEXT, TYPED_TEXT, Chunk, Event, Form, Grant, Message, Request, Response
from genro_asgi.wsx.parsing import ParsedMessage

BARE = Form(prefixed=False)
LEGACY = Form(typed=True, legacy=True)

MESSAGES: list[tuple[str, Message, dict[str, Any]]] = [
    ("request", Request(id="1", method="GET"), {"id": "1", "method": "GET", "path": "/"}),
    (
        "request",
        Request(
            id="1",
            method="POST",
            path="/a",
            headers={"h": "1"},
            cookies={"c": "2"},
            query={"q": Decimal(1)},
            data=[date(2025, 1, 1)],
            timeout=5,
            sender="me",
            page_id="p",
            reply_path="/r",
            stream=True,
            credit=0,
        ),
        {
            "id": "1",
            "method": "POST",
            "path": "/a",
            "credit": 0,
            "headers": {"h": "1"},
            "cookies": {"c": "2"},
            "query": {"q": Decimal(1)},
            "data": [date(2025, 1, 1)],
            "timeout": 5,
            "from": "me",
            "page_id": "p",
            "reply_path": "/r",
            "stream": True,
        },
    ),
    ("event", Event(method="POST", path="/log", data=False), {"method": "POST", "path": "/log", "data": False}),
    ("response", Response(id="1", data={}), {"id": "1", "status": 200, "data": {}}),
    ("response", Response(id=None, status=400), {"id": None, "status": 400}),
    (
        "response",
        Response(id="1", data=0, stream=True, seq=0),
        {"id": "1", "status": 200, "seq": 0, "data": 0, "stream": True},
    ),
    ("chunk", Chunk(id="1", seq=0, data="x"), {"id": "1", "seq": 0, "data": "x", "stream": True}),
    ("chunk", Chunk(id="1", seq=1, stream=False), {"id": "1", "seq": 1}),
    ("grant", Grant(id="1", credit=0), {"id": "1", "credit": 0}),
]


@pytest.mark.parametrize(("kind", "message", "fields"), MESSAGES)
@pytest.mark.parametrize("form", [TYPED_TEXT, Form(typed=True, prefixed=False), BINARY])
def test_every_kind_travels_in_every_form(kind: str, message: Message, fields: dict[str, Any], form: Form) -> None:
    if form == BINARY:
        pytest.importorskip("msgpack")
    assert list(as_fields(message).items()) == list(fields.items())
    data = encode_message(message, form)
    told, parsed = decode_message(data)
    assert told == kind
    assert as_message(told, parsed) == message


def test_peers_of_the_legacy_form_have_typed_data_and_nothing_else_typed() -> None:
    data = encode_message(Request(id="1", method="POST", query={"q": Decimal(1)}, data=[Decimal(2), "x::D"]), LEGACY)
    inner = '"["2::N","x::D::T"]::JS"'.replace('"', '\\"')
    assert data == f'WSX://{{"id":"1","method":"POST","path":"/","query":{{"q":"1"}},"data":"{inner}"}}'.encode()
    _, parsed = decode_message(data, legacy=True)
    assert (parsed.form, parsed.query, parsed.data) == (LEGACY, {"q": "1"}, [Decimal(2), "x::D"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"hello": Decimal("1.5")}, r'"{\"hello\":\"1.5::N\"}::JS"'),
        ({"a": "b"}, r'"{\"a\":\"b\"}"'),
        (["x", 1], r'"[\"x\",1]"'),
        ("x", r'"\"x\""'),
    ],
)
def test_peers_of_the_legacy_form_that_escape_their_data(value: Any, text: str) -> None:
    """0.46.3 writes the text of its data as JSON, and then as JSON once more; it is answered so."""
    frame = json.dumps({"id": "1", "method": "WSK", "path": "/a", "data": text})
    _, parsed = decode_message(frame, legacy=True)
    assert parsed.data == value
    assert parsed.form == Form(typed=True, prefixed=False, legacy=True, escaped=True)
    answer = encode_message(Response(id="1", data=value), parsed.form)
    assert json.loads(answer) == {"id": "1", "status": 200, "data": text}


@pytest.mark.parametrize("text", [r'"{\"a\":"', r'"{\"a"', r'"[\" or \""', r'"{\ud800\""'])
def test_strings_that_only_look_escaped(text: str) -> None:
    frame = json.dumps({"id": "1", "method": "WSK", "path": "/a", "data": text})
    _, parsed = decode_message(frame, legacy=True)
    assert (parsed.data, parsed.form.legacy) == (text, False)


def test_a_form_without_types_writes_json() -> None:
    response = Response(id="1", data=[Decimal("9.90"), "12::D"])
    assert encode_message(response, TEXT) == b'WSX://{"id":"1","status":200,"data":["9.90","12::D"]}'
    assert encode_message(response, BARE) == b'{"id":"1","status":200,"data":["9.90","12::D"]}'


def test_only_values_are_escaped() -> None:
    request = Request(id="5::N", method="GET", path="/x::D", headers={"h": "1::L"}, query={"q": "1::L"})
    data = encode_message(request)
    assert data == (
        b'WSX://{"id":"5::N","method":"GET","path":"/x::D","headers":{"h":"1::L"},"query":{"q":"1::L::T"}}::JS'
    )
    assert as_message(*decode_message(data)) == request
    # Nothing typed, nothing to escape: the mark says no more than that one may look.
    assert encode_message(Request(id="5::N", method="GET")) == b'WSX://{"id":"5::N","method":"GET","path":"/"}::JS'


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (b'WSX://{"id":"1","method":"GET"}', TEXT),
        (b'{"id":"1","method":"GET"}', BARE),
        (b'{"id":"1","method":"GET"}::JS', Form(typed=True, prefixed=False)),
        (b'WSX://{"id":"1","method":"GET","tytx":true}', TYPED_TEXT),
    ],
)
def test_an_answer_has_the_form_of_its_request(data: bytes, form: Form) -> None:
    _, parsed = decode_message(data)
    assert parsed.form == form
    answer = encode_message(Response(id="1", data=Decimal(5)), parsed.form)
    assert answer.startswith(b"WSX://") is form.prefixed
    assert decode_message(answer)[1].data == (Decimal(5) if form.typed else "5")


@pytest.mark.parametrize("form", [TEXT, TYPED_TEXT, BINARY, LEGACY])
def test_what_has_no_form_is_an_error(form: Form) -> None:
    if form == BINARY:
        pytest.importorskip("msgpack")
    with pytest.raises(TytxError, match="object"):
        encode_message(Response(id="1", data=[object()]), form)
    with pytest.raises(TytxError, match="object"):
        encode_batch([Response(id="1", data=[object()])], form)


def test_pointers_of_what_has_no_form() -> None:
    with pytest.raises(TytxError) as caught:
        encode_fields({"id": "1", "data": {"a": [object()]}})
    assert caught.value.pointer == "/data/a/0"


BATCH: list[Message] = [Request(id="5::N", method="GET", data=Decimal(1)), Event(method="POST", data="x::D")]


@pytest.mark.parametrize(
    ("form", "data"),
    [
        (
            TYPED_TEXT,
            b'WSX://[{"id":"5::N","method":"GET","path":"/","data":"1::N"},'
            b'{"method":"POST","path":"/","data":"x::D::T"}]::JS',
        ),
        (
            BARE,
            b'[{"id":"5::N","method":"GET","path":"/","data":"1"},{"method":"POST","path":"/","data":"x::D"}]',
        ),
    ],
)
def test_batches(form: Form, data: bytes) -> None:
    assert encode_batch(BATCH, form) == data
    for frame in (data, data.decode()):
        decoded = decode_batch(frame)
        assert [item[0] for item in decoded if isinstance(item, tuple)] == ["request", "event"]
        messages = [as_message(*item) for item in decoded if isinstance(item, tuple)]
        assert [message.data for message in messages if isinstance(message, Request | Event)] == [
            Decimal(1) if form.typed else "1",
            "x::D",
        ]


def test_a_batch_in_messagepack() -> None:
    pytest.importorskip("msgpack")
    decoded = decode_batch(encode_batch(BATCH, BINARY))
    assert [as_message(*item) for item in decoded if isinstance(item, tuple)] == BATCH
    with pytest.raises(WsxError, match="neither text nor MessagePack"):
        decode_batch(encode_message(BATCH[0], BINARY))


def test_each_message_of_a_batch_fails_on_its_own() -> None:
    decoded = decode_batch(
        '[{"id":"1","method":"GET"},5,{"id":"2","method":"FETCH"},{"id":"3"},{"id":"4","status":200}]'
    )
    assert [item[0] if isinstance(item, tuple) else (item.code, item.id) for item in decoded] == [
        "request",
        ("MALFORMED", None),
        ("BAD_METHOD", "2"),
        ("BAD_ENVELOPE", "3"),
        "response",
    ]
    assert decode_batch("[]") == []


def test_messages_of_a_batch_say_by_themselves_that_they_are_typed() -> None:
    decoded = decode_batch('[{"id":"1","status":200,"data":"5::N","tytx":true},{"id":"2","status":200,"data":"5::N"}]')
    assert [item[1].data for item in decoded if isinstance(item, tuple)] == [Decimal(5), "5::N"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ('{"id":"1","method":"GET"}', "the text begins neither with WSX:// nor with ["),
        ("WSX://{}", "the message is not a JSON array"),
        ("[", "JSON"),
        (b"\x80", "the message is neither text nor MessagePack"),
    ],
)
def test_what_is_no_batch(data: str | bytes, text: str) -> None:
    with pytest.raises(WsxError) as caught:
        decode_batch(data)
    assert text in caught.value.text


def test_depth_in_a_batch_is_that_of_each_message() -> None:
    limits = Limits(ws_depth=3)
    inside = '{"id":"1","status":200,"data":[[1]]}'
    assert decode_message(inside, limits=limits)[1].data == [[1]]
    (item,) = decode_batch(f"[{inside}]", limits=limits)
    assert isinstance(item, tuple)
    with pytest.raises(WsxError, match="deeper than 3"):
        decode_message('{"id":"1","status":200,"data":[[[1]]]}', limits=limits)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"method": "GET", "id": "1", "seq": 1, "credit": 1}, "request"),
        ({"method": "GET"}, "event"),
        ({"status": 200, "seq": 0, "id": "1"}, "response"),
        ({"status": 200}, "response"),
        ({"id": "1", "seq": 0, "credit": 5}, "chunk"),
        ({"id": "1", "credit": 5, "data": None}, "grant"),
    ],
)
def test_fields_tell_the_kind(fields: dict[str, Any], kind: str) -> None:
    assert classify(fields) == kind


def test_a_null_stream_of_a_chunk_is_its_end() -> None:
    assert as_message("chunk", ParsedMessage({"id": "1", "seq": 3, "stream": None}, TEXT)) == Chunk(
        id="1", seq=3, stream=False
    )


# ------------------------------------------------------------------------------------------------ hostile input

pieces = st.sampled_from(
    [
        "WSX://", "{", "}", "[", "]", '"id"', '"method"', '"status"', '"data"', ":", ",", '"GET"', '"7"', "200", "null",
        '"5::N"', '"x::D"', "::JS", '"tytx":true', '"headers"', '"query"', "1e5", "-", '"\\ud800"', "é", " ",
    ]
)  # fmt: skip
texts = st.one_of(st.text(max_size=80), st.lists(pieces, max_size=25).map("".join))
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.sampled_from(["5::N", "x::D"])
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = ["id", "method", "path", "status", "headers", "cookies", "query", "data", "timeout", "stream", "credit", "seq"]
envelopes = st.dictionaries(st.sampled_from([*NAMES, "from", "tytx", "other"]), values, max_size=6)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.one_of(texts, texts.map(lambda text: text.encode(errors="replace")), st.binary(max_size=80)), st.booleans())
def test_anything_is_a_message_or_the_one_error(data: Any, legacy: bool) -> None:
    with suppress(WsxError):
        as_message(*decode_message(data, legacy=legacy))
    with suppress(WsxError):
        decode_batch(data)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(envelopes, st.booleans(), st.sampled_from([TEXT, TYPED_TEXT, LEGACY, BINARY]))
def test_any_object_is_a_message_or_the_one_error(fields: dict[str, Any], legacy: bool, form: Form) -> None:
    if form == BINARY:
        pytest.importorskip("msgpack")
    data = encode_fields(fields, form)
    try:
        kind, parsed = decode_message(data, legacy=legacy)
    except WsxError as error:
        assert error.status in (400, 405, 431)  # noqa: PT017
        return
    message = as_message(kind, parsed)
    assert as_message(*decode_message(encode_message(message, BARE._replace(typed=True)))) == message


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"id":"7","data":' + b"[" * 1_000_000, id="a million brackets"),
        pytest.param(b'{"id":"7","data":"' + b"\\u0041" * 170_000 + b'"', id="escapes"),
        pytest.param(b'{"id":"7","data":[' + b"1111111111111111111," * 50_000 + b"1]", id="long integers"),
        pytest.param(b'{"id":"7","data":[' + b'"1-1-1-1-1-1-1-1-1-",' * 49_000 + b"1]", id="digits and dashes"),
        pytest.param(b'{"id":"7","data":[' + b'"x::N",' * 140_000 + b"1]}::JS", id="bad literals"),
        pytest.param(b'{"id":"7","status":200,"data":"' + b"9" * 1_000_000 + b'::N"}::JS', id="a huge decimal"),
        pytest.param(b'{"id":"7","status":200,"data":"' + b"9" * 1_000_000 + b'::L"}::JS', id="a huge integer"),
        pytest.param(b'{"id":"7","status":200,"data":"1E+999999999999999999::N"}::JS', id="a huge exponent"),
        pytest.param(b'{"id":"7","status":200,"data":"' + b":" * 1_000_000 + b'::N"}::JS', id="colons"),
        pytest.param(b'{"id":"7","method":"GET","path":"' + b"/.." * 300_000 + b'"}', id="a long path"),
        pytest.param(b'{"id":"7","headers":{' + b'"a":"b",' * 100_000 + b'"a":1}}', id="headers"),
        pytest.param(b"WSX://" * 170_000, id="prefixes"),
        pytest.param(b'{"id":"' + b"\\" * 1_000_000, id="backslashes"),
        pytest.param(b"\x81\xa2id" + b"\x91" * 1_000_000, id="nested arrays"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="a map of four billion"),
        pytest.param(b"\x81\xa4data" + b"\xdd\x00\x0f\x00\x00" * 1000 + b"\x00" * 1_000_000, id="claims of arrays"),
    ],
)
def test_hostile_input_is_refused_in_bounded_time(data: bytes) -> None:
    started = clock.process_time()
    with pytest.raises(WsxError):
        decode_message(data)
    # Far beyond what any of them takes, and far below what anything quadratic in a megabyte would.
    assert clock.process_time() - started < 3
