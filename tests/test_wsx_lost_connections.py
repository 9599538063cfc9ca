"""The Python client when the wire is cut: what was under way goes on over the next connection, and runs once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from time import sleep, time
from typing import Any

import pytest

from genro_asgi.wsx.client import Client, connect
from genro_asgi.wsx.errors import WsxCallError
from genro_asgi.wsx.sync_client import connect as connect_blocking

ROOT = Path(__file__).parent.parent


class Wire:
    """A proxy in front of the server that can be cut."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.open = True
        self.made = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: Any = None

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.open:
            writer.transport.abort()
            return
        self.made += 1
        onward, back = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers |= {writer, back}
        try:
            await asyncio.gather(self._copy(reader, back), self._copy(onward, writer))
        finally:
            self._writers -= {writer, back}

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    def cut(self, *, for_good: bool = False) -> None:
        self.open = not for_good
        for writer in list(self._writers):
            writer.transport.abort()

    async def stop(self) -> None:
        self.cut(for_good=True)
        self._server.close()
        await self._server.wait_closed()


@pytest.fixture
def new_site(new_demo: Any) -> Callable[..., Any]:
    return lambda **options: new_demo(str(ROOT / "tests" / "servers" / "wsx_lossy.py"), **options)


@pytest.fixture
def site(new_site: Callable[..., Any]) -> Any:
    return new_site()


@asynccontextmanager
async def wired(site: Any, **options: Any) -> AsyncIterator[tuple[Wire, Client]]:
    wire = Wire(int(site.url.rpartition(":")[2]))
    url = await wire.start()
    try:
        async with connect(url, **{"first_delay": 0.02, **options}) as wsx:
            yield wire, wsx
    finally:
        await wire.stop()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("form", ["text", "msgpack"])
@pytest.mark.asyncio
async def test_calls_streams_and_subscriptions_go_on(site: Any, form: Any) -> None:
    async with wired(site, form=form) as (wire, wsx):
        assert "resume" in wsx.features
        slow = asyncio.create_task(wsx.post("/slow", {"name": "a", "seconds": 0.5}))
        events = wsx.subscribe("/news")
        heard: list[Any] = []

        async def listen() -> None:
            async for event in events:
                heard.append(event["data"])

        listening = asyncio.create_task(listen())
        async with aclosing(wsx.stream("/count", {"n": 200}, window=4)) as numbers:
            got = [await anext(numbers) for _ in range(10)]
            for _ in range(3):
                await until(lambda: wsx._ready.is_set() and not wsx._connection.leaving.is_set())  # type: ignore[union-attr]
                wire.cut()
                got += [await anext(numbers) for _ in range(20)]
            got += [number async for number in numbers]
        assert got == list(range(200))
        assert await slow == "a"
        await wsx.post("/tell", "late")
        await until(lambda: heard == ["late"])
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        await events.aclose()
        assert wire.made == 4
        assert await wsx.get("/ran") == {"a": 1}
        await until(wsx_is_alone(wsx))


def wsx_is_alone(wsx: Client) -> Callable[[], Any]:
    async def alone() -> bool:
        return bool(await wsx.get("/live") == 1)

    return alone


@pytest.mark.asyncio
async def test_a_hundred_calls_over_a_wire_that_is_cut_again_and_again(site: Any) -> None:
    async with wired(site) as (wire, wsx):

        async def cut() -> None:
            for _ in range(8):
                await asyncio.sleep(0.05)
                wire.cut()

        cutting = asyncio.create_task(cut())
        names = [f"n{number}" for number in range(100)]
        answers = await asyncio.gather(*(wsx.post("/slow", {"name": name, "seconds": 0.2}) for name in names))
        await cutting
        assert answers == names
        assert await wsx.get("/ran") == dict.fromkeys(names, 1)
        assert wire.made > 2


@pytest.mark.asyncio
async def test_what_is_given_up_meanwhile_is_cancelled_at_the_server(site: Any) -> None:
    async with wired(site) as (wire, wsx):
        kept = asyncio.create_task(wsx.post("/slow", {"name": "kept", "seconds": 1}))
        given_up = asyncio.create_task(wsx.post("/slow", {"name": "given up", "seconds": 60}))
        late = asyncio.create_task(wsx.post("/slow", {"name": "late", "seconds": 60}, timeout=0.3))
        summed = asyncio.create_task(wsx.post("/total", endless()))
        await until(lambda: wsx._connection is not None and len(wsx._connection.session.outgoing) == 4)
        assert await wsx.get("/live") == 5
        wire.cut(for_good=True)
        with pytest.raises(WsxCallError) as lost:
            await summed
        assert (lost.value.status, lost.value.code) == (410, "RESUME_LOST")
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        # Its deadline goes on here, a second longer than at the server.
        with pytest.raises(WsxCallError) as deadline:
            await late
        assert deadline.value.code == "DEADLINE"
        wire.open = True
        assert await kept == "kept"
        await until(wsx_is_alone(wsx))


