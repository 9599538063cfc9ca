"""What stands in front of a site: paths that leave, files from memory, the debugger. The site is a stand-in."""

import os
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest

from genro_asgi.middleware.wsgi import WSGIMiddleware
from genropy_asgi.debugger import LocalDebugger, is_local
from genropy_asgi.gateway import SiteGateway, leaves_its_folder
from genropy_asgi.statics import Statics, signature_of


@pytest.mark.parametrize(
    "path",
    ["/_site/../x", "/..", "/a/..", "/site:..", "/site:../x", "/a\\..\\b", "/_storage/site/../../x", "..", "/:../"],
)
def test_paths_that_leave(path: str) -> None:
    assert leaves_its_folder(path)


@pytest.mark.parametrize("path", ["/", "/_site/x", "/a..b", "/...", "/_site/..x", "/x../y", "/a.b/c:d", "/site:x"])
def test_paths_that_stay(path: str) -> None:
    assert not leaves_its_folder(path)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"REMOTE_ADDR": "127.0.0.1"}, True),
        ({"REMOTE_ADDR": "127.9.9.9"}, True),
        ({"REMOTE_ADDR": "::1"}, True),
        ({"REMOTE_ADDR": "::ffff:127.0.0.1"}, True),
        ({"REMOTE_ADDR": "::ffff:10.0.0.1"}, False),
        ({"REMOTE_ADDR": "10.0.0.1", "HTTP_HOST": "localhost"}, False),
        ({"REMOTE_ADDR": "localhost"}, False),
        ({"REMOTE_ADDR": ""}, False),
        ({}, False),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "10.0.0.1"}, False),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_FORWARDED": "for=10.0.0.1"}, False),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_REAL_IP": "10.0.0.1"}, False),
    ],
)
def test_who_gets_the_debugger(environ: dict[str, Any], expected: bool) -> None:
    assert is_local(environ) is expected
    app = LocalDebugger(lambda e, s: [b"plain"], lambda e, s: [b"debugged"])
    assert app(environ, lambda *args: None) == [b"debugged" if expected else b"plain"]


class Site:
    """A site of one folder: what Statics asks of a GnrWsgiSite, and a WSGI application that counts its calls."""

    rootDomain = "_main_"
    currentDomain = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = 0
        self.cleaned = 0
        self.headers: list[tuple[str, str]] = []

    def get_path_list(self, path: str) -> list[str]:
        return path.strip("/").split("/")

    def storageType(self, path_list: list[str]) -> str:
        return path_list[0][1:]

    def storageNodeFromPathList(self, path_list: list[str], storage: str) -> Any:
        return type("Node", (), {"internal_path": str(self.folder.joinpath(*path_list[1:]))})()

    def cleanup(self) -> None:
        self.cleaned += 1

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.calls += 1
        file = self.folder / environ["PATH_INFO"].partition("/_site/")[2]
        if not file.is_file():
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"nothing"]
        state = file.stat()
        tag = f'"{state.st_mtime}-{state.st_size}"'
        expires = formatdate(time() + 1000)
        start_response("200 OK", [("ETag", tag), ("Expires", expires), ("X-Site", "yes"), *self.headers])
        return [file.read_bytes()]


async def ask(
    app: Any, path: str, method: str = "GET", query: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": fields}
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], got, b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "a.css").write_text("one")
    return Site(tmp_path)


@pytest.fixture
def gateway(site: Site, monkeypatch: pytest.MonkeyPatch) -> SiteGateway:
    monkeypatch.setattr(Statics, "_compresses", lambda self: False)
    return SiteGateway(site, site, frozenset)


@pytest.mark.asyncio
async def test_a_file_is_asked_for_once(site: Site, gateway: SiteGateway) -> None:
    answers = [await ask(gateway, "/_site/a.css") for _ in range(3)]
    await gateway.shutdown()
    assert [(status, headers["x-site"], body) for status, headers, body in answers] == [(200, "yes", b"one")] * 3
    assert (site.calls, site.cleaned) == (1, 1)


