"""What a gigabyte through the WSGI bridge costs in memory: `python benchmarks/wsgi_memory.py [MiB]`.

A uvicorn of its own process hosts a WSGI application behind `WSGIMiddleware`; uploads with and without a length, and a
download, go over a real socket. The memory of the server process is read before, while and after each (Linux only).
"""

import http.client
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from genro_asgi.middleware.wsgi import WSGIMiddleware

MIB = 1024 * 1024
PIECE = bytes(range(256)) * 256


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Counts what it is sent, or sends as many pieces as the query says."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    if environ["REQUEST_METHOD"] == "POST":
        read = environ["wsgi.input"].read
        return [b"%d" % sum(len(piece) for piece in iter(lambda: read(len(PIECE)), b""))]
    return (PIECE for _ in range(int(environ["QUERY_STRING"] or 1)))


app = WSGIMiddleware(wsgi)


class Server:
    """uvicorn with `app`, and what its process takes."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        options = ["--port", str(self.port), "--log-level", "error", "--no-access-log"]
        command = [sys.executable, "-m", "uvicorn", f"{Path(__file__).stem}:app", *options]
        self.process = subprocess.Popen(command, cwd=Path(__file__).parent)
        while self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise SystemExit("uvicorn did not start")

    def connect(self) -> http.client.HTTPConnection:
        """A connection to it."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def memory(self, what: str = "VmRSS") -> int:
        """Bytes the process takes now, or has taken at most (`VmHWM`)."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(rf"{what}:\s+(\d+) kB", text)[0]) * 1024


def upload(server: Server, pieces: int, chunked: bool) -> None:
    """Send `pieces` of the body, without a length when it is `chunked`."""

    def body() -> Iterator[bytes]:
        for _ in range(pieces):
            yield PIECE

    headers = {} if chunked else {"Content-Length": str(pieces * len(PIECE))}
    with closing(server.connect()) as connection:
        connection.request("POST", "/", body(), headers, encode_chunked=chunked)
        assert connection.getresponse().read() == b"%d" % (pieces * len(PIECE))


def download(server: Server, pieces: int, pause: float = 0.0) -> None:
    """Take `pieces`; with a `pause` as a client that now and then stops reading."""
    with closing(server.connect()) as connection:
        connection.request("GET", f"/?{pieces}")
        answer = connection.getresponse()
        size, stopped = 0, 0
        while piece := answer.read(MIB):
            size += len(piece)
            if pause and size // (64 * MIB) > stopped:
                stopped += 1
                time.sleep(pause)
        assert size == pieces * len(PIECE)


def measured(server: Server, name: str, work: Callable[[], None]) -> None:
    """Do the work and print a line of the table."""
    before, start, seen = server.memory(), time.perf_counter(), []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            seen.append(server.memory())

    watch = threading.Thread(target=look)
    watch.start()
    work()
    over.set()
    watch.join()
    seconds = time.perf_counter() - start
    highest = max(seen, default=before)
    print(
        f"{name:20} {seconds:6.1f} s   before {before / MIB:6.1f}   highest {highest / MIB:6.1f}   "
        f"after {server.memory() / MIB:6.1f}   peak ever {server.memory('VmHWM') / MIB:6.1f} MiB",
        flush=True,
    )


def main() -> None:
    """Print one line for each way."""
    mib = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    pieces = mib * MIB // len(PIECE)
    server = Server()
    try:
        upload(server, 16, chunked=False)
        download(server, 16)
        measured(server, f"upload {mib} MiB", lambda: upload(server, pieces, chunked=False))
        measured(server, "chunked upload", lambda: upload(server, pieces, chunked=True))
        measured(server, "download", lambda: download(server, pieces))
        measured(server, "download with stops", lambda: download(server, pieces, pause=0.1))
    finally:
        server.process.terminate()
        server.process.wait()


if __name__ == "__main__":
    main()