async def endless() -> AsyncIterator[int]:
    while True:
        yield 1
        await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_a_server_that_keeps_nothing_is_told_apart(new_site: Callable[..., Any]) -> None:
    site = new_site(LOSSY_LIMITS='{"ws_resume": null}')
    async with wired(site) as (wire, wsx):
        assert "resume" not in wsx.features
        slow = asyncio.create_task(wsx.post("/slow", {"name": "a", "seconds": 60}))
        await until(lambda: wsx._connection is not None and wsx._connection.session.outgoing)
        wire.cut()
        with pytest.raises(WsxCallError) as lost:
            await slow
        assert (lost.value.status, lost.value.code) == (503, "DISCONNECTED")
        await until(wsx_is_alone(wsx))


@pytest.mark.asyncio
async def test_a_client_may_do_without(site: Any) -> None:
    async with wired(site, resume=False) as (wire, wsx):
        slow = asyncio.create_task(wsx.post("/slow", {"name": "a", "seconds": 60}))
        await until(lambda: wsx._connection is not None and wsx._connection.session.outgoing)
        wire.cut()
        with pytest.raises(WsxCallError) as lost:
            await slow
        assert lost.value.code == "DISCONNECTED"


@pytest.mark.asyncio
async def test_a_server_that_has_forgotten_says_so(new_site: Callable[..., Any]) -> None:
    site = new_site(LOSSY_LIMITS='{"ws_resume_sessions": 0}')
    async with wired(site) as (wire, wsx):
        slow = asyncio.create_task(wsx.post("/slow", {"name": "a", "seconds": 60}))
        events = wsx.subscribe("/news")
        heard = asyncio.ensure_future(anext(events))
        await until(lambda: wsx._connection is not None and len(wsx._connection.session.outgoing) == 2)
        wire.cut()
        with pytest.raises(WsxCallError) as lost:
            await slow
        assert (lost.value.status, lost.value.code) == (410, "RESUME_LOST")

        async def told() -> bool:
            return bool(await wsx.post("/tell", "again"))

        # A subscription is made again, whatever became of the session.
        await until(told)
        assert (await heard)["data"] == "again"
        await events.aclose()


@pytest.mark.asyncio
async def test_a_server_that_stays_away_is_not_waited_for_longer_than_it_keeps_sessions(
    new_site: Callable[..., Any],
) -> None:
    site = new_site(LOSSY_LIMITS='{"ws_resume": 0.3}')
    async with wired(site, max_delay=0.05) as (wire, wsx):
        slow = asyncio.create_task(wsx.post("/slow", {"name": "a", "seconds": 60}))
        await until(lambda: wsx._connection is not None and wsx._connection.session.outgoing)
        wire.cut(for_good=True)
        async with asyncio.timeout(5):
            with pytest.raises(WsxCallError) as lost:
                await slow
        assert (lost.value.status, lost.value.code) == (410, "RESUME_LOST")
        wire.open = True
        await until(wsx_is_alone(wsx))


@pytest.mark.asyncio
async def test_closing_a_client_that_waits_for_a_connection(site: Any) -> None:
    async with wired(site) as (wire, wsx):
        slow = asyncio.create_task(wsx.post("/slow", {"name": "a", "seconds": 60}))
        await until(lambda: wsx._connection is not None and wsx._connection.session.outgoing)
        wire.cut(for_good=True)
        await until(lambda: wsx._connection is not None and wsx._connection.session.parked)
        await wsx.close()
        with pytest.raises(WsxCallError) as lost:
            await slow
        assert lost.value.code == "DISCONNECTED"


@pytest.mark.asyncio
async def test_credentials_that_end_are_renewed_where_there_are_others(site: Any) -> None:
    shown: list[float] = []

    def auth() -> str:
        shown.append(time() + (0.3 if not shown else 60))
        return f"Until {shown[-1]} ann"

    async with connect(site.url, auth) as wsx:
        assert (wsx.identity, await wsx.get("/me")) == ("ann", "ann")
        await asyncio.sleep(0.5)
        events = wsx.subscribe("/news")
        heard = asyncio.ensure_future(anext(events))
        assert await asyncio.gather(*(wsx.get("/me") for _ in range(20))) == ["ann"] * 20
        assert len(shown) == 2

        async def told() -> bool:
            return bool(await wsx.post("/tell", "new"))

        await until(told)
        assert (await heard)["data"] == "new"
        await events.aclose()
    async with connect(site.url, f"Until {time() + 0.3} bob") as wsx:
        assert await wsx.get("/me") == "bob"
        await asyncio.sleep(0.5)
        with pytest.raises(WsxCallError) as ended:
            await wsx.get("/me")
        assert (ended.value.status, ended.value.code) == (401, "UNAUTHENTICATED")
        await wsx.authenticate(f"Until {time() + 60} bob")
        assert await wsx.get("/me") == "bob"


def test_a_blocking_client_renews_its_credentials(site: Any) -> None:
    with connect_blocking(site.url, f"Until {time() + 0.3} ann") as wsx:
        assert (wsx.identity, wsx.get("/me")) == ("ann", "ann")
        sleep(0.5)
        with pytest.raises(WsxCallError) as ended:
            wsx.get("/me")
        assert ended.value.status == 401
        wsx.authenticate(f"Until {time() + 60} bob")
        assert (wsx.identity, wsx.get("/me")) == ("bob", "bob")
