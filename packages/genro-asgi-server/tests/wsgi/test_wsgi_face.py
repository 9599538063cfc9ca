"""The ASGI face of a WSGI application: scopes, options, threads."""

import asyncio
import threading
from typing import Any

import pytest

import genro_asgi.middleware.wsgi
import genro_asgi.middleware.wsgi_gateway
from genro_asgi.executors.thread import ThreadExecutor
from genro_asgi.middleware.wsgi import WSGIMiddleware
from genro_asgi.middleware.wsgi.bridge import DEFAULT_WORKERS

pytestmark = pytest.mark.asyncio


def hello(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


class Lifespan:
    """A server that starts and stops an application."""

    def __init__(self) -> None:
        self.messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        return next(self.messages)

    async def send(self, message: Any) -> None:
        self.sent.append(message)


async def test_its_two_homes() -> None:
    assert genro_asgi.middleware.wsgi.WSGIMiddleware is genro_asgi.middleware.wsgi_gateway.WSGIMiddleware


async def test_lifespan_is_taken_quietly_and_ends_the_threads(host: Any) -> None:
    bridge = host.bridge(hello)
    for _ in range(2):  # a test client starts and stops the same application again and again
        lifespan = Lifespan()
        task = asyncio.create_task(bridge({"type": "lifespan"}, lifespan.receive, lifespan.send))
        await task
        assert lifespan.sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]
        assert bridge.pool.closed
    client = host.client()
    await host.run(bridge, client)
    assert (client.status, client.body) == (503, b"Service Unavailable")


async def test_a_websocket_is_refused_before_it_is_accepted() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    bridge = WSGIMiddleware(hello)
    await bridge({"type": "websocket", "path": "/"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]
    sent.clear()
    await bridge({"type": "websocket", "path": "/", "extensions": {"websocket.http.response": {}}}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert sent[0]["status"] == 403


async def test_a_websocket_that_is_gone_already() -> None:
    async def receive() -> Any:
        return {"type": "websocket.disconnect"}

    async def send(message: Any) -> None:
        pytest.fail("nobody listens")

    await WSGIMiddleware(hello)({"type": "websocket", "path": "/"}, receive, send)


async def test_unknown_scopes_are_an_error(host: Any) -> None:
    client = host.client(type="telepathy")
    with pytest.raises(ValueError, match="does not answer ASGI scopes of type 'telepathy'"):
        await WSGIMiddleware(hello)(client.scope, client.receive, client.send)


@pytest.mark.parametrize(
    ("app", "options", "error", "text"),
    [
        (None, {}, TypeError, "give it a WSGI application"),
        (hello, {"workers": 0}, ValueError, "max_workers"),
        (hello, {"workers": 2, "pool": ThreadExecutor("x")}, ValueError, "give one of them"),
        (hello, {"pool": ThreadExecutor("x", bypass=True)}, ValueError, "switch bypass off"),
    ],
)
async def test_bad_options(app: Any, options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        WSGIMiddleware(app, **options)


async def test_a_pool_of_somebody_elses(host: Any) -> None:
    pool = ThreadExecutor("mine", max_workers=1)
    bridge = WSGIMiddleware(hello, pool=pool)
    client = host.client()
    await host.run(bridge, client)
    assert client.body == b"hello"
    await bridge.shutdown()
    assert not pool.closed
    await pool.shutdown()


async def test_an_overloaded_pool_is_503(host: Any, caplog: Any) -> None:
    go_on = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        assert go_on.wait(10)
        return hello(environ, start_response)

    pool = ThreadExecutor("small", max_workers=1, max_pending=1)
    bridge = WSGIMiddleware(app, pool=pool)
    first, second = host.client(), host.client()
    task = asyncio.create_task(host.run(bridge, first))
    await asyncio.sleep(0)
    await host.run(bridge, second)
    assert (second.status, second.body, second.complete) == (503, b"Service Unavailable", True)
    assert "the WSGI request GET / was not served: executor 'small' has 1 calls pending" in caplog.text
    go_on.set()
    await task
    assert first.body == b"hello"
    await pool.shutdown()


async def test_the_timeout_of_a_pool_is_504(host: Any, caplog: Any) -> None:
    go_on, ended = threading.Event(), threading.Event()

    class Body:
        def __iter__(self) -> Any:
            assert go_on.wait(10)
            yield b"too late"

        def close(self) -> None:
            ended.set()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return Body()

    pool = ThreadExecutor("slow", timeout=0.01)
    client = host.client()
    await host.run(WSGIMiddleware(app, pool=pool), client)
    assert (client.status, client.body, client.complete) == (504, b"Gateway Timeout", True)
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 10)
    await pool.shutdown()


async def test_a_pool_that_is_stopped_under_an_answer_breaks_it_off(host: Any, caplog: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        while True:
            yield b"x" * 10_000

    bridge = host.bridge(app)
    client = host.client()
    task = asyncio.create_task(host.run(bridge, client))
    await client.until(lambda: len(client.sent) > 1)
    await bridge.pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="the pool gave a request up"):
        await task
    assert not client.complete


async def test_the_threads_are_named_sized_and_counted(host: Any) -> None:
    names: set[str] = set()
    busy: list[int] = []
    barrier = threading.Barrier(3)

    def app(environ: Any, start_response: Any) -> Any:
        names.add(threading.current_thread().name)
        barrier.wait(10)
        busy.append(bridge.pool.metrics()["busy"])
        barrier.wait(10)
        return hello(environ, start_response)

    bridge = host.bridge(app, workers=3)
    clients = [host.client() for _ in range(6)]
    await asyncio.gather(*(host.run(bridge, client) for client in clients))
    assert all(client.complete for client in clients)
    assert len(names) == 3
    assert all("wsgi" in name for name in names)
    assert max(busy) == 3
    metrics = bridge.pool.metrics()
    assert metrics["name"] == "wsgi"
    assert metrics["max_workers"] == metrics["workers"] == 3
    assert metrics["submitted"] == metrics["completed"] == 6
    assert metrics["busy"] == metrics["parked"] == metrics["pending"] == 0


async def test_threads_even_where_executors_are_bypassed(host: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("GENRO_EXECUTOR_BYPASS", "1")
    assert WSGIMiddleware(hello).pool.max_workers == DEFAULT_WORKERS
    client = await host.ask(lambda e, s: hello(e, s) if threading.current_thread().daemon else None)
    assert client.body == b"hello"
