"""Pools of a site that is served: whatever ends the server ends its worker processes."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

APP = """
import os
import time

from genro_asgi import AsgiApplication, route
from genro_asgi.executors import report


def spin(seconds):
    report(None, str(os.getpid()))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return os.getpid()


class Application(AsgiApplication):
    def on_startup(self):
        self.spin = self.server.executor("cpu")(spin)

    @route()
    async def index(self, seconds: float = 0.0):
        return self.spin.start(seconds)
"""
CONFIG = """
apps:
  work: "work_app:Application"
executors:
  cpu: {max_workers: 2}
server:
  timeout_graceful: 2
"""


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def all_end(pids: list[int]) -> bool:
    deadline = time.monotonic() + 15
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A served site, and the URL of its application."""
    (tmp_path / "work_app.py").write_text(APP)
    (tmp_path / "config.yaml").write_text(CONFIG)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GENRO_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "genro_asgi", "serve", str(tmp_path), "--port", "0"],
        env=environment | {"HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = (re.search(r"http://127\.0\.0\.1:[1-9][0-9]*", line) for line in process.stdout)
        url = next(match[0] for match in found if match) + "/work"
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                httpx.get(url, timeout=20)
                break
        yield process, url
    finally:
        process.kill()
        process.communicate()


def pid_of_a_call(client: httpx.Client, url: str) -> tuple[int, httpx.Response]:
    """Begin a call that takes long: the process that runs it, and its stream of events."""
    asked = client.build_request("GET", url, params={"seconds": 60}, headers={"Accept": "text/event-stream"})
    answer = client.send(asked, stream=True)
    for line in answer.iter_lines():
        if match := re.search(r'"text":"(\d+)"', line):
            return int(match[1]), answer
    raise AssertionError("it said nothing")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_no_worker_outlives_its_server(
    site: tuple[subprocess.Popen[str], str], number: signal.Signals, code: int
) -> None:
    process, url = site
    with httpx.Client(timeout=30) as client:
        idle = client.get(url).json()
        # Both workers: one computes for a client that listens, the other one for one that only waits.
        busy, answer = pid_of_a_call(client, url)
        other, _ = pid_of_a_call(client, url)
        assert len({busy, other, process.pid}) == 3
        assert idle in (busy, other)
        process.send_signal(number)
        assert process.wait(20) == code
        answer.close()
    assert all_end([busy, other])


def test_a_client_that_leaves_frees_its_worker(site: tuple[subprocess.Popen[str], str]) -> None:
    """Not before its call has ended, since nobody said on_cancel: kill; the next calls take the other one."""
    _, url = site
    with httpx.Client(timeout=30) as client:
        busy, answer = pid_of_a_call(client, url)
        answer.close()
        assert {client.get(url).json() for _ in range(5)}.isdisjoint({busy})
