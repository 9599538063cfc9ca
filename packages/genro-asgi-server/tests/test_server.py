"""The server: front page, methods, auth, hooks, errors, mounts and life cycle."""

import asyncio
import base64
import logging
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest

from genro_asgi.applications.asgi import AsgiApplication
from genro_asgi.authentication.basic import BasicAuthMixin, hash_password
from genro_asgi.binder import AsgiServerEnabler
from genro_asgi.exceptions import ConfigError, HTTPException, HTTPNotFound, Redirect
from genro_asgi.middleware.base import Middleware
from genro_asgi.request import BaseRequest, HttpRequest, MsgRequest, get_current_request
from genro_asgi.response import JSONResponse, Response
from genro_asgi.routing import RoutingClass, Section, route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient

BEARER = {"authorization": "Bearer tok-1"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Quick(AsgiServer):
    """The quick start of the first documents."""

    def __init__(self) -> None:
        super().__init__(use_router=True)

    @route("root")
    def index(self) -> Response:
        return JSONResponse({"status": "ok"})


class Shop(AsgiApplication):
    error_map: ClassVar[dict[type[Exception], int]] = {LookupError: 404}

    def on_init(self, currency: str = "EUR", events: list[str] | None = None) -> None:
        self.currency, self.events = currency, events if events is not None else []

    async def on_startup(self) -> None:
        self.events.append(f"start {self.mount_name}")

    def on_shutdown(self) -> None:
        self.events.append(f"stop {self.mount_name}")

    @route()
    async def price(self) -> str:
        return f"10 {self.currency}"

    @route(auth_rule="admin")
    async def secret(self) -> list[str]:
        request = get_current_request()
        assert request is not None
        return request.auth_tags

    @route(auth_rule="admin", methods="POST")
    async def upload(self, body_raw: bytes) -> int:
        return len(body_raw)

    @route()
    async def find(self, key: str) -> str:
        return {"a": "1"}[key]

    @route()
    async def fail(self, kind: str) -> str:
        raise {
            "http": HTTPNotFound("no such thing"),
            "teapot": HTTPException(418, "short and stout"),
            "permission": PermissionError("not you"),
            "os": PermissionError(13, "denied", "/etc/secret"),
            "value": ValueError("a bug"),
            "redirect": Redirect("/elsewhere"),
        }[kind]

    @route()
    async def whoami(self) -> Any:
        request = get_current_request()
        assert request is not None
        return {
            "app": type(self.server).__name__,
            "auth": (request.auth or {}).get("identity"),
            "tags": request.auth_tags,
        }


def make(**options: Any) -> AsgiServer:
    auth = {
        "bearer": {"ci": {"token": "tok-1", "tags": "admin,ops"}, "guest": {"token": "tok-2", "tags": []}},
        "basic": {"ann": {"password": hash_password("pw"), "tags": "admin"}, "bob": {"password": "plain", "tags": "x"}},
    }
    server = AsgiServer(auth={**auth, **options.pop("auth", {})}, **options)
    server.mount("shop", Shop())
    return server


@pytest.mark.asyncio
async def test_the_quick_start_works() -> None:
    async with AsyncClient(Quick()) as client:
        answer = await client.get("/")
        assert answer.json() == {"status": "ok"}
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.asyncio
async def test_the_front_page_is_the_main_app_or_a_welcome() -> None:
    async with AsyncClient(AsgiServer()) as client:
        assert "Server is running" in (await client.get("/")).text
    server = AsgiServer(main_app="shop", apps={})
    server.mount("shop", Shop())
    async with AsyncClient(server) as client:
        answer = await client.get("/")
        assert (answer.status_code, answer.headers["location"]) == (302, "/shop/")
        assert "shop" in (await client.get("/shop/")).text


@pytest.mark.asyncio
async def test_methods() -> None:
    async with AsyncClient(make()) as client:
        head = await client.head("/shop/price")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "6")
        options = await client.options("/shop/price")
        assert (options.status_code, options.headers["allow"]) == (
            204, "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS",
        )  # fmt: skip
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            assert (await client.request(method, "/shop/price")).text == "10 EUR"
        refused = await client.get("/shop/upload")
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST, OPTIONS")
        assert (await client.request("TRACE", "/shop/price")).status_code == 405
        assert (await client.head("/nowhere")).content == b""


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "Basic !!!"}, 401),
        ({"authorization": "jwt x"}, 401),
        ({"authorization": "check_bearer tok-1"}, 401),
        ({"authorization": "Bearer tok-2"}, 403),
        (basic("bob", "plain"), 403),
        (basic("bob", "wrong"), 401),
        (basic("nobody", "pw"), 401),
        (basic("ann", "pw"), 200),
        (BEARER, 200),
        ({"authorization": "bearer tok-1"}, 200),
    ],
)
async def test_auth_rule_is_enforced(headers: dict[str, str], status: int) -> None:
    async with AsyncClient(make()) as client:
        answer = await client.get("/shop/secret", headers=headers)
        assert answer.status_code == status
        if status == 401:
            assert answer.headers["www-authenticate"].split()[0] in ("Bearer", "Basic")
        if status == 200:
            assert "admin" in answer.json()


