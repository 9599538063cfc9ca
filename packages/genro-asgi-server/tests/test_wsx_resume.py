"""Sessions that outlive their connection: clients that come back, in process."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from genro_asgi.applications.asgi import AsgiApplication
from genro_asgi.exceptions import WebSocketDisconnect
from genro_asgi.limits import Limits
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient
from genro_asgi.testing.websocket import WebSocketSession

USERS = {"bearer": {"ann": {"token": "a", "tags": "staff"}, "bob": {"token": "b", "tags": "staff"}}}


class Site(AsgiServer):
    """Counts what it does, and waits until it is let go."""

    def __init__(self, **options: Any) -> None:
        super().__init__(auth=USERS, **options)
        self.made: list[Any] = []
        self.gate = asyncio.Event()

    @route()
    async def make(self, n: int) -> int:
        self.made.append(n)
        return n

    @route()
    async def wait(self) -> str:
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.made.append("cancelled")
            raise
        return "done"

    @route()
    async def count(self, n: int) -> AsyncIterator[int]:
        try:
            for number in range(n):
                self.made.append(number)
                yield number
        finally:
            self.made.append("closed")

    @route()
    async def total(self, numbers: AsyncIterator[int]) -> int:
        try:
            return sum([n async for n in numbers])
        finally:
            self.made.append("total")

    @route(subscribe=True)
    async def news(self) -> None:
        return None

    @route(auth_rule="staff")
    async def who(self, request: Any) -> Any:
        return request.auth["identity"]


class Link:
    """The client's side of one connection."""

    def __init__(self, socket: WebSocketSession) -> None:
        self.socket = socket

    async def send(self, **fields: Any) -> None:
        await self.socket.send_text("WSX://" + json.dumps(fields))

    async def call(self, id: str, path: str, **fields: Any) -> None:
        await self.send(id=id, method=fields.pop("method", "POST"), path=path, **fields)

    async def next(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads((await self.socket.receive_text()).removeprefix("WSX://"))
        return answer

    async def hello(self, **data: Any) -> dict[str, Any]:
        features = ["stream", "credit", "cancel", "sub", "resume"]
        await self.call("c100", "/_wsx/hello", data={"v": 1, "features": features, **data})
        answer = await self.next()
        assert (answer["id"], answer["status"]) == ("c100", 200)
        found: dict[str, Any] = answer["data"]
        return found

    async def lose(self) -> None:
        await self.socket.close(1006)


@asynccontextmanager
async def link(client: AsyncClient, token: str | None = None) -> AsyncIterator[Link]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with client.websocket("/", ["wsx.1"], headers=headers) as socket:
        yield Link(socket)


async def until(condition: Any) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to pass")


def sessions(server: AsgiServer) -> Any:
    return server.websockets.wsx.sessions


async def lost(server: AsgiServer, connection: Link) -> None:
    waiting = len(sessions(server))
    await connection.lose()
    await until(lambda: len(sessions(server)) == waiting + 1)


@pytest.mark.asyncio
async def test_a_hello_is_told_what_is_kept() -> None:
    async with AsyncClient(Site()) as client, link(client) as one, link(client) as other:
        first, second = await one.hello(), await other.hello()
        assert "resume" in first["features"]
        assert first["resume_s"] == 60.0
        assert len(first["session"]) == 22
        assert first["session"] != second["session"]
        assert "resumed" not in first
        # It is asked for, not given.
        assert (await one.hello())["session"] == first["session"]


@pytest.mark.parametrize("limits", [None, {"ws_resume": None}])
@pytest.mark.asyncio
async def test_who_does_not_want_it_has_none_of_it(limits: Any) -> None:
    server = Site(**({} if limits is None else {"limits": limits}))
    async with AsyncClient(server) as client, link(client) as one:
        if limits is None:
            await one.call("c1", "/_wsx/hello", data={"v": 1, "features": ["stream"]})
            told = (await one.next())["data"]
        else:
            told = await one.hello()
        assert ("session" in told, "resume" in told["features"]) == (False, False)
        await one.call("c2", "/wait")
        await until(lambda: len(server.request_registry) == 1)
        await one.lose()
        await until(lambda: server.made == ["cancelled"])


@pytest.mark.asyncio
async def test_calls_go_on_and_are_made_once() -> None:
    server = Site()
    async with AsyncClient(server) as client:
        async with link(client) as one:
            name = (await one.hello())["session"]
            await one.call("c1", "/wait")
            await one.call("c2", "/make/2")
            await until(lambda: server.made == [2] and len(server.request_registry) == 1)
            await lost(server, one)
        assert len(server.wsx) == 0
        async with link(client) as two:
            told = await two.hello(session=name, acks={"c1": -1, "c2": -1, "c3": -1})
            assert (told["session"], told["resumed"]) == (name, True)
            assert len(sessions(server)) == 0
            for number in (1, 2, 3):
                await two.call(f"c{number}", "/wait" if number == 1 else f"/make/{number}")
            assert await two.next() == {"id": "c2", "status": 200, "data": 2}
            assert await two.next() == {"id": "c3", "status": 200, "data": 3}
            server.gate.set()
            assert await two.next() == {"id": "c1", "status": 200, "data": "done"}
            await two.call("c4", "/make/4")
            assert await two.next() == {"id": "c4", "status": 200, "data": 4}
            assert server.made == [2, 3, 4]
            assert len(server.wsx) == 1
            assert await server.wsx.broadcast("news") == 1
            assert (await two.next())["data"] == "news"


@pytest.mark.asyncio
async def test_a_stream_stands_still_and_goes_on() -> None:
    server = Site()
    async with AsyncClient(server) as client:
        async with link(client) as one:
            name = (await one.hello())["session"]
            await one.call("c1", "/count/6", method="GET", credit=3)
            assert [(await one.next())["seq"] for _ in range(3)] == [0, 1, 2]
            await lost(server, one)
        assert server.made == [0, 1, 2]
        async with link(client) as two:
            await two.hello(session=name, acks={"c1": 1})
            # One of the three was under way; with it the window of three begins anew.
            assert [(await two.next())["seq"] for _ in range(3)] == [2, 3, 4]
            await two.send(id="c1", credit=9)
            assert [await two.next(), await two.next()] == [
                {"id": "c1", "status": 200, "seq": 5, "data": 5, "stream": True},
                {"id": "c1", "status": 200, "seq": 6},
            ]
        assert server.made == [0, 1, 2, 3, 4, 5, "closed"]


@pytest.mark.asyncio
async def test_a_subscription_has_the_events_of_the_time_between() -> None:
    server = Site()
    async with AsyncClient(server) as client:
        async with link(client) as one:
            name = (await one.hello())["session"]
            await one.call("c1", "/news", method="SUBSCRIBE", credit=8)
            assert (await one.next())["data"] == {"sub": "c1"}
            await lost(server, one)
        assert await server.publish("/news", "while away") == 1
        async with link(client) as two:
            await two.hello(session=name, acks={"c1": 0})
            assert (await two.next())["data"]["data"] == "while away"
            await server.publish("/news", "again")
            assert (await two.next())["data"]["data"] == "again"


@pytest.mark.asyncio
async def test_what_the_client_streamed_ends_at_once_as_do_calls_it_does_not_name() -> None:
    server = Site()
    async with AsyncClient(server) as client:
        async with link(client) as one:
            name = (await one.hello())["session"]
            await one.call("c1", "/total", stream=True)
            await one.call("c2", "/wait")
            await until(lambda: len(server.request_registry) == 2)
            await lost(server, one)
        await until(lambda: server.made == ["total"])
        async with link(client) as two:
            await two.hello(session=name, acks={})
            await until(lambda: server.made == ["total", "cancelled"])


@pytest.mark.parametrize("code", [1000, 1001, 1005, 4000])
@pytest.mark.asyncio
async def test_who_closes_does_not_come_back(code: int) -> None:
    server = Site()
    async with AsyncClient(server) as client:
        async with link(client) as one:
            name = (await one.hello())["session"]
            await one.call("c1", "/wait")
            await until(lambda: len(server.request_registry) == 1)
            await one.socket.close(code)
            await until(lambda: server.made == ["cancelled"])
        async with link(client) as two:
            told = await two.hello(session=name, acks={"c1": -1})
            assert told["resumed"] is False
            assert told["session"] != name


@pytest.mark.asyncio
async def test_a_session_is_not_kept_for_ever() -> None:
    server = Site(limits={"ws_resume": 0.05})
    async with AsyncClient(server) as client:
        async with link(client) as one:
            name = (await one.hello())["session"]
            await one.call("c1", "/wait")
            await until(lambda: len(server.request_registry) == 1)
            await one.lose()
        await until(lambda: server.made == ["cancelled"])
        assert len(sessions(server)) == 0
        async with link(client) as two:
            assert (await two.hello(session=name, acks={}))["resumed"] is False


@pytest.mark.asyncio
async def test_only_so_many_are_kept() -> None:
    server = Site(limits={"ws_resume_sessions": 1})
    async with AsyncClient(server) as client:
        names = []
        for _ in range(2):
            async with link(client) as one:
                names.append((await one.hello())["session"])
                await one.lose()
        await until(lambda: len(server.wsx) == 0)
        resumed = []
        for name in names:
            async with link(client) as two:
                resumed.append((await two.hello(session=name, acks={}))["resumed"])
        assert resumed == [True, False]


@pytest.mark.asyncio
async def test_answers_over_the_limit_are_lost_and_not_made_again() -> None:
    server = Site(limits={"ws_resume_bytes": 80})
    async with AsyncClient(server) as client:
        async with link(client) as one:
            name = (await one.hello())["session"]
            for number in (1, 2, 3):
                await one.call(f"c{number}", f"/make/{number}")
                await one.next()
            await lost(server, one)
        async with link(client) as two:
            await two.hello(session=name, acks={"c1": -1, "c3": -1})
            await two.call("c1", "/make/1")
            answer = await two.next()
            assert (answer["status"], answer["data"]["code"], answer["data"]["retry"]) == (410, "RESUME_LOST", False)
            await two.call("c3", "/make/3")
            assert await two.next() == {"id": "c3", "status": 200, "data": 3}
            assert server.made == [1, 2, 3]


@pytest.mark.parametrize(
    ("first", "second", "resumed"), [("a", "a", True), ("a", "b", False), ("a", None, False), (None, "a", False)]
)
@pytest.mark.asyncio
async def test_a_session_is_for_who_has_begun_it(first: str | None, second: str | None, resumed: bool) -> None:
    server = Site()
    async with AsyncClient(server) as client:
        async with link(client, first) as one:
            name = (await one.hello())["session"]
            await lost(server, one)
        async with link(client, second) as two:
            assert (await two.hello(session=name, acks={}))["resumed"] is resumed
            assert len(sessions(server)) == (not resumed)


@pytest.mark.asyncio
async def test_credentials_of_the_hello_count_too() -> None:
    server = Site()
    async with AsyncClient(server) as client:
        async with link(client) as one:
            name = (await one.hello(auth={"token": "a"}))["session"]
            await lost(server, one)
        async with link(client) as two:
            await two.call("c1", "/_wsx/hello", data={"features": ["resume"], "session": name, "auth": {"token": "x"}})
            assert (await two.next())["status"] == 401
            told = await two.hello(session=name, acks={}, auth={"token": "a"})
            assert (told["resumed"], told["identity"]) == (True, "ann")
            await two.call("c2", "/who")
            assert (await two.next())["data"] == "ann"
            assert [info.identity for info in server.wsx] == ["ann"]


class Own(AsgiApplication):
    """Knows its users by itself."""

    def authenticate(self, scope: Any) -> Any:
        return None


@pytest.mark.parametrize(("second", "resumed"), [("a", True), ("b", False)])
@pytest.mark.asyncio
async def test_where_applications_know_who_asks_it_is_for_the_same_credentials(second: str, resumed: bool) -> None:
    server = AsgiServer()
    server.mount("own", Own())
    async with AsyncClient(server) as client:
        async with link(client, "a") as one:
            name = (await one.hello())["session"]
            await lost(server, one)
        async with link(client, second) as two:
            assert (await two.hello(session=name, acks={}))["resumed"] is resumed


@pytest.mark.asyncio
async def test_one_connection_at_a_time() -> None:
    server = Site()
    async with AsyncClient(server) as client, link(client) as one, link(client) as two:
        name = (await one.hello())["session"]
        await one.call("c1", "/wait")
        await one.call("c2", "/count/9", method="GET", credit=2)
        assert (await one.next())["seq"] == 0
        told = await two.hello(session=name, acks={"c1": -1, "c2": 0})
        assert told["resumed"] is True
        assert (await one.next())["seq"] == 1
        with pytest.raises(WebSocketDisconnect) as end:
            await one.socket.receive_text()
        assert end.value.code == 1008
        assert [(await two.next())["seq"] for _ in range(2)] == [1, 2]
        await two.call("c1", "/wait")
        server.gate.set()
        assert await two.next() == {"id": "c1", "status": 200, "data": "done"}
        assert len(server.wsx) == 1


@pytest.mark.asyncio
async def test_it_can_be_lost_more_than_once() -> None:
    server = Site()
    async with AsyncClient(server) as client:
        name, seen = None, -1
        for _ in range(4):
            async with link(client) as one:
                if name is None:
                    name = (await one.hello())["session"]
                    await one.call("c1", "/count/100", method="GET", credit=2)
                else:
                    assert (await one.hello(session=name, acks={"c1": seen}))["resumed"] is True
                for _ in range(2):
                    answer = await one.next()
                    assert answer["seq"] == seen + 1
                    seen = answer["seq"]
                await lost(server, one)
        assert server.made == list(range(8))


@pytest.mark.asyncio
async def test_who_has_begun_to_call_takes_nothing_over() -> None:
    server = Site()
    async with AsyncClient(server) as client:
        async with link(client) as one:
            name = (await one.hello())["session"]
            await lost(server, one)
        async with link(client) as two:
            await two.call("c1", "/wait")
            await until(lambda: len(server.request_registry) == 1)
            assert (await two.hello(session=name, acks={}))["resumed"] is False
            server.gate.set()
            assert (await two.next())["data"] == "done"


@pytest.mark.parametrize("name", ["", "no such session", 7, None, ["x"]])
@pytest.mark.asyncio
async def test_a_name_nobody_has_is_refused_and_told_so(name: Any) -> None:
    server = Site()
    async with AsyncClient(server) as client, link(client) as one:
        told = await one.hello(session=name, acks={"c1": 3})
        assert told.get("resumed") is (None if name is None else False)
        assert len(told["session"]) == 22


@pytest.mark.asyncio
async def test_the_end_of_the_server_waits_for_nobody() -> None:
    server = Site()
    async with AsyncClient(server) as client:
        async with link(client) as one:
            await one.hello()
            await one.call("c1", "/wait")
            await until(lambda: len(server.request_registry) == 1)
            await lost(server, one)
        await server.drain(5)
        assert (server.made, len(sessions(server)), len(server.request_registry)) == (["cancelled"], 0, 0)


@pytest.mark.asyncio
async def test_deadlines_go_on_while_nobody_is_there() -> None:
    server = Site()
    async with AsyncClient(server) as client:
        async with link(client) as one:
            name = (await one.hello())["session"]
            await one.call("c1", "/wait", timeout=100)
            await until(lambda: len(server.request_registry) == 1)
            await lost(server, one)
        await until(lambda: server.made == ["cancelled"])
        async with link(client) as two:
            await two.hello(session=name, acks={"c1": -1})
            await two.call("c1", "/wait", timeout=100)
            answer = await two.next()
            assert (answer["status"], answer["data"]["code"]) == (504, "DEADLINE")


@pytest.mark.asyncio
async def test_what_was_read_long_ago_is_not_kept() -> None:
    server = Site()
    async with AsyncClient(server) as client, link(client) as one:
        await one.hello()
        await one.call("c1", "/make/1")
        await one.next()
        (connection,) = server.websockets.wsx.connections
        kept = connection.session.kept
        assert kept is not None
        assert "c1" in kept
        for _ in range(2):
            sessions(server)._age(asyncio.get_running_loop())
        assert len(kept) == 0


def test_the_limits_are_on() -> None:
    limits = Limits()
    assert (limits.ws_resume, limits.ws_resume_bytes, limits.ws_resume_sessions) == (60.0, 256 * 1024, 1000)
