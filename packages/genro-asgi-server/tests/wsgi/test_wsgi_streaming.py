"""Bodies stream both ways in bounded memory, and a client that leaves costs no thread."""

import asyncio
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from genro_asgi.middleware.wsgi import exchange
from genro_asgi.middleware.wsgi.exchange import CHUNK_COST, OUTPUT_WINDOW
from genro_asgi.middleware.wsgi.input import WINDOW

pytestmark = pytest.mark.asyncio

CHUNK = b"x" * 16384


class Endless:
    """A body without end that counts what was taken of it."""

    def __init__(self, chunk: bytes = CHUNK) -> None:
        self.chunk = chunk
        self.count = 0
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.count += 1
        return self.chunk

    def close(self) -> None:
        self.closed.set()


def answering(body: Any) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return body

    return app


async def wait_for(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 10)


# -- the answer


async def test_a_chunk_is_sent_while_the_next_one_is_made(host: Any) -> None:
    go_on = threading.Event()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b""
        yield b"first"
        assert go_on.wait(10)
        yield b"second"

    client = host.client()
    task = asyncio.create_task(host.run(host.bridge(app), client))
    await client.until(lambda: client.sent and client.body == b"first")
    assert not client.complete
    go_on.set()
    await task
    assert (client.body, client.complete) == (b"firstsecond", True)


async def test_what_is_written_is_sent_before_the_call_returns(host: Any) -> None:
    go_on = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])(b"first")
        assert go_on.wait(10)
        return [b"second"]

    client = host.client()
    task = asyncio.create_task(host.run(host.bridge(app), client))
    await client.until(lambda: client.sent and client.body == b"first")
    go_on.set()
    await task
    assert (client.body, client.complete) == (b"firstsecond", True)


async def test_the_head_waits_for_the_first_bytes(host: Any) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b""
        reached.set()
        assert go_on.wait(10)
        yield b"x"

    client = host.client()
    task = asyncio.create_task(host.run(host.bridge(app), client))
    await wait_for(reached)
    assert client.sent == []
    go_on.set()
    await task
    assert client.complete


@pytest.mark.parametrize("chunk", [CHUNK, b"x", b"x" * 3 * OUTPUT_WINDOW])
async def test_a_client_that_takes_nothing_holds_the_application(host: Any, chunk: bytes) -> None:
    body = Endless(chunk)
    client = host.client()
    client.takes.clear()
    bridge = host.bridge(answering(body), workers=1)
    task = asyncio.create_task(host.run(bridge, client))
    # The thread is parked when it has waited for a while; then nothing moves any more.
    while not bridge.pool.parked:
        await asyncio.sleep(0.001)
    held = body.count
    assert (held - 1) * (len(chunk) + CHUNK_COST) < OUTPUT_WINDOW
    await asyncio.sleep(0)
    assert body.count == held
    client.takes.set()
    await client.until(lambda: len(client.body) > held * len(chunk))
    assert body.count > held
    client.leave()
    await task
    assert body.closed.is_set()


async def test_chunks_that_wait_are_sent_together(host: Any) -> None:
    client = host.client()
    client.takes.clear()
    bridge = host.bridge(answering(iter([b"x"] * 1000)))
    task = asyncio.create_task(host.run(bridge, client))
    while bridge.pool.busy or (not client.receives and bridge.pool.pending == 0):
        await asyncio.sleep(0.001)
    client.takes.set()
    await task
    assert client.body == b"x" * 1000
    assert len(client.sent) <= 4


async def test_a_list_needs_no_thread_while_it_is_sent(host: Any) -> None:
    client = host.client()
    client.takes.clear()
    bridge = host.bridge(answering([CHUNK] * 1000), workers=1)
    task = asyncio.create_task(host.run(bridge, client))
    other = host.client()
    other.scope["path"] = "/other"
    await host.run(bridge, other)
    assert other.complete
    assert not client.sent
    client.takes.set()
    await task
    assert len(client.body) == 1000 * len(CHUNK)


# -- the request's body


async def test_the_application_begins_before_the_upload_ends(host: Any) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for line in environ["wsgi.input"]:
            yield line.upper()

    client = host.client("POST", headers=[(b"transfer-encoding", b"chunked")])
    task = asyncio.create_task(host.run(host.bridge(app), client))
    for number in range(5):
        client.feed(b"line %d\n" % number, True)
        expected = b"".join(b"LINE %d\n" % n for n in range(number + 1))
        await client.until(lambda: client.sent and client.body == expected)  # noqa: B023
    client.feed(b"end")
    await task
    assert client.body.endswith(b"LINE 4\nEND")
    assert client.complete


