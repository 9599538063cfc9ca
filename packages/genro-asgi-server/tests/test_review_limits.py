"""Limits that hold on the quick ways too, and credentials and bodies no shortcut may trip over."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient


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
