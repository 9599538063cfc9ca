"""Bodies far larger than the memory they may take, to and from a page of the site."""

import http.client
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from genropy_sites import Served

BLOCK = bytes(range(256)) * 256
#: A gigabyte.
BLOCKS = 16384
#: What the server may grow by: the windows of one request, and what the allocator keeps.
ROOM = 48 * 1024 * 1024


def peak(served: Served) -> int:
    """The most memory the server has ever taken, in bytes."""
    text = Path(f"/proc/{served.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0]) * 1024


def upload(served: Served, chunked: bool) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(BLOCKS):
            yield BLOCK

    headers = {"Content-Type": "application/octet-stream"} | (
        {} if chunked else {"Content-Length": str(BLOCKS * len(BLOCK))}
    )
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=120)) as connection:
        connection.request("POST", "/testpkg/probe?rpc=drain", body(), headers, encode_chunked=chunked)
        assert connection.getresponse().read() == b"%d" % (BLOCKS * len(BLOCK))


def download(served: Served) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=120)) as connection:
        connection.request("GET", f"/testpkg/probe?rpc=pour&blocks={BLOCKS}")
        answer = connection.getresponse()
        size = 0
        while piece := answer.read(1 << 20):
            size += len(piece)
        assert size == BLOCKS * len(BLOCK)


@pytest.mark.parametrize(
    "carry",
    [
        pytest.param(lambda served: upload(served, chunked=False), id="upload"),
        pytest.param(lambda served: upload(served, chunked=True), id="chunked upload"),
        pytest.param(download, id="download"),
    ],
)
def test_a_large_body_takes_no_memory(carry: Callable[[Served], None], ours: Served) -> None:
    before = peak(ours)
    carry(ours)
    assert peak(ours) - before < ROOM
