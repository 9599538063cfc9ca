"""What a request knows of itself once it is routed: its application, its tags, its capabilities, its body."""

from pathlib import Path
from typing import Any

import pytest

from genro_asgi.applications.asgi import AsgiApplication
from genro_asgi.exceptions import HTTPException
from genro_asgi.middleware.base import Middleware
from genro_asgi.request import BaseRequest, get_current_request
from genro_asgi.response import Response, StreamingResponse
from genro_asgi.routing import RoutingClass, Section, route
from genro_asgi.server.server import AsgiServer
from genro_asgi.server.wsx_handler import WsxHandler
from genro_asgi.testing import AsyncClient
from genro_asgi.types import Receive, Scope, Send


class Named(AsgiApplication):
    @route()
    async def name(self) -> list[Any]:
        request = get_current_request()
        assert request is not None
        return [request.app_name, request.server.request_registry.count_by_app("shop")]


class Plain(RoutingClass):
    @route()
    async def name(self, request: BaseRequest) -> Any:
        return [request.app_name, type(request.ctx.app).__name__]


class Outer(AsgiApplication):
    def on_init(self, **options: Any) -> None:
        super().on_init(**options)
        self.add_branches({"name": "inner", "instance": Named()})


class Server(AsgiServer):
    @route()
    async def own(self, request: BaseRequest) -> Any:
        before, request.app_name = request.app_name, "mine"
        return [before, request.app_name]

    @route(auth_rule="admin")
    async def admin(self, request: BaseRequest) -> Any:
        return request.auth_tags

    @route(auth_rule="admin")
    async def of_environment(self, request: BaseRequest) -> Any:
        return request.env_capabilities

    @route()
    async def whole(self, body_data: Any = None) -> Any:
        return type(body_data).__name__

    @route()
    async def whole_or_bytes(self, body_data: bytes | dict[str, int] | None = None) -> Any:
        return type(body_data).__name__


@pytest.mark.asyncio
async def test_the_application_that_answers_has_a_name() -> None:
    server = Server()
    server.mount("shop", Named())
    server.mount("/plain/", Plain())
    server.mount("outer", Outer())
    section = Section("more")
    section.add_branches({"name": "plain", "instance": Plain()})
    server.mount("section", section)
    async with AsyncClient(server) as client:
        assert (await client.get("/shop/name")).json() == ["shop", 1]
        assert (await client.get("/plain/name")).json() == ["plain", "Plain"]
        assert (await client.get("/outer/inner/name")).json() == ["outer", 0]
        assert (await client.get("/section/plain/name")).json() == ["section", "Section"]
        assert (await client.get("/own")).json() == [None, "mine"]


class Tags:
    """Classic middleware that puts facts into the scope."""

    def __init__(self, app: Any, **facts: Any) -> None:
        self.app, self.facts = app, facts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, **self.facts}, receive, send)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("tags", "status"), [(["admin", "x"], 200), ("admin,x", 200), (["x"], 403), ([], 401), (None, 401)]
)
async def test_tags_of_the_scope_are_tags_of_the_request(tags: Any, status: int) -> None:
    server = Server()
    server.add_middleware(Tags, auth_tags=tags, env_capabilities=["redis"])
    async with AsyncClient(server) as client:
        answer = await client.get("/admin")
        assert answer.status_code == status
        if status == 200:
            assert answer.json() == ["admin", "x"]
            assert (await client.get("/of_environment")).json() == ["redis"]


@pytest.mark.asyncio
async def test_a_hook_may_know_who_is_asking() -> None:
    class Knows(Middleware):
        def before(self, request: BaseRequest) -> None:
            request.auth_tags = ["admin"] if request.headers.get("x-from") == "cellar" else []

    server = Server()
    server._set_middleware([*server.middleware, Knows(server)])
    async with AsyncClient(server) as client:
        assert (await client.get("/admin")).status_code == 401
        assert (await client.get("/admin", headers={"x-from": "cellar"})).json() == ["admin"]


@pytest.mark.asyncio
async def test_a_handler_that_wants_it_decoded_gets_no_undecodable_body() -> None:
    async with AsyncClient(Server()) as client:
        for media_type in ("image/png", "application/octet-stream", "application/xml"):
            headers = {"content-type": media_type}
            refused = await client.post("/whole", content=b"\x89PNG", headers=headers)
            assert (refused.status_code, media_type in refused.json()["detail"]) == (415, True)
            assert (await client.post("/whole_or_bytes", content=b"\x89PNG", headers=headers)).text == "bytes"
        assert (await client.post("/whole", content=b"\x89PNG")).status_code == 415
        assert (await client.post("/whole", content=b"", headers={"content-type": "image/png"})).text == "NoneType"
        assert (await client.post("/whole", content=b"x", headers={"content-type": "text/plain"})).text == "str"
        assert (await client.post("/whole", json=[1])).text == "list"


@pytest.mark.asyncio
async def test_bytes_that_were_decoded_are_no_undecoded_body() -> None:
    pytest.importorskip("msgpack")
    async with AsyncClient(Server()) as client:
        headers = {"content-type": "application/msgpack"}
        assert (await client.post("/whole", content=b"\xc4\x01x", headers=headers)).text == "bytes"


def test_the_parts_of_a_server_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "shop_app.py").write_text("from genro_asgi.applications.asgi import AsgiApplication as Application")
    server = AsgiServer(tmp_path, apps={"shop": {"middleware": {"cors": True}}, "more": "shop_app"})
    assert isinstance(server.wsx_handler, WsxHandler)
    assert {name: [hook.name for hook in chain] for name, chain in server.app_middleware_chains.items()} == {
        "shop": ["cors"]
    }


@pytest.mark.asyncio
async def test_a_status_no_answer_can_have_is_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(AsgiServer):
        @route()
        async def value(self, request: BaseRequest, status: int) -> dict[str, int]:
            request.response.status_code = status
            return {}

        @route()
        async def whole(self, status: int) -> Response:
            return Response("x", status)

        @route()
        async def stream(self, status: int) -> Response:
            return StreamingResponse(iter(["x"]), status)

        @route()
        async def raised(self, status: int) -> None:
            raise HTTPException(status)

    async with AsyncClient(Odd()) as client:
        for place in ("value", "whole", "stream", "raised"):
            for status in (0, 101, 600, 999):
                caplog.clear()
                answer = await client.get(f"/{place}?status={status}")
                assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
                assert f"GET /{place} failed" in caplog.records[0].message
            assert (await client.get(f"/{place}?status=599")).status_code == 599


@pytest.mark.asyncio
@pytest.mark.parametrize("middleware", [{}, {"cors": True}])
async def test_a_value_that_is_no_json_is_told_once(
    middleware: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(AsgiServer):
        @route()
        async def index(self) -> Any:
            return {"a": object()}

    async with AsyncClient(Odd(middleware=middleware)) as client:
        assert (await client.get("/")).status_code == 500
    assert caplog.text.count("Traceback") == 1
    assert caplog.text.count("object cannot be written as JSON; turn it into a dict, a list or a str.") == 1
