"""WSX over real sockets, under our own run() and under the other ASGI servers."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

SERVERS = Path(__file__).parent / "servers"
COMMANDS = {
    "own": [str(SERVERS / "wsx_app.py"), "{port}", "{options}"],
    "uvicorn": ["-m", "uvicorn", "wsx_app:create", "--factory", "--port", "{port}", "--ws", "websockets-sansio"],
    "hypercorn": ["-m", "hypercorn", "wsx_app:create()", "--bind", "127.0.0.1:{port}"],
    "granian": ["-m", "granian", "--interface", "asgi", "--factory", "--port", "{port}", "wsx_app:create"],
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Site:
    """A server process."""

    def __init__(self, home: Path, kind: str = "own", **options: Any) -> None:
        self.port = free_port()
        self.log = home / "log.txt"
        words = {"{port}": str(self.port), "{options}": json.dumps(options)}
        command = [
            sys.executable,
            *(words.get(part, part.replace("{port}", str(self.port))) for part in COMMANDS[kind]),
        ]
        environment = {**os.environ, "PYTHONPATH": str(SERVERS), "HOME": str(home), "NO_COLOR": "1"}
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=home)
        self.until(self._up, 30)

    def _up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.port}/_server/health", timeout=2).status_code == 200
        return False

    def until(self, condition: Callable[[], Any], seconds: float = 10) -> Any:
        """The first true value of a condition."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(0.02)
        raise AssertionError(f"it did not come to pass: {self.log.read_text()}")

    def diary(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.port}/diary", timeout=5).json()
        return found

    @contextlib.contextmanager
    def wsx(self, path: str = "/", **options: Any) -> Iterator[ClientConnection]:
        settings = {"subprotocols": ["wsx.1"], "compression": None, "max_size": 2**24, "ping_interval": None}
        with connect(f"ws://127.0.0.1:{self.port}{path}", **(settings | options)) as found:
            yield found

    def stop(self, how: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module", params=list(COMMANDS))
def any_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp(request.param), request.param)
    yield site
    site.stop()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("own"))
    yield site
    site.stop()


@pytest.fixture
def new_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    started: list[Site] = []

    def start(**options: Any) -> Site:
        started.append(Site(tmp_path, **options))
        return started[-1]

    yield start
    for site in started:
        site.stop()


def send(wsx: ClientConnection, **fields: Any) -> None:
    wsx.send("WSX://" + json.dumps(fields))


def take(wsx: ClientConnection) -> dict[str, Any]:
    frame = wsx.recv(timeout=10)
    assert isinstance(frame, str)
    answer: dict[str, Any] = json.loads(frame.removeprefix("WSX://").removesuffix("::JS"))
    return answer


def call(wsx: ClientConnection, path: str, data: Any = None, method: str = "POST", **fields: Any) -> dict[str, Any]:
    send(wsx, id="c", method=method, path=path, data=data, **fields)
    return take(wsx)


