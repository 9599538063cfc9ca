"""Several workers and reloading ones: uvicorn's supervisors around the same server."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

APP = """
import asyncio
import os
from pathlib import Path

from genro_asgi import AsgiApplication, route


class Application(AsgiApplication):
    @route(methods="GET")
    async def wait(self):
        (Path(__file__).parent / "begun").touch()
        await asyncio.sleep(60)

    @route(inline=True)
    def pid(self):
        return [os.getpid(), {text!r}]
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Supervised:
    """`genro-asgi serve` as a process with children."""

    def __init__(self, site: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "genro_asgi", "serve", str(site), "--port", str(self.port), *options]
        environment = {**os.environ, "HOME": str(site)}
        self.log = site.parent / "log.txt"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)

    def ask(self) -> tuple[int, str] | None:
        """The pid and the text of whoever answers, None while nobody does."""
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.get(self.url + "/site/pid", timeout=5)
            if answer.status_code == 200:
                pid, text = answer.json()
                return int(pid), str(text)
        return None

    def until(self, good: Callable[[tuple[int, str]], bool]) -> tuple[int, str]:
        """The first answer that is good."""
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            answer = self.ask()
            if answer is not None and good(answer):
                return answer
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "site"
    root.mkdir()
    (root / "config.yaml").write_text("apps: {site: site_app}\n")
    (root / "site_app.py").write_text(APP.format(text="first"))
    return root


def gone(pid: int) -> bool:
    """Whether no process has this pid any more."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def children_of(pid: int) -> list[str]:
    """The pids of the processes a process has started."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.timeout(120)
def test_workers_answer_side_by_side_and_end_together(site: Path) -> None:
    server = Supervised(site, "--workers", "2")
    try:
        first, _ = server.until(lambda answer: True)
        second, _ = server.until(lambda answer: answer[0] != first)
        assert server.process.pid not in (first, second)
    finally:
        code = server.stop()
    assert code == 0, server.log.read_text()
    assert gone(first)
    assert gone(second)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("options", [("--workers", "2"), ("--reload",)], ids=" ".join)
def test_who_is_still_answered_when_the_grace_is_over_is_told_so(site: Path, options: tuple[str, ...]) -> None:
    (site / "config.yaml").write_text("apps: {site: site_app}\nserver: {timeout_graceful: 0.5}\n")
    server = Supervised(site, *options)
    try:
        server.until(lambda answer: True)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(httpx.get, server.url + "/site/wait", timeout=30)
            while not (site / "begun").exists():
                assert not waiting.done(), waiting.result().text
                time.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            answer = waiting.result()
    finally:
        code = server.stop()
    log = server.log.read_text()
    assert (code, answer.status_code) == (0, 503), log
    assert "Traceback" not in log


@pytest.mark.timeout(120)
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="children are found in /proc")
@pytest.mark.parametrize("options", [("--workers", "2"), ("--reload",)], ids=" ".join)
def test_nobody_outlives_a_supervisor_that_was_killed(site: Path, options: tuple[str, ...]) -> None:
    server = Supervised(site, *options)
    try:
        first, _ = server.until(lambda answer: True)
        others = {int(pid) for pid in children_of(server.process.pid)}
        assert first in others
        server.process.kill()
        server.process.wait(10)
        assert [pid for pid in others if not gone(pid)] == []
        assert server.ask() is None
    finally:
        server.stop()
    assert "Traceback" not in server.log.read_text()


@pytest.mark.timeout(120)
def test_a_changed_file_is_served_without_a_restart_by_hand(site: Path) -> None:
    server = Supervised(site, "--reload")
    try:
        first, _ = server.until(lambda answer: answer[1] == "first")
        (site / "site_app.py").write_text(APP.format(text="second"))
        second, _ = server.until(lambda answer: answer[1] == "second")
        assert first != second
        config = site / "config.yaml"
        config.write_text("apps: {site: site_app}\ntypo: 1\n")
        while "typo: unknown key" not in server.log.read_text():
            time.sleep(0.05)
        config.write_text("apps: {site: site_app}\nlogging: {format: text}\n")
        third, _ = server.until(lambda answer: True)
        assert third not in (first, second)
    finally:
        code = server.stop()
    assert code == 0, server.log.read_text()
    assert gone(second)
    log = server.log.read_text()
    assert f"Error: {config}: typo: unknown key; " in log
    assert "Traceback" not in log
