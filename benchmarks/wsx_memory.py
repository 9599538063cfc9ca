"""What an idle WSX connection costs above a bare ASGI application: python benchmarks/wsx_memory.py [connections]."""

import asyncio
import os
import socket
import subprocess
import sys

BARE = """
import uvicorn
async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": "{}"})
uvicorn.run(app, port=PORT, ws="websockets-sansio", lifespan="off", log_level="error", ws_per_message_deflate=False)
"""
OURS = """
from genro_asgi import AsgiServer, route
class Echo(AsgiServer):
    @route()
    async def echo(self, body_data):
        return body_data
Echo().run(port=PORT, access_log=False)
"""
CALL = 'WSX://{"id":"1","method":"POST","path":"/echo","data":{"a":1}}'
HELLO = 'WSX://{"id":"0","method":"POST","path":"/_wsx/hello","data":{"v":1,"features":["stream","sub","resume"]}}'


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def measure(name: str, source: str, port: int, count: int, hello: bool = False) -> float:
    """KiB per connection that was used once and is idle now; with a hello its session outlives it."""
    from websockets.asyncio.client import connect

    server = subprocess.Popen([sys.executable, "-c", source.replace("PORT", str(port))], stdout=subprocess.DEVNULL)  # noqa: ASYNC220
    try:
        for _ in range(200):
            try:
                async with connect(f"ws://127.0.0.1:{port}/", compression=None) as one:
                    await one.send(CALL)
                    await one.recv()
                break
            except OSError:
                await asyncio.sleep(0.05)
        sockets = []

        async def open_more(more: int) -> None:
            for _ in range(more):
                one = await connect(f"ws://127.0.0.1:{port}/", compression=None, ping_interval=None)
                for text in (HELLO, CALL) if hello else (CALL,):
                    await one.send(text)
                    await one.recv()
                sockets.append(one)

        await open_more(200)  # what is allocated once, is
        before = resident(server.pid)
        await open_more(count)
        each = (resident(server.pid) - before) / count / 1024
        print(f"{name:9} {each:7.2f} KiB per connection")
        for one in sockets:
            one.transport.abort()
        return each
    finally:
        server.terminate()
        server.wait()


async def main() -> int:
    """Measure all, and say whether the difference is within 6 KiB."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    bare = await measure("bare", BARE, free_port(), count)
    ours = await measure("ours", OURS, free_port(), count)
    resumable = await measure("resumable", OURS, free_port(), count, hello=True)
    most = max(ours, resumable) - bare
    print(f"above     {most:7.2f} KiB per connection (limit 6)")
    return 0 if most <= 6 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
