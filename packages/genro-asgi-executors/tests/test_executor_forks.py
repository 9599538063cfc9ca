"""A process that uses pools may be forked: both sides go on, and the copy keeps no worker alive."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import offload_jobs as jobs
import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

USES = """
import asyncio, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks where there are threads
sys.path.insert(0, {jobs!r})
import offload_jobs as jobs
from genro_asgi.executors import LocalExecutor, ThreadExecutor

pools = [ThreadExecutor("t", max_workers=2), LocalExecutor("p", max_workers=2)]

async def use(number):
    return [await asyncio.gather(*[pool.run(jobs.add, number, n) for n in range(5)]) for pool in pools]

async def end():
    for pool in pools:
        await pool.shutdown()

print(asyncio.run(use(0)), flush=True)
child = os.fork()
if child == 0:
    print(asyncio.run(use(10)), [pool.metrics()["submitted"] for pool in pools], flush=True)
    asyncio.run(end())
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
print(asyncio.run(use(20)), [pool.metrics()["submitted"] for pool in pools], flush=True)
asyncio.run(end())
"""

HOLDS = """
import asyncio, os, sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
sys.path.insert(0, {jobs!r})
import offload_jobs as jobs
from genro_asgi.executors import LocalExecutor

async def main():
    pool = LocalExecutor("p", max_workers=2)
    await pool.warm_up()
    spinning = pool.run(jobs.spin)
    async for _ in spinning:
        break
    if (child := os.fork()) == 0:
        time.sleep(60)
        os._exit(0)
    print(child, *[worker.pid for worker in pool._fleet.workers], flush=True)
    await asyncio.sleep(60)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], list[str]]:
    """Writes a program; how to run it."""

    def write(text: str) -> list[str]:
        path = tmp_path / "program.py"
        path.write_text(text.format(jobs=str(Path(jobs.__file__).parent)))
        return [sys.executable, str(path)]

    return write


def runs(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_both_sides_of_a_fork_go_on(script: Callable[[str], list[str]]) -> None:
    done = subprocess.run(script(USES), capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "[[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]",
        "[[10, 11, 12, 13, 14], [10, 11, 12, 13, 14]] [5, 5]",
        "0",
        "[[20, 21, 22, 23, 24], [20, 21, 22, 23, 24]] [10, 10]",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="SIGIO from a pipe is a thing of Linux")
def test_a_fork_keeps_no_worker_alive(script: Callable[[str], list[str]]) -> None:
    with subprocess.Popen(script(HOLDS), stdout=subprocess.PIPE, text=True) as main:
        assert main.stdout is not None
        child, *workers = map(int, main.stdout.readline().split())
        main.kill()
        main.wait(20)
    try:
        deadline = time.monotonic() + 15
        while any(map(runs, workers)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(workers) == 2
        assert [pid for pid in workers if runs(pid)] == []
        assert runs(child)
    finally:
        os.kill(child, signal.SIGKILL)
