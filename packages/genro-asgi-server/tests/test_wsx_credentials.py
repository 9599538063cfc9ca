"""Credentials of WSX connections that end, and those a message brings of its own."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import time
from typing import Any

import pytest

from genro_asgi.applications.asgi import AsgiApplication
from genro_asgi.exceptions import WebSocketDisconnect
from genro_asgi.request import MsgRequest
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient
from genro_asgi.testing.websocket import WebSocketDenied, WebSocketSession

USERS = {"bearer": {"ann": {"token": "a", "tags": "staff"}, "bob": {"token": "b", "tags": "bots"}}}


class Passes(AsgiServer):
    """Lets anybody in whose header is `Until <seconds from now>`."""

    def authenticate(self, scope: Any) -> Any:
        value = next((v for k, v in scope["headers"] if k == b"authorization"), None)
        if value is None:
            return None
        return {"identity": "ann", "tags": ["staff"], "exp": time() + float(value.split()[1])}

    @route(auth_rule="staff")
    async def inside(self) -> str:
        return "in"

    @route()
    async def outside(self) -> str:
        return "out"


async def call(socket: WebSocketSession, path: str, data: Any = None, **fields: Any) -> tuple[int, Any]:
    message = {"id": "c", "method": "POST", "path": path, "data": data, **fields}
    await socket.send_text("WSX://" + json.dumps(message))
    answer = json.loads((await socket.receive_text()).removeprefix("WSX://"))
    return answer["status"], answer.get("data")


@asynccontextmanager
async def connected(server: AsgiServer, authorization: str | None = None) -> AsyncIterator[WebSocketSession]:
    headers = {"authorization": authorization} if authorization else {}
    async with AsyncClient(server) as client, client.websocket("/", ["wsx.1"], headers=headers) as socket:
        yield socket


async def until_refused(socket: WebSocketSession, path: str) -> None:
    for _ in range(1000):
        if (await call(socket, path))[0] == 401:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the credentials did not end")


@pytest.mark.asyncio
async def test_after_their_end_calls_are_refused_until_there_are_new_ones() -> None:
    async with connected(Passes(), "Until 0.1") as socket:
        assert await call(socket, "/inside") == (200, "in")
        await until_refused(socket, "/inside")
        status, data = await call(socket, "/outside")
        assert (status, data["code"], data["retry"]) == (401, "UNAUTHENTICATED", True)
        assert await call(socket, "/_wsx/ping") == (200, "pong")
        assert (await call(socket, "/_wsx/auth", {"authorization": "Until -1"}))[0] == 401
        assert await call(socket, "/_wsx/auth", {"authorization": "Until 60"}) == (200, {"identity": "ann"})
        assert await call(socket, "/inside") == (200, "in")


@pytest.mark.asyncio
async def test_without_new_ones_the_connection_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genro_asgi.wsx.session.EXPIRY_GRACE", 0.05)
    async with connected(Passes(), "Until 0.05") as socket:
        with pytest.raises(WebSocketDisconnect) as end:
            await socket.receive_text()
    assert (end.value.code, end.value.reason) == (4401, "the credentials have expired")


@pytest.mark.asyncio
async def test_credentials_that_are_over_let_nobody_in() -> None:
    with pytest.raises(WebSocketDenied) as denied:
        async with connected(Passes(), "Until -1"):
            pass
    assert denied.value.status_code == 403
    async with AsyncClient(Passes()) as client:
        assert (await client.get("/inside", headers={"authorization": "Until -1"})).status_code == 401
        assert (await client.get("/inside", headers={"authorization": "Until 9"})).status_code == 200


class Who(AsgiApplication):
    """Tells who has asked."""

    @route()
    async def anyone(self, request: MsgRequest) -> Any:
        return None if request.auth is None else request.auth["identity"]

    @route(auth_rule="bots")
    async def bots(self, request: MsgRequest) -> Any:
        assert request.auth is not None
        return request.auth["identity"]


class WhoSays(Who):
    """The same, of each message."""

    message_auth = True


BASIC = "Basic " + base64.b64encode(b"eve:x").decode()


@pytest.mark.parametrize(
    ("app", "path", "said", "answer"),
    [
        (WhoSays, "anyone", None, (200, "ann")),
        (WhoSays, "anyone", "Bearer b", (200, "bob")),
        (WhoSays, "anyone", "Bearer x", (200, None)),
        (WhoSays, "bots", None, (403, "FORBIDDEN")),
        (WhoSays, "bots", "Bearer b", (200, "bob")),
        (WhoSays, "bots", "Bearer x", (401, "UNAUTHENTICATED")),
        (WhoSays, "bots", BASIC, (401, "UNAUTHENTICATED")),
        (Who, "anyone", "Bearer b", (200, "ann")),
        (Who, "anyone", "Bearer x", (200, "ann")),
        (Who, "bots", "Bearer b", (403, "FORBIDDEN")),
    ],
)
@pytest.mark.asyncio
async def test_a_message_may_bring_its_own_where_the_application_wants_it(
    app: type[AsgiApplication], path: str, said: str | None, answer: tuple[int, Any]
) -> None:
    server = AsgiServer(auth=USERS)
    server.mount("who", app())
    async with connected(server, "Bearer a") as socket:
        headers = {"headers": {"authorization": said}} if said else {}
        status, data = await call(socket, f"/who/{path}", **headers)
        assert (status, data["code"] if status >= 400 else data) == answer
        # It was for that one call.
        assert await call(socket, "/who/anyone") == (200, "ann")
