"""GenroPy's own server against gnrasgiserve, same sites, same run: `hatch run genropy:bench`.

Rounds are interleaved, and each figure is that of its best round: what else the machine does can only make it worse.
CPU is the server's own, without the register daemon.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlencode

import psutil

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests/genropy")]

from genropy_sites import Home, Served  # noqa: E402
from test_same_answers import Page  # noqa: E402

GNR = (sys.executable, "-m", "genropy_asgi.run_gnr")
HOST = ("-H", "127.0.0.1")

# Keeps a number of connections busy for some seconds and prints how many answers came, in how many seconds, the median
# in milliseconds, and how many were not 200.
CLIENT = r"""
import socket, sys, threading, time
port, count, seconds, head = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4].encode()
end, times, bad = time.perf_counter() + seconds, [], []

def read_answer(file):
    status, length, chunked, closes = file.readline()[9:12], None, False, False
    while (line := file.readline()) not in (b"\r\n", b""):
        name, _, value = line.lower().partition(b":")
        value = value.strip()
        if name == b"content-length": length = int(value)
        elif name == b"transfer-encoding": chunked = True
        elif name == b"connection": closes = value == b"close"
    if chunked:
        while size := int(file.readline(), 16): file.read(size + 2)
        file.readline()
    elif length is not None: file.read(length)
    else: file.read()
    return status, closes

def work():
    sock = None
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        if sock is None:
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            file = sock.makefile("rb", 1 << 17)
        sock.sendall(head)
        status, closes = read_answer(file)
        times.append(time.perf_counter() - start)
        if status != b"200": bad.append(status); closes = True
        if closes: file.close(); sock.close(); sock = None

threads = [threading.Thread(target=work) for _ in range(count)]
start = time.perf_counter()
for thread in threads: thread.start()
for thread in threads: thread.join()
times.sort()
print(len(times), time.perf_counter() - start, times[len(times) // 2] * 1e3, len(bad))
"""


@dataclass(frozen=True)
class Case:
    """What is asked for; `page` calls a method of an opened page."""

    name: str
    target: str
    page: bool = False


CASES = [
    Case("static 17 B", "/_site/small.css"),
    Case("static 89 KB", "/_gnr/11/js/genro.js"),
    Case("plain page", "/testpkg/probe"),
    Case("stateless RPC", "/testpkg/probe?rpc=echo&a=1"),
    Case("page RPC", "/", page=True),
    Case("dojo page", "/"),
]


@dataclass
class Round:
    """One server under load for a moment: answers per second, median in ms, CPU ms per answer."""

    rate: float
    latency: float
    cpu: float


class Contestant:
    """A running server and an opened page of it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.page = Page(served)
        self.bad = 0

    def request(self, case: Case) -> str:
        head = f"{'POST' if case.page else 'GET'} {case.target} HTTP/1.1\r\nHost: 127.0.0.1:{self.served.port}\r\n"
        if not case.page:
            return f"{head}\r\n"
        body = urlencode({"page_id": self.page.page_id, "mode": "bag", "method": "add", "a": "2::L", "b": "40::L"})
        kind = "Content-Type: application/x-www-form-urlencoded\r\n"
        return f"{head}{kind}Cookie: {self.page.cookie}\r\nContent-Length: {len(body)}\r\n\r\n{body}"

    def cpu(self) -> float:
        root = psutil.Process(self.served.process.pid)
        return sum(sum(process.cpu_times()[:2]) for process in (root, *root.children(recursive=True)))

    def measure(self, case: Case, connections: int, seconds: float) -> Round:
        before = self.cpu()
        arguments = [sys.executable, "-c", CLIENT, str(self.served.port), str(connections), str(seconds)]
        done = subprocess.run([*arguments, self.request(case)], capture_output=True, text=True, check=True)
        count, took, latency, bad = done.stdout.split()
        self.bad += int(bad)
        return Round(int(count) / float(took), float(latency), (self.cpu() - before) / int(count) * 1e3)


def contestants(home: Home, wanted: str) -> dict[str, Contestant]:
    """The servers, all of them running; the local register has a site of its own."""
    home.add_site("testsite")
    home.add_site("localsite")
    home.start_daemon()
    a2wsgi = home.write(
        "a2wsgi_site.py",
        "import sys, uvicorn\nfrom a2wsgi import WSGIMiddleware\nfrom gnr.web.gnrwsgisite import GnrWsgiSite\n"
        "from genropy_asgi.found import spare_api_dispatcher\nspare_api_dispatcher()\n"
        "uvicorn.run(WSGIMiddleware(GnrWsgiSite('testsite'), workers=20), host='127.0.0.1', port=int(sys.argv[1]))\n",
    )
    commands = {
        "stock": (*GNR, "web", "wsgiserve", "testsite", "-p", "{port}", *HOST),
        "gunicorn": (
            *GNR, "web", "serveprod", "testsite", "-b", "127.0.0.1:{port}",
            "--workers", "1", "--threads", "8", "--worker-class", "gthread",
        ),
        "a2wsgi": (sys.executable, str(a2wsgi), "{port}"),
        "ours": ("gnrasgiserve", "testsite", "-p", "{port}", *HOST),
        "local": ("gnrasgiserve", "localsite", "-p", "{port}", *HOST, "--register=local"),
    }  # fmt: skip
    missing = {name for name in ("gunicorn", "a2wsgi") if find_spec(name) is None}
    names = [name for name in commands if re.search(wanted, name) and name not in missing]
    return {name: Contestant(home.serve(*commands[name])) for name in names}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--connections", default="1,8")
    parser.add_argument("--cases", default=".", help="a regular expression on their names")
    parser.add_argument("--servers", default=".", help="the same; stock is what the others are measured against")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        try:
            servers = contestants(home, options.servers)
            titles = "connections, case, server, requests/s, ms, CPU ms, rate against stock, CPU against stock, not 200"
            print(f"| {titles.replace(', ', ' | ')} |\n{'|---' * 9}|", flush=True)
            for connections in map(int, options.connections.split(",")):
                for case in CASES:
                    if re.search(options.cases, case.name):
                        compare(case, connections, servers, options.rounds, options.seconds)
        finally:
            home.stop()


def compare(case: Case, connections: int, servers: dict[str, Contestant], rounds: int, seconds: float) -> None:
    """Measure one case on every server and print its lines."""
    for server in servers.values():
        server.measure(case, connections, 0.2)
        server.bad = 0
    seen: dict[str, list[Round]] = defaultdict(list)
    for number in range(rounds):
        for name in list(servers)[:: 1 if number % 2 else -1]:
            seen[name].append(servers[name].measure(case, connections, seconds))
    best = {
        name: Round(max(r.rate for r in own), min(r.latency for r in own), min(r.cpu for r in own))
        for name, own in seen.items()
    }
    first = best.get("stock", next(iter(best.values())))
    for name, own in best.items():
        print(
            f"| {connections} | {case.name} | {name} | {own.rate:.0f} | {own.latency:.2f} | {own.cpu:.2f} "
            f"| {own.rate / first.rate:.2f} | {first.cpu / max(own.cpu, 1e-3):.2f} | {servers[name].bad or ''} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
