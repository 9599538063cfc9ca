"""Processes that die, hang, swell or are left: only the call in hand is lost, and the pool heals."""

import asyncio
import os
import pickle
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import offload_deadly
import offload_jobs as jobs
import pytest

from genro_asgi.executors import (
    ExecutorError,
    ExecutorTimeoutError,
    LocalExecutor,
    Progress,
    WorkerDiedError,
    process,
    wire,
)

Make = Callable[..., LocalExecutor]
LINUX = sys.platform == "linux"


async def reported(job: Any) -> int:
    """The number a job reports first: a pid."""
    async with aclosing(aiter(job)) as reports:
        progress: Progress = await anext(reports)
    return int(progress.text)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.002)


def outcomes(pool: LocalExecutor) -> dict[str, int]:
    names = ("submitted", "completed", "failed", "cancelled", "timed_out", "pending", "abandoned", "busy")
    metrics = pool.metrics()
    return {name: metrics[name] for name in names if metrics[name]}


@pytest.fixture(params=["told by the kernel", "found by looking"])
def exit_watch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as on Linux, once as on systems without pidfd_open."""
    if request.param == "found by looking":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("no pidfd_open here")


@pytest.mark.parametrize(
    ("how", "fate"),
    [
        ("kill", "was killed by SIGKILL"),
        ("segfault", "was killed by SIGSEGV"),
        ("exit", "ended with exit code 3"),
        ("realtime", "was killed by signal"),
        ("close", "was killed by SIGKILL"),
    ],
)
@pytest.mark.asyncio
async def test_a_worker_that_dies_fails_only_its_own_call(
    processes: Make, exit_watch: None, no_leak: None, how: str, fate: str
) -> None:
    pool = processes(max_workers=2)
    await pool.warm_up()
    dying = pool.run(jobs.die, how)
    others = [pool.run(jobs.work, 0.01) for _ in range(6)]
    pid = await reported(dying)
    with pytest.raises(
        WorkerDiedError, match=f"worker process {pid} of executor 'p' {fate}.* while it ran offload_jobs"
    ):
        await dying
    assert pid not in await asyncio.gather(*others)
    await until(lambda: pool.workers == 2)
    assert outcomes(pool) == {"submitted": 7, "completed": 6, "failed": 1}
    assert pool.metrics()["replaced"] == 1
    await pool.shutdown()


@pytest.mark.asyncio
async def test_a_worker_killed_from_outside_fails_its_call(processes: Make) -> None:
    pool = processes()
    job = pool.run(jobs.hang)
    os.kill(await reported(job), signal.SIGKILL)
    with pytest.raises(WorkerDiedError):
        await job
    assert await pool.run(jobs.add, 1) == 1


@pytest.mark.asyncio
async def test_idle_workers_that_are_killed_are_replaced(processes: Make, exit_watch: None) -> None:
    pool = processes(max_workers=2)
    await pool.warm_up()
    for _ in range(3):
        before = {worker.pid for worker in pool._fleet.workers}
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        await until(lambda before=before: not before & {worker.pid for worker in pool._fleet.workers})
        await until(lambda: len(pool._fleet.idle) == 2)
    assert await pool.run(jobs.add, 1) == 1
    assert outcomes(pool) == {"submitted": 1, "completed": 1}


@pytest.mark.asyncio
async def test_a_call_given_to_a_worker_that_died_in_its_sleep_goes_to_another(processes: Make) -> None:
    """Its death has not been noticed, but nothing was read from its socket."""
    pool = processes()
    await pool.warm_up()
    (worker,) = pool._fleet.workers
    os.kill(worker.pid, signal.SIGKILL)
    while jobs.alive(worker.pid):
        time.sleep(0.001)  # noqa: ASYNC251 - the loop must not notice
    assert await pool.run(jobs.add, 1, 2) == 3
    assert outcomes(pool) == {"submitted": 1, "completed": 1}


@pytest.mark.asyncio
async def test_a_stream_delivers_what_came_before_the_death(processes: Make) -> None:
    pool = processes()
    stream = pool.stream(jobs.count_and_hang, 15)
    assert await anext(stream) == 0
    (job,) = pool._live
    await until(lambda: job.inflow is not None and len(job.inflow.items) == 14)
    os.kill(job.lane.pid, signal.SIGKILL)
    await until(job.done)
    assert [await anext(stream) for _ in range(14)] == list(range(1, 15))
    with pytest.raises(WorkerDiedError):
        await anext(stream)


def peeked(worker: Any) -> bytes:
    """What the worker has sent and the pool has not read."""
    try:
        data: bytes = worker._sock.recv(1 << 20, socket.MSG_PEEK)
    except BlockingIOError:
        return b""
    return data


@pytest.mark.asyncio
async def test_a_held_back_worker_that_dies_is_noticed(processes: Make) -> None:
    """Its socket is not read, so only its end tells; what is still in the socket is delivered first."""
    pool = processes()
    stream = pool.stream(jobs.count_to, 10**9)
    assert await anext(stream) == 0
    (job,) = pool._live
    worker = job.lane
    await until(lambda: worker.paused and len(peeked(worker)) > 2000)
    os.kill(worker.pid, signal.SIGKILL)
    await until(job.done)
    assert job.inflow is not None
    expected = len(job.inflow.items)
    assert expected > 100
    assert [await anext(stream) for _ in range(expected)] == list(range(1, expected + 1))
    with pytest.raises(WorkerDiedError):
        await anext(stream)


@pytest.mark.asyncio
async def test_a_worker_that_was_held_back_at_its_last_item_goes_on(processes: Make) -> None:
    """More items than wait here, and the end, arrive at once; the reader has not taken one of them yet."""
    pool = processes()
    await pool.warm_up()
    (worker,) = pool._fleet.workers
    stream = pool.stream(jobs.items_of, list(range(40)))
    reading = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    frames = [wire.frame(wire.ITEM, pickle.dumps(number, wire.PROTOCOL)) for number in range(40)]
    while len(peeked(worker)) < len(b"".join(frames)) + wire.HEAD.size:
        time.sleep(0.001)  # noqa: ASYNC251 - the loop does not look before all of it is there
    assert await reading == 0
    assert await asyncio.wait_for(pool.run(jobs.add, 1), 15) == 1
    assert [item async for item in stream] == list(range(1, 40))


@pytest.mark.asyncio
async def test_what_a_killed_worker_still_says_is_not_heard(processes: Make, no_leak: None) -> None:
    pool = processes(on_cancel="kill")
    stream = pool.stream(jobs.count_to, 10**9)
    assert await anext(stream) == 0
    (job,) = pool._live
    await until(lambda: job.lane.paused)
    await stream.aclose()
    assert await pool.run(jobs.add, 1) == 1
    assert outcomes(pool) == {"submitted": 2, "completed": 1, "cancelled": 1}
    await pool.shutdown()


@pytest.mark.asyncio
async def test_the_last_answer_of_a_worker_that_died(processes: Make) -> None:
    """The answer is taken, and the next call goes to its successor, also when its end is heard of first."""
    pool = processes()
    await pool.warm_up()
    (worker,) = pool._fleet.workers
    calls = [pool.run(jobs.add, number) for number in range(4)]
    assert select.select([worker._sock], [], [], 15)[0]
    os.kill(worker.pid, signal.SIGSTOP)
    worker.kill()
    worker._ended()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    # It may have begun with a further one before it was stopped: that one dies with it, and no other.
    died = [number for number, answer in enumerate(answers) if isinstance(answer, WorkerDiedError)]
    assert died in ([], [1], [2], [3])
    assert [answer for number, answer in enumerate(answers) if number not in died] == [
        number for number in range(4) if number not in died
    ]
    expected = {"submitted": 4, "completed": 4 - len(died)} | ({"failed": 1} if died else {})
    assert outcomes(pool) == expected


@pytest.mark.asyncio
async def test_a_worker_that_dies_while_it_is_sent_much(processes: Make) -> None:
    pool = processes()
    await pool.warm_up()
    (worker,) = pool._fleet.workers
    os.kill(worker.pid, signal.SIGSTOP)
    job = pool.run(jobs.echo, b"x" * 10_000_000)
    await asyncio.sleep(0)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError):
        await job
    assert await pool.run(jobs.add, 1) == 1


@pytest.mark.asyncio
async def test_a_stream_cancelled_while_its_arguments_are_sent(processes: Make) -> None:
    pool = processes()
    await pool.warm_up()
    (worker,) = pool._fleet.workers
    os.kill(worker.pid, signal.SIGSTOP)
    reading = asyncio.create_task(anext(pool.stream(jobs.items_of, [b"x" * 10_000_000])))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    os.kill(worker.pid, signal.SIGCONT)
    assert await pool.run(jobs.pid) == worker.pid


@pytest.mark.asyncio
async def test_a_socket_that_is_full_or_empty(processes: Make) -> None:
    pool = processes()
    await pool.warm_up()
    (worker,) = pool._fleet.workers
    worker._read()  # nothing is there
    os.kill(worker.pid, signal.SIGSTOP)
    data = memoryview(b"x" * 10_000_000)
    assert 0 < worker._write(data) < len(data)
    assert worker._write(data) == 0
    worker.kill()


def test_a_loop_may_close_before_a_killed_worker_is_buried(exit_watch: None, no_leak: None) -> None:
    pool = LocalExecutor("p", max_workers=1)

    async def main() -> None:
        await pool.warm_up()
        with pytest.raises(ExecutorTimeoutError):
            await pool.options(timeout=0.05).run(jobs.spin)

    asyncio.run(main())
    asyncio.run(pool.shutdown())


@pytest.mark.asyncio
async def test_workers_that_die_while_they_start_do_not_spin(processes: Make) -> None:
    pool = processes(max_workers=2, initializer=jobs.dying_initializer)
    job, stream = pool.run(jobs.add, 1), pool.stream(jobs.count_to, 1)
    reading = asyncio.create_task(anext(stream))
    for waiting in (job, reading):
        with pytest.raises(WorkerDiedError, match="ended with exit code 7 with no call in hand, like those before it"):
            await waiting
    with pytest.raises(WorkerDiedError):
        await pool.warm_up()
    await until(lambda: pool.workers == 0)
    assert pool.metrics()["replaced"] < 40


@pytest.mark.asyncio
async def test_no_process_can_be_started(processes: Make, monkeypatch: pytest.MonkeyPatch, no_leak: None) -> None:
    pool = processes(max_workers=2)

    def refuse(*args: Any, **options: Any) -> Any:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        with pytest.raises(
            ExecutorError, match=r"a worker process cannot be started: .*Resource temporarily unavailable"
        ):
            pool.run(jobs.add, 1)
    assert pool.pending == 0
    first = pool.run(jobs.hang, 0.05)
    await reported(first)
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        assert await pool.run(jobs.add, 1) == 1  # one worker is enough to go on
        dying = pool.run(jobs.die, "exit")
        queued = pool.run(jobs.add, 1)
        with pytest.raises(WorkerDiedError):
            await dying
        with pytest.raises(ExecutorError, match="a worker process cannot be started"):
            await queued
    assert await pool.run(jobs.add, 1) == 1
    await pool.shutdown()


@pytest.mark.asyncio
async def test_no_descriptor_is_left_for_a_worker(
    processes: Make, monkeypatch: pytest.MonkeyPatch, no_leak: None
) -> None:
    def refuse() -> Any:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe", refuse)
        with pytest.raises(ExecutorError, match=r"a worker process cannot be started: .*Too many open files"):
            processes().run(jobs.add, 1)


@pytest.mark.parametrize(("what", "value"), [("os.name", "nt"), ("sys.frozen", True)])
@pytest.mark.asyncio
async def test_systems_without_processes_of_this_kind(
    processes: Make, monkeypatch: pytest.MonkeyPatch, what: str, value: Any
) -> None:
    module, _, name = what.partition(".")
    monkeypatch.setattr(getattr(process, module), name, value, raising=False)
    with pytest.raises(ExecutorError, match="use kind='thread' instead"):
        processes().run(jobs.add, 1)
    monkeypatch.undo()


@pytest.mark.asyncio
async def test_a_timeout_kills_and_replaces_the_worker(processes: Make, exit_watch: None, no_leak: None) -> None:
    pool = processes(timeout=0.5)
    assert await pool.options(timeout=10).run(jobs.add, 1) == 1  # the module is there
    job = pool.run(jobs.spin)
    pid = await reported(job)
    with pytest.raises(ExecutorTimeoutError, match=r"offload_jobs.spin ran longer than 0.5 s in executor 'p'"):
        await job
    await until(lambda: not jobs.alive(pid))
    assert await pool.options(timeout=10).run(jobs.add, 1) == 1
    assert outcomes(pool) == {"submitted": 3, "completed": 2, "timed_out": 1}
    assert pool.metrics()["replaced"] == 1
    await pool.shutdown()


@pytest.mark.asyncio
async def test_a_timeout_of_one_call_and_of_none(processes: Make) -> None:
    pool = processes(timeout=0.05)
    await pool.warm_up()
    assert await pool.options(timeout=float("inf")).run(jobs.work, 0.1) > 0
    assert await pool.options(timeout=10).run(jobs.work, 0.1) > 0
    with pytest.raises(ExecutorTimeoutError):
        await pool.run(jobs.work, 10)


@pytest.mark.asyncio
async def test_waiting_in_the_queue_is_not_running(processes: Make) -> None:
    pool = processes()
    await pool.warm_up()
    first, second = pool.run(jobs.work, 0.3), pool.options(timeout=0.2).run(jobs.add, 1)
    await first
    assert await second == 1


@pytest.mark.asyncio
async def test_each_item_of_a_stream_has_its_own_time(processes: Make) -> None:
    pool = processes(timeout=0.3)
    await pool.warm_up()
    stream, seen = pool.stream(jobs.count_and_hang, 10), []

    async def read() -> None:
        async for item in stream:
            seen.append(item)
            await asyncio.sleep(0.05)

    with pytest.raises(ExecutorTimeoutError):
        await read()
    assert seen == list(range(10))


@pytest.mark.asyncio
async def test_a_slow_reader_does_not_time_the_worker_out(processes: Make) -> None:
    pool = processes(timeout=0.3)
    await pool.warm_up()
    async with aclosing(pool.stream(jobs.count_to, 10**9)) as items:
        assert await anext(items) == 0
        await asyncio.sleep(0.7)
        assert [await anext(items) for _ in range(100)] == list(range(1, 101))
    assert pool.metrics()["timed_out"] == 0


@pytest.mark.asyncio
async def test_cancelling_queued_work_is_immediate(processes: Make, tmp_path: Path) -> None:
    pool = processes()
    first = pool.run(jobs.hang_up_on_file, str(tmp_path / "go"))
    await reported(first)
    task = asyncio.create_task(wait_for(pool.run(jobs.add, 1)))
    await asyncio.sleep(0)
    assert pool.metrics()["queued"] == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (pool.metrics()["queued"], pool.pending) == (0, 1)
    (tmp_path / "go").touch()
    assert await first == "released"
    assert outcomes(pool) == {"submitted": 2, "completed": 1, "cancelled": 1}


async def wait_for(job: Any) -> Any:
    return await job


@pytest.mark.asyncio
async def test_cancelled_running_work_finishes_unless_told_otherwise(processes: Make, tmp_path: Path) -> None:
    pool = processes()
    job = pool.run(jobs.hang_up_on_file, str(tmp_path / "go"))
    pid = await reported(job)
    job.cancel()
    assert outcomes(pool) == {"submitted": 1, "cancelled": 1, "abandoned": 1, "busy": 1}
    (tmp_path / "go").touch()
    assert await pool.run(jobs.pid) == pid
    assert outcomes(pool) == {"submitted": 2, "completed": 1, "cancelled": 1}


@pytest.mark.asyncio
async def test_cancelled_running_work_can_be_killed(processes: Make, no_leak: None) -> None:
    pool = processes(on_cancel="kill")
    task = asyncio.create_task(wait_for(pool.run(jobs.spin)))
    await until(lambda: bool(pool._live) and next(iter(pool._live)).progress is not None)
    (worker,) = pool._fleet.workers
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pool.pending == 0
    assert await pool.run(jobs.pid) != worker.pid
    assert not jobs.alive(worker.pid)
    assert outcomes(pool) == {"submitted": 2, "completed": 1, "cancelled": 1}
    await pool.shutdown()


@pytest.mark.asyncio
async def test_a_timeout_frees_the_worker_of_a_call_nobody_awaits(processes: Make) -> None:
    pool = processes(timeout=0.2)
    job = pool.run(jobs.hang)
    await reported(job)
    job.cancel()
    assert await pool.options(timeout=5).run(jobs.add, 1) == 1
    assert outcomes(pool) == {"submitted": 2, "completed": 1, "cancelled": 1}


@pytest.mark.asyncio
async def test_a_worker_killed_while_it_finishes_for_nobody(processes: Make) -> None:
    pool = processes()
    job = pool.run(jobs.hang)
    pid = await reported(job)
    job.cancel()
    os.kill(pid, signal.SIGKILL)
    assert await pool.run(jobs.add, 1) == 1
    assert outcomes(pool) == {"submitted": 2, "completed": 1, "cancelled": 1}


@pytest.mark.asyncio
async def test_workers_are_replaced_after_their_share_of_tasks(
    processes: Make, exit_watch: None, no_leak: None
) -> None:
    pool = processes(max_tasks_per_worker=3)
    pids = [await pool.run(jobs.pid) for _ in range(9)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3]
    assert pool.metrics()["replaced"] == 3
    await pool.shutdown()


@pytest.mark.asyncio
async def test_failures_and_streams_count_as_tasks(processes: Make) -> None:
    pool = processes(max_tasks_per_worker=2)
    first = await pool.run(jobs.pid)
    with pytest.raises(ValueError, match="x"):
        await pool.run(jobs.fail, "x")
    second = await pool.run(jobs.pid)
    assert second != first
    assert [item async for item in pool.stream(jobs.count_to, 3)] == [0, 1, 2]
    assert await pool.run(jobs.pid) != second


@pytest.mark.asyncio
async def test_a_worker_that_swells_is_replaced(processes: Make) -> None:
    pool = processes(max_rss_per_worker=150 << 20)
    slim = await pool.run(jobs.pid)
    assert await pool.run(jobs.pid) == slim
    assert await pool.run(jobs.grow, 200 << 20) == slim
    assert await pool.run(jobs.pid) != slim
    assert pool.metrics()["replaced"] == 1


@pytest.mark.skipif(not LINUX, reason="limits of memory that hold are a thing of Linux")
@pytest.mark.asyncio
async def test_a_worker_that_runs_out_of_memory_says_so_and_goes_on(processes: Make) -> None:
    pool = processes()
    with pytest.raises(MemoryError) as caught:
        await pool.run(jobs.exhaust_memory, 1 << 30)
    assert "in exhaust_memory" in str(caught.value.__cause__)
    (worker,) = pool._fleet.workers
    assert await pool.run(jobs.pid) == worker.pid


@pytest.mark.asyncio
async def test_a_worker_is_a_fresh_interpreter_and_no_fork(processes: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks that threads hold here are free there, and nothing of this process's state is."""
    monkeypatch.setattr(jobs, "loaded", "of the parent")
    monkeypatch.setattr(os, "fork", None)
    asked, free = threading.Event(), threading.Event()

    def hold() -> None:
        with jobs.LOCK:
            asked.set()
            free.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    asked.wait(20)
    try:
        assert await processes().run(jobs.state_of_a_worker) == (None, True, 1)
        assert jobs.state_of_a_worker()[:2] == ("of the parent", False)
    finally:
        free.set()
        holder.join()


