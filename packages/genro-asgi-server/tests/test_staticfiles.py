"""Static files: contained, conditional, ranged, precompressed, html mode."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.exceptions import HTTPException
from genro_asgi.server.server import AsgiServer
from genro_asgi.staticfiles import StaticFiles, accepted_encodings
from genro_asgi.testing import AsyncClient, WebSocketDenied


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("outside")
    (root / "a.txt").write_text("hello")
    (root / "page.js").write_text("let a = 1")
    (root / "page.js.gz").write_bytes(b"gz-bytes")
    (root / "page.js.br").write_bytes(b"br-bytes")
    (root / "sub" / "index.html").write_text("<h1>sub</h1>")
    (root / "404.html").write_text("<h1>lost</h1>")
    (root / ".env").write_text("TOKEN=1")
    (root / "out").symlink_to(tmp_path / "secret.txt")
    (root / "inside").symlink_to(root / "a.txt")
    return root


def serving(root: Path, **options: Any) -> AsyncClient:
    server = AsgiServer()
    server.mount("static", StaticFiles(directory=root, **options))
    return AsyncClient(server)


@pytest.mark.asyncio
async def test_a_file_with_its_headers(site: Path) -> None:
    async with serving(site) as client:
        answer = await client.get("/static/a.txt")
        assert (answer.status_code, answer.text) == (200, "hello")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["accept-ranges"] == "bytes"
        again = await client.get("/static/a.txt", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        part = await client.get("/static/a.txt", headers={"range": "bytes=1-2"})
        assert (part.status_code, part.text, part.headers["content-range"]) == (206, "el", "bytes 1-2/5")
        head = await client.head("/static/a.txt")
        assert (head.headers["content-length"], head.content) == ("5", b"")
        assert (await client.get("/static/inside")).text == "hello"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt", "/%2e%2e/secret.txt", "/sub/../../secret.txt", "/..%2fsecret.txt", "//etc/hostname",
        "/%2fetc/hostname", "/out", "/.env", "/a.txt/", "/a.txt/x", "/nul%00.txt", "/" + "n" * 3000, "/..\\secret.txt",
        "/C:/secret.txt", "/\\\\host\\share", "/sub", "/sub/", "/", "/missing", "/%ff",
    ],
)  # fmt: skip
async def test_nothing_else_is_served(site: Path, path: str) -> None:
    async with serving(site) as client:
        answer = await client.get("/static" + path)
        if path == "/a.txt/":
            assert answer.text in ("hello", "") or answer.status_code == 404
            return
        assert answer.status_code == 404, answer.text
        assert answer.headers["content-type"] == "application/problem+json"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=30))
def test_any_path_stays_inside(text: str) -> None:
    files = StaticFiles(directory=os.path.dirname(__file__))
    scope = {"type": "http", "path": "/" + text, "root_path": "", "method": "GET", "headers": []}
    full_path, found = files._found(files.get_path(scope))
    assert found is None or os.path.realpath(full_path).startswith(os.path.realpath(os.path.dirname(__file__)))


@pytest.mark.asyncio
async def test_links_and_dotfiles_can_be_allowed(site: Path) -> None:
    async with serving(site, follow_symlink=True, dotfiles=True) as client:
        assert (await client.get("/static/out")).text == "outside"
        assert (await client.get("/static/.env")).text == "TOKEN=1"


@pytest.mark.asyncio
async def test_a_directory_named_like_the_mount(site: Path) -> None:
    (site / "static").mkdir()
    (site / "static" / "a.txt").write_text("inner")
    async with serving(site) as client:
        assert (await client.get("/static/static/a.txt")).text == "inner"
        assert (await client.get("/static/a.txt")).text == "hello"


@pytest.mark.asyncio
async def test_html_mode(site: Path) -> None:
    async with serving(site, html=True) as client:
        assert (await client.get("/static/sub/")).text == "<h1>sub</h1>"
        moved = await client.get("/static/sub")
        assert (moved.status_code, moved.headers["location"]) == (307, "http://testserver/static/sub/")
        lost = await client.get("/static/missing")
        assert (lost.status_code, lost.text) == (404, "<h1>lost</h1>")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("accept", "body", "encoding"),
    [
        ("gzip, br", b"br-bytes", "br"),
        ("gzip", b"gz-bytes", "gzip"),
        ("br;q=0, gzip;q=0.5", b"gz-bytes", "gzip"),
        ("identity", b"let a = 1", None),
        ("", b"let a = 1", None),
    ],
)
async def test_precompressed_siblings(site: Path, accept: str, body: bytes, encoding: str | None) -> None:
    async with serving(site) as client:
        answer = await client.get("/static/page.js", headers={"accept-encoding": accept})
        assert (answer.content, answer.headers.get("content-encoding")) == (body, encoding)
        assert "javascript" in answer.headers["content-type"]
        assert answer.headers["vary"] == "Accept-Encoding"
        assert "vary" not in (await client.get("/static/a.txt")).headers
    async with serving(site, precompressed=False) as client:
        plain = await client.get("/static/page.js", headers={"accept-encoding": accept})
        assert plain.content == b"let a = 1"


@pytest.mark.asyncio
async def test_other_methods_and_misuse(site: Path) -> None:
    async with serving(site) as client:
        refused = await client.post("/static/a.txt")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    with pytest.raises(RuntimeError, match="does not exist"):
        StaticFiles(directory=site / "nowhere")
    with pytest.raises(RuntimeError, match=r"a\.txt' is not a directory"):
        async with AsyncClient(StaticFiles(directory=site / "a.txt", check_dir=False), lifespan=False) as client:
            await client.get("/x")
    async with AsyncClient(StaticFiles(directory=site), lifespan=False) as client:
        with pytest.raises(WebSocketDenied) as denied:
            await client.websocket("/a.txt").__aenter__()
        assert denied.value.status_code == 403
    with pytest.raises(AssertionError, match="could not be found"):
        StaticFiles(packages=["no_such_package"])
    with pytest.raises(HTTPException):
        async with AsyncClient(StaticFiles(directory=site), lifespan=False) as client:
            await client.get("/missing")


def test_accepted_encodings() -> None:
    assert accepted_encodings("gzip;q=0.000, br; q=1, zstd;q=0.1,*") == {"br", "zstd", "*"}
