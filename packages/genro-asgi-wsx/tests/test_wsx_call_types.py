"""Calls with types of their own: what is read as a value for one path is a plain string for all others."""

from collections.abc import Callable
from decimal import Decimal
from importlib.util import find_spec
from typing import Any, Self

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.wsx.errors import WsxError
from genro_asgi.wsx.kinds import BINARY, TYPED_TEXT, Form
from genro_asgi.wsx.session import Session
from genro_asgi.wsx.tytx import BUILTIN_TYPES, TypeTable, TytxError, decode, encode


class Point:
    """Two numbers, written `x,y`."""

    __tytx_suffix__ = "PT"

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    def __hash__(self) -> int:
        return hash((self.x, self.y))

    def __repr__(self) -> str:
        return f"Point({self.x}, {self.y})"

    def to_tytx(self) -> str:
        return f"{self.x},{self.y}"

    @classmethod
    def from_tytx(cls, text: str) -> Self:
        x, comma, y = text.partition(",")
        if not comma:
            raise ValueError("is no point")
        return cls(int(x), int(y))


POINTS = TypeTable()
POINTS.register_class(Point)


def of_path(path: str) -> TypeTable | None:
    return POINTS if path.strip("/").startswith("points") else None


@pytest.fixture
def server() -> Session:
    session = Session("server")
    session.read_by_call(of_path)
    session.escape(POINTS.own_suffixes)
    return session


def received(session: Session, frame: str | bytes) -> Any:
    call = session.receive(frame, 0.0)
    assert call is not None, session.take()
    return call


# -- tables


def test_a_view_marks_more_and_reads_the_same() -> None:
    table = TypeTable()
    view = table.escaping(["PT", "ZZ"])
    assert encode({"a": "x::PT", "b": "x::YY"}, types=view) == b'{"a":"x::PT::T","b":"x::YY"}::JS'
    assert encode({"a": "x::PT"}, types=table) == b'{"a":"x::PT"}'
    assert decode('{"a":"1,2::PT"}::JS', types=view) == {"a": "1,2::PT"}
    assert view.own_suffixes == frozenset()
    assert view.escaped_suffixes == {"PT", "ZZ"}


def test_what_is_registered_later_is_in_the_view_too() -> None:
    table = TypeTable()
    view = table.escaping(["ZZ"])
    table.register_class(Point)
    assert encode({"a": Point(1, 2), "b": "x::ZZ", "c": "x::PT"}, types=view) == (
        b'{"a":"1,2::PT","b":"x::ZZ::T","c":"x::PT::T"}::JS'
    )
    assert decode('{"a":"1,2::PT"}::JS', types=view) == {"a": Point(1, 2)}
    assert view.own_suffixes == table.own_suffixes == {"PT"}


def test_a_suffix_that_others_read_can_be_registered_still() -> None:
    view = TypeTable().escaping(["PT"])
    view.register_class(Point)
    assert decode('{"a":"1,2::PT"}::JS', types=view) == {"a": Point(1, 2)}


@pytest.mark.parametrize("suffixes", [[], ["N"], ["QS"], ["pt", "", "A-Z]", "Ä"]])
def test_nothing_new_is_no_view(suffixes: list[str]) -> None:
    assert BUILTIN_TYPES.escaping(suffixes) is BUILTIN_TYPES


# -- what arrives


@pytest.mark.parametrize(
    ("path", "value"),
    [("/points", Point(1, 2)), ("points", Point(1, 2)), ("/points/a/b", Point(1, 2)), ("/other", "1,2::PT")],
)
@pytest.mark.parametrize("field", ["data", "query", "cookies"])
def test_a_value_of_a_path(server: Session, path: str, value: Any, field: str) -> None:
    frame = f'WSX://{{"id":"1","method":"post","path":"{path}","{field}":{{"at":"1,2::PT","n":"1::N"}}}}::JS'
    assert received(server, frame).fields[field] == {"at": value, "n": Decimal(1)}


