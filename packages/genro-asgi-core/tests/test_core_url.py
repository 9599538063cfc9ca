from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.datastructures import URL, URLPath, is_host


def test_the_parts_of_a_url() -> None:
    url = URL("https://user:pass@example.org:123/path/to/somewhere?abc=123#anchor")
    assert (url.scheme, url.netloc) == ("https", "user:pass@example.org:123")
    assert (url.username, url.password, url.hostname, url.port) == ("user", "pass", "example.org", 123)
    assert (url.path, url.query, url.fragment) == ("/path/to/somewhere", "abc=123", "anchor")
    assert url.is_secure
    assert str(url) == "https://user:pass@example.org:123/path/to/somewhere?abc=123#anchor"
    assert repr(url) == "URL('https://user:********@example.org:123/path/to/somewhere?abc=123#anchor')"
    assert repr(URL("/x")) == "URL('/x')"
    assert url == str(url)
    assert url == URL(str(url))
    assert url != URL("/x")
    with pytest.raises(TypeError):
        hash(url)


def test_a_bad_port_is_told_when_asked_for() -> None:
    with pytest.raises(ValueError, match="Port"):
        _ = URL("http://h:99999/").port


@pytest.mark.parametrize(
    ("start", "changes", "result"),
    [
        ("https://example.org:123/a?b=c", {"scheme": "http"}, "http://example.org:123/a?b=c"),
        ("https://example.org:123/a", {"port": None}, "https://example.org/a"),
        ("https://example.org:123/a", {"hostname": "example.com"}, "https://example.com:123/a"),
        ("https://example.org/a", {"port": 88}, "https://example.org:88/a"),
        ("https://u:p@example.org/a", {"hostname": "x"}, "https://u:p@x/a"),
        ("https://u:p@example.org/a", {"username": None}, "https://example.org/a"),
        ("https://u:p@example.org/a", {"password": None}, "https://u@example.org/a"),
        ("https://example.org/a", {"username": "bob"}, "https://bob@example.org/a"),
        ("http://[fe::2]/a", {"port": 8080}, "http://[fe::2]:8080/a"),
        ("http://[fe::2]:12/a", {"username": "u"}, "http://u@[fe::2]:12/a"),
        ("http://a/b", {"path": "/c", "query": "d=e"}, "http://a/c?d=e"),
    ],
)
def test_replace(start: str, changes: dict[str, Any], result: str) -> None:
    assert str(URL(start).replace(**changes)) == result


def test_query_parameters_come_and_go() -> None:
    url = URL("https://example.org/path?page=3&q=%C3%A8")
    assert str(url.include_query_params(page=4)) == "https://example.org/path?q=%C3%A8&page=4"
    assert str(url.include_query_params(search="a b")) == "https://example.org/path?page=3&q=%C3%A8&search=a+b"
    assert str(url.replace_query_params(order="name")) == "https://example.org/path?order=name"
    assert str(url.remove_query_params("page")) == "https://example.org/path?q=%C3%A8"
    assert str(url.remove_query_params(["page", "q", "none"])) == "https://example.org/path"


def test_a_long_query_can_be_changed() -> None:
    url = URL("/?" + "&".join(f"a{n}=1" for n in range(2000)))
    assert str(url.remove_query_params("a0")).count("&") == 1998


@pytest.mark.parametrize("hostname", ["::1", "[::1]"])
def test_an_address_is_bracketed_once(hostname: str) -> None:
    assert str(URL("https://[fe::2]:8443/a").replace(hostname=hostname)) == "https://[::1]:8443/a"


def test_components_make_a_url() -> None:
    assert URL(scheme="https", netloc="example.org", path="/a") == "https://example.org/a"
    assert URL(scheme="http", hostname="h", port=81) == "http://h:81"
    with pytest.raises(TypeError, match="URL takes one of a text, a scope and components"):
        URL("/x", path="/y")


def scope(**extra: Any) -> dict[str, Any]:
    return {"type": "http", "path": "/path", "query_string": b"abc=123", "headers": [], **extra}


