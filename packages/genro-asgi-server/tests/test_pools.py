"""The pools of a server: built-in ones, configured ones, and processes that know the modules of the site."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from genro_asgi.background import BackgroundTask
from genro_asgi.binder import ServerBinder
from genro_asgi.exceptions import ConfigError
from genro_asgi.response import JSONResponse, Response
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient

CONFIG = """
executors:
  handlers: {max_workers: 3}
  heavy: {kind: process, max_workers: 1, initializer: "work_app:load"}
  light: {kind: thread, max_workers: 2}
apps:
  work: work_app
auth:
  bearer: {ops: {token: tok, tags: admin}}
"""

APP = """
import os
import threading

from genro_asgi.applications.asgi import AsgiApplication
from genro_asgi.routing import route

LOADED = []


def load():
    LOADED.append(os.getpid())


def square(n):
    if not LOADED:
        raise RuntimeError("not initialised")
    return [n * n, os.getpid()]


def where():
    return threading.current_thread().name


class Application(AsgiApplication):
    def on_startup(self):
        self.heavy = self.server.executor("heavy")(square)
        self.light = self.server.executor("light")(where)

    @route()
    async def both(self, n: int):
        return [await self.heavy(n), os.getpid(), await self.light()]
"""


@pytest.mark.asyncio
async def test_functions_of_the_site_run_in_configured_pools(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "work_app.py").write_text(APP)
    (site / "config.yaml").write_text(CONFIG)
    server = AsgiServer(site)
    async with AsyncClient(server, timeout=30) as client:
        (result, worker), here, thread = (await client.get("/work/both?n=7")).json()
        assert result == 49
        assert worker != here
        assert thread.startswith("genro-light")
        assert (await client.get("/_server/executors")).status_code == 401
        metrics = (await client.get("/_server/executors", headers={"authorization": "Bearer tok"})).json()
        assert set(metrics) == {"handlers", "files", "background", "heavy", "light"}
        assert (metrics["heavy"]["kind"], metrics["heavy"]["completed"]) == ("process", 1)
    assert server.pools.registry.get("heavy").closed  # type: ignore[union-attr]


@pytest.mark.asyncio
async def test_a_server_can_be_started_again() -> None:
    class Threads(AsgiServer):
        @route()
        def index(self) -> str:
            return threading.current_thread().name

    server = Threads()
    for _ in range(2):
        async with AsyncClient(server) as client:
            assert (await client.get("/")).text.startswith("genro-handlers")


@pytest.mark.asyncio
async def test_more_than_the_pool_can_take_is_a_503() -> None:
    class Slow(AsgiServer):
        @route()
        def index(self) -> str:
            started.release()
            gate.wait(10)
            return "done"

    started, gate = threading.Semaphore(0), threading.Event()
    server = Slow(executors={"handlers": {"max_workers": 1, "max_pending": 1}})
    async with AsyncClient(server) as client:
        first = asyncio.ensure_future(client.get("/"))
        while not started.acquire(blocking=False):
            await asyncio.sleep(0)
        refused = await client.get("/")
        gate.set()
        assert (refused.status_code, refused.json()["code"], refused.json()["retry"]) == (503, "OVERLOADED", True)
        assert (await first).text == "done"


def test_an_initializer_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no name"):
        AsgiServer().executor("pool", initializer=lambda: None)


def test_the_older_spelling_of_the_kind() -> None:
    server = AsgiServer()
    pool: Any = server.executor("pool", "local", max_workers=1)
    assert pool.kind == "process"
    assert server.executor("pool") is pool


@pytest.mark.asyncio
async def test_no_pool_waits_behind_another(tmp_path: Path) -> None:
    """While handlers fill their pool, files are read, work after answers is done, and so is the user's own."""
    (tmp_path / "page.txt").write_text("read")
    started, gate, cleaned = threading.Semaphore(0), threading.Event(), threading.Event()

    class Busy(AsgiServer):
        @route()
        def blocked(self) -> str:
            started.release()
            gate.wait(20)
            return "done"

        @route()
        async def file(self) -> Path:
            return tmp_path / "page.txt"

        @route()
        async def after(self) -> Response:
            return JSONResponse("answered", background=BackgroundTask(cleaned.set))

        @route()
        async def own(self) -> Any:
            return await self.executor("mine", kind="thread", max_workers=1).run(str.upper, "own")

    server = Busy(executors={"handlers": {"max_workers": 2}})
    async with AsyncClient(server) as client:
        waiting = [asyncio.ensure_future(client.get("/blocked")) for _ in range(4)]
        for _ in range(2):
            while not started.acquire(blocking=False):
                await asyncio.sleep(0)
        handlers = server.pools.registry.get("handlers")
        assert handlers is not None
        assert (handlers.busy, handlers.pending) == (2, 4)
        assert (await client.get("/file")).text == "read"
        assert (await client.get("/own")).text == "OWN"
        assert (await client.get("/after")).json() == "answered"
        while not cleaned.is_set():
            await asyncio.sleep(0)
        assert (handlers.busy, handlers.pending) == (2, 4)
        gate.set()
        assert [(await answer).text for answer in waiting] == ["done"] * 4


@pytest.mark.asyncio
async def test_the_options_of_processes_in_the_configuration() -> None:
    server = AsgiServer(executors={"pdf": {"max_workers": 1, "on_cancel": "kill", "max_tasks_per_worker": 1}})
    pdf = server.executor("pdf")
    assert pdf.defaults.on_cancel == "kill"
    assert await pdf.run(os.getpid) != await pdf.run(os.getpid)
    await server.pools.shutdown()


@pytest.mark.asyncio
async def test_the_environment_bypasses_the_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENRO_EXECUTOR_BYPASS", "1")

    class Inline(AsgiServer):
        @route()
        async def index(self) -> Any:
            return [await self.executor("own").run(os.getpid), threading.current_thread() is threading.main_thread()]

        @route()
        def threaded(self) -> Any:
            return [threading.current_thread() is threading.main_thread()]

    server = Inline()
    async with AsyncClient(server) as client:
        assert (await client.get("/")).json() == [os.getpid(), True]
        assert (await client.get("/threaded")).json() == [False]
    own = server.pools.registry.get("own")
    assert own is not None
    metrics = own.metrics()
    assert (metrics["kind"], metrics["mode"], metrics["completed"]) == ("process", "bypass", 1)


@pytest.mark.asyncio
async def test_the_configuration_bypasses_a_pool() -> None:
    server = AsgiServer(executors={"own": {"bypass": True}, "other": {"kind": "thread"}})
    assert await server.executor("own").run(os.getpid) == os.getpid()
    assert [server.executor(name).mode for name in ("own", "other")] == ["bypass", "thread"]
    await server.pools.shutdown()


def test_applications_reach_the_pools_through_their_binder() -> None:
    server = AsgiServer()
    pool = ServerBinder(server).executor("own", kind="thread", max_workers=3)
    assert pool is server.executor("own")
    assert (pool.kind, pool.max_workers) == ("thread", 3)
