"""A handler returns a call to a pool: its progress over SSE and WSX for who asks, its result for everybody else."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from genro_asgi.exceptions import HTTPBadRequest
from genro_asgi.executors import Job, report
from genro_asgi.routing import route
from genro_asgi.server.progress import progress_of, wants_progress
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient

EVENTS = {"accept": "text/event-stream"}


def knead(steps: int, fail: bool = False) -> dict[str, int]:
    for step in range(steps):
        report(step / steps, f"step {step}")
    if fail:
        raise LookupError("the oven is gone")
    return {"loaves": steps}


def refuse() -> None:
    raise HTTPBadRequest("There is no flour.")


class Bakery(AsgiServer):
    """`gate` holds the calls to `prove` until it is opened."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.gate = threading.Event()
        self.jobs: list[Job[Any]] = []
        self.pool = self.executor("jobs", kind="thread", max_workers=2, max_pending=2)

    def prove(self) -> str:
        report(None, "waiting")
        self.gate.wait(20)
        return "risen"

    @route()
    async def bake(self, steps: int = 2, fail: bool = False) -> Any:
        return self.pool.run(knead, steps, fail)

    @route(inline=True)
    def at_once(self, steps: int = 1) -> Any:
        return self.pool.run(knead, steps)

    @route()
    async def refused(self) -> Any:
        return self.pool.run(refuse)

    @route()
    async def slow(self) -> Any:
        self.jobs.append(self.pool.run(self.prove))
        return self.jobs[-1]


@pytest.fixture
def bakery() -> Any:
    server = Bakery()
    yield server
    server.gate.set()


def parsed(body: str) -> list[tuple[str, Any]]:
    """Events as (name, data)."""
    found = []
    for block in body.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


@pytest.mark.parametrize("path", ["/bake?steps=1", "/at_once"])
@pytest.mark.asyncio
async def test_the_progress_of_a_call_as_events(bakery: Bakery, path: str) -> None:
    async with AsyncClient(bakery) as client:
        answer = await client.get(path, headers=EVENTS)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (answer.headers["vary"], answer.headers["cache-control"]) == ("Accept", "no-cache")
    assert answer.text == (
        'event: progress\ndata: {"fraction":0.0,"text":"step 0"}\n\nevent: result\ndata: {"result":{"loaves":1}}\n\n'
    )


@pytest.mark.parametrize("path", ["/bake?steps=1", "/at_once"])
@pytest.mark.asyncio
async def test_its_result_for_everybody_else(bakery: Bakery, path: str) -> None:
    async with AsyncClient(bakery) as client:
        answer = await client.get(path, headers={"accept": "application/json"})
    assert (answer.status_code, answer.json(), answer.headers["vary"]) == (200, {"loaves": 1}, "Accept")


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [("/bake?steps=1&fail=true", 500, "Internal Server Error"), ("/refused", 400, "There is no flour.")],
)
@pytest.mark.asyncio
async def test_a_failure_is_the_last_event_or_the_status(bakery: Bakery, path: str, status: int, detail: str) -> None:
    async with AsyncClient(bakery) as client:
        plain = await client.get(path)
        events = parsed((await client.get(path, headers=EVENTS)).text)
    assert plain.status_code == status
    name, problem = events[-1]
    assert (name, problem["status"], problem["detail"]) == ("problem", status, detail)
    assert problem == plain.json()
    assert "oven" not in str(events)
    assert bakery.pool.metrics()["failed"] == 2


