"""What becomes of worker processes without a shutdown, and of what they have printed and started."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import offload_jobs as jobs
import pytest

from genro_asgi.executors import LocalExecutor, ThreadExecutor, WorkerDiedError, process
from genro_asgi.executors.process import WorkerProcess

Make = Callable[..., LocalExecutor]

ENDS = """
import asyncio, os, signal, sys
sys.path.insert(0, {jobs!r})
import offload_jobs as jobs
from genro_asgi.executors import LocalExecutor, process

process.PATIENCE = 20.0  # on a busy machine

async def main():
    pool = LocalExecutor("p", max_workers=2)
    async for progress in pool.run(jobs.hang):
        break
    started = pool.run(jobs.start_child, 0)
    async for progress in started:
        print(progress.text)
    await started
    await pool.run(jobs.tell_at_exit, "left by itself")
    print(*[worker.pid for worker in pool._fleet.workers], flush=True)
    {end}

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("end", "code", "complaint"),
    [("pass", 0, ""), ("sys.exit(3)", 3, ""), ("os.kill(os.getpid(), signal.SIGINT)", -2, "KeyboardInterrupt")],
)
def test_a_program_that_ends_without_a_shutdown(tmp_path: Path, end: str, code: int, complaint: str) -> None:
    """Free workers leave as they would otherwise, busy ones are ended, and nothing is said about it."""
    script = tmp_path / "program.py"
    script.write_text(ENDS.format(jobs=str(Path(jobs.__file__).parent), end=end))
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr.strip().rpartition("\n")[2]) == (code, complaint), done.stderr
    assert time.monotonic() - began < 30
    lines = done.stdout.splitlines()
    assert lines.count("left by itself") == 1
    pids = [int(pid) for line in lines if line != "left by itself" for pid in line.split()]
    assert len(pids) == 3
    deadline = time.monotonic() + 15
    while any(map(jobs.alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [pid for pid in pids if jobs.alive(pid)] == []


def test_a_pool_that_is_forgotten_with_its_loop(no_leak: None) -> None:
    async def use() -> list[int]:
        pool = LocalExecutor("p", max_workers=2)
        pool.run(jobs.hang)
        return [await pool.run(jobs.pid), *(worker.pid for worker in pool._fleet.workers)]

    pids = asyncio.run(use())
    gc.collect()
    assert not any(map(jobs.alive, pids))


def test_a_pool_of_threads_that_is_forgotten(no_leak: None) -> None:
    async def use() -> None:
        pool = ThreadExecutor("t", max_workers=3)
        await asyncio.gather(*[pool.run(time.sleep, 0.01) for _ in range(3)])

    before = threading.active_count()
    asyncio.run(use())
    gc.collect()
    deadline = time.monotonic() + 15
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_the_end_of_a_program(no_leak: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen from the inside: one process is free, one is busy, and one is gone already."""
    monkeypatch.setattr(process, "PATIENCE", 20.0)
    free, busy, gone = workers = [WorkerProcess(lambda *_: None, lambda _: None) for _ in range(3)]
    free.ready = True
    gone.ready = True
    gone.see_off(0.0)
    gone._bury()
    process._end_all()
    assert [worker.gone for worker in workers] == [True] * 3
    assert [worker._process.returncode for worker in (busy, gone)] == [-signal.SIGKILL] * 2
    assert free._process.returncode == 0


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="somebody else buries it otherwise")
def test_a_copy_of_a_process_is_only_closed(no_leak: None) -> None:
    worker = WorkerProcess(lambda *_: None, lambda _: None)
    worker.disown()
    assert jobs.alive(worker.pid)
    os.kill(worker.pid, signal.SIGKILL)
    os.waitpid(worker.pid, 0)
    assert worker.gone


@pytest.mark.asyncio
async def test_what_a_worker_printed_is_not_lost_with_it(processes: Make, capfd: Any) -> None:
    pool = processes()
    with pytest.raises(WorkerDiedError):
        await pool.run(jobs.print_and_die, "last words")
    assert capfd.readouterr().out == "last words\n"


@pytest.mark.asyncio
async def test_what_a_worker_started_ends_when_it_leaves(processes: Make) -> None:
    pool = processes()
    started = pool.run(jobs.start_child, 0)
    (child,) = [int(progress.text) async for progress in started]
    await started
    assert jobs.alive(child)
    await pool.shutdown()
    deadline = time.monotonic() + 15
    while jobs.alive(child) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert not jobs.alive(child)


@pytest.mark.asyncio
async def test_a_worker_that_somebody_else_buried(processes: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler of SIGCHLD that waits for every child; and where the kernel does not tell of the end."""
    monkeypatch.setattr("genro_asgi.executors.process._exit_fd", lambda pid: None)
    pool = processes()
    before = await pool.run(jobs.pid)
    (worker,) = pool._fleet.workers
    os.kill(before, signal.SIGKILL)
    os.waitpid(before, 0)  # noqa: ASYNC222
    with suppress(WorkerDiedError):
        await pool.run(jobs.pid)
    assert await pool.run(jobs.pid) != before
    assert worker.gone
