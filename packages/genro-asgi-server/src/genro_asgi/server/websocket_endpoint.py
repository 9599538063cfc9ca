"""WebSocket handshakes that no mounted application owns."""

from genro_asgi.types import Receive, Scope, Send

__all__ = ["refuse_websocket"]


async def refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a handshake before it is accepted; the client sees a 403 (ASGI, WebSocket 2.3)."""
    if (await receive())["type"] == "websocket.connect":
        await send({"type": "websocket.close", "code": 1000, "reason": ""})
