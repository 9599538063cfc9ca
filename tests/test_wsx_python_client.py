"""The Python client against the real server, in text and in MessagePack: calls, streams, subscriptions, drain."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from genro_asgi.wsx.client import Client, connect
from genro_asgi.wsx.errors import WsxCallError
from genro_asgi.wsx.sync_client import connect as connect_blocking

ROOT = Path(__file__).parent.parent


@pytest.fixture(params=["text", "msgpack"])
def wsx(request: Any, wsx_site: Any) -> Client:
    return connect(wsx_site.url.replace("http", "ws"), form=request.param, first_delay=0.05, timeout=20)


@pytest.fixture
def url(wsx_site: Any) -> str:
    return str(wsx_site.url.replace("http", "ws"))


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def heard(wsx: Client, event: str) -> None:
    """Wait until the server has noted an event."""
    async with asyncio.timeout(10):
        while event not in await wsx.get("/events"):
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_calls(wsx: Client) -> None:
    async with wsx:
        asked = {"quantity": 3, "price": Decimal("9.90"), "day": date(2025, 1, 15)}
        assert await wsx.post("/order", asked) == {"total": Decimal("29.70"), "due": date(2025, 2, 14)}
        assert await wsx.get("/query", {"a": "1"}) == {"method": "GET", "query": {"a": "1"}}
        for method in ("put", "patch"):
            assert await getattr(wsx, method)("/echo", [1]) == [1]
        answer = await wsx.request("GET", "/reply")
        assert (answer.status, answer.headers["x-kind"], answer.data) == (201, "made", {"made": True})
        assert answer.cookies["seen"]["value"] == "1"
        assert {"stream", "credit", "cancel", "sub"} <= wsx.features


@pytest.mark.asyncio
async def test_many_at_once(wsx: Client) -> None:
    async with wsx:
        answers = await asyncio.gather(*(wsx.post("/echo", {"n": n}) for n in range(100)))
        assert answers == [{"n": n} for n in range(100)]


@pytest.mark.asyncio
async def test_slow_calls_do_not_delay_others(wsx: Client) -> None:
    async with wsx:
        slow = [asyncio.create_task(wsx.get("/wait")) for _ in range(10)]
        await asyncio.sleep(0)
        assert await wsx.call("POST", "/_wsx/ping", 7, timeout=5) == 7
        assert await wsx.post("/echo", 1, timeout=5) == 1
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("/refuse", 403, "FORBIDDEN"), ("/crash", 500, "INTERNAL"), ("/nowhere", 404, "NOT_FOUND")],
)
async def test_errors(wsx: Client, path: str, status: int, code: str) -> None:
    async with wsx:
        with pytest.raises(WsxCallError) as failure:
            await wsx.get(path)
        assert (failure.value.status, failure.value.code, failure.value.retry) == (status, code, False)
        assert "secret" not in str(failure.value.data)
        assert failure.value.details == ([{"parameter": "you"}] if status == 403 else None)


@pytest.mark.asyncio
async def test_streams(wsx: Client) -> None:
    async with wsx:
        assert [item async for item in wsx.stream("/count", {"n": 200})] == list(range(200))
        assert await wsx.post("/total", numbers(200)) == sum(range(200))
        assert [item async for item in wsx.stream("/double", data=numbers(100))] == [2 * n for n in range(100)]
        assert await wsx.post("/first", numbers(1000)) == 0
        broken = wsx.stream("/count", {"n": 9, "fail_at": 3})
        assert [await anext(broken) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(WsxCallError) as failure:
            await anext(broken)
        assert failure.value.status == 500


@pytest.mark.asyncio
async def test_cancelled_calls_and_streams_end_at_the_server(wsx: Client) -> None:
    async with wsx:
        await wsx.post("/forget")
        task = asyncio.create_task(wsx.get("/wait"))
        await wsx.get("/events")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await heard(wsx, "wait-cancelled")
        async with aclosing(wsx.stream("/count", {"n": 10**6}, window=4)) as items:
            assert [await anext(items), await anext(items)] == [0, 1]
        await heard(wsx, "count-closed")


@pytest.mark.asyncio
async def test_deadline(wsx: Client) -> None:
    async with wsx:
        with pytest.raises(WsxCallError) as failure:
            await wsx.get("/wait", timeout=0.1)
        assert (failure.value.status, failure.value.code) == (504, "DEADLINE")


@pytest.mark.asyncio
async def test_schema(wsx: Client) -> None:
    async with wsx:
        document = await wsx.schema()
        assert document["paths"]["/count"]["get"]["x-wsx"]["stream"] == "server"
        # Nothing has changed, and nothing is sent again.
        assert await wsx.schema() is document


@pytest.mark.asyncio
async def test_subscription(wsx: Client) -> None:
    async with wsx, aclosing(wsx.subscribe("/prices/gold")) as events:
        first = asyncio.ensure_future(anext(events))
        await wsx.get("/events")
        await wsx.post("/say", {"topic": "prices/gold", "value": Decimal("9.90")})
        event = await asyncio.wait_for(first, 10)
        assert (event["topic"].strip("/"), event["data"]) == ("prices/gold", Decimal("9.90"))
        with pytest.raises(WsxCallError) as failure:
            await anext(wsx.subscribe("/prices/secret"))
        assert failure.value.status == 403


def test_blocking_client(url: str) -> None:
    with connect_blocking(url) as wsx:
        assert wsx.post("/echo", Decimal("9.90")) == Decimal("9.90")
        assert list(wsx.stream("/count", {"n": 3})) == [0, 1, 2]
        assert wsx.schema()["openapi"] == "3.1.0"


def test_command_line(url: str) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "genro_asgi.wsx", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout + done.stderr

    assert run("call", url, "/echo", "-d", '{"p":"9.90::N"}::JS') == (0, '{"p":"9.90::N"}::JS\n')
    assert run("stream", url, "/count", "-q", "n=2") == (0, "0\n1\n")
    code, text = run("schema", url)
    assert (code, json.loads(text)["openapi"]) == (0, "3.1.0")
    assert run("call", url, "/refuse") == (1, "403 FORBIDDEN: You may not.\n")


@pytest.fixture
def site(new_demo: Any) -> Iterator[Any]:
    return new_demo(str(ROOT / "tests" / "servers" / "wsx_site.py"), GENRO_ASGI_TIMEOUT_GRACEFUL="1")


@pytest.mark.asyncio
async def test_server_that_goes_away(site: Any) -> None:
    async with connect(site.url.replace("http", "ws"), reconnect=False) as wsx:
        stream = wsx.stream("/count", {"n": 10**6}, window=2)
        assert await anext(stream) == 0
        connection = wsx._connection
        assert connection is not None
        site.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            await connection.leaving.wait()
        assert connection.session.peer_goaway is not None
        with pytest.raises(WsxCallError):
            [item async for item in stream]
        async with asyncio.timeout(20):
            await connection.socket.wait_closed()
        assert connection.socket.close_code == 1012
    assert site.stop(None) == 0