@pytest.mark.asyncio
async def test_a_retired_worker_that_will_not_leave_is_killed(processes: Make, monkeypatch: Any) -> None:
    monkeypatch.setattr("genro_asgi.executors.fleet.GRACE", 0.05)
    pool = processes(max_tasks_per_worker=1)
    pid = await pool.run(jobs.stubborn)
    assert await pool.run(jobs.add, 1) == 1
    await until(lambda: not jobs.alive(pid))
    await asyncio.sleep(0.06)  # the other retired worker has left by itself when its time is up


@pytest.mark.asyncio
async def test_programs_a_worker_started_end_with_it(processes: Make) -> None:
    pool = processes(timeout=1)
    child_of_timed_out = pool.run(jobs.start_child)
    pids = [await reported(child_of_timed_out)]
    with pytest.raises(ExecutorTimeoutError):
        await child_of_timed_out
    child_of_killed = pool.run(jobs.start_child)
    pids.append(await reported(child_of_killed))
    os.kill(next(iter(pool._fleet.workers)).pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError):
        await child_of_killed
    await until(lambda: not any(map(jobs.alive, pids)))


@pytest.mark.asyncio
async def test_the_signals_of_a_shutdown_do_not_end_a_worker(processes: Make) -> None:
    """A service manager signals every process; what runs is drained all the same."""
    pool = processes()
    assert await pool.run(jobs.terminate_self) == "still here"


