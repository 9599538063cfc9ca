"""The gateway: ASGI prefixes pass, everything else is WSGI's."""

from types import SimpleNamespace
from typing import Any

import pytest

from genro_asgi.middleware.wsgi_gateway import WsgiGateway, WsgiGatewayMiddleware, asgi_prefixes

pytestmark = pytest.mark.asyncio


def site(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return [b"site " + environ["PATH_INFO"].encode("latin-1")]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"asgi " + scope["path"].encode()})
    else:
        await send({"type": scope["type"]})


@pytest.mark.parametrize(
    ("mounts", "children", "expected"),
    [
        ({}, [], {"_server", "_sys"}),
        ({"api": asgi}, ["docs"], {"_server", "_sys", "api", "docs"}),
        ({"api": SimpleNamespace(app_protocol="asgi")}, [], {"_server", "_sys", "api"}),
        ({"legacy": SimpleNamespace(app_protocol="wsgi")}, [], {"_server", "_sys"}),
        ({"/a/b/": asgi}, [], {"_server", "_sys", "a"}),
    ],
)
async def test_asgi_prefixes(mounts: Any, children: Any, expected: set[str]) -> None:
    assert asgi_prefixes(mounts, children) == expected


@pytest.mark.parametrize(
    ("path", "owned"),
    [
        ("/", True),
        ("", True),
        ("/index", True),
        ("/apis/x", True),
        ("/API/x", True),
        ("/x/api", True),
        ("//api", True),
        ("/api", False),
        ("/api/", False),
        ("/api/x", False),
        ("/_server/info", False),
        ("/_sys/swagger", False),
        ("/_servers", True),
    ],
)
async def test_the_first_segment_decides(path: str, owned: bool) -> None:
    gateway = WsgiGateway(site, lambda: asgi_prefixes({"api": asgi}, []))
    assert gateway.owns(path) is owned


async def ask(host: Any, app: Any, path: str, **scope: Any) -> bytes:
    client = host.client(path=path, **scope)
    await host.run(app, client)
    return client.body  # type: ignore[no-any-return]


async def test_what_is_mounted_later_counts(host: Any) -> None:
    mounts: dict[str, Any] = {}
    server = SimpleNamespace(wsgi_app=site)
    app = WsgiGatewayMiddleware(asgi, server, lambda: asgi_prefixes(mounts, []))
    assert await ask(host, app, "/api/x") == b"site /api/x"
    mounts["api"] = asgi
    assert await ask(host, app, "/api/x") == b"asgi /api/x"
    assert await ask(host, app, "/page") == b"site /page"
    assert await ask(host, app, "/_server/info") == b"asgi /_server/info"
    await app.shutdown()


async def test_inert_without_a_wsgi_application(host: Any) -> None:
    server = SimpleNamespace(wsgi_app=None)
    app = WsgiGatewayMiddleware(asgi, server, lambda: asgi_prefixes({}, []), workers=1)
    assert await ask(host, app, "/page") == b"asgi /page"
    await app.shutdown()
    server.wsgi_app = site
    assert await ask(host, app, "/page") == b"site /page"
    pool = app.gateway.bridge.pool
    assert pool.max_workers == 1
    server.wsgi_app = lambda environ, start_response: [*site(environ, start_response), b"!"]
    assert await ask(host, app, "/page") == b"site /page!"
    assert app.gateway.bridge.pool is pool
    server.wsgi_app = None
    assert await ask(host, app, "/page") == b"asgi /page"
    await app.shutdown()
    assert pool.closed
    await app.shutdown()


async def test_root_path_is_no_segment(host: Any) -> None:
    app = WsgiGatewayMiddleware(asgi, SimpleNamespace(wsgi_app=site), lambda: asgi_prefixes({"api": asgi}, []))
    assert await ask(host, app, "/root/api/x", root_path="/root") == b"asgi /root/api/x"
    assert await ask(host, app, "/root/page", root_path="/root") == b"site /page"
    await app.shutdown()


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_only_http_goes_to_wsgi(host: Any, kind: str) -> None:
    app = WsgiGatewayMiddleware(asgi, SimpleNamespace(wsgi_app=site), lambda: asgi_prefixes({}, []))
    client = host.client(path="/page", type=kind)
    await host.run(app, client)
    assert client.sent == [{"type": kind}]


async def test_a_gateway_serves_again_after_it_was_shut_down(host: Any) -> None:
    gateway = WsgiGateway(site, frozenset, workers=1)
    assert gateway.wsgi_app is site
    for _ in range(2):
        pool = gateway.bridge.pool
        assert await ask(host, gateway, "/page") == b"site /page"
        await gateway.shutdown()
        assert pool.closed
        assert pool.workers == 0
