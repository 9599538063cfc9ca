"""A server that runs knows where, also when the port was left to the system, and in each of its workers."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SITE = """
import sys

from genro_asgi import AsgiServer


class Site(AsgiServer):
    def on_startup(self):
        print(f"started at {self.url}", flush=True)


if __name__ == "__main__":
    print(f"made at {Site().url}", flush=True)
    Site().run(port=0, workers=int(sys.argv[1]))
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", [1, 2])
def test_the_address_is_known_when_applications_start(workers: int, tmp_path: Path) -> None:
    script = tmp_path / "address_site.py"
    script.write_text(SITE)
    process = subprocess.Popen(
        [sys.executable, str(script), str(workers)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "made at None\n"
        announced = re.match(r"Serving on (http://127\.0\.0\.1:[1-9][0-9]*) ", process.stdout.readline())
        assert announced is not None
        for _ in range(workers):
            assert process.stdout.readline() == f"started at {announced[1]}\n"
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=20)[0]
        assert process.returncode == 0, output
        assert "Traceback" not in output
    finally:
        process.kill()
        process.communicate()