@pytest.mark.asyncio
async def test_what_the_pool_cannot_take_is_a_503(bakery: Bakery) -> None:
    async with AsyncClient(bakery) as client:
        waiting = [asyncio.ensure_future(client.get("/slow")) for _ in range(2)]
        while len(bakery.jobs) < 2:
            await asyncio.sleep(0)
        for headers in ({}, EVENTS):
            refused = await client.get("/slow", headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (503, "OVERLOADED")
        bakery.gate.set()
        assert [(await answer).text for answer in waiting] == ["risen", "risen"]


@pytest.mark.asyncio
async def test_who_leaves_cancels_the_call(bakery: Bakery) -> None:
    async with AsyncClient(bakery) as client:
        async with client.stream("GET", "/slow", headers=EVENTS) as answer:
            assert await anext(aiter(answer)) == b'event: progress\ndata: {"fraction":null,"text":"waiting"}\n\n'
        async with asyncio.timeout(10):
            while not bakery.jobs[0].done():
                await asyncio.sleep(0.005)
        assert bakery.jobs[0].cancelled()
        bakery.gate.set()
    assert bakery.pool.metrics()["cancelled"] == 1


@pytest.mark.parametrize("headers", [{}, EVENTS])
@pytest.mark.asyncio
async def test_who_asks_for_the_head_only_gets_it_and_the_call_is_over(bakery: Bakery, headers: dict[str, str]) -> None:
    bakery.gate.set()
    async with AsyncClient(bakery) as client:
        answer = await client.request("HEAD", "/slow", headers=headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert bakery.jobs[0].done()
    assert bakery.pool.pending == 0


@pytest.mark.asyncio
async def test_a_call_whose_events_nobody_ever_read_is_cancelled(bakery: Bakery) -> None:
    request: Any = SimpleNamespace(headers=EVENTS)
    async with AsyncClient(bakery):
        job = await bakery.slow()
        response: Any = progress_of(bakery.dispatcher, request, job)
        await response.body_iterator.aclose()
    assert job.cancelled()


@pytest.mark.asyncio
async def test_a_server_that_stops_says_so(bakery: Bakery) -> None:
    async with AsyncClient(bakery) as client, client.stream("GET", "/slow", headers=EVENTS) as answer:
        pieces = aiter(answer)
        await anext(pieces)
        draining = asyncio.ensure_future(bakery.drain())
        ((name, problem),) = parsed(b"".join([piece async for piece in pieces]).decode())
        await draining
    assert (name, problem["status"], problem["code"], problem["retry"]) == ("problem", 503, "DRAINING", True)
    assert bakery.jobs[0].cancelled()


async def messages(socket: Any, call: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """What a WSX call is answered, to its end."""
    await socket.send_text(json.dumps({"id": "1", "method": "GET", **call}))
    while True:
        answer = json.loads(await socket.receive_text())
        yield answer
        if not answer.get("stream"):
            return


@pytest.mark.parametrize("how", [{"credit": 9}, {"headers": EVENTS}])
@pytest.mark.asyncio
async def test_the_progress_of_a_call_over_wsx(bakery: Bakery, how: dict[str, Any]) -> None:
    async with AsyncClient(bakery) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        for path in ("/bake", "/at_once"):
            call = {"path": path, "query": {"steps": "1"}, **how}
            *items, end = [answer async for answer in messages(socket, call)]
            assert [item["data"] for item in items] == [
                {"fraction": 0.0, "text": "step 0"},
                {"result": {"loaves": 1}},
            ]
            assert (end["status"], end.get("data")) == (200, None)


@pytest.mark.asyncio
async def test_its_result_over_wsx(bakery: Bakery) -> None:
    async with AsyncClient(bakery) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        for path in ("/bake", "/at_once"):
            (answer,) = [one async for one in messages(socket, {"path": path, "query": {"steps": "2"}})]
            assert (answer["status"], answer["data"]) == (200, {"loaves": 2})
        (answer,) = [one async for one in messages(socket, {"path": "/refused"})]
        assert (answer["status"], answer["data"]["detail"]) == (400, "There is no flour.")


@pytest.mark.asyncio
async def test_a_failure_ends_the_stream_over_wsx(bakery: Bakery) -> None:
    async with AsyncClient(bakery) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        call = {"path": "/bake", "query": {"steps": "1", "fail": "true"}, "credit": 9}
        item, end = [answer async for answer in messages(socket, call)]
        assert item["data"] == {"fraction": 0.0, "text": "step 0"}
        assert (end["status"], end["data"]["status"]) == (500, 500)


@pytest.mark.parametrize("extra", [{"credit": 9}, {}])
@pytest.mark.asyncio
async def test_a_cancelled_call_is_cancelled_in_its_pool(bakery: Bakery, extra: dict[str, Any]) -> None:
    async with AsyncClient(bakery) as client, client.websocket("/", subprotocols=["wsx.1"]) as socket:
        answers = messages(socket, {"path": "/slow", **extra})
        first = asyncio.ensure_future(anext(answers))
        while not bakery.jobs:
            await asyncio.sleep(0)
        if extra:
            assert (await first)["data"] == {"fraction": None, "text": "waiting"}
            first = asyncio.ensure_future(anext(answers))
        await socket.send_text(json.dumps({"method": "POST", "path": "/_wsx/cancel", "data": {"id": "1"}}))
        assert (await first)["status"] == 499
        while not bakery.jobs[0].done():
            await asyncio.sleep(0)
        assert bakery.jobs[0].cancelled()
        bakery.gate.set()


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("text/event-stream", True),
        ("application/json, text/event-stream;q=0.5", True),
        ("*/*", False),
        ("text/event-streams", False),
        ("", False),
    ],
)
def test_who_wants_events(accept: str, wanted: bool) -> None:
    request: Any = SimpleNamespace(headers={"accept": accept})
    assert wants_progress(request) is wanted
