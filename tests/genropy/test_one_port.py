"""The client in a browser, its WebSocket on the port of the site, the register in the process of the server."""

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest
from genropy_sites import Home, Served, browser_tab
from test_same_answers import Page, ask

SITE = "livesite"


@pytest.fixture(scope="module", params=["daemon", "local"])
def live(request: pytest.FixtureRequest, home: Home) -> Iterator[Served]:
    """A site with WebSockets, served by gnrasgiserve with either register."""
    if not home.instance(SITE).exists():
        home.add_site(SITE, websockets="True")
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


def test_a_socket_that_nobody_serves_is_refused(ours: Served) -> None:
    async def attempt() -> int:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"http://127.0.0.1:{ours.port}/websocket")
            return refused.value.status

    assert asyncio.run(attempt()) == 403


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