@pytest.mark.asyncio
async def test_a_refused_upload_costs_no_body() -> None:
    async def never() -> Any:
        raise AssertionError("the body was read")
        yield b""

    async with AsyncClient(make()) as client:
        assert (await client.post("/shop/upload", content=never())).status_code == 401


@pytest.mark.asyncio
async def test_open_routes_know_who_asks_and_bear_with_bad_credentials() -> None:
    async with AsyncClient(make()) as client:
        known = (await client.get("/shop/whoami", headers=BEARER)).json()
        assert known == {"app": "AsgiServer", "auth": "ci", "tags": ["admin", "ops"]}
        assert (await client.get("/shop/whoami", headers={"authorization": "Bearer no"})).json()["auth"] is None


@pytest.mark.asyncio
async def test_default_deny_closes_what_has_no_rule() -> None:
    async with AsyncClient(make(auth={"default_deny": True})) as client:
        assert (await client.get("/shop/price")).status_code == 401
        assert (await client.get("/shop/price", headers={"authorization": "Bearer tok-2"})).status_code == 200
        assert (await client.get("/_server/health")).status_code == 200
        assert (await client.get("/_server/info")).status_code == 401


@pytest.mark.asyncio
async def test_an_authenticator_of_ones_own_may_be_async_and_look_anywhere() -> None:
    class Own(AsgiServer):
        async def authenticate(self, scope: Any) -> dict[str, Any] | None:  # type: ignore[override]
            keys = [v for k, v in scope["headers"] if k == b"x-key"]
            return {"tags": ["admin"], "identity": "key", "backend": "own"} if keys == [b"open"] else None

        @route(auth_rule="admin")
        async def secret(self) -> str:
            return "in"

    async with AsyncClient(Own()) as client:
        assert (await client.get("/secret")).status_code == 401
        assert (await client.get("/secret", headers={"x-key": "open"})).text == "in"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/shop/fail?kind=http", 404, "no such thing"),
        ("/shop/fail?kind=teapot", 418, "short and stout"),
        ("/shop/fail?kind=permission", 403, "not you"),
        ("/shop/fail?kind=os", 500, "Internal Server Error"),
        ("/shop/fail?kind=value", 500, "Internal Server Error"),
        ("/shop/find?key=b", 404, "'b'"),
    ],
)
async def test_exceptions_become_the_one_error_body(path: str, status: int, detail: str) -> None:
    async with AsyncClient(make()) as client:
        answer = await client.get(path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert (body["detail"], body["error"], body["status"]) == (detail, detail, status)
        assert list(body)[:7] == ["type", "title", "status", "detail", "error", "code", "retry"]


@pytest.mark.asyncio
async def test_redirects_have_a_location_and_no_body() -> None:
    async with AsyncClient(make()) as client:
        answer = await client.get("/shop/fail?kind=redirect")
        assert (answer.status_code, answer.headers["location"], answer.content) == (302, "/elsewhere", b"")


@pytest.mark.asyncio
async def test_a_bug_is_logged_once_with_its_request_id(caplog: pytest.LogCaptureFixture) -> None:
    async with AsyncClient(make()) as client:
        with caplog.at_level(logging.ERROR, "genro_asgi"):
            await client.get("/shop/fail?kind=value&token=hush", headers={"x-request-id": "id-7", **BEARER})
    assert [record.getMessage() for record in caplog.records] == ["GET /shop/fail failed (request id-7)"]
    assert "a bug" in caplog.text
    assert "hush" not in caplog.text
    assert "tok-1" not in caplog.text


@pytest.mark.asyncio
async def test_request_ids() -> None:
    class Ids(AsgiServer):
        @route()
        async def index(self, request: Any) -> str:
            first: str = request.id
            assert request.id == first
            return first

    async with AsyncClient(Ids()) as client:
        assert (await client.get("/", headers={"x-request-id": "mine"})).text == "mine"
        for bad in ("x" * 129, "é"):
            assert (await client.get("/", headers={"x-request-id": bad})).text != bad
        assert len((await client.get("/")).text) == 36


class Recorder(Middleware):
    """A hook middleware that writes down what it sees."""

    name = "recorder"
    order = 300

    def __init__(self, server: Any = None, label: str = "r", seen: list[str] | None = None) -> None:
        super().__init__(server)
        self.label, self.seen = label, seen if seen is not None else []

    async def before(self, request: BaseRequest) -> Response | None:
        self.seen.append(f"{self.label} before {request.path}")
        return Response("stopped", 299) if request.query.get("stop") == self.label else None

    def after(self, request: BaseRequest, response: Response) -> Response | None:
        self.seen.append(f"{self.label} after {response.status_code}")
        response.set_header("x-" + self.label, "1")
        return None

    def on_error(self, request: BaseRequest, exc: Exception) -> Response | None:
        self.seen.append(f"{self.label} error {type(exc).__name__}")
        return Response("mended", 298) if request.query.get("kind") == "teapot" else None


@pytest.mark.asyncio
async def test_hooks_run_around_handlers_in_order() -> None:
    server, seen = make(), []  # type: ignore[var-annotated]
    outer, inner = Recorder(server, "outer", seen), Recorder(server, "inner", seen)
    server._set_middleware([*server.middleware, outer, inner])
    async with AsyncClient(server) as client:
        answer = await client.get("/shop/price")
        assert (answer.text, answer.headers["x-inner"], answer.headers["x-outer"]) == ("10 EUR", "1", "1")
        assert seen == ["outer before /shop/price", "inner before /shop/price", "inner after 200", "outer after 200"]
        seen.clear()
        assert (await client.get("/shop/price?stop=outer")).status_code == 299
        assert seen == ["outer before /shop/price", "inner after 299", "outer after 299"]
        seen.clear()
        assert (await client.get("/shop/fail?kind=teapot")).text == "mended"
        assert seen[2:] == ["inner error HTTPException", "inner after 298", "outer after 298"]
        seen.clear()
        lost = await client.get("/nowhere")
        assert (lost.status_code, lost.headers["x-outer"]) == (404, "1")


@pytest.mark.asyncio
async def test_middleware_of_one_application_sees_nothing_else(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "shop_app.py").write_text(SHOP)
    (site / "config.yaml").write_text(
        "apps:\n  shop: {module: shop_app, middleware: {logging: {logger_name: shop.log}}}\n  other: shop_app\n"
    )
    server = AsgiServer(site)
    seen: list[str] = []
    logger = logging.getLogger("shop.log")
    logger.setLevel("INFO")
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage().partition(" (")[0])  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        async with AsyncClient(server) as client:
            for path in ("/shop/hello?token=s3cret&a=1", "/other/hello", "/nowhere"):
                await client.get(path)
    finally:
        logger.removeHandler(handler)
    assert seen == ["GET /shop/hello?token=[redacted]&a=1 200"]


