"""A server with a WSGI application: what it serves itself stays, everything else is the application's."""

from typing import Any

import pytest
from genro_routes import route

from genro_asgi.server.server import AsgiServer

pytestmark = pytest.mark.asyncio


class Site:
    """A WSGI application that tells where it was asked."""

    def __call__(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode("latin-1")]


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"foreign " + scope["path"].encode()})


class Shop(AsgiServer):
    @route()
    def hello(self) -> str:
        return "hello"


async def ask(host: Any, server: Any, path: str, **scope: Any) -> tuple[int, bytes]:
    client = host.client(path=path, **scope)
    await host.run(server, client)
    return client.status, client.body


async def test_the_gateway_of_a_server(host: Any) -> None:
    server = Shop()
    server.mount("api", foreign)
    assert (await ask(host, server, "/page"))[0] == 404
    server.wsgi_app = Site()
    assert await ask(host, server, "/page/deep") == (200, b"|/page/deep")
    assert await ask(host, server, "/") == (200, b"|/")
    assert await ask(host, server, "/hello") == (200, b"hello")
    assert await ask(host, server, "/api/x") == (200, b"foreign /x")
    assert (await ask(host, server, "/_server/health"))[0] == 200
    assert await ask(host, server, "/late") == (200, b"|/late")
    server.mount("late", foreign)
    assert await ask(host, server, "/late") == (200, b"foreign /")
    server.wsgi_app = None
    assert (await ask(host, server, "/page"))[0] == 404
    await server.close()


async def test_a_server_that_was_closed_serves_wsgi_again(host: Any) -> None:
    server = AsgiServer()
    server.wsgi_app = Site()
    for _ in range(2):
        assert await ask(host, server, "/page") == (200, b"|/page")
        await server.close()


async def test_a_wsgi_application_below_a_mount(host: Any) -> None:
    from genro_asgi.middleware.wsgi import WSGIMiddleware

    server = AsgiServer()
    bridge = WSGIMiddleware(Site())
    server.mount("legacy", bridge)
    assert await ask(host, server, "/legacy/a/b") == (200, b"/legacy|/a/b")
    assert await ask(host, server, "/legacy/legacy/b") == (200, b"/legacy|/legacy/b")
    assert (await ask(host, server, "/legacyx"))[0] == 404
    await bridge.shutdown()
    await server.close()


async def test_below_the_root_path_of_a_server(host: Any) -> None:
    server = AsgiServer()
    server.wsgi_app = Site()
    assert await ask(host, server, "/outer/page", root_path="/outer") == (200, b"/outer|/page")
    await server.close()