@pytest.mark.parametrize("headers", [[(b"content-length", b"11")], [(b"transfer-encoding", b"chunked")], []])
@pytest.mark.parametrize("pieces", [[b"hello world"], [b"hello", b" ", b"", b"world", b""]])
async def test_a_body_arrives_whole(host: Any, headers: Any, pieces: list[bytes]) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        assert environ["wsgi.input_terminated"] is True
        return [environ["wsgi.input"].read(), environ["wsgi.input"].read(), environ.get("CONTENT_LENGTH", "-").encode()]

    client = host.client("POST", headers=headers)
    for piece in pieces[:-1]:
        client.feed(piece, True)
    client.feed(pieces[-1])
    await host.run(host.bridge(app), client)
    assert client.body == b"hello world" + (b"11" if headers and headers[0][0] == b"content-length" else b"-")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_no_body(host: Any, method: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        body = environ["wsgi.input"]
        start_response("200 OK", [("X-Read", repr([body.read(), body.readline(), body.readlines(), list(body)]))])
        return []

    client = await host.ask(app, method)
    assert client.headers["x-read"] == "[b'', b'', [], []]"


async def test_messages_without_optional_keys(host: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    client = host.client("POST")
    client.inbox.put_nowait({"type": "http.request", "body": b"a", "more_body": True})
    client.inbox.put_nowait({"type": "http.request"})
    await host.run(host.bridge(app), client)
    assert client.body == b"a"


async def test_an_application_that_reads_slowly_holds_the_client(host: Any) -> None:
    go_on = threading.Event()
    read: list[int] = []

    def app(environ: Any, start_response: Any) -> Any:
        assert go_on.wait(10)
        while chunk := environ["wsgi.input"].read(65536):
            read.append(len(chunk))
        start_response("200 OK", [])
        return []

    size = 8 * WINDOW
    client = host.client("POST", headers=[(b"content-length", b"%d" % size)])
    for left in range(size // len(CHUNK) - 1, -1, -1):
        client.feed(CHUNK, left > 0)
    task = asyncio.create_task(host.run(host.bridge(app), client))
    while client.receives < WINDOW // len(CHUNK):
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert client.receives == WINDOW // len(CHUNK)
    go_on.set()
    await task
    assert sum(read) == size
    assert set(read) == {65536}
    assert client.complete


async def test_an_unread_body_is_not_waited_for(host: Any) -> None:
    client = host.client("POST", headers=[(b"content-length", b"1000")])
    await host.run(host.bridge(answering([b"no, thanks"])), client)
    assert client.body == b"no, thanks"


async def test_nothing_is_received_before_it_is_read_when_the_client_waits_for_100(host: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(exchange, "SWEEP", 0.001)
    monkeypatch.setattr(exchange, "PATIENCE", 10**6)
    swept, go_on = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        assert go_on.wait(10)
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    client = host.client("POST", headers=[(b"content-length", b"3"), (b"expect", b"100-continue")])
    monkeypatch.setattr(exchange.Exchange, "watch", noting(exchange.Exchange.watch, swept))
    task = asyncio.create_task(host.run(host.bridge(app), client.feed(b"abc")))
    await wait_for(swept)
    assert client.receives == 0
    go_on.set()
    await task
    assert client.body == b"abc"
    refused = host.client("POST", headers=client.scope["headers"])
    await host.run(host.bridge(answering([b"no"])), refused)
    assert (refused.receives, refused.body) == (0, b"no")


async def test_a_client_that_waits_for_100_is_watched_in_the_end(host: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(exchange, "SWEEP", 0.001)
    body = Endless(b"")
    client = host.client("POST", headers=[(b"content-length", b"3"), (b"expect", b"100-continue")])
    client.leave()
    await host.run(host.bridge(answering(body)), client)
    assert body.closed.is_set()


def noting(method: Any, event: threading.Event) -> Any:
    def noted(*args: Any) -> Any:
        result = method(*args)
        event.set()
        return result

    return noted


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ([(b"content-length", b"x")], b"Content-Length is not a number of bytes."),
        ([(b"content-length", b"-1")], b"Content-Length is not a number of bytes."),
        ([(b"content-length", b"1"), (b"content-length", b"2")], b"Content-Length is given more than once"),
        ([(b"content-length", b"1"), (b"transfer-encoding", b"chunked")], b"exclude each other"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "HEAD"])
async def test_a_bad_length_never_reaches_the_application(host: Any, headers: Any, text: bytes, method: str) -> None:
    client = host.client(method, headers=headers)
    await host.run(host.bridge(lambda *_: pytest.fail("called")), client)
    assert (client.status, client.complete) == (400, True)
    assert text in client.body if method == "POST" else client.body == b""


def reading(environ: Any, start_response: Any) -> Any:
    data = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"%d" % len(data)]


async def test_a_body_over_the_limit_is_refused_by_its_announcement(host: Any) -> None:
    client = await host.post(reading, b"x" * 11, max_body=10)
    assert (client.status, client.receives) == (413, 0)
    assert (await host.post(reading, b"x" * 10, max_body=10)).body == b"10"


async def test_a_body_over_the_limit_is_refused_when_it_arrives(host: Any, caplog: Any) -> None:
    client = host.client("POST", headers=[(b"transfer-encoding", b"chunked")])
    client.feed(b"x" * 6, True).feed(b"x" * 6, True)
    await host.run(host.bridge(reading, max_body=10), client)
    assert (client.status, client.body, client.complete) == (413, b"The request body is too large.", True)
    assert client.receives == 2
    assert "the WSGI request POST / was refused with 413" in caplog.text


async def test_a_refused_body_is_refused_whatever_the_application_makes_of_it(host: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        with pytest.raises(OSError, match="over 10 bytes"):
            environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"fine"]

    client = await host.post(app, b"x" * 12, headers=[(b"transfer-encoding", b"chunked")], max_body=10)
    assert client.status == 413


async def test_a_body_over_the_limit_that_nobody_reads_harms_nobody(host: Any) -> None:
    client = host.client("POST", headers=[(b"transfer-encoding", b"chunked")]).feed(b"x" * 12, True)
    await host.run(host.bridge(answering([b"fine"]), max_body=10), client)
    assert (client.status, client.body) == (200, b"fine")


async def test_a_body_shorter_than_announced_is_400(host: Any, caplog: Any) -> None:
    client = await host.post(reading, b"abc", headers=[(b"content-length", b"10")])
    assert (client.status, client.body) == (400, b"The request body ended before its Content-Length.")
    assert "the WSGI request POST / was refused with 400" in caplog.text


async def test_without_a_limit_anything_passes(host: Any) -> None:
    assert (await host.post(reading, b"x" * 20_000_000)).body == b"20000000"


async def test_a_body_that_stops_coming_is_408(host: Any) -> None:
    client = host.client("POST", headers=[(b"content-length", b"10")]).feed(b"abc", True)
    await host.run(host.bridge(reading, body_timeout=0.02), client)
    assert (client.status, client.body) == (408, b"The request body took too long to arrive.")


# -- the client leaves


@pytest.mark.parametrize("aged", [True, False])
async def test_an_announced_leave_ends_the_iteration(host: Any, aged: bool) -> None:
    body = Endless()
    client = host.client()
    task = asyncio.create_task(host.run(host.bridge(answering(body)), client))
    await client.until(lambda: len(client.sent) > 1)
    if aged:
        while not client.receives:
            await asyncio.sleep(0.001)
    client.leave()
    await task
    assert body.closed.is_set()
    assert not client.complete


@pytest.mark.parametrize("error", [ConnectionResetError, BrokenPipeError, TimeoutError])
async def test_a_silent_leave_shows_when_sending(host: Any, error: type[OSError]) -> None:
    body = Endless()
    client = host.client()
    task = asyncio.create_task(host.run(host.bridge(answering(body)), client))
    await client.until(lambda: len(client.sent) > 1)
    client.send_error = error()
    await task
    assert body.closed.is_set()


async def test_a_server_that_fails_to_send_is_not_silenced(host: Any) -> None:
    body = Endless()
    client = host.client()
    task = asyncio.create_task(host.run(host.bridge(answering(body)), client))
    await client.until(lambda: len(client.sent) > 1)
    client.send_error = ValueError("a bug of the server")
    client.leave()
    with pytest.raises(ValueError, match="a bug of the server"):
        await task
    assert body.closed.is_set()


async def test_an_idle_leave_shows_at_the_next_step(host: Any) -> None:
    go_on = threading.Event()
    taken: list[int] = []

    class Idle(Endless):
        def __next__(self) -> bytes:
            taken.append(1)
            assert go_on.wait(10)
            return b""

    body = Idle()
    client = host.client()
    bridge = host.bridge(answering(body))
    task = asyncio.create_task(host.run(bridge, client))
    client.leave()
    while not (client.receives and client.inbox.empty()):
        await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    go_on.set()
    await task
    assert taken == [1]
    assert body.closed.is_set()
    assert client.sent == []


async def test_write_tells_that_the_client_left(host: Any, caplog: Any) -> None:
    errors: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        try:
            while True:
                write(CHUNK)
        except OSError as error:
            errors.append(error)
            raise

    client = host.client()
    task = asyncio.create_task(host.run(host.bridge(app), client))
    await client.until(lambda: len(client.sent) > 1)
    client.leave()
    await task
    assert isinstance(errors[0], ConnectionResetError)
    assert [record.levelname for record in caplog.records if record.levelno > 20] == []


async def test_a_read_tells_that_the_client_left(host: Any, caplog: Any) -> None:
    errors: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> Any:
        reading.set()
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            errors.append(error)
            raise

    reading = threading.Event()
    client = host.client("POST", headers=[(b"content-length", b"10")]).feed(b"abc", True)
    task = asyncio.create_task(host.run(host.bridge(app), client))
    await wait_for(reading)
    client.leave()
    await task
    assert isinstance(errors[0], ConnectionResetError)
    assert client.sent == []
    assert [record.levelname for record in caplog.records if record.levelno > 20] == []


async def test_a_leave_is_seen_behind_a_body_nobody_reads(host: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(exchange, "PEEK", 0.001)
    body = Endless(b"")
    client = host.client("POST", headers=[(b"transfer-encoding", b"chunked")])
    for _ in range(WINDOW // len(CHUNK) + 3):
        client.feed(CHUNK, True)
    client.leave()
    await host.run(host.bridge(answering(body)), client)
    assert body.closed.is_set()


async def test_fifty_abandoned_downloads_cost_no_worker(host: Any) -> None:
    bodies: list[Endless] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/hello":
            return [b"hello"]
        bodies.append(Endless())
        return bodies[-1]

    bridge = host.bridge(app, workers=4)
    clients = [host.client() for _ in range(50)]
    tasks = [asyncio.create_task(host.run(bridge, client)) for client in clients]
    for client in clients:
        client.leave()
    await asyncio.gather(*tasks)
    hello = host.client()
    hello.scope["path"] = "/hello"
    await host.run(bridge, hello)
    assert hello.body == b"hello"
    assert all(body.closed.is_set() for body in bodies)
    assert bridge.pool.metrics()["busy"] == 0


async def test_fifty_downloads_that_nobody_takes_keep_no_one_from_being_served(host: Any) -> None:
    bodies: list[Endless] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/hello":
            return [b"hello"]
        bodies.append(Endless())
        return bodies[-1]

    bridge = host.bridge(app, workers=2)
    clients = [host.client() for _ in range(50)]
    for client in clients:
        client.takes.clear()
    tasks = [asyncio.create_task(host.run(bridge, client)) for client in clients]
    while len(bodies) < 50:
        await asyncio.sleep(0.001)
    hello = host.client()
    hello.scope["path"] = "/hello"
    await host.run(bridge, hello)
    assert hello.body == b"hello"
    assert bridge.pool.metrics()["max_workers"] == 2
    for client in clients:
        client.takes.set()
        client.leave()
    await asyncio.gather(*tasks)
    assert all(body.closed.is_set() for body in bodies)
    assert bridge.pool.metrics()["parked"] == 0


async def test_slow_uploads_keep_no_one_from_being_served(host: Any) -> None:
    begun: list[int] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["REQUEST_METHOD"] == "POST":
            begun.append(1)
        return [b"%d" % len(environ["wsgi.input"].read())]

    bridge = host.bridge(app, workers=2)
    clients = [host.client("POST", headers=[(b"content-length", b"2")]).feed(b"x", True) for _ in range(20)]
    tasks = [asyncio.create_task(host.run(bridge, client)) for client in clients]
    while len(begun) < 20:
        await asyncio.sleep(0.001)
    hello = host.client()
    await host.run(bridge, hello)
    assert hello.body == b"0"
    for client in clients:
        client.feed(b"y")
    await asyncio.gather(*tasks)
    assert {client.body for client in clients} == {b"2"}


async def test_a_client_that_takes_nothing_for_too_long_is_dropped(host: Any) -> None:
    body = Endless()
    client = host.client()
    client.takes.clear()
    send = client.send

    async def begin(message: Any) -> None:
        if message["type"] == "http.response.start":
            client.sent.append(message)
        else:
            await send(message)

    client.send = begin
    with pytest.raises(RuntimeError, match=r"the client took nothing for 0\.02 seconds"):
        await host.run(host.bridge(answering(body), stall_timeout=0.02), client)
    assert body.closed.is_set()


async def test_a_request_whose_client_left_in_the_queue_is_not_begun(host: Any) -> None:
    go_on = threading.Event()
    paths: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        paths.append(environ["PATH_INFO"])
        assert go_on.wait(10)
        start_response("200 OK", [])
        return [b"x"]

    bridge = host.bridge(app, workers=1)
    first, second = host.client(path="/first"), host.client(path="/second")
    tasks = [asyncio.create_task(host.run(bridge, client)) for client in (first, second)]
    second.leave()
    while not (second.receives and second.inbox.empty()):
        await asyncio.sleep(0.001)
    go_on.set()
    await asyncio.gather(*tasks)
    assert first.complete
    assert second.sent == []
    assert paths == ["/first"]


@pytest.mark.parametrize("running", [True, False])
async def test_cancelling_the_request_ends_the_iteration(host: Any, running: bool) -> None:
    body = Endless()
    bridge = host.bridge(answering(body), workers=1)
    client = host.client()
    task = asyncio.create_task(host.run(bridge, client))
    if running:
        await client.until(lambda: len(client.sent) > 1)
    else:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if running:
        await wait_for(body.closed)


async def test_nothing_is_sent_or_received_for_a_cancelled_request(host: Any) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        begun.set()
        assert go_on.wait(10)
        try:
            start_response("200 OK", [])
            yield b"x"
            environ["wsgi.input"].read()
        except OSError as error:
            errors.append(error)
            raise
        finally:
            ended.set()

    client = host.client("POST", headers=[(b"transfer-encoding", b"chunked"), (b"expect", b"100-continue")])
    task = asyncio.create_task(host.run(host.bridge(app), client))
    await wait_for(begun)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await wait_for(ended)
    for _ in range(5):
        await asyncio.sleep(0)
    assert client.sent == []
    assert client.receives == 0


async def test_what_receive_raises_is_raised_on(host: Any) -> None:
    client = host.client("POST", headers=[(b"content-length", b"3")])
    client.inbox.put_nowait(LookupError("a limit of somebody around us"))
    with pytest.raises(LookupError, match="a limit of somebody around us"):
        await host.run(host.bridge(reading), client)
    assert client.sent == []


async def test_a_connection_error_of_receive_is_a_leave(host: Any) -> None:
    client = host.client("POST", headers=[(b"content-length", b"3")])
    client.inbox.put_nowait(ConnectionResetError())
    await host.run(host.bridge(reading), client)
    assert client.sent == []


async def test_a_server_that_repeats_itself_does_not_keep_the_loop_busy(host: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(exchange, "SWEEP", 0.001)
    client = host.client()

    async def receive() -> Any:
        client.receives += 1
        return {"type": "http.request", "body": b"", "more_body": False}

    client.receive = receive
    go_on = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        assert go_on.wait(10)
        start_response("200 OK", [])
        return [b"x"]

    task = asyncio.create_task(host.run(host.bridge(app), client))
    while client.receives < 2:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert client.receives == 2
    go_on.set()
    await task
    assert client.body == b"x"


async def test_nothing_is_left_behind(host: Any) -> None:
    calls: list[Any] = []
    run = exchange.Hub.enter

    def enter(hub: Any, call: Any) -> None:
        calls.append(weakref.ref(call))
        run(hub, call)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange.Hub, "enter", enter)
        bridge = host.bridge(answering([b"x"]))
        await host.run(bridge, host.client())
        client = host.client("POST", headers=[(b"content-length", b"1")]).feed(b"x")
        await host.run(bridge, client)
    for _ in range(5):
        await asyncio.sleep(0.01)
    assert not bridge._hub.live
    assert [call() for call in calls] == [None, None]


async def test_the_moments_between_two_lines(host: Any) -> None:
    """The thread gets on just before the loop begins to wait for it: no test can hit that from outside."""
    loop = asyncio.get_running_loop()
    client = host.client()
    hub = exchange.Hub(loop, host.bridge(reading).pool, None)
    one = exchange.Exchange(hub, client.scope, client.receive, client.send)
    one.output.append(b"x")
    await asyncio.wait_for(one._wait_for_output(), 1)
    body = one.open_input(None, None, None, polite=False)
    await asyncio.wait_for(one._wait_for_room(body, 100), 1)
    assert not body.paused


async def test_a_thread_that_finds_its_loop_closed_stops(host: Any) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    client = host.client()
    one = exchange.Exchange(exchange.Hub(loop, host.bridge(reading).pool, None), client.scope, client.receive, None)
    one.signal()
    assert one.gone
    assert one.has_room()
