"""The command line, and the blocking client it could be made of, against a server in a thread."""

import asyncio
import importlib
import io
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import pytest

from genro_asgi.wsx.__main__ import main
from genro_asgi.wsx.errors import WsxCallError


class Served:
    """A server that answers on a port, in a loop of its own."""

    def __init__(self) -> None:
        self.port = 0
        self._started = threading.Event()
        self._loop: Any = None
        self._end: Any = None
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.thread.start()
        assert self._started.wait(10)

    async def _run(self) -> None:
        from websockets.asyncio.server import serve

        from genro_asgi.wsx.connection import Connection
        from genro_asgi.wsx.session import Session

        async def count(call: Any) -> AsyncIterator[int]:
            for number in range(int(call.query["n"])):
                yield number

        async def ticks(call: Any) -> AsyncIterator[Any]:
            for number in range(100):
                yield {"event": "tick", "topic": "t", "data": number}

        handlers: dict[str, Any] = {
            "/echo": lambda call: {"data": call.data, "method": call.method, "x": call.headers.get("x")},
            "/count": count,
            "/t": ticks,
        }

        async def one(socket: Any) -> None:
            connection = Connection(socket, Session("server"), handlers)
            await socket.wait_closed()
            await connection.close()

        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with serve(one, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._started.set()
            await self._end.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self.thread.join()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"


@pytest.fixture
def served() -> Iterator[Served]:
    pytest.importorskip("websockets")
    made = Served()
    yield made
    made.stop()


def test_call(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", served.url, "/echo", "-d", '{"p":"9.90::N"}::JS', "-H", "X: y"]) == 0
    assert capsys.readouterr().out == '{"data":{"p":"9.90::N"},"method":"POST","x":"y"}::JS\n'
    assert main(["call", served.url, "/nowhere", "-X", "DELETE", "-t", "5"]) == 1
    assert capsys.readouterr().err == "404 NOT_FOUND: Not Found\n"


def test_stream_and_subscribe(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stream", served.url, "/count", "-q", "n=3"]) == 0
    assert capsys.readouterr().out == "0\n1\n2\n"
    assert main(["subscribe", served.url, "t", "-n", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        '{"event":"tick","topic":"t","data":0}',
        '{"event":"tick","topic":"t","data":1}',
    ]


def test_msgpack(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("msgpack")
    assert main(["call", served.url, "/echo", "-d", '"9.90::N"', "--msgpack"]) == 0
    assert capsys.readouterr().out == '{"data":"9.90::N::T","method":"POST","x":null}::JS\n'


def test_encode_and_decode(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["encode", '{"id":"1","method":"GET","path":"x","data":"9.90::N"}::JS']) == 0
    assert capsys.readouterr().out == 'WSX://{"id":"1","method":"GET","path":"/x","data":"9.90::N"}::JS\n'
    assert main(["decode", 'WSX://{"id":"1","credit":3}']) == 0
    assert capsys.readouterr().out == 'grant\n{"id":"1","credit":3}\n'
    for stdin, argv in (
        (b'{"id":"1","seq":0}\n', ["decode"]),
        (b"7b226964223a2231222c22736571223a307d\n", ["decode", "--hex"]),
    ):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        assert main(argv) == 0
        assert capsys.readouterr().out == 'chunk\n{"id":"1","seq":0}\n'


def test_encode_msgpack(capsysbinary: Any) -> None:
    pytest.importorskip("msgpack")
    assert main(["encode", '{"id":"1","credit":3}', "--msgpack", "--hex"]) == 0
    assert main(["encode", '{"id":"1","credit":3}', "--msgpack"]) == 0
    out = capsysbinary.readouterr().out
    assert out == b"82a26964a131a663726564697403\n" + bytes.fromhex("82a26964a131a663726564697403")


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["decode", "nothing"], "begins neither with WSX://"),
        (["decode", "--hex", "xy"], "not hex digits"),
        (["encode", '{"id":"1"}'], "no request, response, chunk or grant"),
    ],
)
def test_input_at_fault(argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 1
    assert text in capsys.readouterr().err


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ([], ["fly"], ["call", "ws://x"], ["call", "ws://x", "/p", "-d", "{"]):
        with pytest.raises(SystemExit) as leaving:
            main(argv)
        assert leaving.value.code == 2
    assert "is not TYTX" in capsys.readouterr().err


def test_blocking_client(served: Served) -> None:
    from genro_asgi.wsx.sync_client import connect

    with connect(served.url) as wsx:
        assert wsx.post("/echo", Decimal("9.90"))["data"] == Decimal("9.90")
        assert [wsx.get("/echo")["method"], wsx.put("/echo")["method"], wsx.patch("/echo")["method"]] == [
            "GET",
            "PUT",
            "PATCH",
        ]
        assert wsx.delete("/echo")["method"] == "DELETE"
        assert wsx.request("GET", "/echo").status == 200
        assert list(wsx.stream("/count", {"n": 5})) == list(range(5))
        for item in wsx.stream("/count", {"n": 5}):
            if item == 2:
                break
        assert [event["data"] for event, _ in zip(wsx.subscribe("t"), range(3), strict=False)] == [0, 1, 2]
        wsx.event("/echo")
        assert wsx.identity is None
        with pytest.raises(WsxCallError):
            wsx.get("/nowhere")
    wsx.close()


def test_blocking_client_where_nobody_is(served: Served) -> None:
    from genro_asgi.wsx.sync_client import connect

    before = threading.active_count()
    with pytest.raises(WsxCallError), connect(served.url, auth={"token": "x"}) as wsx:
        wsx.get("/nowhere")
    assert threading.active_count() == before


def test_an_address_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("websockets")
    assert main(["call", "shop.example", "/x"]) == 1
    assert capsys.readouterr().err == "'shop.example' is no address of a server; write ws://host:port or wss://host.\n"


def test_a_blocking_client_that_was_closed(served: Served) -> None:
    from genro_asgi.wsx.sync_client import connect

    wsx = connect(served.url)
    wsx.close()
    wsx.close()
    with pytest.raises(RuntimeError, match=r"^The client was closed; connect again\.$"):
        wsx.get("/nowhere")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its client can be imported all the same, and what it lacks is said by who needs it."""
    for name in ("client", "connection", "dial", "sync_client"):
        monkeypatch.delitem(sys.modules, f"genro_asgi.wsx.{name}", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "websockets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "websockets", None)
    importlib.import_module("genro_asgi.wsx.sync_client")
    assert main(["call", "ws://127.0.0.1:1", "/x"]) == 1
    assert capsys.readouterr().err == 'websockets is not installed; run: pip install "genro-asgi-wsx[client]".\n'
