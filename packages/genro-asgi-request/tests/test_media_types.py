"""Header values with parameters, and the charsets a client may choose."""

import time

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.exceptions import HTTPUnsupportedMediaType
from genro_asgi.media_types import charset_codec, decode_text, extended_value, parse_parameters


@pytest.mark.parametrize(
    ("value", "main", "parameters"),
    [
        ("", "", {}),
        ("Text/HTML", "text/html", {}),
        (" text/html ; Charset=UTF-8", "text/html", {"charset": "UTF-8"}),
        ('form-data; name="a b"; filename="x;y.txt"', "form-data", {"name": "a b", "filename": "x;y.txt"}),
        (r'form-data; name="a\"b\\c"', "form-data", {"name": r'a"b\c'}),
        (r'form-data; filename="C:\dir\f.txt"', "form-data", {"filename": r"C:\dir\f.txt"}),
        ('a; b=1; b=2; c = "3" ;d', "a", {"b": "1", "c": "3"}),
        ("a;b=;c", "a", {"b": ""}),
        ('a; b="open', "a", {"b": ""}),
        (";a=1", "", {"a": "1"}),
        ("a;=1;;b=2", "a", {"b": "2"}),
        ("a; b=c d ; e=f", "a", {"b": "c d", "e": "f"}),
        ("multipart/form-data; boundary=----x", "multipart/form-data", {"boundary": "----x"}),
        ("form-data; filename*=utf-8''%e2%82%ac.txt", "form-data", {"filename*": "utf-8''%e2%82%ac.txt"}),
    ],
)
def test_parameters(value: str, main: str, parameters: dict[str, str]) -> None:
    assert parse_parameters(value) == (main, parameters)


@given(st.text())
@settings(derandomize=True, deadline=None)
def test_nothing_makes_it_raise(value: str) -> None:
    main, parameters = parse_parameters(value)
    assert main == main.strip().lower()
    assert all(name for name in parameters)


@given(
    st.dictionaries(
        st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1), st.text(st.characters(codec="ascii"))
    )
)
@settings(derandomize=True, deadline=None)
def test_what_is_quoted_is_read_back(parameters: dict[str, str]) -> None:
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in parameters.items()}
    text = "; ".join(["x/y", *(f'{name}="{value}"' for name, value in quoted.items())])
    assert parse_parameters(text) == ("x/y", parameters)


@pytest.mark.parametrize(
    "junk",
    [
        ";" * 10**6,
        ';a="' * 250_000,
        "a;" * 500_000,
        ";a=" * 333_000,
        '\\"' * 500_000,
        '; a="' + "\\" * 10**6,
        " " * 10**6,
        ";" + " " * 10**6,
        ";a" + " " * 10**6 + "=",
        "; " * 500_000,
        ";a ;" * 250_000,
    ],
)
def test_a_megabyte_of_junk_takes_no_time(junk: str) -> None:
    for text in (junk, f"multipart/form-data{junk}"):
        start = time.perf_counter()
        parse_parameters(text)
        assert time.perf_counter() - start < 5.0


@pytest.mark.parametrize(("charset", "codec"), [("UTF-8", "utf-8"), (" utf8 ", "utf-8"), ("ISO-8859-1", "latin-1"),
                                                 ("windows-1252", "cp1252"), ("us-ascii", "ascii")])  # fmt: skip
def test_charsets(charset: str, codec: str) -> None:
    assert charset_codec(charset) == codec


@pytest.mark.parametrize(
    "charset",
    ["", "zip", "bz2", "rot13", "idna", "punycode", "unicode_escape", "utf-7", "utf-16", "undefined", "mbcs", "è"],
)
def test_charsets_that_are_weapons(charset: str) -> None:
    with pytest.raises(HTTPUnsupportedMediaType, match="The charset of the body is not supported; use UTF-8"):
        charset_codec(charset)


def test_bytes_that_are_not_of_their_charset_are_latin_1() -> None:
    assert decode_text(b"\xc3\xa8", "utf-8") == "è"
    assert decode_text(b"\xe8", "utf-8") == "è"
    assert decode_text(b"\x81", "cp1252") == "\x81"


@pytest.mark.parametrize(
    ("value", "text"),
    [("utf-8''%e2%82%ac.txt", "€.txt"), ("ISO-8859-1'en'%e8", "è"), ("utf-8''%ff", "�"), ("x", None), ("zip''x", None),
     ("utf-8'x", None)],
)  # fmt: skip
def test_extended_values(value: str, text: str | None) -> None:
    assert extended_value(value) == text