@pytest.mark.asyncio
async def test_mounted_applications_are_in_the_access_log(caplog: pytest.LogCaptureFixture) -> None:
    server = make()
    server.mount("raw", Response("raw", 203))
    server.enable_access_log()
    with caplog.at_level(logging.INFO, "genro_asgi.access"):
        async with AsyncClient(server) as client:
            await client.get("/raw/x?api_key=1")
            await client.get("/shop/price")
    lines = [record.getMessage().partition(" (")[0] for record in caplog.records]
    assert lines == ["GET /raw/x?api_key=[redacted] 203", "GET /shop/price 200"]


SHOP = """
from genro_asgi.applications.asgi import AsgiApplication
from genro_asgi.routing import route

class Application(AsgiApplication):
    @route()
    async def hello(self):
        return "hi"
"""


@pytest.mark.asyncio
async def test_a_main_app_that_is_not_there_stops_the_boot() -> None:
    with pytest.raises(RuntimeError, match="no application 'shop' is mounted; there is none"):
        async with AsyncClient(AsgiServer(main_app="shop")):
            raise AssertionError("it started")


async def foreign_echo(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@pytest.mark.asyncio
async def test_classic_middleware_goes_around_the_server() -> None:
    class Stamp:
        def __init__(self, app: Any, text: bytes) -> None:
            self.app, self.text = app, text

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def stamped(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"x-stamp", self.text)]
                await send(message)

            await self.app(scope, receive, stamped)

    server = make()
    server.add_middleware(Stamp, text=b"inner")
    server.add_middleware(Stamp, text=b"outer")
    async with AsyncClient(server) as client:
        answer = await client.get("/shop/price")
        assert answer.text == "10 EUR"
        assert answer.headers.getlist("x-stamp") == ["inner", "outer"]
    server.mount("shopping", foreign_echo)
    server.add_middleware(Stamp, app="/shop", text=b"shop")
    server.add_middleware(Stamp, app="shopping", text=b"shopping")
    with pytest.raises(ValueError, match=r"no application 'cellar' is mounted; mount it first\."):
        server.add_middleware(Stamp, app="cellar", text=b"x")
    async with AsyncClient(server) as client:
        for path, last in (("/shop/price", ["shop"]), ("/shop", ["shop"]), ("/shopping/x", ["shopping"]), ("/", [])):
            assert (await client.get(path)).headers.getlist("x-stamp") == ["inner", "outer", *last]
    async with AsyncClient(server, root_path="/behind") as client:
        assert (await client.get("/behind/shop/price")).headers.getlist("x-stamp") == ["inner", "outer", "shop"]


