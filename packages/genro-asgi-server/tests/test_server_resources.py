"""What /_server/resource serves, and what it does not."""

from importlib.resources import files

import pytest

from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient

CLIENT = (files("genro_asgi.wsx") / "static" / "wsx.js").read_bytes()


@pytest.mark.asyncio
async def test_the_client_of_wsx() -> None:
    async with AsyncClient(AsgiServer()) as client:
        found = await client.get("/_server/resource/wsx.js")
        assert found.status_code == 200
        assert found.content == CLIENT
        assert found.headers["content-type"].startswith("text/javascript")
        assert found.headers["cache-control"] == "no-cache"
        again = await client.get("/_server/resource/wsx.js", headers={"if-none-match": found.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == found.headers["etag"]
        head = await client.request("HEAD", "/_server/resource/wsx.js")
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(CLIENT)))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/nothing.js",
        "/wsx.d.ts",
        "/wsx.js/more",
        "/../static/wsx.js",
        "/%2e%2e/static/wsx.js",
        "/..%2fcodec.py",
        "/%2e%2e%2f__init__.py",
        "/%2fetc%2fpasswd",
        "/wsx.js%00",
        "/" + "x" * 300,
    ],
)
async def test_nothing_else(path: str) -> None:
    async with AsyncClient(AsgiServer()) as client:
        answer = await client.get(f"/_server/resource{path}")
        assert answer.status_code in (400, 404)
        assert b"import" not in answer.content


@pytest.mark.asyncio
async def test_a_client_is_only_read() -> None:
    async with AsyncClient(AsgiServer()) as client:
        assert (await client.post("/_server/resource/wsx.js")).status_code == 405