@pytest.mark.parametrize("path", ["/points", "/other"])
@pytest.mark.parametrize(
    ("text", "value"), [("1,2::PT::T", "1,2::PT"), ("1,2::ZZ", "1,2::ZZ"), ("::PT::T", "::PT"), ("a::QS", "a::QS")]
)
def test_a_plain_string_of_any_path(server: Session, path: str, text: str, value: str) -> None:
    frame = f'{{"id":"1","method":"POST","path":"{path}","data":["{text}"]}}::JS'
    assert received(server, frame).data == [value]


def test_an_untyped_message_holds_strings(server: Session) -> None:
    call = received(server, '{"id":"1","method":"POST","path":"/points","data":["1,2::PT"]}')
    assert call.data == ["1,2::PT"]


def test_the_legacy_form(server: Session) -> None:
    server.legacy = True
    call = received(server, '{"id":"1","method":"POST","path":"/points","data":"\\"{\\"a\\":\\"1,2::PT\\"}::JS\\""}')
    assert call.data == {"a": Point(1, 2)}
    answer = call.respond(200, {"a": Point(3, 4)})
    assert answer == '{"id":"1","status":200,"data":"\\"{\\"a\\":\\"3,4::PT\\"}::JS\\""}'


def test_qs_is_a_matter_of_the_table(server: Session) -> None:
    table = POINTS.copy()
    table.allow_qs()
    server.read_by_call(lambda path: table)
    frame = '{"id":"1","method":"POST","path":"/x","data":["a=1::L&b=1,2::PT::QS"]}::JS'
    assert received(server, frame).data == [{"a": 1, "b": Point(1, 2)}]


@pytest.mark.parametrize("path", ["/points", "/points/x"])
def test_a_value_that_cannot_be_read_is_pointed_at(server: Session, path: str) -> None:
    frame = f'WSX://{{"id":"7","method":"POST","path":"{path}","data":{{"a":["0,0::PT","1::PT"]}}}}::JS'
    assert server.receive(frame, 0.0) is None
    (answer,) = server.take()
    said = decode(str(answer).removeprefix("WSX://"))
    assert (said["id"], said["status"], said["data"]["code"]) == ("7", 400, "BAD_VALUE")
    assert said["data"]["error"] == "'1::PT' is no point (at /data/a/1)"


def test_a_batch_has_the_types_of_each_call(server: Session) -> None:
    server.features = frozenset({"batch"})
    frame = (
        'WSX://[{"id":"1","method":"POST","path":"/points","data":"1,2::PT"},'
        '{"id":"2","method":"POST","path":"/other","data":"1,2::PT"},'
        '{"id":"3","method":"POST","path":"/points","data":"::PT"}]::JS'
    )
    first, second = received(server, frame), server.next_call(0.0)
    assert second is not None
    assert (first.data, second.data) == (Point(1, 2), "1,2::PT")
    assert '"id":"3","status":400' in str(server.take()[0])


def test_chunks_have_the_types_of_their_call(server: Session) -> None:
    for id, path in (("1", "/points"), ("2", "/other")):
        call = received(server, f'{{"id":"{id}","method":"POST","path":"{path}","stream":true}}::JS')
        assert server.receive(f'{{"id":"{id}","seq":0,"data":"1,2::PT","stream":true}}::JS', 0.0) is None
        assert call.chunks.take() == (Point(1, 2) if path == "/points" else "1,2::PT")
    assert server.receive('{"id":"9","seq":0,"data":"x::PT","stream":true}::JS', 0.0) is None
    assert server.take() == []


