"""WebSockets without a network: one socket to an application, from the client's side."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from genro_asgi.datastructures.headers import Headers
from genro_asgi.exceptions import WebSocketDisconnect
from genro_asgi.jsoncodec import dumps, loads
from genro_asgi.testing.exchange import Exchange, check_headers
from genro_asgi.types import ASGIApp, Message, Scope

__all__ = ["WebSocketDenied", "WebSocketSession"]


class WebSocketDenied(WebSocketDisconnect):
    """The handshake was refused, with this response; `answered` when the application made it, and not the server."""

    def __init__(
        self,
        status_code: int,
        headers: Headers,
        content: bytes,
        code: int = 1006,
        reason: str = "",
        *,
        answered: bool = False,
    ) -> None:
        super().__init__(code, reason)
        self.answered = answered
        self.status_code = status_code
        self.headers = headers
        self.content = content

    def __str__(self) -> str:
        return f"WebSocket handshake refused with status {self.status_code}"


class WebSocketSession(Exchange):
    """A socket to an application, opened by `async with`; WebSocketDenied when the handshake is refused."""

    def __init__(self, app: ASGIApp, scope: Scope, timeout: float, raise_app_exceptions: bool = True) -> None:
        super().__init__(app, scope, timeout)
        self.accepted_subprotocol: str | None = None
        self.headers = Headers()
        #: The same as the application wrote them.
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self.close_code: int | None = None
        self.close_reason = ""
        self._raise = raise_app_exceptions
        self._accepted = False
        self._denial: tuple[int, Headers] | None = None
        self._denial_body = b""
        self._denied = False
        self._inbox: deque[Message] = deque()  # to the application
        self._outbox: deque[Message] = deque()  # to the client
        self._arrived = asyncio.Event()
        self._gone: Message | None = None

    async def receive(self) -> Message:
        while not self._inbox:
            self._arrived.clear()
            await self._arrived.wait()
        message = self._inbox.popleft()
        if message["type"] == "websocket.disconnect":
            self._put(message)  # whoever asks again gets it again
        return message

    def _put(self, message: Message) -> None:
        self._inbox.append(message)
        self._arrived.set()

    async def send(self, message: Message) -> None:
        if self._gone is not None and self.close_code is None:
            raise OSError("The client has left.")
        await super().send(message)

    def handle(self, message: Message) -> None:
        kind = message["type"]
        if self.close_code is not None or self._denied:
            raise AssertionError(f"{kind!r} was sent after the socket had been closed.")
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.send":
            self._take(message)
        elif kind == "websocket.close":
            self._close(message)
        elif kind in ("websocket.http.response.start", "websocket.http.response.body"):
            self._deny(kind, message)
        else:
            raise AssertionError(f"{kind!r} is not a message of a WebSocket.")

    def _accept(self, message: Message) -> None:
        if self._accepted or self._denial:
            raise AssertionError("websocket.accept was sent after the handshake had been answered.")
        subprotocol = message.get("subprotocol")
        if subprotocol is not None and subprotocol not in self.scope["subprotocols"]:
            offered = self.scope["subprotocols"]
            raise AssertionError(f"The subprotocol {subprotocol!r} was accepted, offered were {offered}.")
        self.headers = Headers(raw=check_headers(message, self.lower_headers))
        self.raw_headers = [(name, value) for name, value in message.get("headers", ())]
        self.accepted_subprotocol = subprotocol
        self._accepted = True

    def _take(self, message: Message) -> None:
        if not self._accepted:
            raise AssertionError("websocket.send was sent before websocket.accept.")
        text, data = message.get("text"), message.get("bytes")
        if (text is None) == (data is None):
            raise AssertionError("websocket.send takes one of text and bytes.")
        if not isinstance(text, str | None) or not isinstance(data, bytes | bytearray | memoryview | None):
            wrong = type(data if text is None else text).__name__
            raise AssertionError(f"websocket.send takes text that is a str or bytes that are bytes, got {wrong}.")
        self._outbox.append(message)

    def _close(self, message: Message) -> None:
        code, reason = message.get("code", 1000), message.get("reason") or ""
        sendable = isinstance(code, int) and (1000 <= code <= 1014 or 3000 <= code <= 4999) and code not in (1005, 1006)
        # Before a socket is accepted the refusal is an HTTP response, and servers look at neither.
        if self._accepted and not sendable:
            raise AssertionError(f"{code!r} is not a close code an application may send.")
        if self._accepted and len(reason.encode()) > 123:
            raise AssertionError("The reason of websocket.close has more than 123 bytes.")
        if self._denial:
            raise AssertionError("websocket.close was sent in the middle of a denial response.")
        self.close_code, self.close_reason = code, reason
        self._put({"type": "websocket.disconnect", "code": code, "reason": reason})

    def _deny(self, kind: str, message: Message) -> None:
        if "websocket.http.response" not in (self.scope.get("extensions") or ()):
            raise AssertionError(f"{kind!r} was sent, and the server does not offer websocket.http.response.")
        if self._accepted:
            raise AssertionError(f"{kind!r} was sent after websocket.accept.")
        if kind.endswith("start"):
            if self._denial:
                raise AssertionError(f"{kind!r} was sent twice.")
            self._denial = int(message["status"]), Headers(raw=check_headers(message, self.lower_headers))
            return
        if not self._denial:
            raise AssertionError(f"{kind!r} was sent before its start.")
        self._denial_body += message.get("body", b"")
        if not message.get("more_body", False):
            self._denied = True
            self._put({"type": "websocket.disconnect", "code": 1006, "reason": ""})

    async def __aenter__(self) -> Self:
        self._put({"type": "websocket.connect"})
        self.start()
        try:
            answered = "answer the handshake"
            await self.until(lambda: self._accepted or self._denied or self.close_code is not None, answered)
            if self._accepted:
                return self
            await self.finish()
            self.raise_error()
        except BaseException:
            await self.cancel()
            raise
        if self._denied and self._denial:
            raise WebSocketDenied(*self._denial, self._denial_body, answered=True)
        if self.close_code is not None:
            raise WebSocketDenied(403, Headers(), b"", self.close_code, self.close_reason)
        if self.error is not None:
            raise WebSocketDenied(500, Headers(), b"Internal Server Error")
        raise AssertionError("The application returned without answering the handshake.")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
        try:
            await self.finish()
        except TimeoutError:
            if error is None:
                raise
        if error is None:
            self.raise_error()

    def raise_error(self) -> None:
        """Raise what the application ended with, if that is to be raised here."""
        error = self.error
        if error is not None and (self._raise or error is self.violation):
            raise error

    async def send_message(self, message: Message) -> None:
        """Give the application a message as it is; WebSocketDisconnect when it has closed or ended."""
        if self._gone is not None:
            raise RuntimeError("The socket was closed on this side.")
        if self.close_code is not None or self.ended:
            raise self._disconnected()
        self._put(message)
        await asyncio.sleep(0)

    async def send_text(self, data: str) -> None:
        await self.send_message({"type": "websocket.receive", "text": data})

    async def send_bytes(self, data: bytes) -> None:
        await self.send_message({"type": "websocket.receive", "bytes": data})

    async def send_json(self, data: Any, mode: str = "text") -> None:
        """Send a value as JSON, in a text frame or, with `mode="binary"`, in a binary one."""
        payload = dumps(data)
        await (self.send_text(payload.decode()) if mode == "text" else self.send_bytes(payload))

    async def receive_message(self) -> Message:
        """The next websocket.send of the application; WebSocketDisconnect when it has closed or ended."""
        await self.until(lambda: self._outbox or self.close_code is not None, "send a message")
        if self._outbox:
            return self._outbox.popleft()
        raise self._disconnected()

    def _disconnected(self) -> BaseException:
        if self.close_code is not None:
            return WebSocketDisconnect(self.close_code, self.close_reason)
        if self.error is None:
            return WebSocketDisconnect(1000)
        self.raise_error()
        return WebSocketDisconnect(1011)

    async def receive_text(self) -> str:
        text = (await self.receive_message()).get("text")
        if text is None:
            raise AssertionError("The application sent bytes, text was expected.")
        return str(text)

    async def receive_bytes(self) -> bytes:
        data = (await self.receive_message()).get("bytes")
        if data is None:
            raise AssertionError("The application sent text, bytes were expected.")
        return bytes(data)

    async def receive_json(self, mode: str = "text") -> Any:
        """The next message, decoded; of a text frame or, with `mode="binary"`, of a binary one."""
        return loads(await self.receive_text() if mode == "text" else await self.receive_bytes())

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """What the application sends, until it closes."""
        try:
            while True:
                message = await self.receive_message()
                yield message["bytes"] if message.get("text") is None else message["text"]
        except WebSocketDisconnect:
            return

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close this side; the application gets websocket.disconnect with that code."""
        if self._gone is None:
            self._gone = {"type": "websocket.disconnect", "code": code, "reason": reason}
            if self.close_code is None:
                self._put(self._gone)
            await asyncio.sleep(0)

    async def disconnect(self) -> None:
        """Vanish without a word, as a lost connection does (code 1006)."""
        await self.close(1006)