SCRIPT = """
import asyncio, os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a terminal that was left may have it ignored
{more}
sys.path.insert(0, {jobs!r})
import offload_jobs as jobs
from genro_asgi.executors import LocalExecutor

async def main():
    pool = LocalExecutor("p", max_workers=2)
    calls = [pool.run(jobs.spin), pool.run(jobs.start_child)]
    async for progress in calls[0]:
        print(progress.text, flush=True)
        break
    async for progress in calls[1]:
        print(progress.text, flush=True)
        break
    print(*[worker.pid for worker in pool._fleet.workers], flush=True)
    await asyncio.sleep(60)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.asyncio
async def test_large_items_do_not_pile_up_before_a_slow_reader(processes: Make, tmp_path: Path) -> None:
    pool = processes()
    async with aclosing(pool.stream(jobs.large_items, 10, 4 << 20, str(tmp_path))) as items:
        assert len(await anext(items)) == 4 << 20
        (worker,) = pool._fleet.workers
        async with asyncio.timeout(20):
            while not (worker.paused and worker.job.inflow.items):
                await asyncio.sleep(0.001)
        assert len(worker.job.inflow.items) == 1
        assert len(list(tmp_path.iterdir())) <= 3  # one was read, one waits here, and one in the socket
        assert [len(item) async for item in items] == [4 << 20] * 9


@pytest.mark.asyncio
async def test_a_module_that_ends_who_imports_it_fails_its_own_calls_alone(processes: Make) -> None:
    pool = processes()
    for _ in range(2):
        with pytest.raises(WorkerDiedError, match=r"ended with exit code 9 while it ran offload_deadly.never"):
            await pool.run(offload_deadly.never)
        assert await pool.run(jobs.add, 1) == 1


@pytest.mark.asyncio
async def test_a_busy_server_has_descriptors_with_large_numbers(processes: Make, no_leak: None) -> None:
    """Beyond what select() takes, in the process that starts a worker and so in the worker."""
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit < 1400:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1400, hard), hard))
    with ExitStack() as files:
        for _ in range(1100):
            files.enter_context(socket.socket())
        pool = processes()
        assert await pool.run(jobs.add, 1) == 1
        assert [item async for item in pool.stream(jobs.count_to, 3)] == [0, 1, 2]
    await pool.shutdown()
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


@pytest.mark.skipif(not LINUX, reason="SIGIO from a pipe is a thing of Linux")
@pytest.mark.parametrize(
    ("number", "more"),
    [
        (signal.SIGTERM, ""),
        (signal.SIGINT, ""),
        (signal.SIGKILL, ""),
        (signal.SIGHUP, ""),
        (signal.SIGKILL, "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())"),
        (signal.SIGKILL, "signal.signal(signal.SIGIO, signal.SIG_IGN)"),
    ],
)
def test_no_signal_leaves_an_orphan(tmp_path: Path, number: signal.Signals, more: str) -> None:
    """Whatever ends the main process ends its workers, one of which never lets go of the GIL, and what they started."""
    script = tmp_path / "main.py"
    script.write_text(SCRIPT.format(jobs=str(Path(jobs.__file__).parent), more=more))
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as main:
        assert main.stdout is not None
        pids = [int(pid) for _ in range(3) for pid in main.stdout.readline().split()]
        assert len(pids) == 4
        assert all(map(jobs.alive, pids))
        main.send_signal(number)
        main.wait(20)
    deadline = time.monotonic() + 15
    while any(map(jobs.alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [pid for pid in pids if jobs.alive(pid)] == []


MAIN = """
import asyncio
import sys
from dataclasses import dataclass
from genro_asgi.executors import LocalExecutor, in_worker

