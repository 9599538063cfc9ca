"""Trace Context and Baggage: what is believed, what is dropped, and what is handed on."""

import re
from urllib.parse import quote

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi import trace
from genro_asgi.trace import TraceContext, carried_headers, clean_baggage, clean_tracestate, read_baggage, read_trace

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"

quick = settings(derandomize=True, deadline=None, max_examples=60)


def test_a_call_is_a_child_of_its_caller() -> None:
    found = read_trace(PARENT, "congo=t61rcWkgMzE")
    assert found is not None
    assert (found.trace_id, found.parent_id, found.flags, found.sampled) == (TRACE_ID, PARENT_ID, 1, True)
    assert re.fullmatch("[0-9a-f]{16}", found.span_id)
    assert found.span_id != PARENT_ID
    assert found.traceparent == f"00-{TRACE_ID}-{found.span_id}-01"
    assert found.state == "congo=t61rcWkgMzE"


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        (PARENT, 1),
        (f" \t{PARENT} ", 1),
        (f"00-{TRACE_ID}-{PARENT_ID}-00", 0),
        (f"00-{TRACE_ID}-{PARENT_ID}-02", 2),
        (f"00-{TRACE_ID}-{PARENT_ID}-ff", 3),  # bits nobody has given a meaning yet are not handed on
        (f"01-{TRACE_ID}-{PARENT_ID}-ff", 1),  # nor are those of a later version
        (f"cc-{TRACE_ID}-{PARENT_ID}-01-what-the-future-will-be-like", 1),
        (f"fe-{TRACE_ID}-{PARENT_ID}-00-", 0),
    ],
)
def test_good_parents(header: str, flags: int) -> None:
    found = read_trace(header)
    assert found is not None
    assert (found.trace_id, found.parent_id, found.flags, found.sampled) == (TRACE_ID, PARENT_ID, flags, flags & 1 == 1)
    assert found.traceparent == f"00-{TRACE_ID}-{found.span_id}-0{flags}"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"ff-{TRACE_ID}-{PARENT_ID}-01",
        f"00-{'0' * 32}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID}-{PARENT_ID}-01-",
        f"00-{TRACE_ID}-{PARENT_ID}-01-more",
        f"cc-{TRACE_ID}-{PARENT_ID}-01.more",
        f"cc-{TRACE_ID}-{PARENT_ID}-011",
        f"00-{TRACE_ID.upper()}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{PARENT_ID}-0g",
        f"00-{TRACE_ID}-{PARENT_ID}",
        f"00-{TRACE_ID[1:]}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{PARENT_ID[1:]}-01",
        f"00_{TRACE_ID}_{PARENT_ID}_01",
        f"{PARENT},{PARENT}",  # the header came twice
        f"{PARENT}\n",
        f"00-{'٤' * 32}-{PARENT_ID}-01",  # digits, and not those of ASCII
    ],
)
def test_bad_parents_are_ignored(header: str) -> None:
    assert read_trace(header, "congo=1") is None


@quick
@given(st.text(max_size=80) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}(-.*)?"))
def test_what_is_believed_is_handed_on_as_version_0(header: str) -> None:
    found = read_trace(header)
    if found is None:
        return
    assert found.trace_id in header
    assert found.parent_id in header
    again = read_trace(found.traceparent)
    assert again is not None
    assert (again.trace_id, again.parent_id, again.flags) == (found.trace_id, found.span_id, found.flags)


MEMBERS = [f"key{number}=value" for number in range(40)]


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("congo=t61,rojo=00f0", "congo=t61,rojo=00f0"),
        (" congo=t61 ,\t, rojo = 00f0", ""),  # a key ends where the sign stands
        ("congo=t61 ,\t,  rojo=00 f0", "congo=t61,rojo=00 f0"),
        ("1a@ven-dor=x,a_b*c/d=!~", "1a@ven-dor=x,a_b*c/d=!~"),
        ("", ""),
        ("congo", ""),
        ("congo=", ""),
        ("=t61", ""),
        ("Congo=t61", ""),
        ("@congo=t61", ""),
        ("congo=a=b", ""),
        ("congo=\u00e9", ""),
        ("congo=a\nb", ""),
        ("congo=1,congo=2", ""),
        ("k" * 256 + "=" + "v" * 256, "k" * 256 + "=" + "v" * 256),
        ("k" * 257 + "=v", ""),
        ("k=" + "v" * 257, ""),
        (",".join(MEMBERS[:32]), ",".join(MEMBERS[:32])),
        (",".join(MEMBERS[:33]), ""),
        # Too long: first the long ones go, then the last ones.
        (f"a={'v' * 200}," + ",".join(MEMBERS[:31]), f"a={'v' * 200}," + ",".join(MEMBERS[:31])),
        (
            f"a={'v' * 200},b={'v' * 200},c={'v' * 256},d={'v' * 256},e=1,f={'v' * 126},g={'v' * 127}",
            f"e=1,f={'v' * 126}",
        ),
        (",".join(f"k{n:02}={'v' * 96}" for n in range(20)), ",".join(f"k{n:02}={'v' * 96}" for n in range(10))),
    ],
)
def test_states(header: str, kept: str) -> None:
    assert clean_tracestate(header) == kept
    found = read_trace(PARENT, header)
    assert found is not None
    assert found.state == kept


