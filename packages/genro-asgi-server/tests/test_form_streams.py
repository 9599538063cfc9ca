"""Forms that a handler reads part by part while they arrive."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from genro_asgi.forms import FormPart
from genro_asgi.request import BaseRequest, HttpRequest
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient

pytest.importorskip("python_multipart")

TYPE = {"content-type": "multipart/form-data; boundary=B"}
FIELD = b'--B\r\nContent-Disposition: form-data; name="title"\r\n\r\nA tree\r\n'
FILE = b'--B\r\nContent-Disposition: form-data; name="file"; filename="../t.bin"\r\n\r\n'
END = b"\r\n--B--\r\n"


class Gallery(AsgiServer):
    seen: list[str]

    @route(methods="POST", max_body=1_000_000)
    async def parts(self, parts: AsyncIterator[FormPart], kind: str = "x") -> list[Any]:
        found: list[Any] = [kind]
        async for part in parts:
            self.seen.append(part.name)
            if part.filename is None:
                found.append([part.name, await part.text()])
            else:
                found.append([part.name, part.filename, sum([len(data) async for data in part])])
        return found

    @route(methods="POST")
    async def asked(self, request: HttpRequest, body_stream: Any) -> list[str]:
        return [part.name async for part in request.form_stream(max_fields=1)]

    @route(methods="POST")
    async def gathered(self, request: HttpRequest) -> list[Any]:
        first = [[part.name, len(await part.read())] async for part in request.form_stream()]
        title = request.data["title"]
        return [*first, title]

    @route()
    async def anything(self, request: BaseRequest) -> None:
        request.form_stream()  # type: ignore[attr-defined]


def gallery() -> Gallery:
    server = Gallery()
    server.seen = []
    return server


@pytest.mark.asyncio
async def test_the_first_part_is_read_before_the_last_has_come() -> None:
    server = gallery()
    more = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield FIELD + FILE + b"12"
        await more.wait()
        yield b"345" * 100_000
        yield END

    async with AsyncClient(server) as client:
        asking = asyncio.ensure_future(client.post("/parts?kind=y", content=body(), headers=TYPE))
        while server.seen != ["title", "file"]:
            await asyncio.sleep(0)
        more.set()
        assert (await asking).json() == ["y", ["title", "A tree"], ["file", "t.bin", 300_002]]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "headers", "body", "status", "detail"),
    [
        ("/parts", TYPE, FIELD, 400, "Invalid multipart data."),
        ("/parts", TYPE, FILE + b"x" * 1_000_000 + END, 413, "The request body is larger than 1000000 bytes."),
        ("/parts", {"content-type": "application/json"}, b"{}", 415, None),
        ("/asked", TYPE, FIELD + FIELD + END, 413, "Too many fields. Maximum number of fields is 1."),
    ],
)
async def test_what_cannot_be_taken(path: str, headers: Any, body: bytes, status: int, detail: str | None) -> None:
    async with AsyncClient(gallery()) as client:
        answer = await client.post(path, content=body, headers=headers)
        assert answer.status_code == status
        assert answer.json()["detail"] == (detail or "The body is not a form; send multipart/form-data.")


@pytest.mark.asyncio
async def test_a_form_that_was_read_can_be_gone_through_again() -> None:
    async with AsyncClient(gallery()) as client:
        body = FIELD + FILE + b"123" + END
        answer = await client.post("/gathered", content=body, headers=TYPE)
        assert answer.json() == [["title", 6], ["file", 3], "A tree"]
        fields = await client.post("/gathered", data={"title": "Rain", "b": "1"})
        assert fields.json() == [["title", 4], ["b", 1], "Rain"]


@pytest.mark.asyncio
async def test_messages_bring_no_forms() -> None:
    async with AsyncClient(gallery()) as client, client.websocket("/") as socket:
        for path in ("/parts", "/anything"):
            await socket.send_json({"id": "1", "method": "POST", "path": path})
            answer = await socket.receive_json()
            assert (answer["status"], answer["data"]["detail"]) == (415, "A form can be sent over HTTP only.")