@pytest.mark.asyncio
async def test_mounted_foreign_applications() -> None:
    seen: list[Any] = []

    async def foreign(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            scope["state"]["db"] = "open"
            seen.append("up")
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            seen.append("down")
            await send({"type": "lifespan.shutdown.complete"})
            return
        text = f"{scope['root_path']} {scope['path']} {scope['state'].get('db')}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text})

    async def no_lifespan(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"plain"})

    server = make()
    server.mount("/api", foreign)
    server.mount("deep/er", no_lifespan)
    with pytest.raises(ValueError, match="already taken"):
        server.mount("api", foreign)
    with pytest.raises(ValueError, match="already taken"):
        server.mount("shop", Shop())
    with pytest.raises(ValueError, match=r"is mounted at 'shop' already; make another one\."):
        server.mount("again", server.apps["shop"])
    with pytest.raises(TypeError, match="neither"):
        server.mount("other", object())
    with pytest.raises(TypeError, match=r"mount 'other': Shop is a class; mount an instance of it\."):
        server.mount("other", Shop)
    async with AsyncClient(server) as client:
        assert seen == ["up"]
        assert (await client.get("/api/x/y")).text == "/api /x/y open"
        assert (await client.get("/api")).text == "/api / open"
        assert (await client.get("/apix")).status_code == 404
        assert (await client.get("/deep/er/1")).text == "plain"
        assert (await client.get("/shop/price")).text == "10 EUR"
    assert seen == ["up", "down"]


def test_the_places_of_the_server_itself_cannot_be_taken() -> None:
    class Taker(AsgiServer):
        @route()
        def _server(self) -> str:
            return "mine"

    with pytest.raises(ConfigError, match=r"^Taker: a route of its own is named _server; /_server is taken\.$"):
        Taker()


@pytest.mark.asyncio
async def test_a_client_that_leaves_a_mounted_application_is_no_error() -> None:
    from genro_asgi.request import Request
    from genro_asgi.response import StreamingResponse

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/up":
            await Request(scope, receive).body()
        await StreamingResponse([b"x"] * 3)(scope, receive, send)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise OSError("gone")

    server = make()
    server.mount("m", app)
    for path in ("/m/up", "/m/down"):
        scope = {"type": "http", "method": "GET", "path": path, "headers": [], "asgi": {"spec_version": "2.4"}}
        await server(scope, receive, send)