def until_closed(wsx: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """What comes up to the close frame, and its code."""
    messages = []
    try:
        while True:
            messages.append(take(wsx))
    except ConnectionClosed as closed:
        return messages, closed.rcvd.code if closed.rcvd is not None else None


def test_every_server_carries_wsx(any_site: Site) -> None:
    with any_site.wsx("/any/path") as wsx:
        assert wsx.subprotocol == "wsx.1"
        assert call(wsx, "/echo", {"è": [1, None]}) == {"id": "c", "status": 200, "data": {"è": [1, None]}}
        assert call(wsx, "/sync", query={"n": "4"})["data"] == 5
        assert call(wsx, "/_wsx/ping")["data"] == "pong"
        failed = call(wsx, "/boom")
        assert (failed["status"], failed["data"]["error"]) == (500, "Internal Server Error")
        assert call(wsx, "/nowhere")["status"] == 404
        send(wsx, id="s", method="GET", path="/count", query={"n": 100})
        assert [take(wsx).get("data") for _ in range(101)] == [*range(100), None]
        send(wsx, id="t", method="POST", path="/total", stream=True)
        for seq in range(100):
            send(wsx, id="t", seq=seq, data=seq, stream=seq < 99)
        answers = [take(wsx)]
        while "status" not in answers[-1]:  # grants
            answers.append(take(wsx))
        assert answers[-1]["data"] == 4950
        for junk in ("junk", b"\xff\x00junk", "WSX://{"):
            wsx.send(junk)
            wsx.recv(timeout=10)
        wsx.send(b'{"id":"b","method":"POST","path":"/echo","data":1}')
        assert take(wsx) == {"id": "b", "status": 200, "data": 1}
        send(wsx, id="n", method="SUBSCRIBE", path="/news")
        assert take(wsx)["data"] == {"sub": "n"}
        assert httpx.post(f"http://127.0.0.1:{any_site.port}/tell", json={"a": 1}).text == "1"
        assert take(wsx)["data"] == {"event": "message", "topic": "/news", "data": {"a": 1}}


def test_every_server_tells_soon_why_it_closes(any_site: Site) -> None:
    with any_site.wsx() as wsx:
        send(wsx, id="h", method="POST", path="/_wsx/hello", data={"v": 2})
        began = time.monotonic()
        messages, code = until_closed(wsx)
        assert ([message["status"] for message in messages], code) == ([501], 4400)
        assert time.monotonic() - began < 8


def test_a_refused_handshake_is_no_error_of_ours(new_site: Callable[..., Site]) -> None:
    site = new_site()
    for _ in range(2):
        with pytest.raises(InvalidStatus) as refused, site.wsx(origin="http://evil.example"):
            pass
        assert refused.value.response.status_code == 403
    with site.wsx() as wsx:
        assert call(wsx, "/echo", 1)["data"] == 1
    assert "without completing handshake" not in site.log.read_text()


def test_every_server_refuses_foreign_pages_and_serves_raw_routes(any_site: Site) -> None:
    with pytest.raises(InvalidStatus) as refused, any_site.wsx(origin="http://evil.example"):
        pass
    assert refused.value.response.status_code == 403
    with any_site.wsx(origin=f"http://127.0.0.1:{any_site.port}") as wsx:
        assert call(wsx, "/echo", 1)["data"] == 1
    with any_site.wsx("/raw", subprotocols=None) as raw:
        raw.send("hi")
        assert raw.recv(timeout=10) == "hi"
    any_site.until(lambda: "raw" in any_site.diary()["ended"])


def test_a_client_that_goes_frees_its_tasks(any_site: Site) -> None:
    with any_site.wsx() as wsx:
        send(wsx, id="1", method="GET", path="/ticks")
        send(wsx, id="2", method="GET", path="/wait")
        assert take(wsx)["data"] == 0
        any_site.until(lambda: any_site.diary()["live"] == 2)
        wsx.socket.shutdown(socket.SHUT_RDWR)  # as one that was killed
    any_site.until(lambda: any_site.diary()["live"] == 0)
    diary = any_site.diary()
    assert {"ticks", "wait"} <= set(diary["ended"])
    any_site.until(lambda: any_site.diary()["sockets"] == 0)


def hello(wsx: ClientConnection, **data: Any) -> dict[str, Any]:
    send(wsx, id="c1000", method="POST", path="/_wsx/hello", data={"features": ["resume"], **data})
    answer = take(wsx)
    assert (answer["id"], answer["status"]) == ("c1000", 200)
    found: dict[str, Any] = answer["data"]
    return found


def test_a_session_goes_on_over_the_next_connection(any_site: Site) -> None:
    with any_site.wsx() as wsx:
        name = hello(wsx)["session"]
        send(wsx, id="c1", method="GET", path="/count/100", credit=4)
        send(wsx, id="c2", method="GET", path="/wait")
        assert [take(wsx)["seq"] for _ in range(4)] == [0, 1, 2, 3]
        any_site.until(lambda: any_site.diary()["live"] == 2)
        wsx.socket.shutdown(socket.SHUT_RDWR)
    any_site.until(lambda: any_site.diary()["sockets"] == 0)
    assert any_site.diary()["live"] == 2
    with any_site.wsx() as wsx:
        told = hello(wsx, session=name, acks={"c1": 1, "c2": -1})
        assert (told["resumed"], told["session"]) == (True, name)
        assert [take(wsx)["seq"] for _ in range(4)] == [2, 3, 4, 5]
        send(wsx, id="c1", credit=2)
        assert [take(wsx)["data"] for _ in range(2)] == [6, 7]
        send(wsx, id="c2", method="GET", path="/wait")
        send(wsx, id="c3", method="POST", path="/echo", data="é")
        assert take(wsx) == {"id": "c3", "status": 200, "data": "é"}
        for id in ("c1", "c2"):
            send(wsx, method="POST", path="/_wsx/cancel", data={"id": id})
            assert take(wsx)["status"] == 499
        assert any_site.diary()["sockets"] == 1
    any_site.until(lambda: any_site.diary()["live"] == 0)


def test_a_session_is_taken_from_a_connection_that_is_still_open(own: Site) -> None:
    with own.wsx() as one, own.wsx() as two:
        name = hello(one)["session"]
        send(one, id="c1", method="GET", path="/wait")
        own.until(lambda: own.diary()["live"] == 1)
        assert hello(two, session=name, acks={"c1": -1})["resumed"] is True
        assert until_closed(one) == ([], 1008)
        send(two, method="POST", path="/_wsx/cancel", data={"id": "c1"})
        assert take(two)["status"] == 499
        assert call(two, "/echo", 1)["data"] == 1
    own.until(lambda: own.diary()["sockets"] == 0)


def test_messages_too_long_are_answered_and_far_too_long_ones_close(own: Site) -> None:
    with own.wsx() as wsx:
        wsx.send('{"id":"7","method":"POST","path":"/echo","data":"' + "x" * 2**20 + '"}')
        answer = take(wsx)
        assert (answer["id"], answer["status"], answer["data"]["code"]) == ("7", 413, "TOO_LARGE")
        assert call(wsx, "/echo", "x" * 900_000)["data"] == "x" * 900_000
        wsx.send("x" * (4 * 2**20 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            wsx.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_a_text_that_is_none_closes_and_fragments_are_one_message(own: Site) -> None:
    with own.wsx() as wsx:
        wsx.send(["WSX://", '{"id":"f","method":"POST"', ',"path":"/echo","data":"é"}'])
        assert take(wsx) == {"id": "f", "status": 200, "data": "é"}
        wsx.ping().wait(10)
        wsx.send(b'{"id":"7","method":"POST","path":"/echo","data":"\xff"}', text=True)
        with pytest.raises(ConnectionClosed) as closed:
            wsx.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1007


def test_ten_slow_calls_do_not_delay_a_ping(own: Site) -> None:
    with own.wsx() as wsx:
        for n in range(100):  # more than may run at once
            send(wsx, id=f"w{n}", method="GET", path="/wait")
        started = time.monotonic()
        assert call(wsx, "/_wsx/ping", 1) == {"id": "c", "status": 200, "data": 1}
        assert time.monotonic() - started < 1
        assert own.diary()["live"] == 64
    own.until(lambda: own.diary()["live"] == 0)


def test_a_slow_reader_holds_its_stream_and_nobody_else(own: Site) -> None:
    with own.wsx() as slow, own.wsx() as quick:
        send(slow, id="1", method="GET", path="/flood", query={"size": 100_000, "n": 300}, credit=1000)
        own.until(lambda: own.diary()["yielded"] > 5)
        settled = own.until(lambda: (before := own.diary()["yielded"]) and time.sleep(0.2) is None
                            and own.diary()["yielded"] == before and before)  # fmt: skip
        assert settled < 250, "the generator ran far ahead of its reader"
        assert call(quick, "/broadcast", query={"size": 2000}) == {
            "id": "_broadcast",
            "status": 200,
            "data": "x" * 2000,
        }
        assert take(quick)["data"] in (1, 2)
        items = 0
        while (answer := take(slow)).get("stream") or answer["id"] == "_broadcast":
            items += answer["id"] == "1"
        assert items == 300


def test_the_heartbeat_finds_silent_clients(new_site: Callable[..., Site]) -> None:
    site = new_site(websocket={"heartbeat": 0.2})
    with site.wsx() as answering:
        request = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        request += b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        with socket.create_connection(("127.0.0.1", site.port), timeout=10) as silent:
            silent.sendall(request)
            came = b""
            while chunk := silent.recv(4096):
                came += chunk
        frames = came.partition(b"\r\n\r\n")[2]
        assert frames[0] == 0x89  # a ping
        assert frames[6] == 0x88  # and, 0.2 s later, the end
        assert int.from_bytes(frames[8:10], "big") == 1011
        assert call(answering, "/echo", 1)["data"] == 1


@pytest.mark.parametrize("path", ["/", "/raw"])
def test_there_are_only_so_many_sockets(new_site: Callable[..., Site], path: str) -> None:
    site = new_site(limits={"ws_connections": 2})
    with site.wsx("/raw"):
        with site.wsx() as wsx:
            assert call(wsx, "/echo", 1)["data"] == 1
            with pytest.raises(InvalidStatus) as refused, site.wsx(path):
                pass
            assert refused.value.response.status_code == 503
            told = json.loads(refused.value.response.body)
            assert (told["code"], told["retry"]) == ("OVERLOADED", True)

        def again() -> bool:
            with contextlib.suppress(InvalidStatus), site.wsx(path):
                return True
            return False

        site.until(again)


def test_compression_where_it_is_switched_on(new_site: Callable[..., Site]) -> None:
    site = new_site(websocket={"compression": True})
    with site.wsx(compression="deflate") as wsx:
        assert "permessage-deflate" in str(wsx.response and wsx.response.headers.get("sec-websocket-extensions"))
        assert call(wsx, "/echo", "x" * 10_000)["data"] == "x" * 10_000
        send(wsx, id="s", method="GET", path="/count", query={"n": 3})
        assert [take(wsx).get("data") for _ in range(4)] == [0, 1, 2, None]


def test_the_end_with_a_hundred_streams_open(new_site: Callable[..., Site]) -> None:
    site = new_site(server={"timeout_graceful": 2})
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(site.wsx()) for _ in range(10)]
        for client in clients:
            for n in range(10):
                send(client, id=str(n), method="GET", path="/ticks")
        site.until(lambda: site.diary()["live"] == 100)
        idle = stack.enter_context(site.wsx())
        assert call(idle, "/echo", 1)["data"] == 1
        site.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        for client in [idle, *clients]:
            messages, code = until_closed(client)
            goaway = next(message for message in messages if message.get("path") == "/_wsx/goaway")
            assert (goaway["method"], goaway["data"]["reason"]) == ("POST", "shutdown")
            assert code == 1012
        assert site.process.wait(10) == 0
        assert time.monotonic() - started < 4
    assert "Traceback" not in site.log.read_text()


def test_a_client_that_does_not_read_delays_the_end_no_longer_than_the_grace(new_site: Callable[..., Site]) -> None:
    site = new_site(server={"timeout_graceful": 1})
    with site.wsx(max_queue=1) as wsx:
        send(wsx, id="1", method="GET", path="/flood", query={"size": 100_000, "n": 2000}, credit=5000)
        site.until(lambda: site.diary()["yielded"] > 5)
        time.sleep(0.3)
        started = time.monotonic()
        assert site.stop() == 0
        assert time.monotonic() - started < 3


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_an_idle_connection_costs_little_more_than_a_bare_one() -> None:
    script = Path(__file__).parent.parent / "benchmarks" / "wsx_memory.py"
    run = subprocess.run([sys.executable, str(script), "600"], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
