"""What a call handed to a pool costs beside `run_in_executor`: python benchmarks/executors.py [rounds].

Rounds are short and alternate, so that both meet the same machine; a cell is the median of its rounds.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from genro_asgi.executors import LocalExecutor, ThreadExecutor

SECONDS = 0.15

Call = Callable[..., Awaitable[Any]]


def fib(n: int) -> int:
    """Work for a processor."""
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def two_milliseconds() -> int:
    """The `n` whose `fib` takes about two milliseconds here."""
    n, took = 10, 0.0
    while took < 0.0015:
        n += 1
        began = time.perf_counter()
        fib(n)
        took = time.perf_counter() - began
    return n


async def measure(call: Call, args: tuple[Any, ...], in_flight: int) -> tuple[float, float]:
    """Microseconds of time, and of this process's CPU, per call with so many in flight."""
    done = 0

    async def caller(end: float) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call(*args)
            done += 1

    async def callers(seconds: float) -> None:
        end = time.perf_counter() + seconds
        await asyncio.gather(*[caller(end) for _ in range(in_flight)])

    await callers(SECONDS / 3)
    done, cpu, began = 0, time.process_time(), time.perf_counter()
    await callers(SECONDS)
    return (time.perf_counter() - began) / done * 1e6, (time.process_time() - cpu) / done * 1e6


def by_futures(executor: Executor) -> Call:
    """The standard library's way to the same."""
    return lambda *args: asyncio.get_running_loop().run_in_executor(executor, *args)


def medians(rounds: list[tuple[float, float]]) -> tuple[float, float]:
    """The median time and the median CPU of some rounds."""
    return statistics.median(took for took, _ in rounds), statistics.median(cpu for _, cpu in rounds)


async def compare(name: str, theirs: Call, ours: Call, args: tuple[Any, ...], in_flight: int, rounds: int) -> None:
    """One line of the table."""
    cells: dict[Call, list[tuple[float, float]]] = {theirs: [], ours: []}
    for number in range(rounds):
        for call in (theirs, ours) if number % 2 else (ours, theirs):
            cells[call].append(await measure(call, args, in_flight))
    time_a, cpu_a = medians(cells[theirs])
    time_b, cpu_b = medians(cells[ours])
    print(
        f"{name:24} {in_flight:9} {time_a:14.1f} {time_b:8.1f} {time_b / time_a:6.2f} "
        f"{cpu_a:12.1f} {cpu_b:8.1f} {cpu_b / cpu_a:6.2f}",
        flush=True,
    )


async def main(rounds: int) -> None:
    """The table: threads and processes, a call that does nothing and one of two milliseconds."""
    busy = (fib, two_milliseconds())
    print(
        f"{'':24} {'in flight':>9} {'stdlib, us':>14} {'ours':>8} {'ratio':>6} {'CPU, us':>12} {'ours':>8} {'ratio':>6}"
    )
    with ThreadPoolExecutor(16) as their_threads, ProcessPoolExecutor(2) as their_processes:
        threads = ThreadExecutor("threads", max_workers=16, max_pending=None)
        processes = LocalExecutor("processes", max_workers=2, max_pending=None)
        theirs, ours = by_futures(their_threads), threads.run
        for in_flight in (1, 64):
            await compare("threads, no work", theirs, ours, (abs, -1), in_flight, rounds)
        theirs, ours = by_futures(their_processes), processes.run
        for in_flight in (1, 16, 64):
            await compare("processes, no work", theirs, ours, (abs, -1), in_flight, rounds)
        for in_flight in (2, 16):
            await compare("processes, 2 ms of work", theirs, ours, busy, in_flight, rounds)
        await threads.shutdown()
        await processes.shutdown()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 9))
