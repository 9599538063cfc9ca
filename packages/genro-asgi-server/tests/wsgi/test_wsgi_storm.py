"""Many requests of every kind at once, from clients of every kind: nothing hangs, nothing is left."""

import asyncio
import logging
import random
import threading
from typing import Any

import pytest

from genro_asgi.middleware.wsgi import exchange

pytestmark = pytest.mark.asyncio


class Body:
    """A response that yields, reads, fails or never ends, as its dice say."""

    def __init__(self, dice: random.Random, environ: Any) -> None:
        self.dice = dice
        self.environ = environ
        self.left = dice.choice([0, 1, 3, 50, 10**9])
        self.sizes = dice.choice([[1], [70_000], [0, 1, 5000], [0]])
        self.fails = dice.random() < 0.1
        self.reads = dice.random() < 0.3
        self.closed = 0

    def __iter__(self) -> "Body":
        return self

    def __next__(self) -> bytes:
        if not self.left:
            raise StopIteration
        self.left -= 1
        if self.fails and self.left % 3 == 1:
            raise ValueError("on purpose")
        if self.reads:
            self.environ["wsgi.input"].read(self.dice.choice([1, 100, 70_000]))
        return b"x" * self.dice.choice(self.sizes)

    def close(self) -> None:
        self.closed += 1


class Application:
    def __init__(self) -> None:
        self.bodies: list[Body] = []
        self.lock = threading.Lock()

    def __call__(self, environ: Any, start_response: Any) -> Any:
        dice = random.Random(environ["HTTP_SEED"])
        if dice.random() < 0.05:
            raise KeyError("on purpose")
        read = dice.choice(["read", "readline", "readlines", "", "", "", ""])
        if read:
            getattr(environ["wsgi.input"], read)()
        length = [("Content-Length", str(dice.choice([0, 10, 100_000])))] if dice.random() < 0.2 else []
        write = start_response("200 OK", length)
        if dice.random() < 0.2:
            write(b"w" * dice.choice([1, 100_000]))
        if dice.random() < 0.3:
            return [b"x" * dice.choice([0, 1, 200_000])] * dice.choice([1, 3])
        with self.lock:
            self.bodies.append(Body(dice, environ))
            return self.bodies[-1]


async def visit(host: Any, bridge: Any, seed: int) -> None:
    """One client: it may dawdle, leave at any moment, or be cancelled."""
    dice = random.Random(seed)
    headers = [(b"seed", b"%d" % seed)]
    body = b"l\n" * dice.choice([0, 1, 1000, 400_000])
    method = dice.choice(["GET", "HEAD", "POST", "POST"])
    if method == "POST":
        announced = (b"content-length", b"%d" % len(body)), (b"transfer-encoding", b"chunked")
        headers += [dice.choice(announced), *([(b"expect", b"100-continue")] if dice.random() < 0.2 else [])]
    client = host.client(method, headers=headers)
    task = asyncio.create_task(bridge(client.scope, client.receive, client.send))
    piece = dice.choice([65_536, 1_000_000])
    for at in range(0, len(body) + 1, piece):
        client.feed(body[at : at + piece], at + piece <= len(body))
        for _ in range(dice.choice([0, 1, 10])):
            await asyncio.sleep(0)
        if dice.random() < 0.1:
            break
    if dice.random() < 0.2:
        client.takes.clear()
    if dice.random() < 0.1:
        task.cancel()
    await asyncio.wait([task], timeout=0.01)
    if dice.random() < 0.2:
        client.send_error = ConnectionResetError()
    client.leave()
    client.takes.set()
    await asyncio.wait([task], timeout=20)
    assert task.done()
    assert task.cancelled() or task.exception() is None or isinstance(task.exception(), RuntimeError)


@pytest.mark.parametrize("seed", range(3))
async def test_a_storm(host: Any, monkeypatch: Any, seed: int) -> None:
    monkeypatch.setattr(exchange, "SWEEP", 0.005)
    monkeypatch.setattr(exchange, "PEEK", 0.005)
    monkeypatch.setattr(logging.getLogger("genro_asgi.wsgi"), "disabled", True)  # failures on purpose, by the hundred
    app = Application()
    bridge = host.bridge(app, workers=4)
    for start in range(0, 200, 40):
        await asyncio.gather(*(visit(host, bridge, seed * 1000 + start + number) for number in range(40)))
    while bridge.pool.metrics()["busy"]:  # a cancelled request's thread ends a moment later
        await asyncio.sleep(0.001)
    assert {body.closed for body in app.bodies} == {1}
    assert not bridge._hub.live
    metrics = bridge.pool.metrics()
    assert (metrics["pending"], metrics["parked"], metrics["queued"]) == (0, 0, 0)
