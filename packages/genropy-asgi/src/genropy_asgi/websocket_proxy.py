"""GenroPy's WebSocket on the port of the site: what comes to `/websocket` goes to its async server and back."""

import asyncio
import logging
from typing import Any

from genro_asgi.exceptions import ConfigError, HTTPException
from genro_asgi.response import error_response
from genro_asgi.types import Receive, Scope, Send
from genropy_asgi.found import found

__all__ = ["WebSocketProxy"]

logger = logging.getLogger("genropy_asgi")

# What the async server should hear of the client besides its messages.
_FORWARDED = frozenset({b"cookie", b"user-agent", b"origin", b"x-forwarded-for", b"x-forwarded-proto"})


class WebSocketProxy:
    """An ASGI application that hands WebSockets to a server on a Unix socket.

    The socket is looked for at each connection, so `gnr web async` may come and go.
    """

    app_protocol = "asgi"

    def __init__(self, socket_path: str, target: str = "/websocket") -> None:
        self.socket_path = socket_path
        self.target = target

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            answer = error_response(HTTPException(426, "WebSockets are served here.", headers={"upgrade": "websocket"}))
            await answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._serve(scope, receive, send)
        else:
            raise ValueError(f"a WebSocket proxy does not answer ASGI scopes of type {scope['type']!r}")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        try:
            aiohttp = found("aiohttp")
        except ConfigError as error:
            await self._refuse(send, error)
            return
        protocols = tuple(scope.get("subprotocols") or ())
        headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"] if k in _FORWARDED]
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(self.socket_path)) as session:
            try:
                inner = await session.ws_connect(
                    f"http://localhost{self.target}", protocols=protocols, headers=headers, max_msg_size=0
                )
            except (OSError, aiohttp.ClientError) as error:
                await self._refuse(send, error)
                return
            async with inner:
                await send({"type": "websocket.accept", "subprotocol": inner.protocol})
                await self._pass_on(aiohttp.WSMsgType, inner, receive, send)

    async def _refuse(self, send: Send, error: Exception) -> None:
        logger.warning("a WebSocket was refused, the async server of the site cannot be reached: %s", error)
        await send({"type": "websocket.close", "code": 1013, "reason": ""})

    async def _pass_on(self, kinds: Any, inner: Any, receive: Receive, send: Send) -> None:
        """Carry messages both ways until one side closes, then close the other."""
        out = asyncio.ensure_future(self._from_client(inner, receive))
        back = asyncio.ensure_future(self._from_site(kinds, inner, send))
        try:
            await asyncio.wait((out, back), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (out, back):
                task.cancel()
            failures = await asyncio.gather(out, back, return_exceptions=True)
        code = out.result() if not out.cancelled() and out.exception() is None else None
        if code is not None:
            await inner.close(code=code if code not in (1005, 1006) else 1000)
        elif not any(isinstance(failure, OSError) for failure in failures):
            # 1005 and 1006 only ever say that no code came.
            code = inner.close_code
            await send({"type": "websocket.close", "code": code if code and code not in (1005, 1006) else 1000})

    async def _from_client(self, inner: Any, receive: Receive) -> int:
        """The code the client closed with."""
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return int(message.get("code") or 1005)
            text = message.get("text")
            if text is not None:
                await inner.send_str(text)
            else:
                await inner.send_bytes(message["bytes"])

    async def _from_site(self, kinds: Any, inner: Any, send: Send) -> None:
        async for message in inner:
            if message.type == kinds.TEXT:
                await send({"type": "websocket.send", "text": message.data})
            elif message.type == kinds.BINARY:
                await send({"type": "websocket.send", "bytes": message.data})
