"""The server's middleware around its WSGI application: what hooks do for handlers they do for it."""

import asyncio
import gc
import gzip
import json
import logging
import threading
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from genro_routes import route

from genro_asgi.exceptions import ConfigError, HTTPException
from genro_asgi.executors.thread import ThreadExecutor
from genro_asgi.middleware.base import Middleware
from genro_asgi.middleware.base_http import BaseHTTPMiddleware
from genro_asgi.middleware.exceptions import ServerErrorMiddleware
from genro_asgi.middleware.gzip import GZipMiddleware
from genro_asgi.middleware.hosts import TrustedHostMiddleware
from genro_asgi.middleware.wsgi_gateway import WsgiGatewayMiddleware, WSGIMiddleware
from genro_asgi.request import get_current_request
from genro_asgi.response import PlainTextResponse, Response
from genro_asgi.server.server import AsgiServer

pytestmark = pytest.mark.asyncio

ORIGIN = (b"origin", b"https://www.example.com")
BLOCK = b"x" * 70_000


class Site:
    """A WSGI application with a path for everything it can do."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.pulled = 0
        self.seen: Any = None

    def __call__(self, environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == "/boom":
            raise ValueError("secret of the site")
        if path == "/exit":
            raise SystemExit(3)
        if path == "/read":
            start_response("200 OK", [])
            return [environ["wsgi.input"].read()]
        if path == "/late":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return self.breaking()
        if path == "/stream":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return self
        self.seen = get_current_request()
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Site", "1"), ("X-Site", "2")])
        return [b"hello from the site"]

    def breaking(self) -> Any:
        yield b"begun"
        raise ValueError("too late")

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> bytes:
        self.pulled += 1
        return BLOCK

    def close(self) -> None:
        self.closed.set()


class Shop(AsgiServer):
    @route()
    def hello(self) -> str:
        return "hello"

    @route()
    def fails(self) -> str:
        raise ValueError("secret of the shop")


async def ask(host: Any, server: Any, path: str, *, headers: Any = (), **scope: Any) -> Any:
    client = host.client(path=path, headers=headers, **scope)
    await asyncio.wait_for(host.run(server, client), 20)
    return client


def with_hook(server: AsgiServer, **hooks: Any) -> None:
    """Put one more hook into the chain."""
    kind = type("Own", (Middleware,), {name: staticmethod(hook) for name, hook in hooks.items()})
    server._set_middleware([*server.middleware, kind()])


@pytest.fixture
def site() -> Site:
    return Site()


async def shop(site: Any, **options: Any) -> Shop:
    server = Shop(**options)
    server.wsgi_app = site
    return server


async def test_it_is_in_the_chain_and_inert() -> None:
    server = Shop()
    own = [one for one in server.middleware if isinstance(one, WsgiGatewayMiddleware)]
    assert (own, server.wsgi_app, own[0].gateway) == ([server.wsgi_gateway], None, None)
    assert (server._straight, server._plain) == ("http", True), "a server without a WSGI application pays nothing"
    await server.close()


@pytest.mark.parametrize("path", ["/page", "/hello"])
async def test_cors(host: Any, site: Site, path: str) -> None:
    server = await shop(site, middleware={"cors": {"allow_origins": [ORIGIN[1].decode()]}})
    client = await ask(host, server, path, headers=[ORIGIN])
    assert client.status == 200
    assert client.headers["access-control-allow-origin"] == ORIGIN[1].decode()
    assert client.headers["vary"] == "Origin"
    asked = [ORIGIN, (b"access-control-request-method", b"POST")]
    client = await ask(host, server, path, method="OPTIONS", headers=asked)
    assert (client.status, client.body, client.headers["access-control-max-age"]) == (200, b"OK", "600")
    client = await ask(host, server, path, method="OPTIONS", headers=[(b"origin", b"https://evil.example"), asked[1]])
    assert (client.status, client.body) == (400, b"Disallowed CORS origin")
    await server.close()


async def test_headers_that_repeat_stay(host: Any, site: Site) -> None:
    server = await shop(site, middleware={"cors": True})
    client = await ask(host, server, "/page", headers=[ORIGIN])
    assert [value for name, value in client.sent[0]["headers"] if name == b"x-site"] == [b"1", b"2"]
    assert (client.body, client.complete) == (b"hello from the site", True)
    await server.close()


@pytest.mark.parametrize(("path", "status"), [("/page", 200), ("/boom", 500), ("/hello", 200), ("/late", 200)])
async def test_the_access_log(host: Any, site: Site, path: str, status: int, caplog: Any) -> None:
    server = await shop(site, middleware={"logging": True})
    with caplog.at_level(logging.INFO, "genro_asgi.access"):
        if path == "/late":
            with pytest.raises(RuntimeError, match="failed after its headers were sent"):
                await ask(host, server, path)
        else:
            await ask(host, server, path, query_string=b"token=x&a=1")
    lines = [record.getMessage() for record in caplog.records if record.name == "genro_asgi.access"]
    assert len(lines) == 1
    assert lines[0].startswith(f"GET {path}")
    assert f" {status} (" in lines[0]
    assert "token=x" not in lines[0]
    await server.close()


@pytest.mark.parametrize("path", ["/boom", "/fails"])
async def test_errors_have_the_one_body_and_the_id_in_the_log(host: Any, site: Site, path: str, caplog: Any) -> None:
    server = await shop(site, middleware={"cors": True})
    client = await ask(host, server, path, headers=[(b"x-request-id", b"ask-7"), ORIGIN])
    assert (client.status, client.headers["content-type"]) == (500, "application/problem+json")
    assert client.headers["access-control-allow-origin"] == "*"
    told = json.loads(client.body)
    assert (told["status"], told["code"], told["detail"]) == (500, "INTERNAL", "Internal Server Error")
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.getMessage() == f"GET {path} failed (request ask-7)"
    assert record.exc_info is not None
    assert "secret of the" in str(record.exc_info[1])
    await server.close()


async def test_the_traceback_for_a_developer(host: Any, site: Site) -> None:
    server = await shop(site, middleware={"errors": {"debug": True}})
    client = await ask(host, server, "/boom")
    assert b"ValueError: secret of the site" in client.body
    await server.close()


async def test_what_would_end_the_process_is_a_500(host: Any, site: Site) -> None:
    server = await shop(site)
    assert (await ask(host, server, "/exit")).status == 500
    await server.close()


async def test_errors_of_ones_own(host: Any, site: Site) -> None:
    server = await shop(site)
    with_hook(server, on_error=lambda request, exc: PlainTextResponse(f"{request.path}: {type(exc).__name__}", 418))
    client = await ask(host, server, "/boom")
    assert (client.status, client.body) == (418, b"/boom: ValueError")
    await server.close()


async def test_refusals_before_the_application(host: Any, site: Site) -> None:
    server = await shop(site, limits={"url_bytes": 100}, middleware={"cors": True, "wsgi_gateway": {"max_body": 10}})
    for expected, headers, path in (
        (414, [], "/" + "x" * 100),
        (400, [(b"content-length", b"x")], "/read"),
        (400, [(b"host", b"a"), (b"host", b"b")], "/read"),
        (413, [(b"content-length", b"11")], "/read"),
    ):
        client = await ask(host, server, path, method="POST", headers=[*headers, ORIGIN])
        assert (client.status, json.loads(client.body)["status"]) == (expected, expected)
        assert client.headers["access-control-allow-origin"] == "*"
    await server.close()


async def test_a_body_over_the_limit_that_was_not_announced(host: Any, site: Site) -> None:
    server = await shop(site, middleware={"wsgi_gateway": {"max_body": 10}})
    client = host.client(path="/read", method="POST", headers=[(b"transfer-encoding", b"chunked")]).feed(b"x" * 11)
    await asyncio.wait_for(host.run(server, client), 20)
    assert (client.status, json.loads(client.body)["detail"]) == (413, "The request body is too large.")
    await server.close()


async def test_a_full_pool_is_503_and_a_slow_one_504(host: Any, site: Site, caplog: Any) -> None:
    free = threading.Event()

    def slow(environ: Any, start_response: Any) -> Any:
        free.wait(10)
        return Site()(environ, start_response)

    pool = ThreadExecutor("few", max_workers=1, max_pending=1, timeout=0.2)
    server = await shop(slow)
    assert server.wsgi_gateway is not None
    server.wsgi_gateway.options["pool"] = pool
    one = asyncio.ensure_future(ask(host, server, "/page"))
    await asyncio.sleep(0)
    refused = await ask(host, server, "/page")
    assert (refused.status, json.loads(refused.body)["code"]) == (503, "OVERLOADED")
    assert (await one).status == 504
    free.set()
    await server.close()
    await pool.shutdown()


async def test_before_may_answer_and_refuse(host: Any, site: Site) -> None:
    def before(request: Any) -> Response | None:
        if request.path == "/held":
            raise HTTPException(403, "held")
        return PlainTextResponse("from the hook") if request.path == "/own" else None

    server = await shop(site)
    with_hook(server, before=before, after=lambda request, response: response.set_header("x-hook", "1"))
    for path, status, body in (("/own", 200, b"from the hook"), ("/page", 200, b"hello from the site")):
        client = await ask(host, server, path)
        assert (client.status, client.body, client.headers["x-hook"]) == (status, body, "1")
    client = await ask(host, server, "/held")
    assert (client.status, json.loads(client.body)["detail"], client.headers["x-hook"]) == (403, "held", "1")
    await server.close()


async def test_after_may_change_the_status_or_answer_instead(host: Any, site: Site) -> None:
    async def after(request: Any, response: Response) -> Response | None:
        await asyncio.sleep(0)
        response.status_code = 203
        return PlainTextResponse("instead", 409) if request.path == "/stream" else None

    server = await shop(site)
    with_hook(server, after=after)
    client = await ask(host, server, "/page")
    assert (client.status, client.body, client.headers["x-site"]) == (203, b"hello from the site", "2")
    client = await ask(host, server, "/stream")
    assert (client.status, client.body, client.complete) == (409, b"instead", True)
    assert await asyncio.to_thread(site.closed.wait, 10), "the application was told that nobody listens"
    await server.close()


@pytest.mark.parametrize("error", [ValueError, OSError])
async def test_an_after_that_fails_is_a_500_and_ends_the_stream(host: Any, site: Site, error: Any) -> None:
    def after(request: Any, response: Response) -> None:
        if response.status_code == 200:
            raise error("of the hook")

    server = await shop(site)
    with_hook(server, after=after)
    client = await ask(host, server, "/stream")
    assert (client.status, client.complete) == (500, True)
    assert await asyncio.to_thread(site.closed.wait, 10)
    await server.close()


async def test_a_classic_middleware_that_fails_ends_the_stream(host: Any, site: Site) -> None:
    class Failing:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            pieces = 0

            async def failing(message: Any) -> None:
                nonlocal pieces
                pieces += 1
                if pieces == 3:
                    raise ValueError("of the middleware")
                await send(message)

            await self.app(scope, receive, failing)

    for app in (WSGIMiddleware(site), await shop(site)):
        site.closed.clear()
        with pytest.raises(ValueError, match="of the middleware"):
            await ask(host, Failing(app), "/stream")
        assert await asyncio.to_thread(site.closed.wait, 10)
        await (app.shutdown() if isinstance(app, WSGIMiddleware) else app.close())


async def test_work_that_a_hook_leaves_for_afterwards(host: Any, site: Site) -> None:
    done = asyncio.Event()

    async def work() -> None:
        done.set()

    def after(request: Any, response: Response) -> None:
        response.background = work

    server = await shop(site)
    with_hook(server, after=after)
    await ask(host, server, "/page")
    await asyncio.wait_for(done.wait(), 10)
    await server.close()


@pytest.mark.parametrize("how", ["load", "stream", "form"])
async def test_a_body_that_a_hook_has_read(host: Any, site: Site, how: str) -> None:
    if how == "form":
        pytest.importorskip("python_multipart")
    body = b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--B--\r\n' if how == "form" else b"one two"

    async def before(request: Any) -> None:
        if how == "stream":
            await request.request.body()
        else:
            await request.load_body()
            assert request.data

    server = await shop(site)
    with_hook(server, before=before)
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"multipart/form-data; boundary=B")]
    client = host.client(path="/read", method="POST", headers=headers[: 2 if how == "form" else 1])
    client.feed(body[:4], more=True).feed(body[4:])
    await asyncio.wait_for(host.run(server, client), 20)
    assert (client.status, client.body) == (200, body)
    await server.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/read", "/stream"])
async def test_a_hook_that_takes_its_time(host: Any, site: Site, method: str, path: str) -> None:
    """The server watches for the client meanwhile, so what comes is read by somebody else."""

    async def before(request: Any) -> None:
        if method == "POST":
            await request.load_body()
        while request.watcher is None:
            await asyncio.sleep(0.01)

    server = await shop(site)
    with_hook(server, before=before)
    client = host.client(path=path, method=method, headers=[(b"content-length", b"3")] if method == "POST" else [])
    client.feed(b"one" if method == "POST" else b"")
    task = asyncio.ensure_future(host.run(server, client))
    if path == "/read":
        await asyncio.wait_for(task, 10)
        assert (client.status, client.body, client.complete) == (200, b"one" if method == "POST" else b"", True)
    else:
        await client.until(lambda: len(client.sent) > 3)
        client.leave()
        await asyncio.wait_for(task, 10)
        assert await asyncio.to_thread(site.closed.wait, 10)
        assert not client.complete
    await server.close()


async def test_the_request_is_listed_and_current(host: Any, site: Site) -> None:
    server = await shop(site)
    listed: list[Any] = []
    with_hook(server, before=lambda request: listed.extend(server.request_registry))
    await ask(host, server, "/page")
    assert listed == [site.seen]
    assert (site.seen.path, len(server.request_registry), get_current_request()) == ("/page", 0, None)
    await server.close()


async def test_cleanups_run(host: Any, site: Site) -> None:
    ran: list[str] = []

    def before(request: Any) -> None:
        request.add_cleanup(lambda: ran.append("cleanup"))
        request.add_onerr(lambda exc: ran.append(type(exc).__name__))

    server = await shop(site)
    with_hook(server, before=before)
    await ask(host, server, "/page")
    await ask(host, server, "/boom")
    assert ran == ["cleanup", "ValueError", "cleanup"]
    await server.close()


async def test_streams_go_through_with_backpressure(host: Any, site: Site) -> None:
    server = await shop(site, middleware={"cors": True, "logging": True})
    client = host.client(path="/stream", headers=[ORIGIN])
    task = asyncio.ensure_future(host.run(server, client))
    await client.until(lambda: len(client.sent) > 3)
    client.takes.clear()
    held = 0
    while held != site.pulled:
        held = site.pulled
        await asyncio.sleep(0.05)
    assert held * len(BLOCK) < len(client.body) + 2 * 1024 * 1024
    client.leave()
    client.takes.set()
    await asyncio.wait_for(task, 10)
    assert await asyncio.to_thread(site.closed.wait, 10)
    assert not client.complete
    await server.close()


@pytest.mark.parametrize("path", ["/held", "/stream"])
async def test_draining_waits_then_cancels(host: Any, site: Site, path: str) -> None:
    free = threading.Event()

    def holding(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/held":
            free.wait(10)
        return site(environ, start_response)

    server = await shop(holding)
    client = host.client(path=path)
    task = asyncio.ensure_future(host.run(server, client))
    while not len(server.request_registry):
        await asyncio.sleep(0)
    if path == "/stream":
        await client.until(lambda: len(client.sent) > 3)
    await server.drain(0.05)
    await asyncio.wait_for(task, 10)
    free.set()
    if path == "/held":
        assert (client.status, client.headers["connection"]) == (503, "close")
    else:
        assert (client.status, client.complete) == (200, False)
        assert await asyncio.to_thread(site.closed.wait, 10)
    assert len(server.request_registry) == 0
    await server.close()


async def test_answers_while_draining_ask_the_connection_to_close(host: Any, site: Site) -> None:
    server = await shop(site)
    server._set_draining(True)
    assert (await ask(host, server, "/page")).headers["connection"] == "close"
    await server.close()


@pytest.mark.parametrize("path", ["/page", "/boom"])
async def test_a_request_leaves_nothing_to_the_collector(host: Any, path: str) -> None:
    class Mark:
        pass

    marks: list[Any] = []

    def marked(environ: Any, start_response: Any) -> Any:
        environ["mark"] = mark = Mark()
        marks.append(weakref.ref(mark))
        del mark
        return Site()(environ, start_response)

    server = await shop(marked, middleware={"cors": True, "logging": True})
    await ask(host, server, path)
    marks.clear()
    gc.collect()
    gc.disable()
    try:
        logging.disable(logging.CRITICAL)
        await ask(host, server, path)
        await asyncio.to_thread(int)
        for _ in range(100):
            if marks[0]() is None:
                break
            await asyncio.sleep(0.01)
        assert marks[0]() is None
    finally:
        logging.disable(logging.NOTSET)
        gc.enable()
    await server.close()


# -- classic middleware


async def test_classic_middleware_is_around_it(host: Any, site: Site) -> None:
    class Marking(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers["x-marked"] = "1"
            return response

    server = await shop(site)
    server.add_middleware(GZipMiddleware, minimum_size=1)
    server.add_middleware(Marking)
    server.add_middleware(TrustedHostMiddleware, allowed_hosts=["good.example"])
    headers = [(b"host", b"good.example"), (b"accept-encoding", b"gzip")]
    client = await ask(host, server, "/page", headers=headers)
    assert (client.headers["content-encoding"], client.headers["x-marked"]) == ("gzip", "1")
    assert gzip.decompress(client.body) == b"hello from the site"
    client = await ask(host, server, "/page", headers=[(b"host", b"evil.example")])
    assert (client.status, client.body) == (400, b"Invalid host header")
    client = await ask(host, server, "/boom", headers=headers[:1])
    assert (client.status, client.headers["x-marked"]) == (500, "1")
    await server.close()


# -- chains made by hand


async def plain(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"asgi"})


async def test_a_chain_by_hand_finds_its_server_and_its_prefixes(host: Any, site: Site) -> None:
    server = SimpleNamespace(wsgi_app=None, apps={"api": plain, "old": SimpleNamespace(app_protocol="wsgi")})
    inner = SimpleNamespace(server=server)
    inner.app = None

    class Inner:
        def __init__(self) -> None:
            self.app, self.server = plain, server

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

    chain = WsgiGatewayMiddleware(TrustedHostMiddleware(Inner(), ["*"]), workers=1)
    assert (await ask(host, chain, "/page")).body == b"asgi"
    server.wsgi_app = site
    assert (await ask(host, chain, "/page")).body == b"hello from the site"
    assert (await ask(host, chain, "/old/x")).body == b"hello from the site"
    for path in ("/api", "/api/x", "/_server/info", "/_sys/x"):
        assert (await ask(host, chain, path)).body == b"asgi"
    client = await ask(host, chain, "/boom")
    assert (client.status, client.body) == (500, b"Internal Server Error")
    await chain.shutdown()


async def test_a_chain_by_hand_around_a_server(host: Any, site: Site) -> None:
    server = await shop(site)
    server.mount("api", plain)
    chain = WsgiGatewayMiddleware(server)
    for path, body in (("/page", b"hello from the site"), ("/hello", b"hello"), ("/api/x", b"asgi")):
        assert (await ask(host, chain, path)).body == body
    await chain.shutdown()
    await server.close()


async def test_a_chain_by_hand_with_errors_of_those_around(host: Any, site: Site) -> None:
    server = SimpleNamespace(wsgi_app=site)
    chain = WsgiGatewayMiddleware(plain, server=server, raise_errors=True)
    with pytest.raises(ValueError, match="secret of the site"):
        await ask(host, chain, "/boom")
    client = host.client(path="/boom")
    with pytest.raises(ValueError, match="secret of the site"):
        await ServerErrorMiddleware(chain)(client.scope, client.receive, client.send)
    assert (client.status, client.body) == (500, b"Internal Server Error")
    await chain.shutdown()


async def test_what_cannot_be_a_chain(host: Any) -> None:
    with pytest.raises(TypeError, match="found no server with a wsgi_app behind"):
        WsgiGatewayMiddleware(plain)
    alone = WsgiGatewayMiddleware(server=SimpleNamespace(wsgi_app=None))
    with pytest.raises(RuntimeError, match="no ASGI application behind it"):
        await ask(host, alone, "/page")


# -- configuration


async def test_its_options_come_from_the_configuration(site: Site) -> None:
    server = await shop(site, middleware={"wsgi_gateway": {"workers": 3, "max_body": 5}})
    assert server.wsgi_gateway is not None
    assert server.wsgi_gateway.gateway is not None
    bridge = server.wsgi_gateway.gateway.bridge
    assert (bridge.pool.max_workers, bridge.max_body, bridge.raise_errors) == (3, 5, True)
    await server.close()


@pytest.mark.parametrize("options", [{"workers": 0}, {"workers": "many"}, {"max_body": True}, {"speed": 1}])
async def test_options_that_are_none(options: Any) -> None:
    with pytest.raises(ConfigError, match=r"middleware.wsgi_gateway"):
        Shop(middleware={"wsgi_gateway": options})


async def test_switched_off(host: Any, site: Site) -> None:
    server = Shop(middleware={"wsgi_gateway": False})
    assert server.wsgi_gateway is None
    with pytest.raises(ConfigError, match=r"middleware\.wsgi_gateway is off, and the server has a wsgi_app"):
        server.wsgi_app = site
    assert (await ask(host, server, "/page")).status == 404
    await server.close()


async def test_what_is_no_application() -> None:
    server = Shop()
    with pytest.raises(TypeError, match="wsgi_app is 'site'"):
        server.wsgi_app = "site"
    await server.close()
