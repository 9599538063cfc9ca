"""An ASGI scope becomes the environ that PEP 3333 and RFC 3875 describe."""

import sys
import time
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.middleware.wsgi.environ import BadRequest, body_of, build_environ


def scope_of(path: str = "/", headers: list[tuple[bytes, bytes]] | None = None, **fields: Any) -> dict[str, Any]:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": path,
        "headers": headers or [],
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 8000),
        "client": ("10.0.0.9", 4711),
    }
    return scope | fields


def environ_of(*args: Any, **fields: Any) -> dict[str, Any]:
    return build_environ(scope_of(*args, **fields))


def test_the_whole_environ() -> None:
    scope = scope_of(
        "/a/b",
        [(b"host", b"example.org"), (b"content-type", b"text/plain"), (b"content-length", b"3"), (b"x-y", b"z")],
        method="POST",
        query_string=b"q=%C3%A9&\xe9",
        http_version="2",
        scheme="https",
    )
    assert build_environ(scope) == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a/b",
        "QUERY_STRING": "q=%C3%A9&\xe9",
        "SERVER_PROTOCOL": "HTTP/2",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "10.0.0.9",
        "REMOTE_PORT": "4711",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "3",
        "HTTP_HOST": "example.org",
        "HTTP_X_Y": "z",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "asgi.scope": scope,
    }


def test_file_wrapper_is_absent_and_the_environ_is_a_dict_of_its_own() -> None:
    first, second = environ_of(), environ_of()
    assert "wsgi.file_wrapper" not in first
    assert type(first) is dict
    first["x"] = 1
    assert "x" not in second


def test_optional_scope_keys_may_be_missing() -> None:
    environ = build_environ({"type": "http", "method": "GET", "path": "/", "headers": ()})
    assert environ["SERVER_NAME"] == "localhost"
    assert environ["SERVER_PORT"] == "80"
    assert environ["QUERY_STRING"] == ""
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["wsgi.url_scheme"] == "http"
    assert "REMOTE_ADDR" not in environ
    assert all(isinstance(value, str) for key, value in environ.items() if key.isupper())


@pytest.mark.parametrize(
    ("host", "scheme", "expected"),
    [
        (b"example.org", "http", ("example.org", "80")),
        (b"example.org", "https", ("example.org", "443")),
        (b"example.org:81", "http", ("example.org", "81")),
        (b"[::1]:82", "http", ("[::1]", "82")),
        (b"[::1]", "https", ("[::1]", "443")),
        (b":83", "http", ("localhost", "83")),
        (b"example.org:x", "http", ("example.org", "80")),
        (b"", "http", ("localhost", "80")),
    ],
)
@pytest.mark.parametrize("server", [None, ("/run/app.sock", None)])
def test_server_on_a_unix_socket_is_named_after_what_was_asked_for(
    host: bytes, scheme: str, expected: tuple[str, str], server: Any
) -> None:
    environ = environ_of("/", [(b"host", host)], server=server, scheme=scheme)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == expected


@pytest.mark.parametrize(
    ("raw", "path_info"),
    [
        (b"/", "/"),
        (b"/a%20b", "/a b"),
        (b"/caff%C3%A8", "/caff\xc3\xa8"),
        (b"/caff%E8", "/caff\xe8"),
        (b"/%FF%FE", "/\xff\xfe"),
        (b"/a%2Fb", "/a/b"),
        (b"/a%00b", "/a\x00b"),
        (b"/%E8?x=%E8", "/\xe8"),
        (b"*", "/*"),
        (b"", "/"),
    ],
)
def test_path_info_is_the_decoded_bytes_as_latin_1(raw: bytes, path_info: str) -> None:
    path = unquote(raw.partition(b"?")[0].decode())
    environ = environ_of(path, raw_path=raw)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", path_info)


def test_without_raw_path_the_path_itself_is_encoded() -> None:
    assert environ_of("/caffè/☕")["PATH_INFO"].encode("latin-1").decode() == "/caffè/☕"
    assert environ_of("/\udce8")["PATH_INFO"] == "/\xe8"


def test_a_path_that_was_rewritten_wins_over_raw_path() -> None:
    assert environ_of("/neu/ü", raw_path=b"/old/%C3%BC")["PATH_INFO"].encode("latin-1").decode() == "/neu/ü"


