"""StaticRouter: a directory among the routes, with the guarantees of StaticFiles."""

from pathlib import Path
from typing import Any

import pytest

from genro_asgi.routers.static_router import StaticRouter
from genro_asgi.routing import RoutingClass, route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("outside")
    (root / "a.txt").write_text("hello")
    (root / "page.js").write_text("let a = 1")
    (root / "page.js.gz").write_bytes(b"gz-bytes")
    (root / "page.js.zst").write_bytes(b"zst-bytes")
    (root / "index.html").write_text("<h1>root</h1>")
    (root / "sub" / "index.html").write_text("<h1>sub</h1>")
    (root / ".env").write_text("TOKEN=1")
    (root / "@a.txt").write_text("at")
    (root / "out").symlink_to(tmp_path / "secret.txt")
    return root


def serving(root: Path, **options: Any) -> AsyncClient:
    server = AsgiServer()
    server.mount("static", StaticRouter(root, **options))
    return AsyncClient(server)


@pytest.mark.asyncio
async def test_a_file_with_conditions_ranges_and_head(site: Path) -> None:
    async with serving(site) as client:
        answer = await client.get("/static/a.txt")
        assert (answer.status_code, answer.text) == (200, "hello")
        again = await client.get("/static/a.txt", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        part = await client.get("/static/a.txt", headers={"range": "bytes=1-2"})
        assert (part.status_code, part.text, part.headers["content-range"]) == (206, "el", "bytes 1-2/5")
        head = await client.head("/static/a.txt")
        assert (head.status_code, head.headers["content-length"], head.content) == (200, "5", b"")
        refused = await client.post("/static/a.txt")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt", "/%2e%2e/secret.txt", "/sub/../../secret.txt", "/..%2fsecret.txt", "//etc/hostname",
        "/%2fetc/hostname", "/out", "/.env", "/a.txt/x", "/nul%00.txt", "/" + "n" * 3000, "/..\\secret.txt",
        "/C:/secret.txt", "/\\\\host\\share", "/missing", "/%ff", "/@a.txt",
    ],
)  # fmt: skip
async def test_nothing_else_is_served(site: Path, path: str) -> None:
    async with serving(site) as client:
        answer = await client.get("/static" + path)
        assert answer.status_code == 404, answer.text
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.asyncio
@pytest.mark.parametrize(("asked", "status"), [("bytes=x", 400), ("bytes=999-", 416)])
async def test_a_bad_range_has_the_one_error_body(site: Path, asked: str, status: int) -> None:
    async with serving(site) as client:
        answer = await client.get("/static/a.txt", headers={"range": asked})
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.headers.get("content-range", "").startswith("bytes */") is (status == 416)


@pytest.mark.asyncio
async def test_indexes(site: Path) -> None:
    async with serving(site) as client:
        assert (await client.get("/static/")).text == "<h1>root</h1>"
        assert (await client.get("/static/sub/")).text == "<h1>sub</h1>"
        moved = await client.get("/static/sub")
        assert (moved.status_code, moved.headers["location"]) == (307, "http://testserver/static/sub/")
    async with serving(site, html_index=False) as client:
        assert (await client.get("/static/sub/")).status_code == 404


@pytest.mark.asyncio
async def test_options_are_those_of_static_files(site: Path) -> None:
    async with serving(site, follow_symlink=True, dotfiles=True) as client:
        assert (await client.get("/static/out")).text == "outside"
        assert (await client.get("/static/.env")).text == "TOKEN=1"
    async with serving(site) as client:
        answer = await client.get("/static/page.js", headers={"accept-encoding": "gzip, zstd"})
        assert (answer.content, answer.headers["content-encoding"]) == (b"zst-bytes", "zstd")
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    with pytest.raises(RuntimeError, match="does not exist"):
        StaticRouter(site / "none")


class Shop(RoutingClass):
    """Handlers beside a directory, two levels down."""

    def __init__(self, root: Path) -> None:
        self.assets = Guarded(root, "assets")
        self.route.include(self.assets.route, name="assets")

    @route()
    def index(self) -> str:
        return "shop"


class Guarded(StaticRouter):
    @route(methods="GET", auth_rule="staff")
    async def index(self, *path: str, request: Any) -> Any:
        return await super().index(*path, request=request)


@pytest.mark.asyncio
async def test_it_is_a_handler_among_handlers(site: Path) -> None:
    server = AsgiServer()
    server.mount("shop", Shop(site))
    async with AsyncClient(server) as client:
        assert (await client.get("/shop/assets/a.txt")).status_code == 401
        assert (await client.get("/shop/")).text == "shop"
    server = AsgiServer()
    shop = Shop.__new__(Shop)
    shop.route.include(StaticRouter(site).route, name="assets")
    server.mount("shop", shop)
    async with AsyncClient(server) as client:
        assert (await client.get("/shop/assets/a.txt")).text == "hello"
        assert (await client.get("/shop/assets/sub")).headers["location"] == "http://testserver/shop/assets/sub/"