@pytest.mark.parametrize(
    ("extra", "url"),
    [
        ({"server": ("example.org", 123)}, "http://example.org:123/path?abc=123"),
        ({"server": ("example.org", 443), "scheme": "https"}, "https://example.org/path?abc=123"),
        ({"server": ("example.org", 80), "scheme": "ws"}, "ws://example.org/path?abc=123"),
        ({"server": ("example.org", 80), "type": "websocket"}, "ws://example.org/path?abc=123"),
        ({"server": ("::1", 8000)}, "http://[::1]:8000/path?abc=123"),
        ({"server": ("h", 1), "headers": [(b"host", b"example.org")]}, "http://example.org/path?abc=123"),
        ({"server": ("h", 1), "headers": [(b"a", b"b"), (b"host", b"[::1]:80")]}, "http://[::1]:80/path?abc=123"),
        ({"server": ("h", 1), "headers": [(b"host", b"evil/@x")]}, "http://h:1/path?abc=123"),
        ({"server": ("h", 1), "headers": [(b"host", b"")]}, "http://h:1/path?abc=123"),
        ({"server": ("/run/app.sock", None)}, "/path?abc=123"),
        ({"server": None}, "/path?abc=123"),
        ({}, "/path?abc=123"),
        ({"query_string": b""}, "/path"),
        ({"query_string": b"a=\xff"}, "/path?a=\ufffd"),
        ({"path": "/api/x", "root_path": "/api", "query_string": b""}, "/api/x"),
        ({"path": "/api", "root_path": "/api", "query_string": b""}, "/api"),
        ({"path": "/x", "root_path": "/api", "query_string": b""}, "/api/x"),
        ({"path": "/apix", "root_path": "/api", "query_string": b""}, "/api/apix"),
        ({"path": "/api/è", "root_path": "/api", "query_string": b"", "raw_path": b"/api/%C3%A8"}, "/api/è"),
        ({"path": "/api/è", "root_path": "/api", "query_string": b"", "raw_path": b"/api/api/%C3%A8"}, "/api/api/è"),
        ({"path": "/api/x", "root_path": "/api", "query_string": b"", "raw_path": None}, "/api/x"),
        ({"path": "/a\\b", "query_string": b""}, "/a%5Cb"),
        ({"path": "//google.com/a", "query_string": b""}, "/%2Fgoogle.com/a"),
        ({"path": "//google.com/a", "query_string": b"", "server": ("h", 80)}, "http://h//google.com/a"),
        ({"path": "http://google.com/a", "query_string": b""}, "/http://google.com/a"),
        ({"path": "@google.com", "query_string": b"", "server": ("h", 80)}, "http://h/@google.com"),
        ({"path": "", "query_string": b"", "server": ("h", 80)}, "http://h"),
        ({"server": ("[::1]", 80)}, "http://[::1]/path?abc=123"),
        ({"server": ("h", 1), "headers": [(b"host", b"x:65536")]}, "http://h:1/path?abc=123"),
        ({"server": ("::1", 80), "headers": [(b"host", b"[:::]")]}, "http://[::1]/path?abc=123"),
        ({"path": "/caffè a?b#c%d\n", "query_string": b""}, "/caffè a%3Fb%23c%25d%0A"),
    ],
)
def test_the_url_of_a_scope(extra: dict[str, Any], url: str) -> None:
    assert str(URL(scope=scope(**extra))) == url


def test_a_scope_needs_no_more_than_a_path() -> None:
    assert URL(scope={"type": "http", "path": "/x"}) == "/x"


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_path_never_runs_into_the_rest(path: str) -> None:
    url = URL(scope={"type": "http", "path": "/" + path, "server": ("h", 80), "query_string": b"a=1"})
    parts = urlsplit(str(url))
    assert (parts.netloc, unquote(parts.path), parts.query, parts.fragment) == ("h", "/" + path, "a=1", "")


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "example.org:80",
        "127.0.0.1:1",
        "[::1]",
        "[fe80::1]:443",
        "a_b",
        "x%41",
        "h:00065535",
        "[v1.f]",
    ],
)
def test_hosts(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":80",
        "a b",
        "a/b",
        "a@b",
        "a?b",
        "a#b",
        "a:b",
        "a:1:2",
        "[::1",
        "::1",
        "a\n",
        "a\\b",
        "%zz",
        "è",
        "[v1]",
        "h:",
        "h:65536",
        "h:100000",
        "[:::]",
        "[::ffff:999.0.0.1]",
        "[1.2.3.4]",
        "[V1.f]",
    ],
)
def test_what_is_no_host(host: str) -> None:
    assert not is_host(host)


def test_a_path_becomes_a_url() -> None:
    path = URLPath("/path", protocol="websocket")
    assert path == "/path"
    assert path.make_absolute_url("https://example.org/") == "wss://example.org/path"
    assert path.make_absolute_url(URL("http://example.org/root/")) == "ws://example.org/root/path"
    assert URLPath("/p").make_absolute_url("https://example.org") == "https://example.org/p"
    assert URLPath("/p", "http", "other.org").make_absolute_url("https://example.org") == "https://other.org/p"
    with pytest.raises(ValueError, match="Unknown protocol 'ftp'"):
        URLPath("/p", "ftp")
