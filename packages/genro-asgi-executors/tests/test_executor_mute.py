"""What cannot even be shown: error texts do without, and nobody waits for ever."""

import asyncio
from collections.abc import Callable
from typing import Any

import offload_jobs as jobs
import pytest

from genro_asgi.executors import ExecutorError

SHOWN = "<Mute, whose repr fails: ValueError>"


@pytest.mark.parametrize("bypass", [False, True])
@pytest.mark.asyncio
async def test_an_error_without_a_repr_in_threads(threads: Callable[..., Any], bypass: bool) -> None:
    pool = threads(bypass=bypass)
    async with asyncio.timeout(30):
        with pytest.raises(ExecutorError, match=f"offload_jobs.raise_odd raised {SHOWN}; raise an ordinary"):
            await pool.run(jobs.raise_odd, "Mute")
    assert (pool.pending, pool.metrics()["failed"]) == (0, 1)


@pytest.mark.asyncio
async def test_an_initializer_whose_error_has_no_repr(processes: Callable[..., Any]) -> None:
    pool = processes(initializer=jobs.raise_odd, initargs=("Mute",))
    async with asyncio.timeout(30):
        with pytest.raises(ExecutorError, match=f"cannot start a worker: its initializer raised {SHOWN}"):
            await pool.run(jobs.add, 1)


@pytest.mark.asyncio
async def test_a_function_without_a_repr(processes: Callable[..., Any]) -> None:
    with pytest.raises(ExecutorError, match=f"^{SHOWN} cannot be called; give a function"):
        processes()(jobs.Mute())
    with pytest.raises(ExecutorError, match=f"argument value\\[{SHOWN}\\] \\(function\\) of offload_jobs.echo"):
        await processes().run(jobs.echo, {jobs.Mute(): lambda: None})
