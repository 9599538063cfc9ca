"""Work after the answer."""

import threading
from functools import partial
from typing import Any

import pytest

from genro_asgi.background import BackgroundTask, BackgroundTasks


class Notes:
    def __init__(self) -> None:
        self.lines: list[Any] = []
        self.threads: set[threading.Thread] = set()

    async def later(self, *args: Any, **kwargs: Any) -> None:
        self.lines.append((args, kwargs))
        self.threads.add(threading.current_thread())

    def blocking(self, *args: Any, **kwargs: Any) -> None:
        self.lines.append((args, kwargs))
        self.threads.add(threading.current_thread())

    async def __call__(self, *args: Any, **kwargs: Any) -> None:
        await self.later(*args, **kwargs)


@pytest.mark.parametrize("name", ["later", "blocking", "partial", "object"])
@pytest.mark.asyncio
async def test_one_task(name: str) -> None:
    notes = Notes()
    func: Any = {"later": notes.later, "blocking": notes.blocking, "partial": partial(notes.later, 0), "object": notes}
    await BackgroundTask(func[name], 1, a=2)()
    assert notes.lines == [((0, 1) if name == "partial" else (1,), {"a": 2})]
    assert (threading.main_thread() in notes.threads) == (name != "blocking")


@pytest.mark.asyncio
async def test_tasks_run_in_their_order_in_the_runner_they_are_given() -> None:
    notes = Notes()
    tasks = BackgroundTasks([BackgroundTask(notes.blocking, 1)])
    tasks.add_task(notes.later, 2)
    tasks.add_task(notes.blocking, 3, a=4)
    runs: list[Any] = []

    async def runner(function: Any, *args: Any) -> Any:
        runs.append(args)
        return function(*args)

    await tasks.run(runner)
    assert notes.lines == [((1,), {}), ((2,), {}), ((3,), {"a": 4})]
    assert notes.threads == {threading.main_thread()}
    assert runs == [(), ()]
    await BackgroundTasks()()
    assert BackgroundTasks().tasks == []


@pytest.mark.asyncio
async def test_an_error_ends_the_row() -> None:
    notes = Notes()

    def fail() -> None:
        raise ValueError("no")

    tasks = BackgroundTasks()
    tasks.add_task(fail)
    tasks.add_task(notes.later)
    with pytest.raises(ValueError, match="no"):
        await tasks()
    assert notes.lines == []