@pytest.mark.parametrize(
    ("chunk", "code", "text"),
    [
        ('{"id":"1","seq":1,"data":["x::PT"],"stream":true}::JS', "BAD_VALUE", "'x::PT' is no point (at /data/0)"),
        ('{"id":"1","seq":-1,"stream":true}', "BAD_ENVELOPE", "seq must be a whole number"),
        ('{"id":"1","seq":1,"data":', "MALFORMED", ""),
    ],
)
def test_a_chunk_that_cannot_be_read_ends_its_call(server: Session, chunk: str, code: str, text: str) -> None:
    call = received(server, '{"id":"1","method":"POST","path":"/points","stream":true}::JS')
    ended: list[str | None] = []
    call.on_cancel = lambda: ended.append(call.cancel_code)
    assert server.receive('{"id":"1","seq":0,"data":"1,2::PT","stream":true}::JS', 0.0) is None
    assert server.receive(chunk, 0.0) is None
    (answer,) = server.take()
    said = decode(str(answer).removeprefix("WSX://"))
    assert (said["id"], said["status"], said["data"]["code"]) == ("1", 400, code)
    assert text in said["data"]["error"]
    # Whoever reads the stream is told as well, after what had come before.
    assert (call.open, ended, server.calls) == (False, [code], {})
    assert call.chunks.take() == Point(1, 2)
    assert isinstance(call.chunks.error, WsxError)
    call.close()
    assert (server.running, server.streams) == (0, 0)


def test_control_messages_have_no_types_of_their_own(server: Session) -> None:
    server.read_by_call(lambda path: POINTS)
    assert server.receive('WSX://{"id":"1","method":"POST","path":"/_wsx/ping","data":"1,2::PT"}::JS', 0.0) is None
    assert server.take() == ['WSX://{"id":"1","status":200,"data":"1,2::PT::T"}::JS']


# -- MessagePack


def packed(fields: dict[str, Any], types: TypeTable = POINTS) -> bytes:
    pytest.importorskip("msgpack")
    return encode(fields, "msgpack", types=types)


@pytest.mark.parametrize(("path", "value"), [("/points", Point(1, 2)), ("points", Point(1, 2)), ("/x", "1,2::PT")])
def test_msgpack(server: Session, path: str, value: Any) -> None:
    fields = {"id": "1", "method": "POST", "path": path, "data": [Point(1, 2), "1,2::PT", Decimal(1)]}
    call = received(server, packed(fields))
    assert call.data == [value, "1,2::PT", Decimal(1)]
    answer = call.respond(200, ["x::PT", Point(1, 2)] if path != "/x" else ["x::PT"])
    assert decode(answer, "msgpack", types=POINTS)["data"] == (["x::PT", Point(1, 2)] if path != "/x" else ["x::PT"])


@pytest.mark.parametrize("size", [1, 2, 4, 5, 8, 16, 300, 70_000])
def test_msgpack_of_every_length(server: Session, size: int) -> None:
    # The literal is 3 characters shorter than what the extension type holds.
    msgpack = pytest.importorskip("msgpack")
    table = TypeTable()
    table.register(Point, "P", lambda value: "", len)
    server.read_by_call(lambda path: table)
    literal = "x" * max(size - 2, 0)
    body = {"id": "1", "method": "POST", "path": "/p", "data": msgpack.ExtType(4, f"P:{literal}".encode())}
    assert received(server, msgpack.packb(body)).data == len(literal)


def test_msgpack_with_a_bad_value(server: Session) -> None:
    msgpack = pytest.importorskip("msgpack")
    body = {"id": "7", "method": "POST", "path": "/points", "data": {"a": [msgpack.ExtType(4, b"PT:1")]}}
    assert server.receive(msgpack.packb(body), 0.0) is None
    said = decode(server.take()[0], "msgpack")
    assert (said["id"], said["status"], said["data"]["code"]) == ("7", 400, "BAD_VALUE")
    assert said["data"]["error"] == "'1::PT' is no point (at /data/a/0)"


def test_a_batch_of_msgpack(server: Session) -> None:
    msgpack = pytest.importorskip("msgpack")
    server.features = frozenset({"batch"})
    good, bad = msgpack.ExtType(4, b"PT:1,2"), msgpack.ExtType(4, b"PT:1")
    calls = [("1", "/points", good), ("2", "/other", bad), ("3", "/points", bad)]
    body = [{"id": id, "method": "POST", "path": path, "data": data} for id, path, data in calls]
    first, second = received(server, msgpack.packb(body)), server.next_call(0.0)
    assert second is not None
    assert (first.data, second.data) == (Point(1, 2), "1::PT")
    assert decode(server.take()[0], "msgpack")["id"] == "3"