@pytest.mark.asyncio
async def test_what_nobody_answers_stays_a_404_whatever_handlers_give() -> None:
    class Odd(AsgiServer):
        @route()
        async def odd(self) -> object:
            return object()

    async with AsyncClient(Odd()) as client:
        assert (await client.get("/odd")).text.startswith("<object object at ")
        assert (await client.get("/nowhere")).status_code == 404
        assert (await client.head("/nowhere")).status_code == 404


def test_a_mount_never_changes_the_scope_of_the_caller() -> None:
    from genro_asgi.server.mounts import Mount

    scope = {"type": "http", "path": "/api/x", "raw_path": b"/api/x", "root_path": "", "headers": []}
    below = Mount("/api", lambda *args: None).scope_below(scope)  # type: ignore[arg-type, return-value]
    assert (below["path"], below["raw_path"], below["root_path"]) == ("/x", b"/api/x", "/api")
    assert scope == {"type": "http", "path": "/api/x", "raw_path": b"/api/x", "root_path": "", "headers": []}


@pytest.mark.parametrize(
    ("home", "whole"),
    [("starlette.applications", True), ("django.core.handlers.asgi", True), ("quart.app", True),
     ("litestar.app", True), ("falcon.asgi.app", False), ("starlettes.applications", False)],
)  # fmt: skip
def test_frameworks_that_take_the_prefix_off_themselves(home: str, whole: bool) -> None:
    from genro_asgi.server.mounts import wants_whole_path

    assert wants_whole_path(type("App", (), {"__module__": home})()) is whole


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("path", "root", "seen", "below"),
    [
        ("/api/x", "", "/api/x", "/api"),
        ("/api", "", "/api/", "/api"),
        ("/api/api/x", "", "/api/api/x", "/api"),
        ("/api/x", "/proxy", "/proxy/api/x", "/proxy/api"),
        ("/proxy/api/x", "/proxy", "/proxy/api/x", "/proxy/api"),
    ],
)
def test_applications_of_starlette_see_the_whole_path(
    path: str, root: str, seen: str, below: str, wrapped: bool
) -> None:
    from genro_asgi.server.mounts import Mount

    class Starlette:
        __module__ = "starlette.applications"

    class FastAPI(Starlette):
        __module__ = "fastapi.applications"

    class Wrapper:
        app = FastAPI()

    mount = Mount("/api", Wrapper() if wrapped else FastAPI())  # type: ignore[arg-type]
    scope = mount.scope_below({"type": "http", "path": path, "raw_path": b"raw", "root_path": root, "headers": []})
    assert (scope["path"], scope["raw_path"], scope["root_path"]) == (seen, b"raw", below)


@pytest.mark.asyncio
async def test_applications_start_in_order_and_stop_in_reverse() -> None:
    events: list[str] = []

    class Root(AsgiServer):
        def on_startup(self) -> None:
            events.append("start server")
            self.state.answer = 42

        async def on_shutdown(self) -> None:
            events.append("stop server")

        @route()
        async def answer(self, request: Any) -> int:
            return int(request.state.answer)

    server = Root()
    server.mount("one", Shop(events=events))
    server.mount("two", Shop(events=events))
    async with AsyncClient(server) as client:
        assert (await client.get("/answer")).text == "42"
    assert events == ["start server", "start one", "start two", "stop two", "stop one", "stop server"]


@pytest.mark.asyncio
async def test_a_failed_start_unwinds_what_had_started() -> None:
    events: list[str] = []

    class Broken(Shop):
        async def on_startup(self) -> None:
            raise RuntimeError("no database")

    server = AsgiServer()
    server.mount("one", Shop(events=events))
    server.mount("broken", Broken(events=events))
    server.mount("never", Shop(events=events))
    with pytest.raises(Exception, match="no database"):
        async with AsyncClient(server):
            raise AssertionError("it started")
    assert events == ["start one", "stop one"]


