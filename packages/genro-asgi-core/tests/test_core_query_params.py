from time import process_time
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.datastructures import QueryParams, parse_query, query_dict, query_params_from_scope
from genro_asgi.exceptions import HTTPBadRequest

CASES: list[tuple[bytes, list[tuple[str, str]]]] = [
    (b"", []),
    (b"a=1", [("a", "1")]),
    (b"name=genro&count=3", [("name", "genro"), ("count", "3")]),
    (b"a=1&a=2", [("a", "1"), ("a", "2")]),
    (b"a", [("a", "")]),
    (b"a=", [("a", "")]),
    (b"=1", [("", "1")]),
    (b"=", [("", "")]),
    (b"&&a=1&&", [("a", "1")]),
    (b"a=1=2", [("a", "1=2")]),
    (b"a=1;b=2", [("a", "1;b=2")]),
    (b"q=a+b%20c", [("q", "a b c")]),
    (b"q=%C3%A8&%C3%A8=q", [("q", "è"), ("è", "q")]),
    (b"q=100%", [("q", "100%")]),
    (b"q=%zz+", [("q", "%zz ")]),
    (b"q=%ff", [("q", "�")]),
    ("q=è".encode(), [("q", "è")]),
    (b"q=\xe8", [("q", "�")]),
    (b"q=\xe8&r=%26", [("q", "�"), ("r", "&")]),
]


@pytest.mark.parametrize(("raw", "pairs"), CASES)
def test_both_parsers_read_the_same(raw: bytes, pairs: list[tuple[str, str]]) -> None:
    assert parse_query(raw) == pairs
    assert query_dict(raw) == dict(pairs)


def test_a_str_is_read_as_well() -> None:
    assert parse_query("a=%C3%A8&b=é") == [("a", "è"), ("b", "é")]


def test_too_many_pairs_are_a_bad_request() -> None:
    full = b"&".join([b"a=1"] * 1000)
    assert len(parse_query(full)) == 1000
    assert query_dict(full) == {"a": "1"}
    for read in (parse_query, query_dict):
        for raw in (full + b"&b=1", full + b"&b=%20"):
            with pytest.raises(HTTPBadRequest, match="400: Too many query parameters; the limit is 1000"):
                read(raw)
        assert len(read(b"a=1&b=2", 2)) == 2
        with pytest.raises(HTTPBadRequest):
            read(b"a=1&b=2&c=3", 2)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=6))
def test_what_was_encoded_comes_back(pairs: list[tuple[str, str]]) -> None:
    text = urlencode(pairs)
    assert parse_query(text.encode()) == pairs
    assert query_dict(text.encode()) == dict(pairs)
    assert QueryParams(text).multi_items() == pairs
    assert str(QueryParams(pairs)) == text


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.text(alphabet="ab=&+%2;é\0 ", max_size=20))
def test_it_agrees_with_the_standard_library(text: str) -> None:
    assert parse_query(text) == parse_qsl(text, keep_blank_values=True)
    assert query_dict(text.encode()) == dict(parse_query(text))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary(max_size=40))
def test_no_bytes_break_it(raw: bytes) -> None:
    assert dict(parse_query(raw)) == query_dict(raw)


@settings(derandomize=True, deadline=None)
@given(
    st.lists(
        st.sampled_from(["%", "%4", "%41", "%c3", "%A9", "%e2%82", "%zz", "é", "€", "a", "+", "\ufffd"]), max_size=12
    )
)
def test_long_values_are_unquoted_like_short_ones(parts: list[str]) -> None:
    text = "".join(parts)
    [(_, short)] = parse_query(f"a={text}")
    [(_, long)] = parse_query(f"a={'x' * 5000}{text}")
    assert long == "x" * 5000 + short


def test_percent_signs_that_begin_nothing_are_cheap() -> None:
    began = process_time()
    assert parse_query(b"a=" + b"%" * 1_000_000) == [("a", "%" * 1_000_000)]
    assert process_time() - began < 0.5


def test_lookup_gives_the_last_value_and_getlist_all() -> None:
    params = QueryParams(b"a=123&a=456&b=789")
    assert params["a"] == "456"
    assert params.getlist("a") == ["123", "456"]
    assert params.getlist("c") == []
    assert params.get("c", "none") == "none"
    assert (list(params), list(params.keys()), len(params)) == (["a", "b"], ["a", "b"], 2)
    assert list(params.values()) == ["456", "789"]
    assert list(params.items()) == [("a", "456"), ("b", "789")]
    assert params.multi_items() == [("a", "123"), ("a", "456"), ("b", "789")]
    assert "a" in params
    assert "A" not in params
    assert not QueryParams("")
    assert str(params) == "a=123&a=456&b=789"
    assert repr(params) == "QueryParams('a=123&a=456&b=789')"


def test_the_sources_are_starlettes() -> None:
    expected = QueryParams("a=123&b=456")
    assert QueryParams({"a": 123, "b": "456"}) == expected
    assert QueryParams([("a", "123"), ("b", 456)]) == expected
    assert QueryParams(expected) == expected
    assert QueryParams({"a": "123"}, b=456) == expected
    assert QueryParams() == QueryParams("")
    assert QueryParams("a=1&a=2&b=3") == QueryParams("b=3&a=1&a=2") != QueryParams("a=2&a=1&b=3")
    assert QueryParams("a=1") != {"a": "1"}
    assert QueryParams(a="1") == QueryParams("a=1")


@pytest.mark.parametrize("scope", [{}, {"query_string": b""}, {"query_string": None}])
def test_a_scope_may_have_no_query(scope: dict[str, object]) -> None:
    assert query_params_from_scope(scope).multi_items() == []


def test_a_scope_gives_its_query() -> None:
    assert query_params_from_scope({"query_string": b"a=1"})["a"] == "1"
