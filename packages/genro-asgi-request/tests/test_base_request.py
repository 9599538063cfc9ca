"""What all requests have: a response, tags, a context, databases, cleanups; and the registry of those in flight."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from genro_asgi.exceptions import ClientDisconnect
from genro_asgi.request import (
    REQUEST_FACTORIES,
    BaseRequest,
    HttpRequest,
    MsgRequest,
    RequestRegistry,
    WsRequest,
    get_current_request,
)
from genro_asgi.response import Response
from genro_asgi.wsx.errors import WsxError


class NatsRequest(MsgRequest):
    """A factory of somebody else."""


def test_a_base_request_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        BaseRequest()  # type: ignore[abstract]
    assert WsRequest is MsgRequest
    assert {"http": HttpRequest, "websocket": MsgRequest} == REQUEST_FACTORIES


def test_defaults_cost_nothing_and_belong_to_each_request() -> None:
    first, second = HttpRequest(), HttpRequest()
    assert (first.auth_tags, first.env_capabilities, first.app_name, first.external_id) == ([], [], None, None)
    first.auth_tags = ["read"]
    first.env_capabilities = ["x"]
    first.app_name = "shop"
    assert (second.auth_tags, second.env_capabilities, second.app_name) == ([], [], None)
    assert (first.auth_tags, first.env_capabilities) == (["read"], ["x"])
    assert isinstance(first.response, Response)
    assert first.response is not second.response


def test_what_needs_a_server_says_so() -> None:
    request = HttpRequest()
    assert request.ctx is None
    with pytest.raises(RuntimeError, match=r"get_db\('default'\) needs a server; this request was made without one"):
        request.db  # noqa: B018


class Db:
    def __init__(self) -> None:
        self.closed = 0

    def closeConnection(self) -> None:
        self.closed += 1


@pytest.mark.asyncio
async def test_databases_are_closed_once_at_the_end() -> None:
    dbs: dict[str, Any] = {"default": Db(), "stock": Db(), "plain": object()}
    request = HttpRequest()
    request.server = SimpleNamespace(get_db=dbs.__getitem__, make_context=lambda request: {"request": request})
    assert request.db is dbs["default"]
    assert request.db is dbs["default"]
    assert request.get_db("plain") is dbs["plain"]
    request.endpoint = SimpleNamespace(app=SimpleNamespace(db_name="stock"))
    assert request.db is dbs["stock"]
    assert request.ctx is request.ctx
    with pytest.raises(KeyError):
        request.get_db("none")
    assert await request.run_cleanups() == []
    assert (dbs["default"].closed, dbs["stock"].closed) == (1, 1)


@pytest.mark.asyncio
async def test_cleanups_run_last_first_and_errors_before_them() -> None:
    request, seen = HttpRequest(), list[Any]()
    assert request.extra is False

    async def later() -> None:
        await asyncio.sleep(0)
        seen.append("async cleanup")

    async def on_error(error: BaseException) -> None:
        seen.append(("async", error))

    request.add_cleanup(lambda: seen.append("first added"))
    request.add_cleanup(later)
    request.add_onerr(lambda error: seen.append(("sync", error)))
    request.add_onerr(on_error)
    assert request.extra is True
    error = ValueError("x")
    assert await request.run_cleanups(error) == []
    assert seen == [("async", error), ("sync", error), "async cleanup", "first added"]
    assert await request.run_cleanups(error) == []
    assert len(seen) == 4


@pytest.mark.asyncio
async def test_without_an_error_only_the_cleanups_run() -> None:
    request, seen = HttpRequest(), list[str]()
    request.add_onerr(lambda error: seen.append("error"))
    request.add_cleanup(lambda: seen.append("cleanup"))
    await request.run_cleanups()
    assert seen == ["cleanup"]


@pytest.mark.asyncio
async def test_a_callback_that_fails_does_not_stop_the_others() -> None:
    request, seen = HttpRequest(), list[str]()

    def fail(*args: Any) -> None:
        raise RuntimeError("no")

    request.add_cleanup(lambda: seen.append("cleanup"))
    request.add_cleanup(fail)
    request.add_onerr(lambda error: seen.append("error"))
    request.add_onerr(fail)
    failures = await request.run_cleanups(ValueError())
    assert [str(failure) for failure in failures] == ["no", "no"]
    assert seen == ["error", "cleanup"]


# MsgRequest


@pytest.fixture
def message() -> dict[str, Any]:
    return {"id": "7", "method": "get", "path": "/a/b"}


async def read(message: Any, **options: Any) -> MsgRequest:
    request = MsgRequest()
    await request.init(message=message, **options)
    return request


@pytest.mark.parametrize("form", ["WSX://{}", "{}", "bytes", "bytearray", "memoryview"])
@pytest.mark.asyncio
async def test_a_message_in_its_forms(form: str, message: dict[str, Any]) -> None:
    text = json.dumps(message)
    given: Any = {
        "bytes": text.encode(),
        "bytearray": bytearray(text.encode()),
        "memoryview": memoryview(text.encode()),
    }.get(form, form.replace("{}", text))
    request = await read(given)
    assert (request.external_id, request.method, request.path, request.transport) == ("7", "GET", "/a/b", "websocket")
    assert request.id != "7"
    assert (request.headers, request.cookies, request.query, request.query_values()) == ({}, {}, {}, {})
    assert request.data is None
    assert (request.scope, request.websocket, request.client) == (None, None, None)
    assert request.tytx_mode is False
    assert repr(request) == f"<MsgRequest id={request.id!r} method=GET path='/a/b' transport=websocket>"


@pytest.mark.asyncio
async def test_all_fields_of_a_message(message: dict[str, Any]) -> None:
    from genro_asgi.wsx.messages import parse_message

    message |= {
        "headers": {"X-A": "1"},
        "cookies": {"c": "2"},
        "query": {"q": [1, 2]},
        "data": {"p": "9.90::N"},
        "path": None,
    }
    scope = {"type": "websocket", "client": ("1.2.3.4", 5)}
    server = SimpleNamespace()
    request = MsgRequest()
    parsed = parse_message(json.dumps(message))
    await request.init(scope, message=parsed, websocket="socket", transport_type="nats", server=server)
    assert request.headers == {"x-a": "1"}
    assert request.cookies == {"c": "2"}
    assert request.query == {"q": [1, 2]}
    assert request.data == {"p": "9.90::N"}
    assert (request.path, request.transport) == ("/", "nats")
    assert (request.scope, request.websocket, request.client) == (scope, "socket", ("1.2.3.4", 5))
    assert request.server is server
    request.response.set_result({"a": 1})
    assert request.response.body == b'{"a":1}'
    request.external_id = "8"
    request.tytx_transport = "msgpack"
    assert (request.external_id, request.tytx_mode) == ("8", True)


@pytest.mark.parametrize(
    ("extra", "mark"),
    [({}, "::JS"), ({"tytx": True}, ""), ({"headers": {"content-type": "application/vnd.tytx+json"}}, "")],
)
@pytest.mark.asyncio
async def test_typed_messages(extra: Any, mark: str, message: dict[str, Any]) -> None:
    from decimal import Decimal

    text = json.dumps(message | extra | {"data": {"p": "9.90::N"}, "query": {"q": "1::N"}})
    request = await read(f"WSX://{text}{mark}")
    assert request.data == {"p": Decimal("9.90")}
    assert request.query == {"q": Decimal(1)}
    assert (request.tytx_mode, request.tytx_transport) == (True, "json")


@pytest.mark.parametrize("field", ["id", "method"])
@pytest.mark.asyncio
async def test_a_message_needs_id_and_method(field: str, message: dict[str, Any]) -> None:
    del message[field]
    with pytest.raises(ValueError, match=f"WSX message missing required '{field}' field"):
        await read(json.dumps(message))


@pytest.mark.asyncio
async def test_a_message_is_needed() -> None:
    with pytest.raises(ValueError, match="MsgRequest requires 'message' kwarg"):
        await MsgRequest().init({"type": "websocket"})


@pytest.mark.parametrize("text", ["", "{", "[1]", "x", b"\xff", '{"id":1,"method":"GET"}'])
@pytest.mark.asyncio
async def test_what_is_no_message_is_a_value_error(text: Any) -> None:
    assert issubclass(WsxError, ValueError)
    with pytest.raises(WsxError):
        await read(text)


# RequestRegistry


@pytest.mark.asyncio
async def test_the_life_of_a_request(exchange: Any) -> None:
    registry = RequestRegistry()
    here = exchange("POST", body=b"[1]")
    request = await registry.create(here.scope, here.receive, here.send)
    assert isinstance(request, HttpRequest)
    assert request.data == [1]
    assert get_current_request() is request
    assert registry.current.get() is request
    assert (len(registry), list(registry), request.id in registry) == (1, [request], True)
    assert registry.get(request.id) is request
    assert repr(registry) == "RequestRegistry(active=1)"
    assert registry.unregister() is request
    assert get_current_request() is None
    assert (len(registry), request.id in registry, registry.get(request.id)) == (0, False, None)
    assert registry.unregister() is None
    assert registry.unregister(request) is None


@pytest.mark.asyncio
async def test_the_body_can_wait(exchange: Any) -> None:
    here = exchange("POST", body=b"{", headers=[("content-type", "application/json")])
    request = await RequestRegistry().create(here.scope, here.receive, defer_body=True)
    assert here.receives == 0
    assert request.data is None


@pytest.mark.asyncio
async def test_a_request_that_fails_to_begin_is_not_listed(exchange: Any) -> None:
    registry = RequestRegistry()
    here = exchange(messages=[{"type": "http.disconnect"}])
    with pytest.raises(ClientDisconnect):
        await registry.create(here.scope, here.receive)
    assert (len(registry), get_current_request()) == (0, None)


@pytest.mark.asyncio
async def test_two_requests_with_one_id_are_both_listed(exchange: Any) -> None:
    registry = RequestRegistry(server="server")
    requests = []
    for _ in range(2):
        here = exchange(headers=[("x-request-id", "same")])
        requests.append(await registry.create(here.scope, here.receive))
    assert list(registry) == requests
    assert registry.get("same") is requests[1]
    assert requests[0].server == "server"
    assert registry.unregister(requests[1]) is requests[1]
    assert registry.get("same") is requests[0]
    assert registry.get("other", requests[0]) is requests[0]
    requests[0].app_name = "shop"
    assert (registry.count_by_app("shop"), registry.count_by_app("other")) == (1, 0)
    assert 5 not in registry


@pytest.mark.asyncio
async def test_custom_factories(exchange: Any) -> None:
    registry = RequestRegistry()
    here = exchange(type="nats")
    with pytest.raises(ValueError, match="No factory for scope type: 'nats'"):
        await registry.create(here.scope, here.receive)
    registry.register_factory("nats", NatsRequest)
    request = await registry.create(
        here.scope, here.receive, message='{"id":"1","method":"GET"}', transport_type="nats"
    )
    assert isinstance(request, NatsRequest)
    assert (request.transport, request.external_id) == ("nats", "1")
    assert "nats" not in REQUEST_FACTORIES
    registry.unregister()
    own = RequestRegistry({"http": HttpRequest})
    assert set(own.factories) == {"http"}


@pytest.mark.asyncio
async def test_iterating_while_requests_end(exchange: Any) -> None:
    registry = RequestRegistry()
    for _ in range(3):
        here = exchange()
        await registry.create(here.scope, here.receive)
    for request in registry:
        registry.unregister(request)
    assert len(registry) == 0