@pytest.mark.asyncio
async def test_cleanups_run_whatever_happens_and_the_registry_is_empty_after() -> None:
    events: list[str] = []

    class Cleaning(AsgiServer):
        @route()
        async def index(self, request: Any, fail: bool = False) -> str:
            request.add_cleanup(lambda: events.append("first added"))
            request.add_cleanup(self.last)
            request.add_onerr(lambda error: events.append(f"onerr {error}"))
            assert len(self.request_registry) == 1
            if fail:
                raise HTTPNotFound("gone")
            return "ok"

        async def last(self) -> None:
            events.append("last added")
            raise RuntimeError("a cleanup that fails")

    server = Cleaning()
    async with AsyncClient(server) as client:
        await client.get("/")
        assert events == ["last added", "first added"]
        events.clear()
        await client.get("/?fail=1")
        assert events == ["onerr 404: gone", "last added", "first added"]
        assert len(server.request_registry) == 0


@pytest.mark.asyncio
async def test_notifications_and_what_handlers_set_on_the_response() -> None:
    class Notes(AsgiServer):
        @route(methods="POST")
        async def notify(self) -> None:
            request = get_current_request()
            assert request is not None
            request.response.status_code = 202

        @route()
        async def styled(self, request: Any) -> dict[str, int]:
            request.response.status_code = 201
            request.response.set_header("X-Custom", "value")
            request.response.set_cookie("a", "b")
            return {"a": 1}

        @route(media_type="text/html")
        async def page(self) -> str:
            return "<b>"

        @route()
        async def wrapped(self) -> Any:
            return self.result_wrapper("<i>", media_type="text/html")

        @route()
        async def file(self) -> Path:
            return Path("note.txt")

    Path("note.txt").write_text("on disk")
    async with AsyncClient(Notes()) as client:
        accepted = await client.post("/notify")
        assert (accepted.status_code, accepted.content, accepted.headers["content-length"]) == (202, b"", "0")
        styled = await client.get("/styled")
        assert (styled.status_code, styled.json(), styled.headers["x-custom"]) == (201, {"a": 1}, "value")
        assert styled.headers["set-cookie"].startswith("a=b;")
        for path, text in (("/page", "<b>"), ("/wrapped", "<i>")):
            page = await client.get(path)
            assert (page.text, page.headers["content-type"]) == (text, "text/html; charset=utf-8")
        note = await client.get("/file")
        assert (note.text, note.headers["content-type"]) == ("on disk", "text/plain; charset=utf-8")


@pytest.mark.asyncio
async def test_tytx_is_spoken_only_when_asked() -> None:
    from datetime import date

    class Typed(AsgiServer):
        @route()
        async def both(self, price: Any = None) -> dict[str, Any]:
            return {"p": Decimal("9.90"), "d": date(2025, 1, 15), "n": 1, "got": type(price).__name__}

    async with AsyncClient(Typed()) as client:
        plain = await client.get("/both?price=1.5::N")
        assert plain.json() == {"p": "9.90", "d": "2025-01-15", "n": 1, "got": "str"}
        typed = await client.get("/both?price=1.5::N", headers={"x-tytx-transport": "json"})
        assert typed.headers["content-type"] == "application/vnd.tytx+json"
        assert typed.text == '"{"p":"9.90::N","d":"2025-01-15::D","n":1,"got":"Decimal"}::JS"'
        assert (await client.get("/both", headers={"x-tytx-transport": "yaml"})).status_code == 400


@pytest.mark.asyncio
async def test_a_custom_request_class_serves_http() -> None:
    class Plain(HttpRequest):
        flavour = "plain"

    class Init(HttpRequest):
        async def init(self, scope: Any, receive: Any, send: Any = None, **kwargs: Any) -> None:
            await super().init(scope, receive, send, **kwargs)
            self.flavour = "init"

    class Made(HttpRequest):
        def __init__(self) -> None:
            super().__init__()
            self.flavour = "made"

    class Factories(AsgiServer):
        @route()
        async def index(self, request: Any, word: str = "") -> str:
            return f"{request.flavour}{word} {request.task is asyncio.current_task()} {request.age < 60}"

    for factory, text in ((Plain, "plain"), (Init, "init"), (Made, "made")):
        server = Factories()
        server.request_registry.register_factory("http", factory)
        async with AsyncClient(server) as client:
            assert (await client.get("/")).text == f"{text} True True"
            assert (await client.post("/", json={"word": "!"})).text == f"{text}! True True"
            server.request_registry.register_factory("http", Plain)
            assert (await client.get("/")).text == "plain True True"
    server = Factories()
    server.request_registry.factories["http"] = Plain
    async with AsyncClient(server) as client:
        assert (await client.get("/")).text == "plain True True"


