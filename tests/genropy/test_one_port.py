"""The client in a browser, its WebSocket on the port of the site, the register in the process of the server."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import pytest
from genropy_sites import Home, Served, browser_tab
from test_same_answers import Page, ask

SITE = "livesite"
SHOP = """
from genro_asgi.applications.asgi import AsgiApplication
from genro_asgi.routing import route


class Shop(AsgiApplication):
    @route()
    def price(self, amount: int) -> dict:
        return {"price": amount * 2}
"""


@pytest.fixture(scope="module", params=["daemon", "local"])
def live(request: pytest.FixtureRequest, home: Home) -> Iterator[Served]:
    """A site with WebSockets, served by gnrasgiserve with either register."""
    if not home.instance(SITE).exists():
        home.add_site(SITE, websockets="True")
        home.write(f"{home.instance(SITE)}/shop.py", SHOP)
        home.write(f"{home.instance(SITE)}/config.yaml", "apps:\n  shop: shop:Shop\n")
    served = home.serve("gnrasgiserve", SITE, "-p", "{port}", "-H", "127.0.0.1", f"--register={request.param}")
    assert ask(served, "GET", "/_server/health").status == 200
    yield served
    code = served.process.poll()
    served.stop()
    assert code is None, served.printed
    assert (served.process.returncode, served.children) == (0, [])


def test_the_client_boots_in_a_browser(live: Served) -> None:
    bad: list[str] = []
    sockets: list[str] = []
    with browser_tab() as tab:
        tab.on("response", lambda answer: bad.append(f"{answer.status} {answer.url}") if answer.status > 399 else None)
        tab.on("websocket", lambda opened: sockets.append(opened.url))
        tab.goto(f"http://127.0.0.1:{live.port}/", timeout=40_000)
        tab.wait_for_selector("#title", timeout=30_000)
        tab.wait_for_function("document.getElementById('answer')?.textContent == '42'", timeout=20_000)
        added = tab.evaluate("genro.serverCall('add', {a: 20, b: 3})")
        tab.wait_for_function("genro.wsk && genro.wsk.socket && genro.wsk.socket.readyState == 1", timeout=20_000)
    assert (bad, added) == ([], 23)
    assert sockets == [f"ws://127.0.0.1:{live.port}/websocket"]


async def talk(url: str) -> list[str]:
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        heard = []
        for text in ('{"command":"ping"}', '{"command":"echo","data":"é","result_token":"t1"}'):
            await socket.send_str(text)
            heard.append(await asyncio.wait_for(socket.receive_str(), 10))
        return heard


def test_messages_pass_both_ways(live: Served) -> None:
    pong, echo = asyncio.run(talk(f"http://127.0.0.1:{live.port}/websocket"))
    assert pong == "pong"
    assert re.findall(r">([^<\s]+)<", echo) == ["t1", "é"]


async def call(url: str, path: str, query: dict[str, str]) -> Any:
    """A call in WSX."""
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await socket.send_str(json.dumps({"id": "1", "method": "GET", "path": path, "query": query}))
        return json.loads(await asyncio.wait_for(socket.receive_str(), 10))


@pytest.mark.parametrize("place", ["/", "/wsx", "/shop/price"])
def test_wsx_beside_the_socket_of_the_site(place: str, live: Served) -> None:
    url = f"http://127.0.0.1:{live.port}"
    answer = asyncio.run(call(url + place, "/shop/price", {"amount": "21"}))
    assert (answer["id"], answer["status"], answer["data"]) == ("1", 200, {"price": 42})
    # Pages are the site's, and no calls of WSX.
    assert asyncio.run(call(url + place, "/testpkg/probe", {}))["status"] == 404
    assert asyncio.run(talk(f"{url}/websocket"))[0] == "pong"
    assert ask(live, "GET", "/shop/price?amount=21").body == b'{"price":42}'


def test_a_site_without_a_socket_leaves_its_place_to_wsx(ours: Served) -> None:
    assert asyncio.run(call(f"http://127.0.0.1:{ours.port}/websocket", "/_server/health", {}))["status"] == 200


def test_a_socket_that_nobody_serves_is_refused(home: Home) -> None:
    name = "mutesite"
    home.add_site(name, websockets="True")
    served = home.serve("gnrasgiserve", name, "-p", "{port}", "-H", "127.0.0.1")

    async def attempt() -> int:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"http://127.0.0.1:{served.port}/websocket")
            return refused.value.status

    assert asyncio.run(talk(f"http://127.0.0.1:{served.port}/websocket"))[0] == "pong"
    (gnr_web_async,) = set(served.children) - {served.process.pid}
    os.kill(gnr_web_async, signal.SIGKILL)
    assert asyncio.run(attempt()) == 403
    assert "the async server of the site cannot be reached" in served.printed
    assert (served.stop(), served.children) == (0, [])


def test_a_plain_request_for_the_socket(live: Served) -> None:
    assert ask(live, "GET", "/websocket").status == 426


def test_fifty_calls_at_once(live: Served) -> None:
    page = Page(live)
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda n: page.call("add", a=f"{n}::L", b="1::L").body, range(50)))
    found = [int(match[1]) if (match := re.search(rb'<result _T="L">(\d+)<', body)) else None for body in answers]
    assert found == list(range(1, 51))


def test_requests_at_once_keep_to_themselves(live: Served) -> None:
    with ThreadPoolExecutor(20) as threads:
        ask_one = lambda n: ask(live, "GET", f"/testpkg/probe?rpc=isolated&token={n}").body.decode()  # noqa: E731
        answers = list(threads.map(ask_one, range(40)))
    assert answers == [f'{{"own": true, "seen": "{n}", "token": "{n}"}}' for n in range(40)]


def test_signing_in_lasts(live: Served) -> None:
    page = Page(live)
    assert b"guest_" in page.call("who").body
    assert b"signed in: admin" in page.call("sign_in", user="admin", password="secret").body
    assert b"<result>admin<" in page.call("who").body