@pytest.mark.parametrize("field", ["method", "status", "seq", "headers"])
def test_msgpack_with_a_value_where_none_belongs(server: Session, field: str) -> None:
    msgpack = pytest.importorskip("msgpack")
    body = {"id": "1", "method": "POST", "path": "/points", "data": 1, field: msgpack.ExtType(4, b"ZZ:1")}
    server.receive(msgpack.packb(body), 0.0)
    assert len(server.take()) == 1


# -- what is answered


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/points", 'WSX://{"id":"1","status":200,"data":["1,2::PT","x::PT::T","x::N::T","x::ZZ"]}::JS'),
        ("/other", 'WSX://{"id":"1","status":200,"data":["x::PT::T","x::N::T","x::ZZ"]}::JS'),
    ],
)
def test_an_answer_has_the_types_of_its_call(server: Session, path: str, answer: str) -> None:
    call = received(server, f'WSX://{{"id":"1","method":"POST","path":"{path}"}}::JS')
    points = [Point(1, 2)] if path == "/points" else []
    assert call.respond(200, [*points, "x::PT", "x::N", "x::ZZ"]) == answer


def test_items_have_the_types_of_their_call(server: Session) -> None:
    call = received(server, 'WSX://{"id":"1","method":"GET","path":"/points"}::JS')
    assert call.item(Point(1, 2)) == 'WSX://{"id":"1","status":200,"seq":0,"data":"1,2::PT","stream":true}::JS'


def test_what_a_path_has_no_types_for_cannot_be_answered(server: Session) -> None:
    call = received(server, 'WSX://{"id":"1","method":"POST","path":"/other"}::JS')
    with pytest.raises(TytxError, match="Point has no TYTX form"):
        call.respond(200, Point(1, 2))


def test_an_untyped_answer_holds_literals(server: Session) -> None:
    call = received(server, 'WSX://{"id":"1","method":"GET","path":"/points"}')
    call.form = Form(types=POINTS)
    answer = call.respond(200, {"at": Point(1, 2), "price": Decimal("9.90"), "text": "x::PT"})
    assert answer == 'WSX://{"id":"1","status":200,"data":{"at":"1,2","price":"9.90","text":"x::PT"}}'


# -- calls of one's own


def answered(client: Session, answer: str) -> None:
    assert client.receive(answer, 0.0) is None


def test_a_call_with_types() -> None:
    client = Session("client")
    with_types = client.call("POST", "/points", [Point(1, 2), "x::PT"], now=0.0, types=POINTS)
    without = client.call("POST", "/points", ["x::PT"], now=0.0)
    assert client.take() == [
        'WSX://{"id":"1","method":"POST","path":"/points","data":["1,2::PT","x::PT::T"]}::JS',
        'WSX://{"id":"2","method":"POST","path":"/points","data":["x::PT"]}::JS',
    ]
    for id in ("1", "2"):
        answered(client, f'{{"id":"{id}","status":200,"data":["1,2::PT","x::PT::T"]}}::JS')
    assert with_types.response is not None
    assert with_types.response.data == [Point(1, 2), "x::PT"]
    assert without.response is not None
    assert without.response.data == ["1,2::PT", "x::PT"]


def test_a_stream_with_types() -> None:
    client = Session("client")
    call = client.call("POST", "/points", now=0.0, types=POINTS, stream=True, credit=4)
    assert call.chunk(Point(1, 2)) == 'WSX://{"id":"1","seq":0,"data":"1,2::PT","stream":true}::JS'
    answered(client, '{"id":"1","status":200,"seq":0,"data":"3,4::PT","stream":true}::JS')
    assert call.items.take() == Point(3, 4)


def test_types_of_a_connection_and_of_a_call() -> None:
    mine = TypeTable()
    mine.register(complex, "C", str, complex)
    client = Session("client", types=mine)
    calls = [client.call("GET", "/x", now=0.0), client.call("GET", "/x", now=0.0, types=POINTS)]
    for id in ("1", "2"):
        answered(client, f'{{"id":"{id}","status":200,"data":["1,2::PT","1j::C"]}}::JS')
    assert [call.response and call.response.data for call in calls] == [["1,2::PT", 1j], [Point(1, 2), "1j::C"]]


