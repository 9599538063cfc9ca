"""Pools that end with their test, and the functions that worker processes can import."""

import gc
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from genro_asgi.executors import LocalExecutor, ThreadExecutor

sys.path.insert(0, str(Path(__file__).parent / "jobs"))


@pytest_asyncio.fixture
async def threads() -> AsyncIterator[Callable[..., ThreadExecutor]]:
    made: list[ThreadExecutor] = []

    def make(**options: Any) -> ThreadExecutor:
        made.append(ThreadExecutor(options.pop("name", "t"), **{"max_workers": 2, **options}))
        return made[-1]

    yield make
    for pool in made:
        await pool.shutdown(wait=False)


@pytest_asyncio.fixture
async def processes() -> AsyncIterator[Callable[..., LocalExecutor]]:
    made: list[LocalExecutor] = []

    def make(**options: Any) -> LocalExecutor:
        made.append(LocalExecutor(options.pop("name", "p"), **{"max_workers": 1, **options}))
        return made[-1]

    yield make
    for pool in made:
        await pool.shutdown(wait=False)


@pytest.fixture
def no_leak() -> Iterator[None]:
    """No descriptor and no child process is left behind."""
    gc.collect()
    before = open_fds()
    yield
    gc.collect()
    assert open_fds() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))
