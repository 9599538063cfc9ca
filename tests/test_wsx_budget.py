"""Calls that a handler makes carry what is left of its time (WSX/1, section 6)."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from genro_asgi.wsx.client import connect

ROOT = Path(__file__).parent.parent


@pytest.fixture
def site(new_demo: Any) -> Any:
    return new_demo(str(ROOT / "tests" / "servers" / "wsx_lossy.py"), LOSSY_LIMITS='{"handler_timeout": 50}')


def between(least: float, value: Any, most: float) -> bool:
    return isinstance(value, int) and least <= value <= most


@pytest.mark.asyncio
async def test_over_wsx(site: Any) -> None:
    async with connect(site.url) as wsx:
        assert await wsx.get("/budget") is None
        assert await wsx.get("/budget", timeout=7) == 7000
        # What the caller gave, what the route has, what the server has: the least of them.
        for path, given, most in (("/relay", 9.0, 9000), ("/relay", None, 50_000), ("/hurry", 20.0, 5000)):
            call, stream = await wsx.get(path, timeout=given)
            assert between(most - 4000, call, most)
            assert between(most - 4000, stream, call + 1)
        # A call may have less, and never more.
        assert await wsx.get("/relay", {"timeout": 2}) == [2000, 2000]
        assert between(5000, (await wsx.get("/relay", {"timeout": 30}, timeout=9))[0], 9000)
        assert between(5000, await wsx.get("/relay_from_a_thread", timeout=9), 9000)


@pytest.mark.asyncio
async def test_over_http(site: Any) -> None:
    async with httpx.AsyncClient(base_url=site.url, timeout=20) as client:
        call, _ = (await client.get("/relay", headers={"x-request-timeout": "9000"})).json()
        assert between(5000, call, 9000)
        call, _ = (await client.get("/relay")).json()
        assert between(46_000, call, 50_000)


@pytest.mark.asyncio
async def test_what_runs_on_has_no_limit_of_what_it_came_from(site: Any) -> None:
    async with connect(site.url) as wsx:
        await wsx.post("/later", timeout=1)
        async with asyncio.timeout(10):
            while (found := await wsx.get("/found_later")) == []:
                await asyncio.sleep(0.05)
        assert found == [None]
