"""Asking for the current task: the quick way and the public one say the same."""

import asyncio
from typing import Any

import pytest

from genro_asgi.server.eager import running_task, task_of

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("ask", [task_of, running_task])
async def test_the_running_task(ask: Any) -> None:
    loop = asyncio.get_running_loop()
    assert ask(loop) is asyncio.current_task()
    assert ask(None) is None, "nobody has looked for the loop yet"
    seen: list[Any] = []
    loop.call_soon(lambda: seen.append(ask(loop)))
    await asyncio.sleep(0)
    assert seen == [None], "a callback of the loop is in no task"


@pytest.mark.parametrize("ask", [task_of, running_task])
async def test_a_loop_that_does_not_run(ask: Any) -> None:
    other = asyncio.new_event_loop()
    assert ask(other) is None
    other.close()
    assert ask(other) is None
