"""The rules of the road over real sockets, under our own run() and under the other ASGI servers."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

JSON = {"content-type": "application/json"}
SERVERS = Path(__file__).parent / "servers"
COMMANDS = {
    "own": [sys.executable, str(SERVERS / "run_own.py"), "{port}"],
    "uvicorn": [sys.executable, "-m", "uvicorn", "site_app:create", "--factory", "--port", "{port}"],
    "uvicorn-h11": [
        sys.executable, "-m", "uvicorn", "site_app:create", "--factory", "--port", "{port}", "--http", "h11",
    ],
    "hypercorn": [sys.executable, "-m", "hypercorn", "site_app:create()", "--bind", "127.0.0.1:{port}"],
    "granian": [
        sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--port", "{port}", "site_app:create",
    ],
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Site:
    """A server process and the ways to talk to it."""

    def __init__(self, kind: str, log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        command = [part.format(port=self.port) for part in COMMANDS[kind]]
        environment = {**os.environ, "PYTHONPATH": str(SERVERS), "HOME": str(log.parent), "NO_COLOR": "1"}
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=log.parent)
        self._wait_until_up()

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended: {self.log.read_text()}")
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(self.url + "/_server/health", timeout=2).status_code == 200:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the server did not come up: {self.log.read_text()}")

    def raw(self, data: bytes, then: bytes = b"") -> bytes:
        """What comes back for bytes on a fresh connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(data)
            return read_answer(sock)

    def events(self) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(self.url + "/events", timeout=10).json()
        return answer

    def wait_for(self, event: str, live: int | None = None) -> list[str]:
        """The events once `event` is among them (and no other request is live)."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            seen = self.events()
            if event in seen["events"] and (live is None or seen["live"] == live):
                return list(seen["events"])
            time.sleep(0.02)
        raise AssertionError(f"{event} did not come: {seen}; {self.log.read_text()}")

    def stop(self, how: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(15)
        finally:
            self.process.kill()


def read_answer(sock: socket.socket) -> bytes:
    """Everything up to the end of one answer, or of the connection."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := sock.recv(65536):
            answer += chunk
            head, separator, body = answer.partition(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if separator and length and len(body) >= int(length[0].split(b":")[1]):
                break
    return answer


@pytest.fixture(scope="module", params=list(COMMANDS))
def any_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(request.param, tmp_path_factory.mktemp(request.param) / "log.txt")
    yield site
    site.stop()


@pytest.fixture(scope="module")
def own_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site("own", tmp_path_factory.mktemp("own") / "log.txt")
    yield site
    site.stop()


@pytest.fixture
def clean(own_site: Site) -> Site:
    httpx.post(own_site.url + "/forget")
    return own_site


def test_the_same_server_object_runs_everywhere(any_site: Site) -> None:
    with httpx.Client(base_url=any_site.url) as client:
        assert client.get("/").json() == {"status": "ok"}
        assert client.get("/hello/ann?times=2").json() == {"hello": "ann", "times": 2}
        assert client.get("/sync").text == "from a thread"
        assert client.post("/echo", json={"a": [1, None, "è"]}).json() == {"a": [1, None, "è"]}
        assert client.post("/stream_in", content=iter([b"ab", b"cde"])).json() == {"size": 5}
        assert client.head("/").status_code == 200
        assert client.options("/echo").headers["allow"] == "POST, OPTIONS"


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status", "text"),
    [
        ("POST", "/echo", {"content": b"{bad", "headers": JSON}, 400, "not valid JSON"),
        ("POST", "/echo", {"json": {"pad": "x" * 70000}}, 413, "65536 bytes"),
        ("POST", "/echo", {"content": iter([b"x" * 60000, b"y" * 60000])}, 413, "65536 bytes"),
        ("POST", "/stream_in", {"content": iter([b"x" * 60000, b"y" * 60000])}, 413, "65536 bytes"),
        ("POST", "/echo", {"content": b"[" * 60000, "headers": JSON}, 400, "not valid JSON"),
        ("GET", "/hello?name=x&times=many", {}, 400, "'times' must be an integer"),
        ("GET", "/hello", {}, 400, "'name' is missing"),
        ("GET", "/nothing/here", {}, 404, "Not Found"),
        ("GET", "/echo", {}, 405, "does not answer GET"),
        ("GET", "/bad_header", {}, 500, "Internal Server Error"),
        ("GET", "/crash", {}, 500, "Internal Server Error"),
        ("GET", "/too_slow", {}, 504, "Gateway Timeout"),
        ("GET", "/", {"headers": {"x-big": "y" * 70000}}, 431, "header"),
        ("GET", "/", {"headers": [(f"x-{n}", "1") for n in range(150)]}, 431, "header"),
        ("GET", "/" + "p" * 9000, {}, 414, "8192"),
    ],
)  # fmt: skip
def test_wrong_input_gets_a_clear_answer(
    own_site: Site, method: str, path: str, arguments: dict[str, Any], status: int, text: str
) -> None:
    answer = httpx.request(method, own_site.url + path, **arguments)
    assert answer.status_code == status
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert text in body["detail"]
    assert body["status"] == status
    assert body["error"] == body["detail"]
    assert "secret" not in answer.text
    assert "stolen" not in str(answer.headers)


def test_a_failed_handler_is_told_to_the_log_alone(own_site: Site) -> None:
    httpx.get(own_site.url + "/crash", headers={"x-request-id": "find-me-1", "authorization": "Bearer hidden-token"})
    log = own_site.log.read_text()
    assert "GET /crash failed (request find-me-1)" in log
    assert "the secret of the house" in log
    assert "hidden-token" not in log


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"x-%d: 1\r\n" % n for n in range(20000)) + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx-big: " + b"a" * 1_000_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx-endless: " + b"a" * 300_000, b"431"),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)  # fmt: skip
def test_heads_no_server_should_take(own_site: Site, head: bytes, status: bytes) -> None:
    answer = own_site.raw(head)
    assert answer.split(b" ")[1] == status, answer[:200]
    assert b"connection: close" in answer.lower()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == int(status)
    assert httpx.get(own_site.url + "/").status_code == 200