def test_an_answer_that_cannot_be_read_fails_its_call() -> None:
    client = Session("client")
    call = client.call("GET", "/points", now=0.0, types=POINTS)
    answered(client, '{"id":"1","status":200,"data":"1::PT"}::JS')
    assert call.error is not None
    assert (call.error.status, call.error.code) == (400, "BAD_VALUE")


def test_what_the_peer_reads_is_escaped() -> None:
    client = Session("client")
    client.escape(["PT", 'no"suffix'])
    mine = TypeTable()
    mine.register(complex, "C", str, complex)
    client.call("POST", "/a", ["x::PT", "x::C"], now=0.0)
    client.call("POST", "/b", ["x::PT", "x::C", 1j], now=0.0, types=mine)
    assert client.take() == [
        'WSX://{"id":"1","method":"POST","path":"/a","data":["x::PT::T","x::C"]}::JS',
        'WSX://{"id":"2","method":"POST","path":"/b","data":["x::PT::T","x::C::T","1j::C"]}::JS',
    ]


# -- there and back

texts = st.one_of(
    st.text(max_size=8),
    st.tuples(
        st.text(max_size=4), st.sampled_from(["::PT", "::N", "::T", "::PT::T", "::QS", "::ZZ", "::JS", ":PT", "::pt"])
    ).map("".join),
).filter(lambda text: not any("\ud800" <= letter <= "\udfff" for letter in text))
points = st.builds(Point, st.integers(-9, 9), st.integers(-9, 9))
leaves = texts | points | st.integers(-99, 99) | st.none() | st.builds(Decimal, st.integers(-9, 9))
documents = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)


def without_points(value: Any) -> Any:
    if type(value) is Point:
        return "point"
    if type(value) is list:
        return [without_points(item) for item in value]
    return {key: without_points(item) for key, item in value.items()} if type(value) is dict else value


def round_trip(form: Form, value: Any, path: str, types: TypeTable | None, prepare: Callable[[Session], None]) -> Any:
    client, server = Session("client", form=form), Session("server")
    server.read_by_call(of_path)
    server.escape(POINTS.own_suffixes)
    prepare(client)
    outgoing = client.call("POST", path, value, now=0.0, types=types)
    (frame,) = client.take()
    call = received(server, frame)
    assert call.data == value
    answer = call.respond(200, call.data)
    assert answer is not None
    assert client.receive(answer, 0.0) is None
    assert outgoing.response is not None, outgoing.error
    return outgoing.response.data


def forms() -> list[Form]:
    return [TYPED_TEXT, BINARY] if find_spec("msgpack") else [TYPED_TEXT]


@pytest.mark.parametrize("form", forms())
@settings(max_examples=60, deadline=None, derandomize=True)
@given(value=documents.filter(lambda value: value is not None))
def test_both_know_the_types(form: Form, value: Any) -> None:
    assert round_trip(form, value, "/points", POINTS, lambda client: None) == value


@pytest.mark.parametrize("form", forms())
@settings(max_examples=60, deadline=None, derandomize=True)
@given(value=documents.filter(lambda value: value is not None).map(without_points))
def test_one_that_was_only_told_of_suffixes(form: Form, value: Any) -> None:
    assert round_trip(form, value, "/points", None, lambda client: client.escape(["PT"])) == value


@pytest.mark.parametrize("form", forms())
@settings(max_examples=60, deadline=None, derandomize=True)
@given(value=documents.filter(lambda value: value is not None).map(without_points))
def test_a_client_with_types_on_a_path_without(form: Form, value: Any) -> None:
    assert round_trip(form, value, "/other", POINTS, lambda client: None) == value


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(["id", "method", "path", "status", "seq", "data"]), documents, max_size=6))
def test_hostile_messages_are_answered(fields: dict[str, Any]) -> None:
    session = Session("server")
    session.read_by_call(of_path)
    for frame in [encode(fields, types=POINTS), *(encode(fields, "msgpack", types=POINTS) for _ in forms()[1:])]:
        session.receive(frame, 0.0)  # whatever is wrong is answered
