"""The `genro-asgi` command as users type it: a new site is tested, served, asked and stopped."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

COMMAND = [sys.executable, "-m", "genro_asgi"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment without what would change a site, and with an empty home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GENRO_ASGI_")}
    return kept | {"HOME": str(tmp_path / "home"), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def shop(tmp_path: Path, environment: dict[str, str]) -> Path:
    """A new site."""
    subprocess.run([*COMMAND, "new", "shop"], cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    return tmp_path / "shop"


@pytest.fixture
def server(shop: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The new site being served on a free port."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "shop", "--port", "0"],
        cwd=shop.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def address_of(server: subprocess.Popen[str]) -> str:
    """The address a server says it listens on, once it takes connections there."""
    assert server.stdout is not None
    seen = ""
    for line in server.stdout:
        seen += line
        if match := re.search(r"http://127\.0\.0\.1:([1-9][0-9]*)", line):
            wait_for_port(int(match[1]), server)
            return match[0]
    raise AssertionError(f"the server said no address:\n{seen}")


def wait_for_port(port: int, server: subprocess.Popen[str]) -> None:
    """It is announced when it is bound, and open when the applications have started."""
    while server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)


def test_the_tests_of_a_new_site_pass(shop: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "shop"],
        cwd=shop.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert "4 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_new_site_serves_and_stops(server: subprocess.Popen[str], stop: signal.Signals) -> None:
    with urlopen(f"{address_of(server)}/shop/hello?name=Ada", timeout=10) as answer:
        assert answer.read() == b'{"message":"Hello, Ada!"}'
    server.send_signal(stop)
    output, _ = server.communicate(timeout=20)
    assert server.returncode == 0, output
    assert "Traceback" not in output


def test_a_busy_port_is_one_line(shop: Path, environment: dict[str, str]) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        done = subprocess.run(
            [*COMMAND, "serve", str(shop), "--port", port],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: Cannot listen on 127.0.0.1:{port}: Address already in use; choose another --host or --port.\n"
    )
