"""The head of the request before is known already: what differs from it, in whatever way, is looked at anew."""

from typing import Any

import pytest

from genro_asgi.limits import Limits
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.types import Message

OPEN = [(b"host", b"a"), (b"accept", b"*/*")]
JSON = [(b"host", b"a"), (b"content-type", b"application/json"), (b"content-length", b"3")]


class Site(AsgiServer):
    @route()
    async def seen(self) -> dict[str, str]:
        assert self.request is not None
        return dict(self.request.headers)

    @route(auth_rule="admin")
    async def guarded(self) -> str:
        return "in"

    @route(methods="POST")
    async def posted(self, body_data: Any) -> Any:
        return body_data


async def ask(server: Any, headers: Any, path: str = "/seen", messages: Any = None, **more: Any) -> tuple[int, bytes]:
    scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "query_string": b"", **more}
    incoming = list(messages or [{"type": "http.request", "body": b"", "more_body": False}])
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await server(scope, receive, send)
    return (sent[0]["status"], b"".join(part.get("body", b"") for part in sent[1:])) if sent else (0, b"")


@pytest.mark.asyncio
async def test_only_the_same_head_is_known_already() -> None:
    server = Site(limits={"header_bytes": 200})
    assert await ask(server, list(OPEN)) == (200, b'{"host":"a","accept":"*/*"}')
    assert await ask(server, [*OPEN, (b"user-agent", b"x")]) == (200, b'{"host":"a","accept":"*/*","user-agent":"x"}')
    assert await ask(server, list(OPEN)) == (200, b'{"host":"a","accept":"*/*"}')
    assert (await ask(server, [*OPEN, (b"host", b"b")]))[0] == 400
    assert (await ask(server, [*OPEN, (b"referer", b"x" * 200)]))[0] == 431
    assert (await ask(server, [*OPEN, (b"referer", b"x" * 200)]))[0] == 431
    assert (await ask(server, tuple(OPEN)))[0] == 200
    assert (await ask(server, [list(pair) for pair in OPEN]))[0] == 200
    assert (await ask(server, []))[0] == 200


@pytest.mark.asyncio
async def test_what_happens_to_a_head_later_does_not_change_what_is_known() -> None:
    server = Site(auth={"bearer": {"me": {"token": "hush", "tags": ["admin"]}}})
    headers = list(OPEN)
    assert (await ask(server, headers, "/guarded"))[0] == 401
    headers.append((b"authorization", b"Bearer hush"))  # as an application might do with the list it was given
    assert await ask(server, list(headers), "/guarded") == (200, b"in")
    assert (await ask(server, list(OPEN), "/guarded"))[0] == 401


@pytest.mark.parametrize("name", [b"cookie", b"authorization", b"x-api-key", b"proxy-authorization", b"x-anything"])
@pytest.mark.asyncio
async def test_heads_that_may_hold_secrets_are_not_compared_with_those_of_others(name: bytes) -> None:
    server = Site()
    await ask(server, [*OPEN, (name, b"secret")])
    assert server._head is None
    await ask(server, list(OPEN))
    await ask(server, [*OPEN, (name, b"secret")])
    assert server._head == OPEN


@pytest.mark.asyncio
async def test_json_bodies_behind_a_known_head() -> None:
    server = Site(limits=Limits(max_body=50))
    whole = {"type": "http.request", "body": b"[1]", "more_body": False}
    in_two = [{"type": "http.request", "body": b"[", "more_body": True}, {"type": "http.request", "body": b"1]"}]
    for messages in ([whole], [whole], [{"type": "http.request", "body": b"[1]"}], in_two):
        assert await ask(server, list(JSON), "/posted", messages, method="POST") == (200, b"[1]")
    empty = await ask(server, list(JSON), "/posted", [{"type": "http.request"}], method="POST")
    assert empty == (200, b"")
    assert await ask(server, list(JSON), "/posted", [{"type": "http.disconnect"}], method="POST") == (0, b"")
    for length, status in ((b"51", 413), (b"x", 400), (b"-1", 400), (b"3", 200)):
        head = [*JSON[:2], (b"content-length", length)]
        assert (await ask(server, head, "/posted", [whole], method="POST"))[0] == status
        assert (await ask(server, head, "/posted", [whole], method="POST"))[0] == status
    other = [JSON[0], (b"content-type", b"text/plain"), JSON[2]]
    assert (await ask(server, other, "/posted", [whole], method="POST"))[0] != 500