@pytest.mark.parametrize(
    ("header", "values", "kept"),
    [
        ("user=ann,tenant=%C3%A9%20x", {"user": "ann", "tenant": "\u00e9 x"}, "user=ann,tenant=%C3%A9%20x"),
        (" user\t= ann ; secret ; max = 3 ,,", {"user": "ann"}, "user=ann;secret;max=3"),
        ("user=ann,user=bob", {"user": "bob"}, "user=ann,user=bob"),
        ("a=b=c", {"a": "b=c"}, "a=b=c"),
        ("a=", {"a": ""}, "a="),
        ("a=%ff", {"a": "\ufffd"}, "a=%ff"),
        ('user,a=1,=x,b c=2,d=\u00e9,e="q",f=1;g h,i=2;,j=3\r\nk=4', {"a": "1"}, "a=1"),
        ("", {}, ""),
    ],
)
def test_baggage(header: str, values: dict[str, str], kept: str) -> None:
    assert read_baggage(header) == values
    assert clean_baggage(header) == kept


def test_baggage_is_bounded() -> None:
    many = ",".join(f"k{n}=v" for n in range(100))
    assert list(read_baggage(many)) == [f"k{n}" for n in range(64)]
    assert clean_baggage(many) == ",".join(f"k{n}=v" for n in range(64))
    long = ",".join(f"k{n}={'v' * 997}" for n in range(5))
    assert clean_baggage(long) == ",".join(f"k{n}={'v' * 997}" for n in range(4))
    assert clean_baggage("k=" + "v" * 5000) == ""


@quick
@given(st.dictionaries(st.from_regex(r"[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True), st.text(max_size=12)))
def test_baggage_brings_any_text(values: dict[str, str]) -> None:
    header = ",".join(f"{name}={quote(value)}" for name, value in values.items())
    assert read_baggage(header) == values
    assert clean_baggage(header) == header


@quick
@given(st.text(alphabet='ab=,;% \t\n\u00e9"\\-', max_size=60))
def test_what_is_handed_on_is_clean(text: str) -> None:
    for clean in (clean_baggage, clean_tracestate):
        kept = clean(text)
        assert clean(kept) == kept
        assert all(" " <= char <= "~" for char in kept)


# -- handing on


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> list[trace.Source]:
    found: list[trace.Source] = []
    monkeypatch.setattr(trace, "_sources", found)
    return found


def test_what_a_call_carries() -> None:
    context = TraceContext(TRACE_ID, PARENT_ID, flags=0xFF, state="a=1")
    assert carried_headers(context, "user=ann,bad") == {
        "traceparent": f"00-{TRACE_ID}-{PARENT_ID}-03",
        "tracestate": "a=1",
        "baggage": "user=ann",
    }
    assert carried_headers(None, "user=ann") == {"baggage": "user=ann"}
    assert carried_headers(None, "bad") == {}


def test_the_first_who_knows_is_believed(sources: list[trace.Source]) -> None:
    assert trace.hand_on() is None
    assert trace.hand_on({"a": "b"}) == {"a": "b"}

    def nobody() -> None:
        return None

    def second() -> dict[str, str]:
        return {"traceparent": "second"}

    def first() -> dict[str, str]:
        return {}

    trace.add_source(nobody)
    trace.add_source(second)
    trace.add_source(second)
    assert sources == [nobody, second]
    assert trace.hand_on() == {"traceparent": "second"}
    trace.add_source(first, first=True)
    assert sources == [first, nobody, second]
    assert trace.hand_on() is None  # a caller is known, and has no trace


@pytest.mark.parametrize(
    ("own", "carried"),
    [
        ({"x-a": "1"}, {"traceparent": "p", "tracestate": "s", "baggage": "b", "x-a": "1"}),
        ({"Traceparent": "mine"}, {"baggage": "b", "Traceparent": "mine"}),
        ({"BAGGAGE": "mine"}, {"traceparent": "p", "tracestate": "s", "BAGGAGE": "mine"}),
    ],
)
def test_own_headers_stand(sources: list[trace.Source], own: dict[str, str], carried: dict[str, str]) -> None:
    trace.add_source(lambda: {"traceparent": "p", "tracestate": "s", "baggage": "b"})
    given_headers = dict(own)
    assert trace.hand_on(own) == carried
    assert own == given_headers