def test_a_refusal_waits_for_the_answers_before_it(own_site: Site) -> None:
    slow, plain = b"GET /wait?seconds=0.2 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.create_connection(("127.0.0.1", own_site.port), timeout=10) as sock:
        sock.sendall(slow + plain + b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"400"]


def test_http_1_0_needs_no_host(own_site: Site) -> None:
    answer = own_site.raw(b"GET / HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


def test_a_body_over_the_limit_is_refused_before_it_is_sent(own_site: Site) -> None:
    answer = own_site.raw(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")


CHUNKED = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: %b\r\n\r\n"


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        (b"chunked", b"2\r\n{}\r\n0\r\n\r\n", b"200"),
        (b"Chunked", b"2;a=b\r\n{}\r\n0\r\nx: y\r\n\r\n", b"200"),
        (b"chunked", b"zz\r\n{}\r\n", b"400"),
        (b"chunked", b"2\r\n{}\r\nzz\r\n", b"400"),
        (b"chunked", b"ffffffffffffffff1\r\n", b"400"),
        (b"xchunked", b"2\r\n{}\r\n0\r\n\r\n", b"501"),
        (b"gzip, chunked", b"2\r\n{}\r\n0\r\n\r\n", b"501"),
    ],
)
def test_a_body_in_pieces_that_are_none_is_refused_at_once(
    clean: Site, coding: bytes, body: bytes, status: bytes
) -> None:
    answer = clean.raw(CHUNKED % coding + body)
    assert answer.split(b" ")[1] == status, answer
    assert clean.events()["live"] == 1


def test_a_broken_body_waits_for_the_answers_before_it(own_site: Site) -> None:
    slow = b"GET /wait?seconds=0.2 HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.create_connection(("127.0.0.1", own_site.port), timeout=10) as sock:
        sock.sendall(slow + CHUNKED % b"chunked" + b"zz\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400"]


def test_a_refused_body_is_not_taken_for_ever(own_site: Site) -> None:
    head = b"POST /nope HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    whole = b"x" * (8 << 20)
    # A client that sends everything first hears the answer, and may go on.
    assert own_site.raw(head % len(whole) + whole).startswith(b"HTTP/1.1 404")
    # One that does not stop is left.
    with socket.create_connection(("127.0.0.1", own_site.port), timeout=10) as sock:
        sock.sendall(head % (1 << 40))
        assert read_answer(sock).startswith(b"HTTP/1.1 404")
        with pytest.raises(ConnectionError):
            sock.sendall(whole * 20)


def test_a_client_that_leaves_cancels_its_handler(clean: Site) -> None:
    with socket.create_connection(("127.0.0.1", clean.port)) as sock:
        sock.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        clean.wait_for("wait-started")
    assert "wait-cancelled" in clean.wait_for("wait-cancelled", live=1)


def test_a_route_may_finish_without_its_client(clean: Site) -> None:
    with socket.create_connection(("127.0.0.1", clean.port)) as sock:
        sock.sendall(b"GET /finish HTTP/1.1\r\nHost: a\r\n\r\n")
        clean.wait_for("finish-started")
    assert "finish-done" in clean.wait_for("finish-done", live=1)


def test_a_client_gone_in_mid_upload(clean: Site) -> None:
    with socket.create_connection(("127.0.0.1", clean.port)) as sock:
        sock.sendall(b"POST /stream_in HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nsome")
        clean.wait_for("upload-started")
    assert "upload-ClientDisconnect" in clean.wait_for("upload-ClientDisconnect", live=1)


def test_a_client_gone_in_mid_download(clean: Site) -> None:
    with socket.create_connection(("127.0.0.1", clean.port)) as sock:
        sock.sendall(b"GET /stream_out HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    clean.wait_for("download-closed", live=1)


def test_sigterm_under_load_loses_no_started_request(tmp_path: Path) -> None:
    site = Site("own", tmp_path / "log.txt")
    answers: list[int] = []
    failures: list[str] = []
    stopping = threading.Event()

    def load() -> None:
        # Each thread asks until its connection is told to close; a refused connection was never a started request.
        while not stopping.is_set():
            with contextlib.suppress(httpx.ConnectError), httpx.Client(base_url=site.url, timeout=20) as client:
                try:
                    while not stopping.is_set():
                        answer = client.get("/wait", params={"seconds": 0.02})
                        answers.append(answer.status_code)
                        if answer.headers.get("connection") == "close":
                            break
                except httpx.ConnectError:
                    raise
                except httpx.HTTPError as error:
                    failures.append(repr(error))

    threads = [threading.Thread(target=load) for _ in range(8)]
    slow: list[int] = []
    long_one = threading.Thread(
        target=lambda: slow.append(httpx.get(site.url + "/wait", params={"seconds": 1.0}, timeout=20).status_code)
    )
    for thread in (long_one, *threads):
        thread.start()
    try:
        while len(answers) < 40:
            time.sleep(0.01)
        site.process.send_signal(signal.SIGTERM)
        code = site.process.wait(20)
    finally:
        stopping.set()
        for thread in (long_one, *threads):
            thread.join(20)
        site.process.kill()
    assert failures == []
    assert set(answers) == {200}
    assert slow == [200]
    assert code == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_with_code_0(tmp_path: Path, how: int) -> None:
    site = Site("own", tmp_path / "log.txt")
    assert site.stop(how) == 0
    assert "Traceback" not in site.log.read_text()