pool = LocalExecutor("p", max_workers=1)

def run():
    if in_worker():
        raise RuntimeError("run() inside a worker")
    asyncio.run(main())

@dataclass
class Point:
    x: int

@pool
def move(point, by):
    return Point(point.x + by), __name__, sys.argv[1:]

async def main():
    point, name, argv = await move(Point(1), 2)
    print(point, name, argv, isinstance(point, Point))
    try:
        await pool.run(move.__wrapped__, Point(1), "x")
    except TypeError as exc:
        print("TypeError", exc)
    await pool.shutdown()

{guard}run()
"""


@pytest.mark.parametrize("as_module", [False, True])
def test_functions_of_the_script_itself(tmp_path: Path, as_module: bool) -> None:
    (tmp_path / "script.py").write_text(MAIN.format(guard='if __name__ == "__main__":\n    '))
    how = ["-m", "script"] if as_module else [str(tmp_path / "script.py")]
    done = subprocess.run([sys.executable, *how, "arg"], capture_output=True, text=True, cwd=tmp_path, timeout=30)
    assert done.stdout.splitlines() == [
        "Point(x=3) __mp_main__ ['arg'] True",
        'TypeError unsupported operand type(s) for +: \'int\' and \'str\'',
    ], done.stderr  # fmt: skip
    assert done.returncode == 0


STARTS = """
import asyncio
import multiprocessing
import sys
from genro_asgi.executors import LocalExecutor

