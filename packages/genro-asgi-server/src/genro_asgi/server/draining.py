"""The end of a server: nothing new is taken, what is in flight is waited for, then cancelled."""

import asyncio
from typing import TYPE_CHECKING

from genro_asgi.request import HttpRequest, MsgRequest
from genro_asgi.sse import EventPieces, SseResponse

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["drain"]


async def drain(server: "AsgiServer", grace: float) -> None:
    """Wait up to `grace` seconds for requests, tasks and WebSockets; then cancel them, with one second to end."""
    server._set_draining(True)
    deadline = asyncio.get_running_loop().time() + grace
    await server.websockets.drain(grace)
    _end_events(server)
    await _wait_until(server, deadline)
    for request in list(server.request_registry.live.values()):
        if isinstance(request, HttpRequest | MsgRequest):
            request.cancel("shutdown")
    for task in list(server._tasks):
        task.cancel()
    await _wait_until(server, asyncio.get_running_loop().time() + 1.0)
    server.websockets.wsx.abort()


def _end_events(server: "AsgiServer") -> None:
    for request in server.request_registry:
        answer = getattr(request, "sending", None)
        if isinstance(answer, SseResponse):
            answer.stop()  # its last event tells the client to come back elsewhere
        elif isinstance(answer, EventPieces) and isinstance(request, HttpRequest):
            request.cancel("ended")


async def _wait_until(server: "AsgiServer", deadline: float) -> None:
    loop = asyncio.get_running_loop()
    current = asyncio.current_task()
    while loop.time() < deadline:
        live = {request.task for request in server.request_registry.live.values() if request.task is not None}
        waiting = {task for task in (live | server._tasks) if task is not current and not task.done()}
        if not waiting:
            return
        # Keep-alive connections answer several requests in one task: look again now and then.
        await asyncio.wait(waiting, timeout=min(0.05, max(0.0, deadline - loop.time())))
