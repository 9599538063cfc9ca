"""The text of Set-Cookie headers, and what can not be smuggled into it."""

import datetime as dt
import http.cookies
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

import genro_asgi.set_cookie as set_cookie
from genro_asgi.response import Response, make_cookie


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        (("a", "b c;è"), {}, "a=b%20c%3B%C3%A8; Path=/; SameSite=Lax"),
        (("a", "b"), {"max_age": 0}, "a=b; Max-Age=0; Path=/; SameSite=Lax"),
        (
            ("a", "b"),
            {
                "max_age": 3600,
                "domain": "x.it",
                "secure": True,
                "httponly": True,
                "samesite": "none",
            },
            "a=b; Max-Age=3600; Path=/; Domain=x.it; Secure; HttpOnly; SameSite=None",
        ),
        (("a", "b"), {"samesite": None, "path": ""}, "a=b"),
        (("a",), {"samesite": ""}, "a=; Path=/"),
        (("a", "b"), {"samesite": "STRICT", "path": None}, "a=b; SameSite=Strict"),
    ],
)
def test_make_cookie(arguments: tuple[str, ...], options: dict[str, Any], text: str) -> None:
    assert make_cookie(*arguments, **options) == ("set-cookie", text)


def _cookie(response: Response) -> str:
    return response.headers.getlist("set-cookie")[-1]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "k=v; Path=/; SameSite=lax"),
        ({"max_age": 10, "path": None, "samesite": None}, "k=v; Max-Age=10"),
        ({"path": "", "domain": "", "samesite": ""}, "k=v"),
        (
            {
                "max_age": 10,
                "expires": 10,
                "path": "/",
                "domain": "localhost",
                "secure": True,
                "httponly": True,
                "samesite": "none",
                "partitioned": True,
            },
            "k=v; Domain=localhost; expires=Thu, 22 Jan 2037 12:00:10 GMT; HttpOnly; Max-Age=10; Partitioned; Path=/; "
            "SameSite=none; Secure",
        ),
        (
            {"expires": "Thu, 22 Jan 2037 12:00:10 GMT"},
            "k=v; expires=Thu, 22 Jan 2037 12:00:10 GMT; Path=/; SameSite=lax",
        ),
        (
            {"expires": dt.datetime(2037, 1, 22, 14, 0, 10, tzinfo=dt.timezone(dt.timedelta(hours=2)))},
            "k=v; expires=Thu, 22 Jan 2037 12:00:10 GMT; Path=/; SameSite=lax",
        ),
        ({"expires": ""}, "k=v; Path=/; SameSite=lax"),
    ],
)
def test_set_cookie_writes_what_starlette_writes(
    options: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: dt.datetime(2037, 1, 22, 12, 0, 0, tzinfo=dt.UTC).timestamp())
    response = Response()
    response.set_cookie("k", "v", **options)
    assert _cookie(response) == text


def test_delete_cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)
    response = Response()
    response.delete_cookie("k", path="/a", domain="x.it", secure=True, httponly=True, samesite="none", partitioned=True)
    assert _cookie(response) == (
        'k=""; Domain=x.it; expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Max-Age=0; Partitioned; Path=/a; '
        "SameSite=none; Secure"
    )


def test_cookies_are_added_to_each_other() -> None:
    response = Response()
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    response.set_header(*make_cookie("c", "3"))
    assert [text.partition(";")[0] for text in response.headers.getlist("set-cookie")] == ["a=1", "b=2", "c=3"]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")))
@settings(derandomize=True, deadline=None)
def test_a_quoted_value_is_read_back(value: str) -> None:
    jar: http.cookies.SimpleCookie = http.cookies.SimpleCookie()
    jar["k"] = value
    if any("\x80" <= char <= "\x9f" for char in value):  # newer versions of the library refuse these
        return
    assert set_cookie.cookie_text("k", value, path=None, samesite=None) == jar.output(header="").strip()


BAD = ["a\rb", "a\nb", "a\0b", "a\x7fb", "a;b"]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("where", ["path", "domain"])
def test_attributes_cannot_be_injected(where: str, bad: str) -> None:
    options: dict[str, Any] = {where: bad}
    with pytest.raises(ValueError, match=rf"Cookie {where} .* holds a control character or ';'; take it out"):
        make_cookie("a", "b", **options)
    with pytest.raises(ValueError, match=f"Cookie {where}"):
        Response().set_cookie("a", "b", **options)


@pytest.mark.parametrize("bad", [*BAD, "", "a b", "a=b", "a,b", "è", '"a"'])
def test_a_name_must_be_a_token(bad: str) -> None:
    with pytest.raises(ValueError, match="is not a token of RFC 6265"):
        make_cookie(bad)
    with pytest.raises(ValueError, match="is not a token of RFC 6265"):
        Response().set_cookie(bad)


@pytest.mark.parametrize("bad", BAD)
def test_a_value_holds_no_control_character(bad: str) -> None:
    response = Response()
    if ";" in bad:
        response.set_cookie("a", bad, path=None, samesite=None)
        assert _cookie(response) == 'a="a\\073b"'
        return
    with pytest.raises(ValueError, match=r"Cookie value .* holds a control character; take it out"):
        response.set_cookie("a", bad)
    # make_cookie has percent signs for them.
    assert make_cookie("a", bad, path=None, samesite=None)[1].startswith("a=a%")


def test_expires_as_text_is_checked_too() -> None:
    with pytest.raises(ValueError, match="Cookie expires"):
        Response().set_cookie("a", "b", expires="x; Secure")


@pytest.mark.parametrize("make", [make_cookie, Response().set_cookie])
def test_samesite_is_one_of_three(make: Any) -> None:
    with pytest.raises(ValueError, match="Cookie samesite 'Lax; Secure' is unknown; use lax, strict or none"):
        make("a", "b", samesite="Lax; Secure")


def test_what_no_header_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="not latin-1"):
        Response().set_cookie("a", "€")