@pytest.mark.asyncio
async def test_what_a_kept_file_answers(site: Site, gateway: SiteGateway) -> None:
    _, headers, _ = await ask(gateway, "/_site/a.css")
    tag = headers["etag"]
    assert (await ask(gateway, "/_site/a.css", "HEAD"))[2] == b""
    for seen in (tag, tag.strip('"')):
        assert await ask(gateway, "/_site/a.css", if_none_match=seen) == (304, {"etag": tag.strip('"')}, b"")
    both = await ask(gateway, "/_site/a.css", if_none_match=tag, if_modified_since="Sat, 01 Jan 2000 00:00:00 GMT")
    assert both[0] == 304
    assert site.calls == 1
    await gateway.shutdown()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "method", "query", "headers"),
    [
        ("/_site/a.css", "POST", b"", {}),
        ("/_site/a.css", "GET", b"download=1", {}),
        ("/_site/a.css", "GET", b"mtime=1&download=1", {}),
        ("/_site/a.css", "GET", b"", {"range": "bytes=0-1"}),
        ("/_site/a.css", "GET", b"", {"if_modified_since": "Sat, 01 Jan 2000 00:00:00 GMT"}),
        ("/_site/a.css", "GET", b"", {"if_none_match": "other"}),
        ("/page", "GET", b"", {}),
        ("/_conn/x", "GET", b"", {}),
    ],
)
async def test_what_is_the_sites_own(
    path: str, method: str, query: bytes, headers: dict[str, str], site: Site, gateway: SiteGateway
) -> None:
    await ask(gateway, "/_site/a.css")
    before = site.calls
    await ask(gateway, path, method, query, **headers)
    await ask(gateway, path, method, query, **headers)
    assert site.calls == before + 2
    await gateway.shutdown()


@pytest.mark.asyncio
async def test_a_file_that_changes(site: Site, gateway: SiteGateway) -> None:
    bodies = []
    for number, text in enumerate(("one", "two", "six")):
        (site.folder / "a.css").write_text(text)
        os.utime(site.folder / "a.css", ns=(number, number))
        bodies += [(await ask(gateway, "/_site/a.css"))[2] for _ in range(2)]
    (site.folder / "a.css").unlink()
    assert bodies == [b"one", b"one", b"two", b"two", b"six", b"six"]
    assert (await ask(gateway, "/_site/a.css"))[0] == 404
    assert site.calls == 4
    await gateway.shutdown()


@pytest.mark.asyncio
async def test_answers_that_are_not_kept(site: Site, gateway: SiteGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    site.headers = [("Set-Cookie", "a=1")]
    await ask(gateway, "/_site/a.css")
    await ask(gateway, "/_site/a.css")
    assert site.calls == 2
    site.headers = []
    monkeypatch.setattr("genropy_asgi.statics.LARGEST", 2)
    await ask(gateway, "/_site/a.css")
    await ask(gateway, "/_site/a.css")
    assert site.calls == 4
    await gateway.shutdown()


@pytest.mark.asyncio
async def test_the_memory_has_an_end(site: Site, gateway: SiteGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genropy_asgi.statics.ROOM", 7)
    for name in "bcd":
        (site.folder / name).write_text("xyz")
        await ask(gateway, f"/_site/{name}")
    kept = [path for path, _ in gateway.statics._kept]
    assert (kept, gateway.statics._size) == (["/_site/c", "/_site/d"], 6)
    await gateway.shutdown()


@pytest.mark.asyncio
async def test_a_path_that_leaves_never_reaches_the_site(site: Site, gateway: SiteGateway) -> None:
    assert (await ask(gateway, "/_site/../a.css"))[0] == 404
    assert site.calls == 0
    await gateway.shutdown()


def test_only_files_have_a_signature(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert signature_of(str(tmp_path / "file")) is not None
    assert [signature_of(name) for name in (str(tmp_path), str(tmp_path / "no"), "a\0b")] == [None, None, None]


def test_the_bridge_is_the_servers(gateway: SiteGateway) -> None:
    assert type(gateway.bridge) is WSGIMiddleware
