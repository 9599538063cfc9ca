"""Connections that stay and downloads that end with their clients; compression and what is left alone."""

import gzip
import http.client
import json
import socket
import time
from contextlib import closing
from importlib.metadata import entry_points

import pytest
from conftest import STOCK
from genropy_sites import SITE_CONFIG, Home, Served
from test_same_answers import PROBE, Answer, ask, settled

STATIC = "/_site/small.css"


def test_a_connection_serves_many_requests(ours: Served) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", ours.port, timeout=30)) as connection:
        connection.connect()
        first = connection.sock
        tag = ask(ours, "GET", STATIC).header("etag")
        for method, target, headers, body, status in (
            ("GET", STATIC, {}, None, 200),
            ("GET", STATIC, {"If-None-Match": tag}, None, 304),
            ("HEAD", STATIC, {}, None, 200),
            ("GET", "/_site/big.bin", {"Range": "bytes=0-9"}, None, 206),
            ("GET", "/_site/nothing.css", {}, None, 404),
            ("HEAD", PROBE, {}, None, 200),
            ("GET", f"{PROBE}?rpc=stream&n=3", {}, None, 200),
            ("POST", PROBE, {}, b"never read" * 10_000, 200),
            ("GET", PROBE, {}, None, 200),
        ):
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            answer.read()
            assert (answer.status, connection.sock is first) == (status, True), target


def test_abandoned_downloads_are_closed(ours: Served) -> None:
    def closed() -> int:
        return int(json.loads(ask(ours, "GET", f"{PROBE}?rpc=closed").body))

    before = closed()
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", ours.port), timeout=30) as client:
            client.sendall(f"GET {PROBE}?rpc=stream&n=1000000 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert client.recv(20).startswith(b"HTTP/1.1 200")
    while closed() < before + 50:
        time.sleep(0.05)
    assert closed() == before + 50


ZIPPING = {"Accept-Encoding": "gzip"}


def unzipped(answer: Answer) -> tuple[object, bytes]:
    """An answer with its body as it was; how it was pressed may differ by the time it has in it."""
    pressed = dict(answer.headers).get("content-encoding") == "gzip"
    body = gzip.decompress(answer.body) if pressed else answer.body
    headers = [(name, value) for name, value in answer.headers if name != "content-length" or not pressed]
    return settled(Answer(answer.status, headers, b"")), body


def test_compression_is_the_sites(home: Home) -> None:
    home.add_site("zipsite")
    config = SITE_CONFIG.format(websockets="False").replace("<wsgi ", '<wsgi compression="True" ')
    home.write(f"{home.instance('zipsite')}/config/siteconfig.xml", config)
    stock = home.serve(*STOCK, "zipsite", "-p", "{port}", "-H", "127.0.0.1")
    ours = home.serve("gnrasgiserve", "zipsite", "-p", "{port}", "-H", "127.0.0.1")
    try:
        for target in (PROBE, "/_gnr/11/js/genro.js", STATIC, "/_site/big.bin", f"{PROBE}?rpc=echo&a={'x' * 4000}"):
            for headers in (ZIPPING, {}, ZIPPING, {"Accept-Encoding": "br"}):
                answers = [ask(served, "GET", target, headers) for served in (ours, stock)]
                assert unzipped(answers[0]) == unzipped(answers[1]), (target, headers)
        assert ask(ours, "GET", "/_gnr/11/js/genro.js", ZIPPING).header("content-encoding") == "gzip"
    finally:
        ours.stop()
        stock.stop()


@pytest.mark.parametrize("group", ["gnr.web", "gnr.core", "gnr"])
def test_nothing_of_genropy_is_replaced_by_being_installed(group: str) -> None:
    """An entry point would change `gnrwsgiserve` in the same environment."""
    assert [point.value for point in entry_points(group=group) if point.value.startswith("genropy_asgi")] == []
