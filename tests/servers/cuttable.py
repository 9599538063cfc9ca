"""A way to a server that can be cut, as a network does it, without a goodbye: `python cuttable.py PORT`.

It prints its own URL, and the one that breaks all connections when it is asked.
"""

import asyncio
import sys
from contextlib import suppress

PORT = int(sys.argv[1])
ANSWER = b"HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n"
OPEN: set[asyncio.StreamWriter] = set()


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, until either side ends it or it is cut."""
    there_reader, there_writer = await asyncio.open_connection("127.0.0.1", PORT)
    pair = {writer, there_writer}
    OPEN.update(pair)
    try:
        await asyncio.gather(pipe(reader, there_writer), pipe(there_reader, writer))
    finally:
        OPEN.difference_update(pair)
        for one in pair:
            one.transport.abort()


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction of a connection."""
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Break all connections, whatever the request is."""
    with suppress(asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
    for one in OPEN:
        one.transport.abort()
    writer.write(ANSWER)
    await writer.drain()
    writer.close()


async def main() -> None:
    """Serve until it is interrupted."""
    for handler, text in ((forward, "Serving on"), (cut, "Cut at")):
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        print(f"{text} http://127.0.0.1:{server.sockets[0].getsockname()[1]} ", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
