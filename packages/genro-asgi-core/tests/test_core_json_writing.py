import enum
import json
from collections import Counter, OrderedDict, deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, ClassVar, Protocol
from uuid import UUID

import pytest
from hypothesis import example, given, settings, strategies as st

from genro_asgi import jsoncodec
from genro_asgi.datastructures import QueryParams
from genro_asgi.jsoncodec import JsonError, writing


class Engine(Protocol):
    name: str
    loads: Callable[..., Any]
    dumps: Callable[[Any], bytes]


class Colour(enum.Enum):
    RED = "red"
    NESTED = Decimal("1.5")


class Number(enum.IntEnum):
    ONE = 1


class Name(enum.StrEnum):
    BOB = "bob"


class Bits(enum.Flag):
    A = 1


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "other"


class Whole(int):
    pass


class Real(float):
    pass


class Items(list[Any]):
    pass


class Pairs(dict[str, Any]):
    pass


class Stamp(datetime):
    pass


class Price(Decimal):
    pass


Point = namedtuple("Point", "x y")


@dataclass
class Item:
    name: str
    price: Decimal = Decimal("9.90")
    kind: ClassVar[str] = "item"
    _secret: int = 1
    tags: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Slotted:
    a: int
    _b: int = 2


class Model:
    """Stands for a pydantic model."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def model_dump(self, mode: str) -> Any:
        assert mode == "json"
        return self.value


def offset(seconds: int) -> timezone:
    return timezone(timedelta(seconds=seconds))


UUID_1 = UUID("12345678-1234-5678-1234-567812345678")

WRITTEN: list[tuple[Any, str]] = [
    (None, "null"),
    (True, "true"),
    (False, "false"),
    (0, "0"),
    (-(2**63), "-9223372036854775808"),
    (2**64 - 1, "18446744073709551615"),
    (2**64, "18446744073709551616"),
    (-(10**30), "-1000000000000000000000000000000"),
    (1.0, "1.0"),
    (-0.0, "-0.0"),
    (0.1, "0.1"),
    (1e16, "1e+16"),
    (1e22, "1e+22"),
    (1e-5, "0.00001"),
    (-1.5e-5, "-0.000015"),
    (1.2345678901234568e-05, "0.000012345678901234568"),
    (1e-6, "1e-6"),
    (-1.5e-7, "-1.5e-7"),
    (1e-10, "1e-10"),
    (5e-324, "5e-324"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    (float("nan"), "null"),
    (float("inf"), "null"),
    (float("-inf"), "null"),
    ("", '""'),
    ("è😀\u2028</script>\x7f", '"è😀\u2028</script>\x7f"'),
    ('"\\/\b\f\n\r\t\0\x1f', '"\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f"'),
    ("a\ud800b\udfff", '"a�b�"'),
    ({"\ud800": 1}, '{"�":1}'),
    ([], "[]"),
    ({}, "{}"),
    ((), "[]"),
    ([1, [2, ()], {"a": {}}], '[1,[2,[]],{"a":{}}]'),
    ({"a": 1, "b": [True, None]}, '{"a":1,"b":[true,null]}'),
    (Decimal("9.90"), '"9.90"'),
    (Decimal("1E+10"), '"1E+10"'),
    (Decimal("NaN"), '"NaN"'),
    (Price("1.0"), '"1.0"'),
    (date(2025, 1, 15), '"2025-01-15"'),
    (date(1, 1, 1), '"0001-01-01"'),
    (datetime(2025, 1, 15, 10, 30), '"2025-01-15T10:30:00"'),
    (datetime(2025, 1, 15, 10, 30, 45, 123, UTC), '"2025-01-15T10:30:45.000123+00:00"'),
    (datetime(2025, 1, 15, tzinfo=offset(5400)), '"2025-01-15T00:00:00+01:30"'),
    (datetime(1880, 1, 1, tzinfo=offset(2996)), '"1880-01-01T00:00:00+00:50"'),
    (datetime(1880, 1, 1, tzinfo=offset(-2996)), '"1880-01-01T00:00:00-00:50"'),
    (datetime(1880, 1, 1, tzinfo=offset(20)), '"1880-01-01T00:00:00+00:00"'),
    (datetime(1880, 1, 1, tzinfo=offset(-30)), '"1880-01-01T00:00:00-00:01"'),
    (Stamp(2025, 1, 15), '"2025-01-15T00:00:00"'),
    (time(10, 30), '"10:30:00"'),
    (time(10, 30, 0, 5), '"10:30:00.000005"'),
    (time(0, 0, 0, 10_000), '"00:00:00.010000"'),
    (time(0, 0, 0, 99_999), '"00:00:00.099999"'),
    (time(10, 30, tzinfo=UTC), '"10:30:00+00:00"'),
    (UUID_1, '"12345678-1234-5678-1234-567812345678"'),
    (Colour.RED, '"red"'),
    (Colour.NESTED, '"1.5"'),
    (Number.ONE, "1"),
    (Name.BOB, '"bob"'),
    (Bits.A, "1"),
    ({1}, "[1]"),
    (frozenset(["a"]), '["a"]'),
    (deque([1, 2]), "[1,2]"),
    ({"a": 1}.keys(), '["a"]'),
    (b"hi\xff", '"aGn/"'),
    (bytearray(b"hi"), '"aGk="'),
    (memoryview(b"hi"), '"aGk="'),
    (Path("a") / "b.txt", '"a/b.txt"'),
    (PurePosixPath("/x"), '"/x"'),
    (Text("raw"), '"raw"'),
    (Whole(5), "5"),
    (Real(1.5), "1.5"),
    (Items([1]), "[1]"),
    (Pairs(a=1), '{"a":1}'),
    (OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
    (Counter("aab"), '{"a":2,"b":1}'),
    (Point(1, Decimal(2)), '[1,"2"]'),
    (MappingProxyType({"a": 1}), '{"a":1}'),
    (QueryParams("a=1&b=2"), '{"a":"1","b":"2"}'),
    (Item("pen", tags=["a"]), '{"name":"pen","price":"9.90","tags":["a"]}'),
    (Slotted(1), '{"a":1}'),
    (Model({"a": [1]}), '{"a":[1]}'),
    (Model([Decimal(1)]), '["1"]'),
    ({1: "a", -5: "b"}, '{"1":"a","-5":"b"}'),
    ({None: 1, True: 2, False: 3, 1.5: 4}, '{"null":1,"true":2,"false":3,"1.5":4}'),
    ({float("nan"): 1}, '{"null":1}'),
    ({date(2025, 1, 1): 1, time(1, 2): 2}, '{"2025-01-01":1,"01:02:00":2}'),
    ({time(0, 0, 0, 10_000): 1}, '{"00:00:00.010000":1}'),
    ({datetime(2025, 1, 1, tzinfo=UTC): 1}, '{"2025-01-01T00:00:00+00:00":1}'),
    ({UUID_1: 1}, '{"12345678-1234-5678-1234-567812345678":1}'),
    ({Colour.RED: 1, Number.ONE: 2, Name.BOB: 3}, '{"red":1,"1":2,"bob":3}'),
    ({Decimal("1.50"): 1}, '{"1.50":1}'),
    ({Text("raw"): 1}, '{"raw":1}'),
    ({2**70: 1}, '{"1180591620717411303424":1}'),
    ({"a": 1, 1: 2, "1": 3}, '{"a":1,"1":2,"1":3}'),
]


@pytest.mark.parametrize(("value", "text"), WRITTEN, ids=lambda value: repr(value)[:40])
def test_values_are_written(engine: Engine, value: Any, text: str) -> None:
    assert engine.dumps(value) == text.encode()
    assert engine.dumps([value, {"k": value}]) == f'[{text},{{"k":{text}}}]'.encode()


def test_a_dataclass_is_written_with_what_it_has(engine: Engine) -> None:
    item = Item("pen")
    item.extra = 5  # type: ignore[attr-defined]
    del item.tags
    assert engine.dumps(item) == b'{"name":"pen","price":"9.90","extra":5}'


class Stubborn(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(hours=-1, minutes=-30)

    def dst(self, _: datetime | None) -> None:
        return None


def test_any_timezone_will_do(engine: Engine) -> None:
    assert engine.dumps(datetime(2025, 1, 1, tzinfo=Stubborn())) == b'"2025-01-01T00:00:00-01:30"'


@pytest.mark.parametrize("value", [object(), 1j, Item, len, (n for n in "a"), timedelta(1), ValueError("x")], ids=repr)
def test_an_unknown_type_is_named(engine: Engine, value: Any) -> None:
    for inside in (value, [value], {"a": {"b": value}}):
        with pytest.raises(TypeError, match=f"^{type(value).__name__} cannot be written as JSON; turn it into a dict"):
            engine.dumps(inside)


@pytest.mark.parametrize("key", [(1, 2), b"x", frozenset()], ids=repr)
def test_a_key_must_be_a_scalar(engine: Engine, key: Any) -> None:
    with pytest.raises(TypeError, match=f"^{type(key).__name__} cannot be a key of a JSON object; use a str"):
        engine.dumps({key: 1})


def test_an_unknown_key_is_named(engine: Engine) -> None:
    with pytest.raises(TypeError, match=r"^object cannot be written as JSON"):
        engine.dumps({object(): 1})


def test_an_error_of_a_model_is_its_own(engine: Engine) -> None:
    class Broken:
        def model_dump(self, mode: str) -> Any:
            raise LookupError("inside")

    with pytest.raises(LookupError, match="inside"):
        engine.dumps({"a": Broken()})


def loop_of_lists() -> Any:
    value: list[Any] = []
    value.append({"a": value})
    return value


def loop_of_dataclasses() -> Any:
    item = Item("a")
    item.tags = [item]  # type: ignore[list-item]
    return item


def loop_of_mappings() -> Any:
    value: dict[str, Any] = {}
    value["a"] = MappingProxyType(value)
    return value


@pytest.mark.parametrize("make", [loop_of_lists, loop_of_dataclasses, loop_of_mappings])
def test_a_value_that_holds_itself_is_refused(engine: Engine, make: Callable[[], Any]) -> None:
    with pytest.raises(JsonError, match="The value holds itself and cannot be written as JSON"):
        engine.dumps(make())


def test_a_value_may_stand_in_two_places(engine: Engine) -> None:
    shared = {"a": Decimal(1)}
    deep: Any = [shared, [shared], shared]
    for _ in range(300):
        deep = [deep]
    assert engine.dumps(deep) == b"[" * 300 + b'[{"a":"1"},[{"a":"1"}],{"a":"1"}]' + b"]" * 300


@pytest.mark.parametrize("depth", [253, 254, 255, 1000, 20_000])
def test_depth_does_not_matter(engine: Engine, depth: int) -> None:
    value: Any = Decimal(1)
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    text = engine.dumps(value)
    assert text.count(b"[") == depth // 2
    assert text.count(b'{"a":') == depth - depth // 2
    assert b'"1"' in text
    while isinstance(value, list | dict):  # freed level by level: the interpreter would recurse
        value = value.pop() if isinstance(value, list) else value.pop("a")


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=10)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.dates()
    | st.times()
    | st.datetimes()
    | st.uuids()
    | st.decimals()
    | st.binary(max_size=8)
    | st.sampled_from([*Colour, *Number, *Name])
)
KEYS = TEXTS | st.integers() | st.booleans() | st.none() | st.floats() | st.dates() | st.uuids() | st.sampled_from(Name)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.builds(Item, TEXTS, st.decimals(), st.integers(), st.lists(inner, max_size=2))
        | st.builds(Slotted, inner)
    ),
    max_leaves=15,
)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(VALUES)
def test_the_writers_agree(value: Any) -> None:
    assert jsoncodec.dumps(value) == writing.dumps(value)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(FLOATS | st.floats(-1e-3, 1e-3) | FLOATS.map(lambda value: value / 10**300))
@example(9.999999999999999e-05)
@example(1e-05)
@example(9007199254740992.0)
def test_the_writers_agree_on_floats(value: float) -> None:
    text = writing.dumps(value)
    assert jsoncodec.dumps(value) == text
    assert float(text) == value


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.recursive(FLOATS | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=10))
def test_what_is_written_is_json(value: Any) -> None:
    text = writing.dumps(value).decode()
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        assert "�" in text
    else:
        assert json.loads(text) == value
