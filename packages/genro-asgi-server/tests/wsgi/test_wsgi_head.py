"""What start_response accepts, and what it refuses."""

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.middleware.wsgi import head as module
from genro_asgi.middleware.wsgi.head import parse_head


def test_a_head() -> None:
    status, headers, length = parse_head(
        "201 Created", [("Content-Type", "text/plain"), ("X-A", "\xe8 b"), ("Content-Length", " 5 ")]
    )
    assert status == 201
    assert headers == [(b"content-type", b"text/plain"), (b"x-a", b"\xe8 b"), (b"content-length", b"5")]
    assert length == 5


@pytest.mark.parametrize(
    ("status", "code"), [("200 OK", 200), ("404", 404), ("299 Whatever it is", 299), ("599 ", 599)]
)
def test_status(status: str, code: int) -> None:
    assert parse_head(status, [])[0] == code


@pytest.mark.parametrize("status", ["", "OK", "20 OK", "2000 OK", "200OK", " 200 OK", "100 Continue", "600 x", "²00 x"])
def test_bad_status_text(status: str) -> None:
    with pytest.raises(ValueError, match="does not begin with a number from 200 to 599"):
        parse_head(status, [])


@pytest.mark.parametrize("status", [200, b"200 OK", None])
def test_bad_status_type(status: Any) -> None:
    with pytest.raises(TypeError, match="give a str such as"):
        parse_head(status, [])


@pytest.mark.parametrize("status", ["200 OK\r\n", "200 a\nb", "200 \x00"])
def test_control_characters_in_the_status(status: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        parse_head(status, [])


@pytest.mark.parametrize("headers", [(), None, {"A": "b"}, iter([]), "A: b"])
def test_headers_must_be_a_list(headers: Any) -> None:
    with pytest.raises(TypeError, match="give a list"):
        parse_head("200 OK", headers)


@pytest.mark.parametrize("item", [["A", "b"], "Ab", ("A",), ("A", "b", "c"), None])
def test_headers_must_hold_pairs(item: Any) -> None:
    with pytest.raises(TypeError, match="is not a \\(name, value\\) tuple"):
        parse_head("200 OK", [item])


@pytest.mark.parametrize("item", [(b"A", "b"), ("A", b"b"), ("A", 1), (None, "b"), ("A", None), ([], "b")])
def test_names_and_values_must_be_str(item: Any) -> None:
    with pytest.raises(TypeError):
        parse_head("200 OK", [item])


@pytest.mark.parametrize("name", ["", "A B", "A:", "A\r\nB", "A\x00", "Ä", " A", "A\n"])
def test_bad_names(name: str) -> None:
    with pytest.raises(ValueError, match="RFC 9110"):
        parse_head("200 OK", [(name, "x")])


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b=c", "a\rb", "a\nb", "a\x00b", "a\x7fb", "a\n"])
def test_control_characters_in_values(value: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        parse_head("200 OK", [("X-A", value)])


def test_values_outside_latin_1() -> None:
    with pytest.raises(ValueError, match="outside latin-1"):
        parse_head("200 OK", [("X-A", "☕")])


def test_tabs_and_blanks() -> None:
    assert parse_head("200 OK", [("X-A", " a\tb\t")])[1] == [(b"x-a", b"a\tb")]


@pytest.mark.parametrize(
    "name",
    ["Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Trailers", "Upgrade",
     "Transfer-Encoding", "connection"],
)  # fmt: skip
def test_hop_by_hop_headers_are_refused(name: str) -> None:
    for _ in range(2):  # the second time would come from the table of known names
        with pytest.raises(ValueError, match="is the server's to set"):
            parse_head("200 OK", [(name, "x")])


@pytest.mark.parametrize("value", ["", "-1", "+1", "1.0", "x", "1 1", "9" * 19])
def test_bad_length(value: str) -> None:
    with pytest.raises(ValueError, match="give a number of bytes"):
        parse_head("200 OK", [("Content-Length", value)])


def test_length_given_twice() -> None:
    head = parse_head("200 OK", [("Content-Length", "5"), ("content-length", "5")])
    assert head[1] == [(b"content-length", b"5")]
    with pytest.raises(ValueError, match="is given as 5 and as 6; give it once"):
        parse_head("200 OK", [("Content-Length", "5"), ("Content-Length", "6")])


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_status_without_body_announces_none(status: str) -> None:
    head = parse_head(status, [("Content-Length", "5"), ("ETag", '"x"')])
    assert head[1:] == ([(b"etag", b'"x"')], None)


def test_the_date_is_left_to_the_server() -> None:
    for _ in range(2):
        assert parse_head("200 OK", [("Date", "x"), ("A", "b")]) == (200, [(b"a", b"b")], None)


def test_repeated_headers_stay() -> None:
    headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    assert parse_head("200 OK", headers)[1] == [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]


def test_made_up_names_do_not_pile_up() -> None:
    for number in range(1000):
        head = parse_head(f"200 Made up {number}", [(f"X-Made-Up-{number}", "1"), ("Content-Type", f"a/{number}")])
        assert head[1] == [(b"x-made-up-%d" % number, b"1"), (b"content-type", b"a/%d" % number)]
    for table in (module._names, module._statuses, module._known):
        assert len(table) <= module._MAX_KNOWN


@settings(derandomize=True, deadline=None)
@given(st.text(), st.text())
def test_what_passes_cannot_split_a_response(name: str, value: str) -> None:
    try:
        head = parse_head("200 OK", [(name, value)])
    except ValueError:
        return
    ((raw_name, raw_value),) = head[1]
    assert not set(raw_name + raw_value) & {0, 10, 13}
    assert raw_name == name.lower().encode("ascii")
    assert raw_value == value.strip(" \t").encode("latin-1")
