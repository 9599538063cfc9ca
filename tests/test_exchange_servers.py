"""Files, uploads, streams and sockets over real connections, under the ASGI servers people use."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

SERVERS = Path(__file__).parent / "servers"
COMMANDS = {
    "uvicorn": ["uvicorn", "exchange_app:app", "--port", "{port}"],
    "uvicorn-h11": ["uvicorn", "exchange_app:app", "--port", "{port}", "--http", "h11", "--ws", "websockets-sansio"],
    "hypercorn": ["hypercorn", "exchange_app:app", "--bind", "127.0.0.1:{port}"],
    "granian": ["granian", "--interface", "asgi", "--port", "{port}", "exchange_app:app"],
}
CONTENT = os.urandom(3 * 1024 * 1024 + 5)


class Site:
    """One server with the application."""

    def __init__(self, kind: str, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        file = home / "file.bin"
        file.write_bytes(CONTENT)
        command = [part.format(port=self.port) for part in COMMANDS[kind]]
        self.log = home / "log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONPATH": str(SERVERS), "EXCHANGE_FILE": str(file)},
            )
        deadline = time.monotonic() + 30
        while not self._is_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError(f"the server did not come up: {self.log.read_text()}")
            time.sleep(0.05)

    def _is_up(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(self.url, timeout=2).status_code == 200
        return False

    def wait_for(self, event: str) -> None:
        """Wait until the application has noted an event."""
        deadline = time.monotonic() + 10
        while event not in (seen := httpx.get(self.url, timeout=10).json()):
            assert time.monotonic() < deadline, f"{event} is not among {seen}"
            time.sleep(0.02)


@pytest.fixture(scope="module", params=list(COMMANDS))
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    started = Site(request.param, tmp_path_factory.mktemp("exchange"))
    yield started
    started.process.terminate()
    try:
        started.process.wait(10)
    finally:
        started.process.kill()
        started.process.wait()


def test_files(site: Site) -> None:
    with httpx.Client(base_url=site.url, timeout=30) as client:
        whole = client.get("/file")
        assert (whole.status_code, whole.content == CONTENT) == (200, True)
        assert whole.headers["content-disposition"] == "attachment; filename*=utf-8''n%C3%A9.bin"
        etag = whole.headers["etag"]
        assert client.head("/file").headers["content-length"] == str(len(CONTENT))
        assert client.get("/file", headers={"if-none-match": etag}).status_code == 304
        part = client.get("/file", headers={"range": "bytes=1000000-2000000", "if-range": etag})
        assert (part.status_code, part.content == CONTENT[1000000:2000001]) == (206, True)
        parts = client.get("/file", headers={"range": "bytes=0-1,-2"})
        assert (parts.status_code, len(parts.content)) == (206, int(parts.headers["content-length"]))
        assert client.get("/file", headers={"range": "bytes=99999999-"}).status_code == 416


def test_uploads(site: Site) -> None:
    answer = httpx.post(site.url + "/form", data={"name": "Ann"}, files={"file": ("../x", CONTENT)}, timeout=30)
    assert answer.json()["name"] == "Ann"
    assert answer.json()["size"] == len(CONTENT)
    assert answer.json()["body"] == int(answer.request.headers["content-length"])


@pytest.mark.parametrize("name", ["stream", "sync", "sse"])
def test_a_client_that_leaves_a_stream_closes_its_source(name: str, site: Site) -> None:
    with httpx.stream("GET", f"{site.url}/{name}", timeout=30) as answer:
        next(answer.iter_raw())
    site.wait_for(f"{name} closed")


def test_sockets(site: Site) -> None:
    url = f"ws://127.0.0.1:{site.port}/"
    with connect(url, subprotocols=["a", "b"]) as ws:  # type: ignore[list-item]
        assert ws.subprotocol == "a"
        ws.send('{"x":1}')
        assert ws.recv(timeout=10) == '{"x":1}'
        ws.close(4002)
    for frame, code in ((b"{}", 1003), ("{", 1007)):
        with connect(url) as ws:
            ws.send(frame)
            with pytest.raises(ConnectionClosed) as closed:
                ws.recv(timeout=10)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == code
        site.wait_for(f"socket {code}")
    with connect(url + "reason") as ws, pytest.raises(ConnectionClosed) as closed:
        ws.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "è" * 61)
    with pytest.raises(InvalidStatus) as denied:
        connect(url + "denied")
    assert denied.value.response.status_code == 401
    assert bytes(denied.value.response.body or b"") == b'{"no":1}'
