"""WSGI applications of the real world behind a real server."""

import http.client
import io
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from genro_asgi.middleware.wsgi import WSGIMiddleware

BLOCK = os.urandom(65536)


@contextmanager
def serving(app: Any, **options: Any) -> Iterator[int]:
    """A uvicorn in a thread; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, lifespan="on", log_level="error", **options)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.005)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(15)
            assert not thread.is_alive()


@contextmanager
def hosting(wsgi_app: Any, workers: int = 8, root_path: str = "", **options: Any) -> Iterator[httpx.Client]:
    """A client of a server that hosts a WSGI application."""
    with (
        serving(WSGIMiddleware(wsgi_app, workers=workers, **options), root_path=root_path) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client,
    ):
        yield client


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    return data


# -- Flask


@pytest.fixture(scope="module")
def flask_client() -> Iterator[httpx.Client]:
    import flask

    app = flask.Flask("hosted")
    app.secret_key = "for tests"

    @app.get("/greet/<name>")
    def greet(name: str) -> Any:
        return {"hello": name, "url": flask.request.url, "args": flask.request.args.to_dict(flat=False)}

    @app.post("/form")
    def form() -> Any:
        files = {key: [one.filename, len(one.read())] for key, one in flask.request.files.items()}
        return {"form": flask.request.form.to_dict(), "files": files}

    @app.post("/json")
    def json_() -> Any:
        return flask.jsonify(flask.request.get_json())

    @app.get("/stream")
    def stream() -> Any:
        return flask.Response((b"%d\n" % number for number in range(1000)), mimetype="text/plain")

    @app.get("/count")
    def count() -> Any:
        flask.session["count"] = flask.session.get("count", 0) + 1
        return str(flask.session["count"])

    @app.get("/fail")
    def fail() -> Any:
        raise ValueError("of the application")

    @app.get("/headers")
    def headers() -> Any:
        return dict(flask.request.headers)

    with hosting(app) as client:
        yield client


def test_flask_routes_and_queries(flask_client: httpx.Client) -> None:
    answer = flask_client.get("/greet/caff\u00e8%20nero?a=1&a=2&b=\u00fc")
    assert answer.json() == {
        "hello": "caff\u00e8 nero",
        "url": str(flask_client.base_url).rstrip("/") + "/greet/caff\u00e8%20nero?a=1&a=2&b=\u00fc",
        "args": {"a": ["1", "2"], "b": ["\u00fc"]},
    }


def test_flask_forms_and_uploads(flask_client: httpx.Client) -> None:
    big = BLOCK * 80
    answer = flask_client.post("/form", data={"name": "\u00e8"}, files={"file": ("big.bin", big)})
    assert answer.json() == {"form": {"name": "\u00e8"}, "files": {"file": ["big.bin", len(big)]}}


@pytest.mark.parametrize("chunked", [False, True])
def test_flask_json(flask_client: httpx.Client, chunked: bool) -> None:
    body = json.dumps({"numbers": list(range(50_000))}).encode()
    content: Any = (body[at : at + 5000] for at in range(0, len(body), 5000)) if chunked else body
    answer = flask_client.post("/json", content=content, headers={"content-type": "application/json"})
    assert answer.json() == {"numbers": list(range(50_000))}


def test_flask_streams(flask_client: httpx.Client) -> None:
    answer = flask_client.get("/stream")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.text.split() == [str(number) for number in range(1000)]


def test_flask_sessions(flask_client: httpx.Client) -> None:
    assert [flask_client.get("/count").text for _ in range(3)] == ["1", "2", "3"]


def test_flask_errors(flask_client: httpx.Client) -> None:
    assert flask_client.get("/fail").status_code == 500
    assert flask_client.get("/nowhere").status_code == 404
    assert flask_client.post("/count").status_code == 405
    assert flask_client.post("/json", content=b"{", headers={"content-type": "application/json"}).status_code == 400


def test_flask_head_and_options_keep_the_connection(flask_client: httpx.Client) -> None:
    for _ in range(3):
        answer = flask_client.head("/greet/x")
        assert (answer.status_code, answer.content) == (200, b"")
        assert int(answer.headers["content-length"]) > 0
        assert set(flask_client.options("/greet/x").headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_flask_sees_headers_once_and_unforged(flask_client: httpx.Client) -> None:
    sent = [("X-Many", "a"), ("X-Many", "b"), ("X_Forwarded_For", "6.6.6.6"), ("Proxy", "http://evil")]
    seen = flask_client.get("/headers", headers=sent).json()
    assert seen["X-Many"] == "a,b"
    assert "X-Forwarded-For" not in seen
    assert "Proxy" not in seen


# -- Django


@pytest.fixture(scope="module")
def django_client() -> Iterator[httpx.Client]:
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
    from django.urls import path

    def greet(request: HttpRequest, name: str) -> HttpResponse:
        return JsonResponse({"hello": name, "path": request.path, "script": request.META["SCRIPT_NAME"]})

    def upload(request: HttpRequest) -> HttpResponse:
        return JsonResponse({key: [one.name, one.size] for key, one in request.FILES.items()})

    def lines(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(sum(len(line) for line in request)))

    def stream(request: HttpRequest) -> StreamingHttpResponse:
        return StreamingHttpResponse(b"%d\n" % number for number in range(1000))

    def file(request: HttpRequest) -> FileResponse:
        return FileResponse(io.BytesIO(BLOCK * 10), filename="block.bin")

    def fail(request: HttpRequest) -> HttpResponse:
        raise ValueError("of the application")

    urls = type(sys)("hosted_django_urls")
    urls.urlpatterns = [  # type: ignore[attr-defined]
        path("greet/<str:name>", greet), path("upload", upload), path("lines", lines), path("stream", stream),
        path("file", file), path("fail", fail),
    ]  # fmt: skip
    settings.configure(ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"], SECRET_KEY="for tests", LOGGING_CONFIG=None)
    django.setup()
    with hosting(get_wsgi_application(), root_path="/site") as client:
        yield client


def test_django_below_a_prefix(django_client: httpx.Client) -> None:
    answer = django_client.get("/greet/caff\u00e8")
    assert answer.json() == {"hello": "caff\u00e8", "path": "/site/greet/caff\u00e8", "script": "/site"}


def test_django_uploads(django_client: httpx.Client) -> None:
    big = BLOCK * 80
    answer = django_client.post("/upload", files={"file": ("big.bin", big), "small": ("s.txt", b"abc")})
    assert answer.json() == {"file": ["big.bin", len(big)], "small": ["s.txt", 3]}


def test_django_reads_lines(django_client: httpx.Client) -> None:
    body = b"a line\n" * 100_000 + b"no end"
    assert django_client.post("/lines", content=body).text == str(len(body))


def test_django_streams_and_files(django_client: httpx.Client) -> None:
    assert len(django_client.get("/stream").text.split()) == 1000
    assert django_client.get("/file").content == BLOCK * 10


def test_django_errors(django_client: httpx.Client) -> None:
    assert django_client.get("/fail").status_code == 500
    assert django_client.get("/nowhere").status_code == 404


# -- werkzeug, and plain WSGI


def test_werkzeug_request_and_response() -> None:
    from werkzeug.wrappers import Request, Response

    closed: list[str] = []

    @Request.application
    def app(request: Request) -> Response:
        if request.path == "/data":
            return Response(request.get_data()[::-1])
        if request.path == "/etag":
            response = Response(b"the same")
            response.add_etag()
            return response.make_conditional(request)
        response = Response(iter([b"a", b"b"]))
        response.call_on_close(lambda: closed.append(request.path))
        return response

    with hosting(app) as client:
        assert client.post("/data", content=b"abc").content == b"cba"
        assert client.post("/data", content=iter([b"a", b"b", b"c"])).content == b"cba"
        assert client.get("/closed").content == b"ab"
        etag = client.get("/etag").headers["etag"]
        for _ in range(3):
            again = client.get("/etag", headers={"if-none-match": etag})
            assert (again.status_code, again.content) == (304, b"")
        assert client.head("/etag").content == b""
    assert closed == ["/closed"]


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    for line in environ["wsgi.input"]:
        yield line.upper()


def test_a_conversation_in_one_request() -> None:
    with serving(WSGIMiddleware(echo)) as port, socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            connection.sendall(b"7\r\nline %d\n\r\n" % number)
            assert b"LINE %d\n" % number in read_until(connection, b"LINE %d\n" % number)
        connection.sendall(b"0\r\n\r\n")
        assert read_until(connection, b"0\r\n\r\n")


def test_100_continue_is_said_when_the_application_reads() -> None:
    go_on = threading.Event()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/refused":
            start_response("403 No", [])
            return [b"no"]
        assert go_on.wait(10)
        data = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [data]

    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    with serving(WSGIMiddleware(app)) as port:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(head % b"/")
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            connection.settimeout(10)
            go_on.set()
            assert read_until(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"abc")
            assert read_until(connection, b"abc").startswith(b"HTTP/1.1 200")
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(head % b"/refused")
            assert read_until(connection, b"no").startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("announced", [False, True])
def test_an_answer_that_breaks_off_is_seen_to(announced: bool) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "100")] if announced else [])
        yield b"begun"
        raise ValueError("late")

    with serving(WSGIMiddleware(app)) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with closing(connection):
            connection.request("GET", "/")
            with pytest.raises(http.client.IncompleteRead):
                connection.getresponse().read()


def endless(closed: list[int]) -> Callable[..., Any]:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/hello":
            return [b"hello"]

        def blocks() -> Iterator[bytes]:
            try:
                while True:
                    yield BLOCK
            finally:
                closed.append(1)

        return blocks()

    return app


@pytest.mark.parametrize("leave", [True, False])
def test_fifty_abandoned_downloads(leave: bool) -> None:
    closed: list[int] = []
    connections: list[socket.socket] = []
    with hosting(endless(closed), workers=4) as client:
        port = client.base_url.port
        try:
            for _ in range(50):
                connection = socket.create_connection(("127.0.0.1", port), 10)
                connections.append(connection)
                connection.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
                if leave:
                    connection.recv(100)
                    connection.close()
            assert client.get("/hello", timeout=10).content == b"hello"
        finally:
            for connection in connections:
                connection.close()
        deadline = time.monotonic() + 15
        while len(closed) < 50 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(closed) == 50


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_large_bodies_in_constant_memory() -> None:
    blocks = 3200  # 200 MB

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [])
        if environ["REQUEST_METHOD"] == "GET":
            return (BLOCK for _ in range(blocks))
        return [b"%d" % sum(iter(lambda: len(environ["wsgi.input"].read(65536)), 0))]

    with hosting(app) as client:
        assert client.post("/", content=(BLOCK for _ in range(10))).content == b"%d" % (len(BLOCK) * 10)
        before, highest, size = resident(), 0, 0
        with client.stream("GET", "/") as answer:
            for piece in answer.iter_raw():
                size += len(piece)
                highest = max(highest, resident())
        assert size == blocks * len(BLOCK)

        def upload() -> Iterator[bytes]:
            nonlocal highest
            for _ in range(blocks):
                highest = max(highest, resident())
                yield BLOCK

        assert client.post("/", content=upload()).content == b"%d" % (blocks * len(BLOCK))
        assert highest - before < 30_000_000


def test_fifty_at_once() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        barrier.wait(20)
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    barrier = threading.Barrier(50)
    answers: dict[int, bytes] = {}
    with hosting(app, workers=50) as client:

        def ask(number: int) -> None:
            answers[number] = httpx.get(f"{client.base_url}/{number}", timeout=30, trust_env=False).content

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert answers == {number: b"/%d" % number for number in range(50)}


def test_a_websocket_is_refused() -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    with serving(WSGIMiddleware(echo)) as port, pytest.raises(InvalidStatus) as caught:
        connect(f"ws://127.0.0.1:{port}/", proxy=None)
    assert caught.value.response.status_code == 403
