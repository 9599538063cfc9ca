import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.datastructures import Headers, MutableHeaders, encode_header, headers_from_scope

RAW = [(b"a", b"123"), (b"a", b"456"), (b"b", b"789")]


def test_lookup_gives_the_first_value_whatever_the_case() -> None:
    headers = Headers(raw=RAW)
    assert (headers["a"], headers["A"], headers.get("nope"), headers.get("nope", "x")) == ("123", "123", None, "x")
    assert headers.getlist("A") == ["123", "456"]
    assert headers.getlist("c") == []
    assert headers.keys() == list(headers) == ["a", "a", "b"]
    assert headers.values() == ["123", "456", "789"]
    assert headers.items() == [("a", "123"), ("a", "456"), ("b", "789")]
    assert len(headers) == 3
    assert "B" in headers
    assert "c" not in headers
    assert 5 not in headers
    assert "è€" not in headers
    assert headers.raw is RAW
    with pytest.raises(KeyError, match="C"):
        headers["C"]


def test_the_sources_agree() -> None:
    expected = Headers({"A": "123", "B": "789"})
    assert expected.raw == [(b"a", b"123"), (b"b", b"789")]
    assert Headers(headers={"a": "123", "b": "789"}) == expected
    assert Headers([(b"A", b"123"), (b"B", b"789")]) == expected
    assert Headers([[b"a", b"123"], [b"b", b"789"]]) == expected  # type: ignore[list-item]
    assert Headers(scope={"headers": ((b"b", b"789"), (b"a", b"123"))}) == expected
    assert Headers(expected) == expected
    assert Headers(expected).raw is not expected.raw
    assert Headers().raw == []
    assert Headers({"a": "1"}) != Headers({"a": "2"})
    assert Headers({"a": "1"}) != {"a": "1"}


def test_only_one_source_is_taken() -> None:
    with pytest.raises(TypeError, match="Headers takes one of headers, raw and scope"):
        Headers({"a": "1"}, raw=[])


def test_a_repr_shows_what_there_is() -> None:
    assert repr(Headers({"a": "1"})) == "Headers({'a': '1'})"
    assert repr(Headers(raw=RAW)) == f"Headers(raw={RAW!r})"


def test_reading_leaves_the_scope_alone() -> None:
    pairs = ((b"a", b"1"),)
    scope = {"headers": pairs}
    Headers(scope=scope)
    assert scope["headers"] is pairs


@pytest.mark.parametrize("scope", [{}, {"headers": None}, {"headers": []}])
def test_a_scope_may_have_no_headers(scope: dict[str, object]) -> None:
    assert headers_from_scope(scope).raw == []
    assert Headers(scope=scope).raw == []
    MutableHeaders(scope=scope)["a"] = "1"
    assert scope["headers"] == [(b"a", b"1")]


def test_a_scope_gives_its_headers_in_lower_case() -> None:
    assert headers_from_scope({"headers": [[b"X-A", b"1"]]})["x-a"] == "1"


def test_setting_replaces_the_first_and_drops_the_rest() -> None:
    headers = MutableHeaders(raw=list(RAW))
    headers["A"] = "1"
    headers["C"] = "2"
    headers["b"] = "3"
    assert headers.items() == [("a", "1"), ("b", "3"), ("c", "2")]


def test_deleting_takes_all_and_forgives() -> None:
    headers = MutableHeaders(raw=list(RAW))
    del headers["A"]
    del headers["nope"]
    assert headers.items() == [("b", "789")]


def test_append_setdefault_update() -> None:
    headers = MutableHeaders({"a": "1"})
    headers.append("A", "2")
    assert headers.setdefault("a", "3") == "1"
    assert headers.setdefault("b", "4") == "4"
    headers.update({"b": "5", "c": "6"})
    assert headers.items() == [("a", "1"), ("a", "2"), ("b", "5"), ("c", "6")]


def test_the_list_of_a_message_is_the_one_that_changes() -> None:
    message = {"type": "http.response.start", "headers": ((b"a", b"1"),)}
    headers = MutableHeaders(scope=message)
    headers["b"] = "2"
    del headers["a"]
    assert message["headers"] == [(b"b", b"2")]


def test_union_makes_a_new_one_and_in_place_does_not() -> None:
    headers = Headers({"a": "1"}).mutablecopy()
    same = headers
    union = headers | {"b": "2"}
    assert (union.items(), headers.items()) == ([("a", "1"), ("b", "2")], [("a", "1")])
    assert isinstance(union, MutableHeaders)
    headers |= {"a": "3"}
    assert same is headers
    assert headers["a"] == "3"


def test_union_wants_a_mapping() -> None:
    headers = MutableHeaders()
    with pytest.raises(TypeError, match="Expected a mapping but got list"):
        headers | [("a", "1")]  # type: ignore[operator]
    with pytest.raises(TypeError, match="Expected a mapping but got str"):
        headers |= "a"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "added", "after"),
    [
        ([], "Accept", ["Accept"]),
        (["Cookie"], "Accept, Origin", ["Cookie, Accept, Origin"]),
        (["Accept-Encoding"], "accept-encoding", ["Accept-Encoding"]),
        (["A", "B"], "C", ["A, B, C"]),
        (["*"], "Accept", ["*"]),
    ],
)
def test_vary_lists_each_name_once(before: list[str], added: str, after: list[str]) -> None:
    headers = MutableHeaders(raw=[(b"vary", value.encode()) for value in before])
    headers.add_vary_header(added)
    assert headers.getlist("vary") == after


@pytest.mark.parametrize("bad", ["a\r\nb", "a\nb", "a\rb", "a\0b"])
def test_a_value_cannot_split_the_response(bad: str) -> None:
    headers = MutableHeaders()
    for change in (
        lambda: headers.__setitem__("x-a", bad),
        lambda: headers.append("x-a", bad),
        lambda: headers.setdefault("x-a", bad),
        lambda: headers.update({"x-a": bad}),
        lambda: Headers({"x-a": bad}),
    ):
        with pytest.raises(ValueError, match="The value of header 'x-a' holds a CR, LF or NUL; take it out"):
            change()
    assert headers.raw == []


@pytest.mark.parametrize("bad", ["", "a b", "a:", "a\r", "a\n", "è", "a\0"])
def test_a_name_must_be_a_token(bad: str) -> None:
    with pytest.raises(ValueError, match=r"^Header name .* is not a token; use letters, digits and dashes\.$"):
        MutableHeaders()[bad] = "1"


def test_a_value_must_be_latin_1() -> None:
    assert encode_header("X-A", "è") == (b"x-a", b"\xe8")
    with pytest.raises(ValueError, match="The value of header 'X-A' is not latin-1; encode it first"):
        encode_header("X-A", "€")


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text(max_size=6), st.text(max_size=12))
def test_what_is_accepted_cannot_break_a_response(name: str, value: str) -> None:
    try:
        raw_name, raw_value = encode_header(name, value)
    except ValueError:
        return
    assert not set(raw_name + raw_value) & set(b"\r\n\0")
    assert raw_name
    assert not set(raw_name) & set(b" :")
