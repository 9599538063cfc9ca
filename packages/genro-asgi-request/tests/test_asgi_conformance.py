"""The same exchanges through the strict test client: what it accepts, an ASGI server accepts."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from genro_asgi.exceptions import WebSocketDisconnect
from genro_asgi.request import Request
from genro_asgi.response import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    SseEvent,
    SseResponse,
    StreamingResponse,
)
from genro_asgi.testing import AsyncClient, WebSocketDenied
from genro_asgi.websocket import WebSocket, WebSocketClose


async def pieces() -> AsyncIterator[str]:
    yield "a"
    yield "b"


def sync_pieces() -> Iterator[bytes]:
    yield b"a"
    yield b"b"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("make", "status", "body"),
    [
        (lambda path: Response("x"), 200, "x"),
        (lambda path: Response(status_code=204), 204, ""),
        (lambda path: JSONResponse({"a": 1}, 201), 201, '{"a":1}'),
        (lambda path: HTMLResponse("<p>"), 200, "<p>"),
        (lambda path: RedirectResponse("/x"), 307, ""),
        (lambda path: StreamingResponse(pieces()), 200, "ab"),
        (lambda path: StreamingResponse(sync_pieces()), 200, "ab"),
        (lambda path: SseResponse(iter([SseEvent("x")])), 200, "data: x\n\n"),
        (lambda path: FileResponse(path), 200, "0123456789"),
        (lambda path: FileResponse(path, 404), 404, "0123456789"),
    ],
)
@pytest.mark.asyncio
async def test_responses(method: str, make: Any, status: int, body: str, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("0123456789")
    async with AsyncClient(make(path), lifespan=False) as client:
        answer = await client.request(method, "/")
        assert (answer.status_code, answer.text) == (status, body if method == "GET" else "")


@pytest.mark.parametrize(
    ("headers", "status", "body"),
    [
        ({"range": "bytes=2-3"}, 206, "23"),
        ({"range": "bytes=0-1,4-5"}, 206, None),
        ({"range": "bytes=50-"}, 416, None),
        ({"range": "x"}, 400, None),
        ({"if-none-match": "*"}, 304, ""),
    ],
)
@pytest.mark.asyncio
async def test_files_in_part(headers: dict[str, str], status: int, body: str | None, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("0123456789")
    async with AsyncClient(FileResponse(path), lifespan=False) as client:
        answer = await client.get("/", headers=headers)
        assert answer.status_code == status
        assert body is None or answer.text == body


@pytest.mark.asyncio
async def test_a_client_that_leaves_a_stream_closes_it() -> None:
    closed: list[bool] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            closed.append(True)

    async with AsyncClient(lambda *channels: StreamingResponse(endless())(*channels), lifespan=False) as client:
        async with client.stream("GET", "/") as answer:
            async for _ in answer:
                break
        assert closed == [True]


@pytest.mark.asyncio
async def test_requests_of_all_kinds() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive, send)
        if request.headers.get("content-type") == "application/json":
            value = await request.json()
        else:
            value = [dict(await request.form()), len(await request.body()), await request.is_disconnected()]
        await JSONResponse(value)(scope, receive, send)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"a=1"
        yield b"&b=2"

    async with AsyncClient(app, lifespan=False) as client:
        assert (await client.post("/", json={"a": [1]})).json() == {"a": [1]}
        assert (await client.post("/", data={"a": "1"})).json() == [{"a": "1"}, 3, False]
        form = {"content-type": "application/x-www-form-urlencoded"}
        assert (await client.post("/", content=chunks(), headers=form)).json() == [{"a": "1", "b": "2"}, 7, False]
        assert (await client.get("/")).json() == [{}, 0, False]


async def sockets(scope: Any, receive: Any, send: Any) -> None:
    socket = WebSocket(scope, receive, send)
    if scope["path"] == "/denied":
        await socket.send_denial_response(JSONResponse({"no": 1}, 401))
        return
    if scope["path"] == "/refused":
        await WebSocketClose(1008)(scope, receive, send)
        return
    await socket.accept(socket.subprotocols[0] if socket.subprotocols else None, {"x-a": "1"})
    async for value in socket.iter_json():
        await socket.send_json(value)
        if value == "stop":
            await socket.close(4000, "stopped")


@pytest.mark.asyncio
async def test_sockets() -> None:
    async with AsyncClient(sockets, lifespan=False) as client:
        async with client.websocket("/", subprotocols=["a", "b"]) as socket:
            assert socket.accepted_subprotocol == "a"
            await socket.send_json({"x": 1})
            assert await socket.receive_json() == {"x": 1}
            await socket.send_json("stop")
            assert await socket.receive_json() == "stop"
            with pytest.raises(WebSocketDisconnect) as caught:
                await socket.receive_json()
            assert (caught.value.code, caught.value.reason) == (4000, "stopped")
        with pytest.raises(WebSocketDenied) as denied:
            async with client.websocket("/denied"):
                pass
        assert (denied.value.status_code, denied.value.content) == (401, b'{"no":1}')
        with pytest.raises(WebSocketDenied) as refused:
            async with client.websocket("/refused"):
                pass
        assert refused.value.status_code == 403
