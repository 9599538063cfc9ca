"""Round trips of a 1 KB echo beside a bare ASGI WebSocket application: python benchmarks/wsx_echo.py [rounds].

Both are served by uvicorn with `websockets-sansio`, without compression; rounds are short and alternate. The client
sends frames made beforehand and only counts what comes back, so that it is not the client that is measured.
"""

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

BARE = """
import json, uvicorn
try:
    from orjson import dumps, loads
except ImportError:
    loads, dumps = json.loads, lambda value: json.dumps(value, separators=(",", ":")).encode()
async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        call = loads(message["text"].removeprefix("WSX://"))
        answer = dumps({"id": call["id"], "status": 200, "data": call["data"]}).decode()
        await send({"type": "websocket.send", "text": answer})
"""
OURS = """
import uvicorn
from genro_asgi import AsgiServer, route
class Echo(AsgiServer):
    @route()
    async def echo(self, body_data):
        return body_data
app = Echo()
"""
SERVE = """
uvicorn.run(app, port=PORT, ws="websockets-sansio", lifespan="auto", log_level="error", ws_per_message_deflate=False)
"""
DATA = {"customer": "Rossi", "notes": "n" * 600, "rows": [{"code": f"ART-{i}", "qty": i, "ok": True} for i in range(8)]}
HANDSHAKE = (
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
SECONDS = 0.5


def request(number: int) -> bytes:
    """A call as one frame, masked with zeros (RFC 6455, 5.3)."""
    call = {"id": f"{number:06}", "method": "POST", "path": "/echo", "data": DATA}
    payload = b"WSX://" + json.dumps(call, separators=(",", ":")).encode()
    return b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload


class Client(asyncio.Protocol):
    """A connection that makes its next call whenever one is answered."""

    def __init__(self, in_flight: int) -> None:
        self.calls = [request(number) for number in range(in_flight)]
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answered = 0
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(HANDSHAKE.encode())

    def data_received(self, data: bytes) -> None:
        """Count the answers, and make as many calls again."""
        self.buffer += data
        if not self.ready.done():
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if found:
                assert head.startswith(b"HTTP/1.1 101"), head
                self.buffer = rest
                self.ready.set_result(None)
            return
        count = self.take()
        if count:
            self.answered += count
            self.transport.write(b"".join(self.calls[:count]))

    def take(self) -> int:
        """How many whole frames have come; what is left of the next one stays."""
        count, at, buffer = 0, 0, self.buffer
        while len(buffer) >= at + 4:
            end = at + 4 + int.from_bytes(buffer[at + 2 : at + 4], "big")
            assert buffer[at : at + 2] == b"\x81\x7e", buffer[at : at + 200]
            if len(buffer) < end:
                break
            count, at = count + 1, end
        self.buffer = buffer[at:]
        return count


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def served(source: str) -> Iterator[tuple[int, int]]:
    """A server process: its port and its pid."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-c", (source + SERVE).replace("PORT", str(port))])
    try:
        while server.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        yield port, server.pid
    finally:
        server.terminate()
        server.wait()


def cpu(pid: int) -> float:
    """Seconds of CPU a process has used."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(port: int, pid: int, connections: int, in_flight: int) -> tuple[float, float]:
    """Calls answered in a second, and microseconds of the server's CPU for each."""
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: Client(in_flight), "127.0.0.1", port)
        await client.ready
        clients.append(client)
    for client in clients:
        client.transport.write(b"".join(client.calls))
    await asyncio.sleep(SECONDS / 4)
    before, used, began = sum(client.answered for client in clients), cpu(pid), time.perf_counter()
    await asyncio.sleep(SECONDS)
    calls = sum(client.answered for client in clients) - before
    rate, each = calls / (time.perf_counter() - began), (cpu(pid) - used) / calls * 1e6
    for client in clients:
        client.transport.abort()
    return rate, each


async def main(rounds: int) -> None:
    """The table: one call at a time, 64 on one connection, one on each of 50."""
    print(f"{'':16} {'bare, calls/s':>14} {'ours':>8} {'ratio':>6} {'CPU, us':>9} {'ours':>6}")
    with served(BARE) as bare, served(OURS) as ours:
        for connections, in_flight in ((1, 1), (1, 64), (50, 1)):
            cells: dict[tuple[int, int], list[tuple[float, float]]] = {bare: [], ours: []}
            for number in range(rounds):
                for server in (bare, ours) if number % 2 else (ours, bare):
                    cells[server].append(await measure(*server, connections, in_flight))
            rates = [statistics.median(rate for rate, _ in cells[server]) for server in (bare, ours)]
            spent = [statistics.median(each for _, each in cells[server]) for server in (bare, ours)]
            print(
                f"{connections:3} x {in_flight:3} calls  {rates[0]:14.0f} {rates[1]:8.0f} {rates[1] / rates[0]:6.2f} "
                f"{spent[0]:9.1f} {spent[1]:6.1f}",
                flush=True,
            )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 9))