@pytest.mark.parametrize(
    ("root_path", "path", "raw_path", "expected"),
    [
        # the ASGI way: path begins with root_path
        ("/app", "/app/x", b"/app/x", ("/app", "/x")),
        ("/app/", "/app/x", b"/app/x", ("/app", "/x")),
        ("/app", "/app", b"/app", ("/app", "")),
        ("/app", "/app/", b"/app/", ("/app", "/")),
        ("/app", "/app/app/x", b"/app/app/x", ("/app", "/app/x")),
        # the way of frameworks that strip: raw_path still says what was asked for
        ("/app", "/x", b"/app/x", ("/app", "/x")),
        ("/app", "/app/x", b"/app/app/x", ("/app", "/app/x")),
        ("/app", "/", b"/app/", ("/app", "/")),
        ("/app", "/x", None, ("/app", "/x")),
        # not a segment boundary
        ("/app", "/application", b"/application", ("/app", "/application")),
        ("/app", "/application", None, ("/app", "/application")),
        # no root at all
        ("", "/app/x", b"/app/x", ("", "/app/x")),
        ("/", "/app/x", b"/app/x", ("", "/app/x")),
        ("/é", "/é/ü", "/é/ü".encode(), ("/\xc3\xa9", "/\xc3\xbc")),
        ("/é", "/ü", b"/%C3%A9/%C3%BC", ("/\xc3\xa9", "/\xc3\xbc")),
        ("/é", "/é/\ufffd", b"/%C3%A9/%FF", ("/\xc3\xa9", "/\xff")),
    ],
)
def test_script_name_takes_whole_segments(
    root_path: str, path: str, raw_path: bytes | None, expected: tuple[str, str]
) -> None:
    fields = {} if raw_path is None else {"raw_path": raw_path}
    environ = environ_of(path, root_path=root_path, **fields)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == expected


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=20), st.sampled_from(["", "/app", "/è"]), st.booleans())
def test_any_bytes_of_a_path_arrive(tail: bytes, root: str, strip: bool) -> None:
    raw = quote(root).encode() + b"/" + quote(tail).encode()
    path = unquote(raw.decode())
    if strip:
        path = path[len(root) :]
    environ = environ_of(path, root_path=root, raw_path=raw)
    assert environ["SCRIPT_NAME"].encode("latin-1") == root.encode()
    assert environ["PATH_INFO"].encode("latin-1") == b"/" + tail


@pytest.mark.parametrize(
    ("headers", "key", "value"),
    [
        ([(b"accept", b"a"), (b"accept", b"b"), (b"accept", b"c")], "HTTP_ACCEPT", "a,b,c"),
        ([(b"cookie", b"a=1"), (b"cookie", b"b=2")], "HTTP_COOKIE", "a=1; b=2"),
        ([(b"x-latin", b"\xe8")], "HTTP_X_LATIN", "\xe8"),
        ([(b"X-Upper", b"1"), (b"x-upper", b"2")], "HTTP_X_UPPER", "1,2"),
        ([(b"content-length", b"5"), (b"content-length", b"5")], "CONTENT_LENGTH", "5"),
        ([(b"content-type", b"a/b")], "CONTENT_TYPE", "a/b"),
        ([(b"x-empty", b"")], "HTTP_X_EMPTY", ""),
    ],
)
def test_headers(headers: list[tuple[bytes, bytes]], key: str, value: str) -> None:
    assert environ_of("/", headers)[key] == value


@pytest.mark.parametrize("name", [b"x_forwarded_for", b"x-forwarded_for", b"content_length", b"proxy", b"Proxy"])
def test_headers_that_would_pass_for_others_are_dropped(name: bytes) -> None:
    plain = environ_of()
    assert environ_of("/", [(name, b"1"), (name, b"2")]).keys() == plain.keys()


def test_repeated_headers_take_linear_time() -> None:
    headers = [(b"x-many", b"v" * 20)] * 200_000
    started = time.perf_counter()
    environ = environ_of("/", headers)
    assert len(environ["HTTP_X_MANY"]) == 200_000 * 21 - 1
    # Joining pairwise takes minutes.
    assert time.perf_counter() - started < 5


def test_made_up_header_names_do_not_pile_up() -> None:
    from genro_asgi.middleware.wsgi import environ as module

    for number in range(2000):
        assert environ_of("/", [(b"x-made-up-%d" % number, b"1")])[f"HTTP_X_MADE_UP_{number}"] == "1"
    assert len(module._keys) <= module._MAX_KEYS


@pytest.mark.parametrize(
    ("method", "version", "headers", "expected"),
    [
        ("GET", "1.1", [], (False, None)),
        ("HEAD", "1.0", [], (False, None)),
        ("GET", "1.1", [(b"content-length", b"0")], (False, 0)),
        ("POST", "1.1", [(b"content-length", b"12")], (True, 12)),
        ("POST", "1.1", [(b"transfer-encoding", b"chunked")], (True, None)),
        ("GET", "1.1", [(b"transfer-encoding", b"chunked")], (True, None)),
        ("POST", "1.1", [], (True, None)),
        ("GET", "2", [], (True, None)),
    ],
)
def test_body_of(method: str, version: str, headers: list[tuple[bytes, bytes]], expected: tuple[bool, Any]) -> None:
    assert body_of(environ_of("/", headers, method=method, http_version=version)) == expected


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1.0", b"0x10", b"1 2", b"5,5", b"abc", b"\xb2", b"9" * 19])
def test_a_length_that_is_no_number_is_refused(value: bytes) -> None:
    with pytest.raises(BadRequest, match="Content-Length is not a number"):
        body_of(environ_of("/", [(b"content-length", value)], method="POST"))


def test_conflicting_lengths_are_refused() -> None:
    with pytest.raises(BadRequest, match="more than once with different values"):
        environ_of("/", [(b"content-length", b"5"), (b"content-length", b"6")])
    with pytest.raises(BadRequest, match="exclude each other"):
        body_of(environ_of("/", [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]))
