"""CORS: one policy behind the hook and the classic middleware; trusted hosts and the way to https."""

from typing import Any

import pytest

from genro_asgi.datastructures.headers import Headers
from genro_asgi.exceptions import ConfigError
from genro_asgi.middleware.cors import CORSMiddleware
from genro_asgi.middleware.httpsredirect import HTTPSRedirectMiddleware
from genro_asgi.middleware.trustedhost import TrustedHostMiddleware
from genro_asgi.response import PlainTextResponse, Response
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient

ORIGIN = {"origin": "https://a.example"}
PREFLIGHT = {**ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "x-token"}


class Hello(AsgiServer):
    @route()
    async def index(self) -> str:
        return "hello"


def hooked(**options: Any) -> AsyncClient:
    return AsyncClient(Hello(middleware={"cors": options}))


def classic(**options: Any) -> AsyncClient:
    return AsyncClient(CORSMiddleware(PlainTextResponse("hello"), **options), lifespan=False)


@pytest.mark.asyncio
@pytest.mark.parametrize("make", [hooked, classic])
async def test_named_origins_and_no_others(make: Any) -> None:
    options = {"allow_origins": ["https://a.example"], "allow_methods": ["GET", "POST"], "allow_headers": ["X-Token"]}
    async with make(**options, allow_credentials=True, expose_headers=["X-Seen"]) as client:
        good = await client.get("/", headers=ORIGIN)
        assert good.headers["access-control-allow-origin"] == "https://a.example"
        assert good.headers["access-control-allow-credentials"] == "true"
        assert good.headers["access-control-expose-headers"] == "X-Seen"
        assert good.headers["vary"] == "Origin"
        bad = await client.get("/", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in bad.headers
        assert bad.headers["vary"] == "Origin"
        same = await client.get("/")
        assert ("access-control-allow-origin" in same.headers, same.headers["vary"]) == (False, "Origin")
        asked = await client.options("/", headers=PREFLIGHT)
        assert (asked.status_code, asked.text) == (200, "OK")
        assert asked.headers["vary"].startswith("Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
        assert asked.headers["access-control-allow-methods"] == "GET, POST"
        assert "X-Token" in asked.headers["access-control-allow-headers"]
        refused = await client.options("/", headers={**PREFLIGHT, "origin": "https://evil.example"})
        assert (refused.status_code, refused.text) == (400, "Disallowed CORS origin")
        assert "access-control-allow-origin" not in refused.headers
        method = await client.options("/", headers={**PREFLIGHT, "access-control-request-method": "DELETE"})
        assert (method.status_code, method.text) == (400, "Disallowed CORS method")
        header = await client.options("/", headers={**PREFLIGHT, "access-control-request-headers": "x-other"})
        assert (header.status_code, header.text) == (400, "Disallowed CORS headers")


@pytest.mark.asyncio
async def test_the_hook_lets_any_origin_ask_by_default_and_leaves_plain_options_alone() -> None:
    async with hooked() as client:
        answer = await client.get("/", headers=ORIGIN)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        plain = await client.options("/", headers=ORIGIN)
        assert (plain.status_code, plain.headers["allow"][:3]) == (204, "GET")
        lost = await client.get("/nowhere", headers=ORIGIN)
        assert (lost.status_code, lost.headers["access-control-allow-origin"]) == (404, "*")


@pytest.mark.asyncio
async def test_a_star_never_carries_credentials() -> None:
    with pytest.raises(ConfigError, match="allow_credentials needs the origins by name"):
        hooked(allow_credentials=True)
    async with classic(allow_origins=["*"], allow_credentials=True) as client:
        answer = await client.get("/", headers={**ORIGIN, "cookie": "a=b"})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.asyncio
async def test_origins_by_pattern() -> None:
    async with classic(allow_origin_regex=r"https://.*\.example") as client:
        assert "access-control-allow-origin" in (await client.get("/", headers=ORIGIN)).headers
        wrong = {"origin": "https://a.example.evil"}
        assert "access-control-allow-origin" not in (await client.get("/", headers=wrong)).headers


@pytest.mark.asyncio
async def test_a_subclass_decides_about_origins() -> None:
    class Partners(CORSMiddleware):
        def is_allowed_origin(self, origin: str) -> bool:
            return origin.startswith("https://a.")

        def preflight_response(self, request_headers: Headers) -> Response:
            response = super().preflight_response(request_headers)
            response.headers["x-asked"] = request_headers["origin"]
            return response

    async with AsyncClient(Partners(PlainTextResponse("hello"), allow_methods=["POST"]), lifespan=False) as client:
        assert (await client.get("/", headers=ORIGIN)).headers["access-control-allow-origin"] == ORIGIN["origin"]
        other = await client.get("/", headers={"origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers
        asked = await client.options("/", headers={**ORIGIN, "access-control-request-method": "POST"})
        assert (asked.status_code, asked.headers["x-asked"]) == (200, ORIGIN["origin"])


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("host", "status"),
    [("example.com", 200), ("sub.example.com", 200), ("EXAMPLE.com:80", 200), ("evil.com", 400), ("", 400),
     ("[::1]", 200), ("shop.org", 307)],
)  # fmt: skip
async def test_trusted_hosts(host: str, status: int) -> None:
    hosts = ["example.com", "*.example.com", "[::1]", "www.shop.org"]
    app = TrustedHostMiddleware(PlainTextResponse("in"), hosts)
    async with AsyncClient(app, lifespan=False) as client:
        answer = await client.get("/", headers={"host": host})
        assert answer.status_code == status
        if status == 307:
            assert answer.headers["location"] == "http://www.shop.org/"
    with pytest.raises(AssertionError, match="wildcard"):
        TrustedHostMiddleware(app, ["*x.example.com"])


@pytest.mark.asyncio
async def test_http_is_sent_to_https() -> None:
    app = HTTPSRedirectMiddleware(PlainTextResponse("in"))
    async with AsyncClient(app, lifespan=False) as client:
        answer = await client.get("/a?b=c")
        assert (answer.status_code, answer.headers["location"]) == (307, "https://testserver/a?b=c")
    async with AsyncClient(app, "https://testserver", lifespan=False) as client:
        assert (await client.get("/")).text == "in"


@pytest.mark.asyncio
async def test_nobody_is_sent_nowhere() -> None:
    middleware = HTTPSRedirectMiddleware(PlainTextResponse("in"))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["server"] = None
        await middleware(scope, receive, send)

    async with AsyncClient(app, lifespan=False) as client:
        answer = await client.get("/", headers={"host": "[:::]"})
        assert (answer.status_code, answer.text) == (400, "Invalid host header")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("[::1]", 200), ("[::1]:80", 200), ("SHOP.org:1", 200), ("[::1]evil.example", 400), ("[::1]@evil", 400),
        ("[::1].", 400), ("[::1]:evil", 400), ("[::1]:", 400), ("::1", 400), (":80", 400), ("shop.org:", 400),
        ("shop.org:80:80", 400), ("[::1]:80:80", 400), ("shop.org:²", 400), ("shop.org:65536", 200),
        ("[::1]:000100000", 200), ("shop.org/evil", 400), ("shop.org@evil", 400), ("shop.org evil", 400),
        ("", 400),
    ],
)  # fmt: skip
async def test_what_is_no_host_is_not_trusted(host: str, status: int) -> None:
    app = TrustedHostMiddleware(PlainTextResponse("in"), ["[::1]", "Shop.org"])
    async with AsyncClient(app, lifespan=False) as client:
        assert (await client.get("/", headers={"host": host})).status_code == status
