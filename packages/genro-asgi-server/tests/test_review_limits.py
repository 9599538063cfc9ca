"""Limits that hold on the quick ways too, and credentials and bodies no shortcut may trip over."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from genro_asgi.response import PlainTextResponse
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient
from genro_asgi.types import Receive, Scope, Send


class Site(AsgiServer):
    def __init__(self) -> None:
        limits = {"json_depth": 5, "query_pairs": 5, "url_bytes": 100}
        super().__init__(limits=limits, auth={"basic": {"ann": {"password": "pw", "tags": "admin"}}})

    @route()
    async def echo(self, body_data: Any) -> Any:
        return body_data

    @route()
    async def find(self, key: str) -> int:
        return len(key)

    @route()
    async def query(self, a: str = "") -> str:
        return a

    @route(auth_rule="admin")
    async def secret(self) -> int:
        return 1

    @route(methods="POST")
    async def raw(self, body_raw: bytes) -> int:
        return len(body_raw)


@pytest_asyncio.fixture
async def client() -> AsyncIterator[AsyncClient]:
    async with AsyncClient(Site()) as client:
        await client.get("/query")  # compiles the routes: what follows takes the quick ways
        yield client


@pytest.mark.asyncio
@pytest.mark.parametrize(("depth", "status"), [(5, 200), (6, 400)])
async def test_the_depth_of_json_is_the_configured_one(client: AsyncClient, depth: int, status: int) -> None:
    body = b"[" * depth + b"]" * depth
    answer = await client.post("/echo", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/find/" + "x" * 94, 200),
        ("/find/" + "x" * 95, 414),
        ("/find?key=" + "x" * 91, 200),
        ("/find?key=" + "x" * 92, 414),
    ],
)
async def test_path_and_query_together_keep_the_limit_of_the_url(client: AsyncClient, url: str, status: int) -> None:
    assert (await client.get(url)).status_code == status


@pytest.mark.asyncio
@pytest.mark.parametrize(("pairs", "status"), [(5, 200), (6, 400)])
async def test_pairs_of_a_query_are_counted_by_the_configured_limit(
    client: AsyncClient, pairs: int, status: int
) -> None:
    query = "&".join(f"a={number}" for number in range(pairs))
    assert (await client.get(f"/query?{query}")).status_code == status


@pytest.mark.asyncio
@pytest.mark.parametrize(("path", "status"), [("/secret", 401), ("/query", 200)])
async def test_basic_credentials_beyond_ascii_are_wrong_and_no_failure(
    client: AsyncClient, path: str, status: int
) -> None:
    answer = await client.get(path, headers={"authorization": "Basic \xe9\xe9"})
    assert answer.status_code == status


@pytest.mark.asyncio
async def test_a_handler_of_raw_bytes_gets_a_multipart_body_as_it_came(client: AsyncClient) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = await client.post("/raw", content=b"not multipart", headers=headers)
    assert (answer.status_code, json.loads(answer.content)) == (200, 13)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/there/x", [("x-a", "1")], 200),
        ("/there/x", [(f"x-{n}", "1") for n in range(200)], 431),
        ("/there/x", [("x-big", "y" * 70_000)], 431),
        ("/there/" + "x" * 100, [], 414),
        ("/there/x", [("authorization", "a"), ("authorization", "b")], 400),
    ],
)
async def test_heads_of_mounted_applications_have_limits_too(
    path: str, headers: list[tuple[str, str]], status: int
) -> None:
    async def there(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("there")(scope, receive, send)

    server = Site()
    server.mount("there", there)
    async with AsyncClient(server) as client:
        assert (await client.get(path, headers=headers)).status_code == status


@pytest.mark.asyncio
async def test_a_deadline_is_for_the_handler_not_for_the_download() -> None:
    class Slow(AsgiServer):
        @route(timeout=0.1)
        async def export(self) -> AsyncIterator[bytes]:
            yield b"head"
            await asyncio.sleep(0.2)
            yield b"tail"

    async with AsyncClient(Slow(), timeout=10) as client:
        answer = await client.get("/export")
        assert (answer.status_code, answer.content) == (200, b"headtail")
