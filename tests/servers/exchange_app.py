"""Requests, responses and sockets without a server of ours around them, for the servers of others."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

from genro_asgi.request import Request
from genro_asgi.response import FileResponse, JSONResponse, SseResponse, StreamingResponse
from genro_asgi.websocket import WebSocket, WebSocketDisconnect

events: list[str] = []


async def endless(name: str) -> AsyncIterator[str]:
    try:
        while True:
            yield "x" * 1000
            await asyncio.sleep(0.01)
    finally:
        events.append(f"{name} closed")


def endless_sync() -> Iterator[bytes]:
    try:
        while True:
            yield b"x" * 1000
    finally:
        events.append("sync closed")


async def socket(scope: Any, receive: Any, send: Any) -> None:
    ws = WebSocket(scope, receive, send)
    if scope["path"] == "/denied":
        await ws.send_denial_response(JSONResponse({"no": 1}, 401))
        return
    await ws.accept(ws.subprotocols[0] if ws.subprotocols else None)
    try:
        if scope["path"] == "/reason":
            await ws.close(4001, "è" * 100)
        while True:
            await ws.send_json(await ws.receive_json())
    except WebSocketDisconnect as error:
        events.append(f"socket {error.code}")


async def http(scope: Any, receive: Any, send: Any) -> Any:
    path = scope["path"]
    if path == "/file":
        return FileResponse(os.environ["EXCHANGE_FILE"], filename="né.bin")
    if path == "/stream":
        return StreamingResponse(endless("stream"))
    if path == "/sync":
        return StreamingResponse(endless_sync())
    if path == "/sse":
        return SseResponse(endless("sse"))
    if path == "/form":
        request = Request(scope, receive, send)
        async with request.form() as form:
            size = form["file"].size  # type: ignore[union-attr]
            return JSONResponse({"name": form["name"], "size": size, "body": len(await request.body())})
    return JSONResponse(events)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
    elif scope["type"] == "websocket":
        await socket(scope, receive, send)
    else:
        await (await http(scope, receive, send))(scope, receive, send)
