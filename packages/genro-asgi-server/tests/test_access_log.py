"""One line for each answer, whatever way it took, and no more than a line."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from genro_asgi.exceptions import HTTPException
from genro_asgi.response import RedirectResponse, Response
from genro_asgi.routing import route
from genro_asgi.server.log_setup import TextFormatter
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient


class Site(AsgiServer):
    @route()
    async def bare(self) -> str:
        return "ok"

    @route()
    async def bound(self, name: str = "") -> dict[str, str]:
        return {"name": name}

    @route()
    def threaded(self) -> int:
        return 1

    @route(methods="POST")
    async def posted(self, body_data: Any) -> Any:
        return body_data

    @route()
    async def pieces(self) -> AsyncIterator[str]:
        yield "a"
        yield "b"

    @route()
    def lines(self) -> Iterator[str]:
        yield "a"

    @route()
    async def elsewhere(self) -> RedirectResponse:
        return RedirectResponse("/bare")

    @route()
    async def refused(self) -> None:
        raise HTTPException(403)

    @route()
    async def broken(self) -> None:
        raise LookupError("x")

    @route()
    async def waiting(self) -> int:
        await asyncio.sleep(0)
        return 2


ASKED = [
    ("GET", "/bare", None, "GET /bare 200"),
    ("HEAD", "/bare", None, "HEAD /bare 200"),
    ("OPTIONS", "/bare", None, "OPTIONS /bare 204"),
    ("GET", "/bound?name=x&token=hush", None, "GET /bound?name=x&token=[redacted] 200"),
    ("GET", "/bound/y", None, "GET /bound/y 200"),
    ("GET", "/threaded", None, "GET /threaded 200"),
    ("POST", "/posted", [1], "POST /posted 200"),
    ("GET", "/posted", None, "GET /posted 405"),
    ("GET", "/pieces", None, "GET /pieces 200"),
    ("GET", "/lines", None, "GET /lines 200"),
    ("GET", "/elsewhere", None, "GET /elsewhere 307"),
    ("GET", "/refused", None, "GET /refused 403"),
    ("GET", "/broken", None, "GET /broken 500"),
    ("GET", "/no%0athing", None, "GET /no\\x0athing 404"),
]


@pytest.mark.parametrize("more", [{}, {"cors": True}], ids=["alone", "beside another hook"])
@pytest.mark.asyncio
async def test_every_answer_has_one_line(more: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "genro_asgi.access")
    server = Site(middleware={"logging": True, **more})
    async with AsyncClient(server) as client:
        for method, path, body, _ in ASKED:
            await client.request(method, path, **({} if body is None else {"json": body}))
    lines = [record.getMessage() for record in caplog.records if record.name == "genro_asgi.access"]
    assert [re.sub(r" \(\d+\.\dms\)$", "", line) for line in lines] == [line for *_, line in ASKED]
    assert all(re.search(r" \(\d+\.\dms\)$", line) for line in lines)


CALLED = [
    ("GET", "/bare", None, "GET /bare 200"),
    ("GET", "/waiting", None, "GET /waiting 200"),
    ("GET", "/threaded", None, "GET /threaded 200"),
    ("POST", "/posted", [1], "POST /posted 200"),
    ("GET", "/refused", None, "GET /refused 403"),
    ("GET", "/broken", None, "GET /broken 500"),
    ("GET", "/nothing", None, "GET /nothing 404"),
]


@pytest.mark.parametrize("more", [{}, {"cors": True}], ids=["alone", "beside another hook"])
@pytest.mark.asyncio
async def test_every_call_has_one_line(more: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "genro_asgi.access")
    server = Site(middleware={"logging": True, **more})
    async with AsyncClient(server) as client, client.websocket("/", ["wsx.1"]) as socket:
        for number, (method, path, data, _) in enumerate(CALLED):
            fields = {"id": str(number), "method": method, "path": path, "data": data}
            await socket.send_text("WSX://" + json.dumps(fields))
            await socket.receive_text()
    lines = [record.getMessage() for record in caplog.records if record.name == "genro_asgi.access"]
    names = [f"{line} (request {number})" for number, (*_, line) in enumerate(CALLED)]
    assert [re.sub(r" \(\d+\.\dms\)", "", line) for line in lines] == names


NAMES = [
    ("order-17", "order-17"),
    ("a b", "a b"),
    ("x" * 128, "x" * 128),
    ("x" * 129, None),
    ("", None),
    ("\u00e9", None),
    ("a\tb", None),
]


def names_in(caplog: pytest.LogCaptureFixture) -> list[str | None]:
    lines = [record.getMessage() for record in caplog.records if record.name == "genro_asgi.access"]
    found = [re.fullmatch(r"GET \S+ 20. \(\d+\.\dms\)(?: \(request ([^\n]*)\))?", line) for line in lines]
    return [None if one is None else one[1] for one in found]


@pytest.mark.parametrize("path", ["/bare", "/raw/x"], ids=["own", "mounted"])
@pytest.mark.asyncio
async def test_a_request_is_named_as_its_client_names_it(path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "genro_asgi.access")
    server = Site(middleware={"logging": True})
    server.mount("raw", Response("raw", 203))
    async with AsyncClient(server) as client:
        for name, _ in NAMES:
            await client.get(path, headers={"x-request-id": name})
        await client.get(path)
    assert names_in(caplog) == [*(named for _, named in NAMES), None]


@pytest.mark.asyncio
async def test_a_call_is_named_as_its_client_names_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "genro_asgi.access")
    server = Site(middleware={"logging": True})
    asked = [("1", name, named or "1") for name, named in NAMES if "\t" not in name]
    asked += [("a\nb\u00e9", "", "a\\nb\\xe9")]
    async with AsyncClient(server) as client, client.websocket("/", ["wsx.1"]) as socket:
        for id, name, _ in asked:
            fields = {"id": id, "method": "GET", "path": "/bare", "headers": {"x-request-id": name}}
            await socket.send_text("WSX://" + json.dumps(fields))
            await socket.receive_text()
        # A header that could forge a line does not get in at all.
        fields = {"id": "1", "method": "GET", "path": "/bare", "headers": {"x-request-id": "a\r\nGET /forged 200"}}
        await socket.send_text(json.dumps(fields))
        assert json.loads(await socket.receive_text())["data"]["code"] == "BAD_ENVELOPE"
    assert names_in(caplog) == [named for *_, named in asked]


@pytest.mark.asyncio
async def test_a_subclass_sees_responses(caplog: pytest.LogCaptureFixture) -> None:
    from genro_asgi.middleware.logging import LoggingMiddleware

    seen: list[int] = []

    class Counting(LoggingMiddleware):
        def after(self, request: Any, response: Any) -> None:
            seen.append(response.status_code)

    server = Site()
    server._set_middleware([*server.middleware, Counting(server)])
    async with AsyncClient(server) as client:
        assert (await client.get("/bare")).text == "ok"
    assert seen == [200]


def test_the_time_of_a_line() -> None:
    formatter = TextFormatter()
    record = logging.makeLogRecord({"msg": "%s!", "args": ("hello",), "levelname": "INFO", "name": "x"})
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    for moment in (1_700_000_000.25, 1_700_000_000.75, 1_700_000_001.0):
        record.created, record.msecs = moment, (moment % 1) * 1000
        assert formatter.format(record) == plain.format(record)