pool = LocalExecutor("p", max_workers=1)

class Wrong(Exception):
    pass

@pool
def double(n):
    if n < 0:
        raise Wrong(n)
    return 2 * n

async def use():
    doubled = await double(4)
    try:
        await double(-1)
    except Wrong as exc:
        print(doubled, exc, flush=True)

def child():
    asyncio.run(use())

if __name__ == "__main__":
    process = multiprocessing.get_context(sys.argv[1]).Process(target=child)
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_functions_of_the_script_in_a_process_of_multiprocessing(tmp_path: Path, method: str) -> None:
    """There the script is called __mp_main__."""
    (tmp_path / "script.py").write_text(STARTS)
    done = subprocess.run(
        [sys.executable, "script.py", method], capture_output=True, text=True, cwd=tmp_path, timeout=50
    )
    assert (done.stdout, done.stderr, done.returncode) == ("8 -1\n", "", 0)


def test_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(MAIN.format(guard=""))
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, cwd=tmp_path, timeout=30)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("RuntimeError: run() inside a worker")


def test_functions_of_a_package_main_and_of_a_session_are_refused(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(MAIN.format(guard='if __name__ == "__main__":\n    '))
    code = MAIN.format(guard="")
    for how in (["-m", "pack"], ["-c", code], ["-"]):
        done = subprocess.run(
            [sys.executable, *how], input=code, capture_output=True, text=True, cwd=tmp_path, timeout=30
        )
        assert "ExecutorError: __main__.move is defined where a worker process cannot load it" in done.stderr