@pytest.mark.asyncio
async def test_a_custom_request_class_serves_messages() -> None:
    class Plain(MsgRequest):
        flavour = "plain"

    class Init(MsgRequest):
        async def init(self, *args: Any, **kwargs: Any) -> None:
            await super().init(*args, **kwargs)
            self.flavour = f"init {self.external_id}"

    class Made(MsgRequest):
        def __init__(self) -> None:
            super().__init__()
            self.flavour = "made"

    class Factories(AsgiServer):
        events: ClassVar[list[str]] = []

        @route()
        async def index(self, request: Any, word: Decimal = Decimal(0)) -> str:
            return f"{request.flavour} {word} {request.transport}"

        @route()
        async def note(self, request: Any) -> None:
            self.events.append(request.flavour)

    for factory, text in ((Plain, "plain"), (Init, "init 7"), (Made, "made")):
        server = Factories()
        server.request_registry.register_factory("websocket", factory)
        async with AsyncClient(server) as client, client.websocket("/") as socket:
            await socket.send_text('WSX://{"method":"GET","path":"/note"}')
            await socket.send_text('WSX://{"id":"7","method":"GET","path":"/","query":{"word":"1.50::N"}}::JS')
            answer = await socket.receive_text()
            assert f'"data":"{text} 1.50 websocket"' in answer.replace('": ', '":')
    assert server.events == ["plain", "init None", "made"]


@pytest.mark.asyncio
async def test_sections_branches_and_changes_while_serving() -> None:
    class Leaf(RoutingClass):
        @route()
        async def here(self) -> str:
            return "here"

    server = make()
    area = Section("an area")
    area.add_branches({"name": "lazy", "cls": Leaf})
    server.add_branches({"name": "area", "instance": area})
    async with AsyncClient(server) as client:
        assert (await client.get("/area/lazy/here")).text == "here"
        assert (await client.get("/late/here")).status_code == 404
        server.mount("late", Leaf())
        assert (await client.get("/late/here")).text == "here"
        server.apps["late"].routing.configure("auth/here", rule="admin")
        assert (await client.get("/late/here")).status_code == 401


@pytest.mark.asyncio
async def test_databases_are_found_by_name() -> None:
    closed: list[int] = []

    class Db:
        def closeConnection(self) -> None:
            closed.append(1)

    class Asks(AsgiApplication):
        @route()
        async def which(self, request: Any) -> str:
            assert request.db is self.db
            assert request.ctx.db is request.db
            assert self.ctx is request.ctx
            return "found"

    server = AsgiServer()
    server.register_db("main", Db())
    server.mount("asks", Asks(db_name="main"))
    async with AsyncClient(server) as client:
        assert (await client.get("/asks/which")).text == "found"
    assert closed == [1]
    assert server.ctx is None
    with pytest.raises(KeyError, match="registered: main"):
        server.get_db("other")


@pytest.mark.asyncio
async def test_an_embedded_application_gets_a_binder() -> None:
    class Embedded(AsgiServerEnabler):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            assert self.binder is not None
            body = str(self.binder.config.server.port).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})

    server = AsgiServer(port=8123)
    server.mount("app", Embedded())
    async with AsyncClient(server, lifespan=False) as client:
        assert (await client.get("/app")).text == "8123"


@pytest.mark.asyncio
async def test_background_work_outlives_the_answer_and_is_waited_for() -> None:
    done: list[str] = []
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()
        done.append("work")

    class Back(AsgiServer):
        @route()
        async def index(self) -> Response:
            return JSONResponse({}, background=work)

    async with AsyncClient(Back()) as client:
        assert (await client.get("/")).status_code == 200
        assert done == []
        gate.set()
    assert done == ["work"]


@pytest.mark.asyncio
async def test_background_functions_have_threads_of_their_own() -> None:
    import threading

    from genro_asgi.background import BackgroundTask

    names: list[str] = []

    class Back(AsgiServer):
        @route()
        async def index(self) -> Response:
            return JSONResponse({}, background=BackgroundTask(lambda: names.append(threading.current_thread().name)))

    async with AsyncClient(Back()) as client:
        await client.get("/")
    assert [name.rpartition("_")[0] for name in names] == ["genro-background"]


