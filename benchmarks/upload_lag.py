"""How long others wait while a large form comes in: `python benchmarks/upload_lag.py [MiB]`.

A server of its own process takes a multipart upload; beside it a second connection asks for `/ping` all the time. What
a ping takes longer than without the upload is the lag of the event loop, and of the machine.
"""

import http.client
import socket
import statistics
import subprocess
import sys
import threading
import time

from genro_asgi import AsgiServer, BaseRequest, route

MIB = 1024 * 1024


class Site(AsgiServer):
    """Takes forms, and answers pings."""

    @route(methods="POST", max_body=4096 * MIB)
    async def upload(self, request: BaseRequest) -> int:
        """The size of the file."""
        size: int = request.data["file"].size
        return size

    @route(methods="GET")
    async def ping(self) -> str:
        """What the others ask."""
        return "pong"


def free_port() -> int:
    """A port nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pings(port: int, until: threading.Event) -> list[float]:
    """Milliseconds of one ping after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    times = []
    while not until.is_set():
        start = time.perf_counter()
        connection.request("GET", "/ping")
        connection.getresponse().read()
        times.append((time.perf_counter() - start) * 1000)
    return times


def upload(port: int, size: int) -> float:
    """Seconds of one upload."""
    head = b'--B\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n'
    tail = b"\r\n--B--\r\n"
    piece = b"\r\nabc-" * (64 * 1024 // 6)
    count = size // len(piece)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    start = time.perf_counter()
    connection.putrequest("POST", "/upload")
    connection.putheader("content-type", "multipart/form-data; boundary=B")
    connection.putheader("content-length", str(len(head) + count * len(piece) + len(tail)))
    connection.endheaders(head)
    for _ in range(count):
        connection.send(piece)
    connection.send(tail)
    assert connection.getresponse().read() == b"%d" % (count * len(piece))
    return time.perf_counter() - start


def told(name: str, times: list[float]) -> str:
    """A line of the table."""
    slow = statistics.quantiles(times, n=100)[98]
    return f"{name:16} {len(times):6} pings  median {statistics.median(times):6.2f} ms  99 % {slow:6.2f} ms  " + (
        f"longest {max(times):6.2f} ms"
    )


def measure(size: int) -> None:
    """Serve, ping, upload, print."""
    port = free_port()
    server = subprocess.Popen([sys.executable, __file__, "--serve", str(port)])
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)
        upload(port, MIB)
        quiet, done = threading.Event(), threading.Event()
        threading.Timer(1, quiet.set).start()
        print(told("alone", pings(port, quiet)))
        busy: list[float] = []
        watcher = threading.Thread(target=lambda: busy.extend(pings(port, done)))
        watcher.start()
        seconds = upload(port, size)
        done.set()
        watcher.join()
        print(told("with an upload", busy))
        print(f"{size // MIB} MiB in {seconds:.2f} s")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        site = Site()
        site.run(port=int(sys.argv[2]), access_log=False)
    else:
        measure(int(sys.argv[1]) * MIB if sys.argv[1:] else 40 * MIB)
