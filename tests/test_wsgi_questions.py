"""What PEP 3333 and its users ask of a host, asked over raw sockets of a server with a WSGI application."""

import contextvars
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

from genro_asgi.server.runner import GenroUvicorn, make_config
from genro_asgi.server.server import AsgiServer

Start = Callable[..., Callable[[bytes], None]]
Environ = dict[str, Any]
PLAIN = [("Content-Type", "text/plain")]

#: What the applications below have noted.
noted: list[Any] = []
APPS: dict[str, Callable[[Environ, Start], Any]] = {}


def app_at(place: str) -> Callable[[Callable[[Environ, Start], Any]], Callable[[Environ, Start], Any]]:
    def take(app: Callable[[Environ, Start], Any]) -> Callable[[Environ, Start], Any]:
        APPS[place] = app
        return app

    return take


def dispatch(environ: Environ, start_response: Start) -> Any:
    return APPS[environ["PATH_INFO"].split("/")[1]](environ, start_response)


class Body:
    """A response body that notes what is done to it."""

    def __init__(self, chunks: Iterable[bytes], name: str = "body") -> None:
        self.chunks = iter(chunks)
        self.name = name

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self.chunks)

    def close(self) -> None:
        noted.append(f"{self.name} closed")


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[int]:
    """A server with the applications above, configured by the files of a folder; its port."""
    server = AsgiServer(server_dir=str(folder), argv=[])
    server.wsgi_app = dispatch
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = GenroUvicorn(make_config(server, "127.0.0.1", 0, {"access_log": False, **options}), server)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        while not running.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield listener.getsockname()[1]
        running.should_exit = True
        thread.join(15)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(tmp_path_factory.mktemp("questions"), proxy_headers=False) as port:
        yield port


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    noted.clear()


class Answer:
    """One answer off a connection."""

    def __init__(self, file: Any, head: bool = False) -> None:
        line = file.readline()
        assert line.startswith(b"HTTP/1.1 "), line
        self.status = int(line[9:12])
        self.headers: list[tuple[str, str]] = []
        while (line := file.readline()) != b"\r\n":
            name, _, value = line.decode("latin-1").partition(":")
            self.headers.append((name.lower(), value.strip()))
        self.whole = True
        if self.status == 100:
            self.body = b""
        else:
            self.body = b"" if head or self.status in (204, 304) else self._read(file)

    def _read(self, file: Any) -> bytes:
        if self.header("transfer-encoding") == "chunked":
            parts = []
            while size := int(file.readline() or b"-1", 16):
                if size < 0:
                    self.whole = False
                    return b"".join(parts)
                parts.append(file.read(size + 2)[:-2])
            assert file.readline() == b"\r\n"
            return b"".join(parts)
        length = self.header("content-length")
        if length is None:
            return bytes(file.read())
        body = bytes(file.read(int(length)))
        self.whole = len(body) == int(length)
        return body

    def header(self, name: str) -> str | None:
        return next((v for k, v in self.headers if k == name), None)


