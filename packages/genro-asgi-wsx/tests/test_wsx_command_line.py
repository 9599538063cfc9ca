"""The command line, and the blocking client it could be made of, against a server in a thread."""

import asyncio
import importlib
import io
import signal
import subprocess
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
        self.waiting = threading.Event()
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

        async def wait(call: Any) -> None:
            self.waiting.set()
            await asyncio.Event().wait()

        async def ask(call: Any) -> Any:
            outgoing = call.session.call("POST", "/asked", call.data, now=0.0)
            done = asyncio.Event()
            outgoing.on_change = done.set
            await done.wait()
            call.session.say({"id": "_broadcast", "status": 200, "data": "told"}, call.form)
            return outgoing.response.data

        handlers: dict[str, Any] = {
            "/query": lambda call: call.query,
            "/wait": wait,
            "/ask": ask,
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


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["-q", "n"], "'n' has no name and '='; write NAME=VALUE"),
        (["-q", "=1"], "'=1' has no name and '='; write NAME=VALUE"),
        (["-H", "x"], "'x' has no name and ':'; write NAME:VALUE"),
        (["-t", "0"], "'0' is no time; write seconds above 0"),
        (["-t", "-1"], "'-1' is no time; write seconds above 0"),
        (["-t", "nan"], "'nan' is no time; write seconds above 0"),
        (["-t", "soon"], "'soon' is no time; write seconds above 0"),
    ],
)
def test_options_at_fault(argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["call", "ws://127.0.0.1:1", "/p", *argv])
    assert leaving.value.code == 2
    assert text in capsys.readouterr().err


def test_numbers_of_events_at_fault(capsys: pytest.CaptureFixture[str]) -> None:
    for count in ("0", "-1", "x"):
        with pytest.raises(SystemExit) as leaving:
            main(["subscribe", "ws://127.0.0.1:1", "t", "-n", count])
        assert leaving.value.code == 2
        assert f"'{count}' is no number of events; write 1 or more" in capsys.readouterr().err


def test_what_is_given_again_is_a_list(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["call", served.url, "/query", "-q", "a=1", "-q", "b=x=y", "-q", "a=", "-q", "a=3", "-t", "inf"]
    assert main(argv) == 0
    assert capsys.readouterr().out == '{"a":["1","","3"],"b":"x=y"}\n'


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("websockets")
    assert main(["call", "ws://127.0.0.1:1", "/p"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("ws://127.0.0.1:1 cannot be reached (")
    assert text.endswith("; start the server, or correct the address\n")


COMMAND = [sys.executable, "-X", "dev", "-W", "error", "-m", "genro_asgi.wsx"]


def test_a_reader_that_leaves(served: Served) -> None:
    """As in `... stream ... | head -1`."""
    command = [*COMMAND, "stream", served.url, "/count", "-q", "n=1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.wait(20) == 141
        assert "Traceback" not in (text := process.stderr.read())
        assert "Broken pipe" not in text


def test_an_interrupt(served: Served) -> None:
    command = [*COMMAND, "call", served.url, "/wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert served.waiting.wait(20)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert "Traceback" not in process.stderr.read()


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


@pytest.mark.asyncio
async def test_a_blocking_client_where_a_loop_runs(served: Served) -> None:
    """As in a notebook."""
    from genro_asgi.wsx.sync_client import connect

    with connect(served.url) as wsx:
        assert wsx.get("/echo")["method"] == "GET"
        assert list(wsx.stream("/count", {"n": 2})) == [0, 1]


def test_closing_a_blocking_client_while_others_use_it(served: Served) -> None:
    from genro_asgi.wsx.sync_client import connect

    ends: list[Any] = []

    def wait() -> None:
        try:
            wsx.post("/wait")
        except WsxCallError as error:
            ends.append(error.code)

    with connect(served.url) as wsx:
        threads = [threading.Thread(target=wait), *(threading.Thread(target=wsx.close) for _ in range(4))]
        threads[0].start()
        assert served.waiting.wait(10)
        left = wsx.stream("/count", {"n": 100})
        assert next(left) == 0
        for thread in threads[1:]:
            thread.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
    assert ends == ["DISCONNECTED"]
    with pytest.raises(RuntimeError, match="The client was closed"):
        next(left)
    # An iteration that was not taken to its end is nothing to complain of.
    with connect(served.url) as wsx:
        left = wsx.stream("/count", {"n": 100})
        next(left)
    left.close()  # type: ignore[attr-defined]


def test_what_a_blocking_client_calls(served: Served) -> None:
    from genro_asgi.wsx.sync_client import connect

    told, refused = threading.Event(), []
    with connect(served.url) as wsx:

        def asked(call: Any) -> Any:
            """It runs where the answers come in, and would wait for ever."""
            for wait in (wsx.close, lambda: wsx.get("/echo")):
                with pytest.raises(RuntimeError, match="What the client calls must not wait for it") as error:
                    wait()
                refused.append(error.type)
            return f"{call.data}, yes"

        wsx.handle("/asked", asked)
        wsx.on_broadcast(lambda data: told.set())
        assert wsx.post("/ask", "you") == "you, yes"
        assert told.wait(10)
        assert refused == [RuntimeError] * 2
        assert {"stream", "credit"} <= wsx.features


def test_a_forgotten_iteration_is_left_by_whoever_finds_it(served: Served) -> None:
    """Even if that is the thread it would have to wait for."""
    from genro_asgi.wsx.sync_client import connect

    with connect(served.url) as wsx:
        left = [wsx.stream("/count", {"n": 10**6})]
        next(left[0])
        wsx.handle("/asked", lambda call: left.clear())
        assert wsx.post("/ask", timeout=5) is None


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