@pytest.mark.asyncio
async def test_event_streams_end_with_their_last_event_when_the_server_drains() -> None:
    from collections.abc import AsyncIterator

    from genro_asgi.sse import SseEvent, SseResponse

    async def endless() -> AsyncIterator[str]:
        yield "first"
        await asyncio.Event().wait()

    class Events(AsgiServer):
        @route()
        async def index(self) -> Response:
            return SseResponse(endless(), last_event=SseEvent("bye", event="end"))

    server = Events()
    async with AsyncClient(server) as client, client.stream("GET", "/") as answer:
        pieces = aiter(answer)
        assert b"first" in await anext(pieces)
        draining = asyncio.ensure_future(server.drain())
        rest = b"".join([piece async for piece in pieces])
        await draining
    assert b"event: end" in rest
    assert b"data: bye" in rest


def test_configuration_mistakes_stop_the_boot_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"auth\.bearer\.x"):
        AsgiServer(auth={"bearer": {"x": {"tags": "a"}}})

    class Bad(AsgiServer):
        @route(methods="GET,FETCH")
        async def index(self) -> None: ...

    server = Bad()
    with pytest.raises(ConfigError, match="FETCH"):
        server.table.refresh()


def test_routes_are_listed_for_people() -> None:
    lines = {info.path: info for info in make().iter_routes()}
    assert lines["/shop/find/{key}"].methods == ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
    assert lines["/shop/secret"].auth == "admin"
    assert lines["/shop/upload"].methods == ("POST",)
    assert lines["/_server/info"].transports == ("http", "websocket")
    assert lines["/shop/price"].handler.endswith("Shop.price")


@pytest.mark.asyncio
async def test_info_and_health() -> None:
    server = make()
    async with AsyncClient(server) as client:
        info = (await client.get("/_server/info")).json()
        assert set(info) == {"name", "version", "uptime", "mounts", "transports"}
        assert info["mounts"] == {"shop": "asgi"}
        assert (await client.get("/_server/health")).json() == {"status": "ok"}
        server._set_draining(True)
        draining = await client.get("/_server/health")
        assert (draining.status_code, draining.json()["code"]) == (503, "DRAINING")
        assert draining.headers["connection"] == "close"


def test_passwords_are_hashed_and_compared_in_constant_time() -> None:
    auth = BasicAuthMixin()
    auth.configure_auth(basic={"ann": {"password": hash_password("pw"), "tags": ["a", "b"]}})
    assert auth.verify_credentials("ann", "pw") == {"tags": ["a", "b"], "identity": "ann", "backend": "basic:ann"}
    assert auth.verify_credentials("ann", "no") is None
    assert "pw" not in repr(vars(auth._users["ann"]) if hasattr(auth._users["ann"], "__dict__") else "")
    scope = {"headers": [(b"authorization", basic("ann", "pw")["authorization"].encode())]}
    assert auth.authentication_is_slow(scope)
    assert auth.authenticate(scope) == {"tags": ["a", "b"], "identity": "ann", "backend": "basic:ann"}
    assert not auth.authentication_is_slow(scope)
    with pytest.raises(ConfigError, match="scrypt hash is malformed"):
        auth.configure_auth(basic={"ann": {"password": "scrypt$broken"}})


@pytest.mark.asyncio
async def test_a_websocket_nobody_owns_speaks_wsx_and_unknown_scopes_are_an_error() -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    server = make()
    await server({"type": "websocket", "path": "/x", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept"]
    with pytest.raises(RuntimeError, match="'smtp' is unknown"):
        await server({"type": "smtp"}, receive, send)


@pytest.mark.parametrize(
    "name", ["name", "version", "transports", "check", "run", "mount", "files", "table", "state", "grace", "notices",
             "prepare", "detour", "request", "response", "db", "publish", "close"],
)  # fmt: skip
@pytest.mark.asyncio
async def test_a_handler_may_have_a_name_the_server_has_too(name: str) -> None:
    async def handler(self: Any) -> str:
        return "the handler"

    handler.__name__ = name
    named = type("Named", (AsgiServer,), {name: route()(handler)})
    async with AsyncClient(named()) as client:
        assert (await client.get(f"/{name}")).text == "the handler"
        assert (await client.get("/_server/info")).json()["version"] == AsgiServer().version
        assert (await client.get("/nowhere")).status_code == 404