class Line:
    """A connection to the server."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.socket.makefile("rb")

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def ask(self, target: str, *headers: str, method: str = "GET", body: bytes = b"", version: str = "1.1") -> Answer:
        lines = [f"{method} {target} HTTP/{version}", "Host: example.org", *headers]
        if body and not any(h.lower().startswith(("content-length", "transfer-encoding")) for h in headers):
            lines.append(f"Content-Length: {len(body)}")
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return Answer(self.file, method == "HEAD")

    @property
    def ended(self) -> bool:
        """Whether the server closes the connection; waits until it has said."""
        return self.file.read(1) == b""


@pytest.fixture
def line(port: int) -> Iterator[Line]:
    with closing(Line(port)) as line:
        yield line


# -- the environ


@app_at("environ")
def tell_environ(environ: Environ, start_response: Start) -> list[bytes]:
    start_response("200 OK", PLAIN)
    kinds = {k: type(v).__name__ for k, v in environ.items()}
    told = {k: v for k, v in environ.items() if isinstance(v, str | int | bool | tuple)}
    return [json.dumps({"environ": told, "kinds": kinds}).encode()]


def environ_of(line: Line, target: str, *headers: str, **options: Any) -> dict[str, Any]:
    answer = line.ask(target, *headers, **options)
    assert answer.status == 200, answer.body
    return dict(json.loads(answer.body)["environ"])


def test_the_variables_every_environ_has(line: Line, port: int) -> None:
    environ = environ_of(line, "/environ/x?a=1", "User-Agent: me")
    assert {k: v for k, v in environ.items() if k not in ("REMOTE_PORT",)} == {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environ/x",
        "QUERY_STRING": "a=1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "example.org",
        "HTTP_USER_AGENT": "me",
        "wsgi.version": [1, 0],
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }


def test_every_variable_of_cgi_is_a_str(line: Line) -> None:
    told = json.loads(line.ask("/environ", "X-Y: z", method="POST", body=b"x").body)
    assert {kind for key, kind in told["kinds"].items() if key.isupper()} == {"str"}


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/environ/a%2Fb", "/environ/a/b"),
        ("/environ/%E8", "/environ/\xe8"),
        ("/environ/%C3%A8", "/environ/\xc3\xa8"),
        ("/environ/%E2%82%AC", "/environ/\xe2\x82\xac"),
        ("/environ/a+b%20c", "/environ/a+b c"),
        ("/environ//x/./y/../z", "/environ//x/./y/../z"),
        ("/environ/%25", "/environ/%"),
        ("/environ/%zz", "/environ/%zz"),
        ("/environ/;a=b", "/environ/;a=b"),
        ("/environ/%0d%0a", "/environ/\r\n"),
    ],
)
def test_path_info_is_the_bytes_of_the_path(target: str, path: str, line: Line) -> None:
    assert environ_of(line, target)["PATH_INFO"] == path


@pytest.mark.parametrize("query", ["", "a=%C3%A8&b=+", "%zz", "a=b?c=d", "x" * 8000])
def test_the_query_is_raw(query: str, line: Line) -> None:
    assert environ_of(line, f"/environ?{query}")["QUERY_STRING"] == query


@pytest.mark.parametrize(
    ("headers", "key", "value"),
    [
        (["X-A: 1", "X-A: 2"], "HTTP_X_A", "1,2"),
        (["Cookie: a=1", "Cookie: b=2"], "HTTP_COOKIE", "a=1; b=2"),
        (["X-Empty:"], "HTTP_X_EMPTY", ""),
        (["X-Latin: \xe8"], "HTTP_X_LATIN", "\xe8"),
        (["X-Blanks:  \t a b"], "HTTP_X_BLANKS", "a b"),
        (["x_a: 1"], "HTTP_X_A", None),
        (["Proxy: evil"], "HTTP_PROXY", None),
        (["Content-Type: a/b"], "CONTENT_TYPE", "a/b"),
        (["Content-Type: a/b"], "HTTP_CONTENT_TYPE", None),
        (["Content-Length: 0"], "CONTENT_LENGTH", "0"),
        (["Content-Length: 0"], "HTTP_CONTENT_LENGTH", None),
        ([], "CONTENT_LENGTH", None),
        (["X-Forwarded-For: 9.9.9.9"], "REMOTE_ADDR", "127.0.0.1"),
        (["Authorization: Basic eDp5"], "HTTP_AUTHORIZATION", "Basic eDp5"),
    ],
)
def test_headers_in_the_environ(headers: list[str], key: str, value: str | None, line: Line) -> None:
    assert environ_of(line, "/environ", *headers).get(key) == value


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_any_method_reaches_the_application(method: str, line: Line) -> None:
    assert environ_of(line, "/environ", method=method)["REQUEST_METHOD"] == method


def test_http_1_0(line: Line) -> None:
    assert environ_of(line, "/environ", version="1.0")["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert line.ended


FORWARDED = ["X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https"]


@pytest.mark.parametrize(
    ("trusted", "address", "scheme"), [("127.0.0.1", "9.9.9.9", "https"), ("10.0.0.1", "127.0.0.1", "http")]
)
def test_behind_a_proxy(trusted: str, address: str, scheme: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"server:\n  proxy: [{trusted}]\n")
    with serving(tmp_path) as port, closing(Line(port)) as line:
        environ = environ_of(line, "/environ", *FORWARDED)
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (address, scheme)
    assert environ["HTTP_X_FORWARDED_FOR"] == "9.9.9.9"


def test_below_a_root_path(tmp_path: Path) -> None:
    with serving(tmp_path, root_path="/below") as port, closing(Line(port)) as line:
        environ = environ_of(line, "/environ/%E8/x")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/below", "/environ/\xe8/x")


@app_at("scratch")
def scribble(environ: Environ, start_response: Start) -> list[bytes]:
    noted.append(environ.get("mine"))
    environ["mine"] = "left behind"
    environ["wsgi.errors"].write("")
    environ["wsgi.errors"].writelines([])
    environ["wsgi.errors"].flush()
    start_response("200 OK", PLAIN)
    return [repr([type(environ) is dict, environ["wsgi.errors"] is sys.stderr]).encode()]


def test_each_request_has_an_environ_of_its_own(line: Line) -> None:
    assert [line.ask("/scratch").body for _ in range(2)] == [b"[True, True]"] * 2
    assert noted == [None, None]


# -- the input


@app_at("read")
def read(environ: Environ, start_response: Start) -> list[bytes]:
    body, what = environ["wsgi.input"], environ["QUERY_STRING"]
    result = eval(what, {"body": body, "list": list})
    start_response("200 OK", PLAIN)
    return [repr(result).encode()]


BODY = b"one\ntwo\r\nthree"
READS = {
    "body.read()": BODY,
    "body.read(-1)": BODY,
    "body.read(None)": BODY,
    "body.read(0)": b"",
    "body.read(5)": BODY[:5],
    "body.read(9999)": BODY,
    "[body.read(),body.read(),body.read(1)]": [BODY, b"", b""],
    "[body.read(4),body.read(5),body.read()]": [BODY[:4], BODY[4:9], BODY[9:]],
    "body.readline()": b"one\n",
    "body.readline(2)": b"on",
    "body.readline(99)": b"one\n",
    "[body.readline(),body.readline(),body.readline(),body.readline()]": [b"one\n", b"two\r\n", b"three", b""],
    "body.readlines()": [b"one\n", b"two\r\n", b"three"],
    "body.readlines(5)": [b"one\n", b"two\r\n"],
    "list(body)": [b"one\n", b"two\r\n", b"three"],
    "[body.readline(),body.read(2),list(body)]": [b"one\n", b"tw", [b"o\r\n", b"three"]],
}


@pytest.mark.parametrize("how", READS)
@pytest.mark.parametrize("chunked", [False, True])
def test_the_input_reads_as_a_file(how: str, chunked: bool, line: Line) -> None:
    target = "/read?" + how
    if chunked:
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:2], BODY[2:7], BODY[7:])) + b"0\r\n\r\n"
        answer = line.ask(target, "Transfer-Encoding: chunked", method="POST", body=body)
    else:
        answer = line.ask(target, method="POST", body=BODY)
    assert answer.body.decode() == repr(READS[how])
    assert line.ask("/read?body.read()").body == b"b''"  # the connection is in step


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_the_input_without_a_body(method: str, line: Line) -> None:
    assert line.ask("/read?[body.read(),body.readline(),list(body)]", method=method).body == b"[b'', b'', []]"


def test_a_get_may_have_a_body(line: Line) -> None:
    assert line.ask("/read?body.read()", body=b"x").body == b"b'x'"


def test_a_body_nobody_reads_does_not_spoil_the_connection(line: Line) -> None:
    assert line.ask("/environ", method="POST", body=b"x" * 3_000_000).status == 200
    assert line.ask("/read?body.read()").body == b"b''"


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 1", "Content-Length: 2"],
        ["Content-Length: x"],
        ["Content-Length: -1"],
        ["Content-Length: 1", "Transfer-Encoding: chunked"],
    ],
)
def test_a_length_that_is_in_doubt_is_refused(headers: list[str], line: Line) -> None:
    assert line.ask("/environ", *headers, method="POST", body=b"0\r\n\r\n").status == 400


def test_100_continue_comes_when_the_body_is_asked_for(line: Line) -> None:
    lines = ["POST /read?body.read() HTTP/1.1", "Host: x", "Content-Length: 2", "Expect: 100-continue", "", ""]
    line.socket.sendall("\r\n".join(lines).encode())
    assert Answer(line.file).status == 100
    line.socket.sendall(b"ok")
    assert Answer(line.file).body == b"b'ok'"


def test_no_100_continue_when_it_is_not(line: Line) -> None:
    answer = line.ask("/environ", "Expect: 100-continue", "Content-Length: 2", method="POST")
    assert answer.status == 200


def test_the_first_bytes_are_there_before_the_last(line: Line) -> None:
    lines = ["POST /early HTTP/1.1", "Host: x", "Content-Length: 6", "", "one"]
    line.socket.sendall("\r\n".join(lines).encode())
    while noted != [b"one"]:
        time.sleep(0.001)
    line.socket.sendall(b"two")
    assert Answer(line.file).body == b"two"


@app_at("early")
def read_early(environ: Environ, start_response: Start) -> list[bytes]:
    noted.append(environ["wsgi.input"].read(3))
    start_response("200 OK", PLAIN)
    return [environ["wsgi.input"].read()]


@app_at("cut")
def read_cut(environ: Environ, start_response: Start) -> list[bytes]:
    noted.append("begun")
    try:
        environ["wsgi.input"].read()
    except OSError as error:
        noted.append(type(error).__name__)
    start_response("200 OK", PLAIN)
    return []


def test_a_client_that_leaves_in_its_body_is_an_error_to_read(port: int) -> None:
    with closing(Line(port)) as line:
        line.socket.sendall(b"POST /cut HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nfew")
        while not noted:
            time.sleep(0.001)
    while len(noted) < 2:
        time.sleep(0.001)
    assert noted == ["begun", "ClientGone"]


# -- start_response and the body


def simple(status: str = "200 OK", headers: Any = None, body: Any = (b"body",)) -> Callable[[Environ, Start], Any]:
    def app(environ: Environ, start_response: Start) -> Any:
        start_response(status, PLAIN if headers is None else headers)
        return body

    return app


BODIES: dict[str, Callable[[], Any]] = {
    "a list": lambda: [b"a", b"b"],
    "a tuple": lambda: (b"a", b"b"),
    "a generator": lambda: (part for part in [b"a", b"b"]),
    "empty chunks": lambda: iter([b"", b"a", b"", b"b", b""]),
    "an iterator": lambda: Body([b"a", b"b"]),
    "a dictionary": lambda: {b"a": 1, b"b": 2},
    "bytes of one list": lambda: [b"ab"],
}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_kinds_of_bodies(kind: str, version: str, line: Line) -> None:
    APPS["kind"] = lambda environ, start_response: start_response("200 OK", PLAIN) and BODIES[kind]()
    answer = line.ask("/kind", version=version)
    assert (answer.status, answer.body, answer.whole) == (200, b"ab", True)


@pytest.mark.parametrize("body", [[], (), iter(()), [b""], [b"", b""]])
def test_an_empty_body(body: Any, line: Line) -> None:
    APPS["empty"] = simple(body=body)
    answer = line.ask("/empty")
    assert (answer.status, answer.header("content-type"), answer.body) == (200, "text/plain", b"")
    assert line.ask("/read?1").body == b"1"


WRONG: dict[str, Callable[[Environ, Start], Any]] = {
    "text": simple(body="text"),
    "list of text": simple(body=["text"]),
    "None": simple(body=None),
    "a number": simple(body=7),
    "bytes": simple(body=b"bytes"),
    "bytearray in a list": simple(body=[bytearray(b"x")]),
    "no start_response": lambda environ, start_response: [b"x"],
    "no start_response, nothing": lambda environ, start_response: [],
    "status as bytes": simple(b"200 OK"),  # type: ignore[arg-type]
    "status as number": simple(200),  # type: ignore[arg-type]
    "status of letters": simple("OK"),
    "status of two digits": simple("20 OK"),
    "status of 1xx": simple("100 Continue"),
    "status of 9xx": simple("999 What"),
    "status with a line feed": simple("200 OK\nX: y"),
    "status empty": simple(""),
    "headers as a tuple": simple(headers=(("A", "b"),)),
    "headers as a dictionary": simple(headers={"A": "b"}),
    "headers as lists": simple(headers=[["A", "b"]]),
    "header of bytes": simple(headers=[(b"A", b"b")]),
    "header value of a number": simple(headers=[("Content-Length", 4)]),
    "header value None": simple(headers=[("A", None)]),
    "header with a colon": simple(headers=[("A:", "b")]),
    "header with a blank": simple(headers=[("A B", "b")]),
    "header without a name": simple(headers=[("", "b")]),
    "header not latin-1": simple(headers=[("A", "\u20ac")]),
    "header split": simple(headers=[("A", "b\r\nSet-Cookie: evil=1")]),
    "header with NUL": simple(headers=[("A", "b\0")]),
    "header Connection": simple(headers=[("Connection", "close")]),
    "header Transfer-Encoding": simple(headers=[("Transfer-Encoding", "chunked")]),
    "header Upgrade": simple(headers=[("Upgrade", "h2c")]),
    "length of letters": simple(headers=[("Content-Length", "four")]),
    "length below zero": simple(headers=[("Content-Length", "-4")]),
    "two lengths": simple(headers=[("Content-Length", "4"), ("Content-Length", "5")]),
    "an error": lambda environ, start_response: 1 / 0,
    "SystemExit": lambda environ, start_response: sys.exit(3),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_a_500_and_no_more(what: str, line: Line, capfd: pytest.CaptureFixture[str]) -> None:
    APPS["wrong"] = WRONG[what]
    answer = line.ask("/wrong")
    assert (answer.status, answer.header("content-type")) == (500, "application/problem+json")
    assert (json.loads(answer.body)["detail"], answer.header("set-cookie")) == ("Internal Server Error", None)
    assert line.ask("/read?1").body == b"1"


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_an_error_in_the_first_step_of_the_iteration(error: BaseException, line: Line) -> None:
    def chunks() -> Iterator[bytes]:
        raise error
        yield b""

    APPS["first"] = simple(body=chunks())
    assert line.ask("/first").status == 500
    assert line.ask("/read?1").body == b"1"


@pytest.mark.parametrize("length", [[], [("Content-Length", "9")]])
def test_an_error_in_the_middle_breaks_the_answer_off(length: list[Any], line: Line) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"begun"
        while noted != ["go"]:
            time.sleep(0.001)
        raise ValueError("in the middle")

    APPS["middle"] = simple(headers=[*PLAIN, *length], body=Body(chunks()))
    threading.Timer(0.05, noted.append, ["go"]).start()
    answer = line.ask("/middle")
    assert (answer.status, answer.body, answer.whole) == (200, b"begun", False)
    assert line.ended
    while noted != ["go", "body closed"]:
        time.sleep(0.001)


def test_start_response_twice(line: Line) -> None:
    def app(environ: Environ, start_response: Start) -> list[bytes]:
        start_response("200 OK", PLAIN)
        try:
            start_response("404 Not Found", PLAIN)
        except Exception as error:
            noted.append(str(error))
        return [b"first"]

    APPS["twice"] = app
    answer = line.ask("/twice")
    assert (answer.status, answer.body) == (200, b"first")
    assert noted == ["start_response() was called twice; call it again with exc_info only"]


def test_exc_info_before_the_first_bytes(line: Line) -> None:
    def app(environ: Environ, start_response: Start) -> list[bytes]:
        start_response("200 OK", [("X-First", "1")])
        try:
            raise ValueError
        except ValueError:
            start_response("503 Busy", PLAIN, sys.exc_info())
        return [b"second"]

    APPS["replaced"] = app
    answer = line.ask("/replaced")
    assert (answer.status, answer.body, answer.header("x-first")) == (503, b"second", None)


def test_exc_info_after_the_first_bytes(line: Line) -> None:
    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"begun"
        try:
            raise ValueError("late")
        except ValueError:
            try:
                start_response("500 Late", PLAIN, sys.exc_info())
            except ValueError as error:
                noted.append(str(error))
        yield b" ended"

    APPS["late"] = app
    answer = line.ask("/late")
    assert (answer.status, answer.body, answer.whole, noted) == (200, b"begun ended", True, ["late"])


def test_exc_info_of_nothing(line: Line) -> None:
    def app(environ: Environ, start_response: Start) -> list[bytes]:
        start_response("200 OK", PLAIN)
        start_response("201 Created", PLAIN, (None, None, None))
        return [b"x"]

    APPS["nothing"] = app
    assert line.ask("/nothing").status == 201


@pytest.mark.parametrize("headers", [[], [("Content-Length", "6")]])
def test_write_comes_before_the_body(headers: list[Any], line: Line) -> None:
    def app(environ: Environ, start_response: Start) -> list[bytes]:
        write = start_response("200 OK", [*PLAIN, *headers])
        write(b"on")
        write(b"")
        write(b"e,")
        return [b"two"]

    APPS["write"] = app
    answer = line.ask("/write")
    assert (answer.body, answer.whole) == (b"one,two"[: 6 if headers else 7], True)
    assert line.ask("/read?1").body == b"1"


def test_write_after_the_end(line: Line) -> None:
    def app(environ: Environ, start_response: Start) -> Body:
        write = start_response("200 OK", PLAIN)

        class Late(Body):
            def close(self) -> None:
                try:
                    write(b"late")
                except RuntimeError as error:
                    noted.append(str(error))

        return Late([b"body"])

    APPS["afterwards"] = app
    assert line.ask("/afterwards").body == b"body"
    while not noted:
        time.sleep(0.001)
    assert noted == ["write() was called after the end of the response"]


def test_start_response_with_the_first_chunk(line: Line) -> None:
    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("202 Accepted", PLAIN)
        yield b"x"

    APPS["lazy"] = app
    assert line.ask("/lazy").status == 202


def test_the_head_waits_for_the_first_bytes(line: Line) -> None:
    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b""
        yield b""
        try:
            raise ValueError
        except ValueError:
            start_response("418 Teapot", PLAIN, sys.exc_info())
        yield b"tea"

    APPS["tea"] = app
    answer = line.ask("/tea")
    assert (answer.status, answer.body) == (418, b"tea")


def test_each_chunk_is_sent_before_the_next_is_asked_for(line: Line) -> None:
    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [*PLAIN, ("Content-Length", "6")])
        yield b"one"
        while noted != ["read"]:
            time.sleep(0.001)
        yield b"two"

    APPS["steps"] = app
    line.socket.sendall(b"GET /steps HTTP/1.1\r\nHost: x\r\n\r\n")
    while line.file.readline() != b"\r\n":
        pass
    assert line.file.read(3) == b"one"
    noted.append("read")
    assert line.file.read(3) == b"two"


def test_headers_changed_after_the_call_change_nothing(line: Line) -> None:
    def app(environ: Environ, start_response: Start) -> list[bytes]:
        headers = [*PLAIN, ("X-A", "1")]
        start_response("200 OK", headers)
        headers.append(("X-B", "2"))
        return [b"x"]

    APPS["changed"] = app
    answer = line.ask("/changed")
    assert (answer.header("x-a"), answer.header("x-b")) == ("1", None)


def test_repeated_headers_keep_their_order(line: Line) -> None:
    pairs = [("Set-Cookie", "a=1; Path=/"), ("X-M", "1"), ("Set-Cookie", "b=2"), ("X-M", "2"), ("X-Empty", "")]
    APPS["repeated"] = simple(headers=pairs)
    answer = line.ask("/repeated")
    sent = [(name, value) for name, value in answer.headers if name in ("set-cookie", "x-m", "x-empty")]
    assert sent == [(name.lower(), value) for name, value in pairs]


def test_an_answer_has_one_date_and_the_server_the_application_names(line: Line) -> None:
    APPS["dated"] = simple(headers=[("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Server", "mine")])
    APPS["undated"] = simple()
    for place, servers in (("/dated", ["mine"]), ("/undated", [])):
        answer = line.ask(place)
        (date,) = [value for name, value in answer.headers if name == "date"]
        assert re.fullmatch(r"\w{3}, \d\d \w{3} 20\d\d [\d:]{8} GMT", date)
        assert [value for name, value in answer.headers if name == "server"] == servers


# -- lengths


def test_the_length_of_a_list_is_told(line: Line) -> None:
    APPS["told"] = simple(body=[b"ab", b"cd"])
    answer = line.ask("/told")
    assert (answer.header("content-length"), answer.header("transfer-encoding")) == ("4", None)


def test_more_than_announced_is_cut(line: Line) -> None:
    APPS["more"] = simple(headers=[*PLAIN, ("Content-Length", "3")], body=iter([b"ab", b"cd", b"ef"]))
    answer = line.ask("/more")
    assert (answer.header("content-length"), answer.body) == ("3", b"abc")
    assert line.ask("/read?1").body == b"1"


@pytest.mark.parametrize("body", [[b"ab"], iter([b"a", b"b"]), []])
def test_less_than_announced_ends_the_connection(body: Any, line: Line) -> None:
    APPS["less"] = simple(headers=[*PLAIN, ("Content-Length", "3")], body=body)
    line.socket.sendall(b"GET /less HTTP/1.1\r\nHost: x\r\n\r\n")
    data = line.file.read()
    assert b"200 OK" not in data or data.partition(b"\r\n\r\n")[2] in (b"ab", b"")


@pytest.mark.parametrize("body", [[b"body"], iter([b"bo", b"dy"]), []])
@pytest.mark.parametrize("length", [[], [("Content-Length", "4")]])
def test_head_has_the_head_of_get_and_no_body(body: Any, length: list[Any], line: Line) -> None:
    APPS["head"] = simple(headers=[*PLAIN, *length], body=body)
    answer = line.ask("/head", method="HEAD")
    assert (answer.status, answer.header("content-type")) == (200, "text/plain")
    if length:
        assert answer.header("content-length") == "4"
    assert line.ask("/read?1").body == b"1"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("body", [[b"body"], iter([b"bo", b"dy"]), []])
def test_a_status_without_body_has_none(status: str, body: Any, line: Line) -> None:
    APPS["bodiless"] = simple(status, [("ETag", '"x"')], body)
    answer = line.ask("/bodiless")
    assert (answer.status, answer.header("etag"), answer.header("transfer-encoding")) == (int(status[:3]), '"x"', None)
    assert line.ask("/read?1").body == b"1"


# -- close()


def close_app(chunks: Callable[[], Iterable[bytes]], status: str = "200 OK") -> Callable[[Environ, Start], Any]:
    def app(environ: Environ, start_response: Start) -> Body:
        start_response(status, PLAIN)
        return Body(chunks())

    return app


def failing() -> Iterator[bytes]:
    raise ValueError
    yield b""


@pytest.mark.parametrize(
    ("method", "app"),
    [
        ("GET", close_app(lambda: [b"x"])),
        ("GET", close_app(list)),
        ("HEAD", close_app(lambda: [b"x"])),
        ("GET", close_app(lambda: [b"x"], "204 No Content")),
        ("GET", close_app(failing)),
        ("GET", close_app(lambda: ["text"])),  # type: ignore[list-item]
    ],
)
def test_close_is_called_once(method: str, app: Any, line: Line) -> None:
    APPS["close"] = app
    line.ask("/close", method=method)
    line.ask("/read?1")
    while not noted:
        time.sleep(0.001)
    assert noted == ["body closed"]


def test_close_may_fail(line: Line) -> None:
    class Failing(Body):
        def close(self) -> None:
            noted.append("failed")
            raise ValueError("in close()")

    APPS["failing"] = simple(body=Failing([b"body"]))
    assert line.ask("/failing").body == b"body"
    assert (line.ask("/read?1").body, noted) == (b"1", ["failed"])


def test_close_is_called_when_the_client_leaves(port: int) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    APPS["endless"] = close_app(endless)
    with closing(Line(port)) as line:
        line.socket.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        line.file.read(100_000)
    while not noted:
        time.sleep(0.001)
    assert noted == ["body closed"]


# -- threads


def test_one_request_is_one_thread(line: Line) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    class Watching(Body):
        def __next__(self) -> bytes:
            noted.append((threading.get_ident(), variable.get()))
            return super().__next__()

        def close(self) -> None:
            noted.append((threading.get_ident(), variable.get()))

    def app(environ: Environ, start_response: Start) -> Body:
        noted.append((threading.get_ident(), variable.get()))
        variable.set("set")
        start_response("200 OK", PLAIN)
        return Watching([b"a", b"b"])

    APPS["watch"] = app
    assert line.ask("/watch").body == b"ab"
    while len(noted) < 5:
        time.sleep(0.001)
    assert len({thread for thread, _ in noted}) == 1
    assert noted[0][0] != threading.get_ident()
    assert [value for _, value in noted] == ["unset", "set", "set", "set", "set"]
    noted.clear()
    line.ask("/watch")
    assert noted[0][1] == "unset"


def test_requests_wait_for_a_thread(port: int) -> None:
    """Sixty of them, with half as many threads: all are answered, none before its turn is refused."""
    lines = [Line(port) for _ in range(60)]
    barrier = threading.Semaphore(0)

    def app(environ: Environ, start_response: Start) -> list[bytes]:
        barrier.acquire(timeout=20)
        start_response("200 OK", PLAIN)
        return [b"x"]

    APPS["wait"] = app
    try:
        for line in lines:
            line.socket.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        barrier.release(60)
        assert [Answer(line.file).status for line in lines] == [200] * 60
    finally:
        for line in lines:
            line.close()


def test_pipelined_requests_are_answered_in_order(line: Line) -> None:
    line.socket.sendall(b"".join(b"GET /read?%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(5)))
    assert [Answer(line.file).body for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


# -- all of it at once


def test_wsgiref_has_nothing_to_say(line: Line) -> None:
    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        environ["wsgi.input"].read(3)
        environ["wsgi.input"].readline()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
        return [b"fine"]

    APPS["valid"] = validator(app)  # type: ignore[arg-type]
    assert line.ask("/valid?a=b", method="POST", body=b"123\n456").body == b"fine"
    answer = line.ask("/valid", method="HEAD")
    assert (answer.status, answer.header("content-length")) == (200, "4")


def test_files_are_sent_without_a_wrapper(line: Line, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 1000)

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", PLAIN)
        assert "wsgi.file_wrapper" not in environ
        return file.open("rb")

    APPS["file"] = app
    assert line.ask("/file").body == file.read_bytes()
