"""WebSocket: one socket as a handler reads and writes it, with the names and the results of Starlette."""

from collections.abc import AsyncIterator, Iterable, Mapping
from enum import IntEnum
from typing import Any, cast

from genro_asgi.connection import HTTPConnection
from genro_asgi.datastructures.headers import RawHeaders, encode_header
from genro_asgi.exceptions import WebSocketDisconnect, WebSocketException
from genro_asgi.jsoncodec import JsonError, dumps, loads
from genro_asgi.types import Message, Receive, Scope, Send

__all__ = [
    "WebSocket",
    "WebSocketClose",
    "WebSocketDataError",
    "WebSocketDisconnect",
    "WebSocketDisconnected",
    "WebSocketEnded",
    "WebSocketException",
    "WebSocketFrameError",
    "WebSocketState",
    "cut_reason",
]

AcceptHeaders = Mapping[str, str] | Iterable[tuple[bytes, bytes]] | None

#: Bytes of a close reason (RFC 6455, 5.5: a control frame has 125, two of them for the code).
MAX_REASON = 123
# RFC 6455, 7.4.1: these say what was not received, and are never sent.
_UNSENDABLE = frozenset((1004, 1005, 1006, 1015))


class WebSocketState(IntEnum):
    """How far one side of a socket is."""

    CONNECTING = 0
    CONNECTED = 1
    DISCONNECTED = 2
    #: The handshake is being answered with an HTTP response.
    RESPONSE = 3


class WebSocketDisconnected(RuntimeError):
    """A socket was used before it was accepted, or after its end."""


class WebSocketEnded(WebSocketDisconnect, WebSocketDisconnected):
    """A socket was used after its end; code and reason are those it ended with."""


class WebSocketFrameError(WebSocketDisconnect, TypeError):
    """The peer sent a binary frame where text was wanted, or the other way round; the socket was closed with 1003."""


class WebSocketDataError(WebSocketDisconnect, ValueError):
    """The peer sent a frame that cannot be decoded; the socket was closed with 1007."""


def cut_reason(reason: str | None) -> str:
    """A close reason as it fits into a frame: at most 123 bytes of UTF-8, no character cut in two."""
    raw = str(reason or "").encode("utf-8", "replace")  # some give the errors of a validation
    return raw[:MAX_REASON].decode("utf-8", "ignore")


def check_code(code: int) -> int:
    """The code if it may be sent in a close frame (RFC 6455, 7.4); else ValueError."""
    if not (1000 <= code <= 1014 or 3000 <= code <= 4999) or code in _UNSENDABLE:
        raise ValueError(f"WebSocket close code {code} cannot be sent; use 1000, 1001, 1008, 1011 or 3000 to 4999.")
    return code


class WebSocket(HTTPConnection):
    """A socket: `accept` it, receive and send, `close` it.

    When it ends, whatever the reason, receiving and sending raise WebSocketDisconnect with the code and the reason.
    """

    scope_types = ("websocket",)
    #: What the values of typed frames may be, where the route says so: a TypeTable.
    types: Any = None

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope)
        self._receive = receive
        self._send = send
        self.client_state = WebSocketState.CONNECTING
        self.application_state = WebSocketState.CONNECTING
        self.accepted_subprotocol: str | None = None
        #: How it ended.
        self._code, self._reason = 1006, ""

    @property
    def asgi_receive(self) -> Receive:
        """The receive channel of the server."""
        return self._receive

    @property
    def asgi_send(self) -> Send:
        """The send channel of the server."""
        return self._send

    @asgi_send.setter
    def asgi_send(self, send: Send) -> None:
        self._send = send

    @property
    def connection_state(self) -> WebSocketState:
        """CONNECTING until it is accepted, CONNECTED, and DISCONNECTED once either side has ended it."""
        if WebSocketState.DISCONNECTED in (self.client_state, self.application_state):
            return WebSocketState.DISCONNECTED
        connected = self.application_state == WebSocketState.CONNECTED
        return WebSocketState.CONNECTED if connected else WebSocketState.CONNECTING

    @property
    def path(self) -> str:
        """The path, percent-decoded."""
        path: str = self.scope["path"]
        return path

    @property
    def scheme(self) -> str:
        """`ws` or `wss`."""
        scheme: str = self.scope.get("scheme", "ws")
        return scheme

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The subprotocols the client offers, the one it likes best first."""
        return tuple(self.scope.get("subprotocols") or ())

    def _ended(self) -> WebSocketEnded:
        return WebSocketEnded(self._code, self._reason)

    def _end(self, code: int, reason: str | None) -> None:
        self._code, self._reason = code, reason or ""

    async def receive(self) -> Message:
        """The next ASGI message; RuntimeError for one that has no place here."""
        if self.client_state == WebSocketState.DISCONNECTED:
            raise self._ended()
        connecting = self.client_state == WebSocketState.CONNECTING
        message = await self._receive()
        kind = message["type"]
        if kind == "websocket.disconnect":
            self.client_state = WebSocketState.DISCONNECTED
            code = message.get("code")
            self._end(1005 if code is None else code, message.get("reason"))
        elif kind != ("websocket.connect" if connecting else "websocket.receive"):
            wanted = '"websocket.connect"' if connecting else '"websocket.receive" or "websocket.disconnect"'
            raise RuntimeError(f"Expected ASGI message {wanted}, but got {kind!r}")
        elif connecting:
            self.client_state = WebSocketState.CONNECTED
        return message

    async def send(self, message: Message) -> None:
        """Send an ASGI message; RuntimeError when it is not its turn, WebSocketDisconnect when nobody is there."""
        state, kind = self.application_state, message["type"]
        if state == WebSocketState.DISCONNECTED or (
            self.client_state == WebSocketState.DISCONNECTED and kind == "websocket.send"
        ):
            raise self._ended()
        allowed = _AFTER[state]
        if kind not in allowed:
            wanted = " or ".join(f'"{name}"' for name in allowed)
            raise RuntimeError(f"Expected ASGI message {wanted}, but got {kind!r}")
        self.application_state = _next_state(state, message)
        try:
            await self._send(message)
        except OSError as error:
            # The server's way to say that the peer has vanished.
            self.application_state = self.client_state = WebSocketState.DISCONNECTED
            self._end(1006, "")
            raise WebSocketDisconnect(1006) from error

    async def _connected(self) -> None:
        """Wait for the handshake, if nobody has yet; WebSocketDisconnect when the client did not wait."""
        if self.client_state == WebSocketState.CONNECTING:
            self._raise_on_disconnect(await self.receive())

    async def accept(self, subprotocol: str | None = None, headers: AcceptHeaders = None) -> None:
        """Accept the handshake; RuntimeError the second time, ValueError for what is no header."""
        raw = _raw_headers(headers)
        if self.application_state != WebSocketState.CONNECTING:
            raise RuntimeError("The WebSocket was accepted or closed before; accept it once.")
        await self._connected()
        await self.send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": raw})
        self.accepted_subprotocol = subprotocol

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the socket, or refuse the handshake with a 403; nothing happens when it is closed already.

        A reason over 123 bytes is cut. ValueError for a code that cannot be sent.
        """
        if self.application_state != WebSocketState.CONNECTING:
            check_code(code)  # a handshake is refused over HTTP: there no code is sent
        if self.connection_state == WebSocketState.DISCONNECTED:
            self.application_state = WebSocketState.DISCONNECTED
            return
        short = cut_reason(reason)
        self._end(code, short)
        try:
            await self.send({"type": "websocket.close", "code": code, "reason": short})
        except WebSocketDisconnect:
            return

    async def refuse(self, code: int = 1008, reason: str | None = None) -> None:
        """Refuse the handshake with a 403; RuntimeError once it is accepted."""
        if self.application_state != WebSocketState.CONNECTING:
            raise RuntimeError("The WebSocket was accepted before and can only be closed; call close.")
        await self.close(code, reason)

    async def send_denial_response(self, response: Any) -> None:
        """Refuse the handshake with an HTTP response, or with a plain 403 where the server knows no other."""
        await self._connected()
        if "websocket.http.response" in (self.scope.get("extensions") or {}):
            await response(self.scope, self.receive, self.send)
        else:
            await self.close(1008)

    def _raise_on_disconnect(self, message: Message) -> None:
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(self._code, self._reason)

    async def _frame(self, kind: str) -> Any:
        """The next frame of a kind, `text` or `bytes`; with another one the socket is closed."""
        message = await self._next()
        frame = message.get(kind)
        if frame is None:
            reason = f"Expected a {'text' if kind == 'text' else 'binary'} frame."
            await self._fail(WebSocketFrameError(1003, reason))
        return frame

    async def _next(self) -> Message:
        if self.application_state == WebSocketState.CONNECTING:
            raise WebSocketDisconnected('WebSocket is not connected. Need to call "accept" first.')
        if self.application_state != WebSocketState.CONNECTED:
            raise self._ended()
        message = await self.receive()
        self._raise_on_disconnect(message)
        return message

    async def _fail(self, error: WebSocketDisconnect) -> None:
        await self.close(error.code, error.reason)
        raise error

    async def receive_text(self) -> str:
        """The next text; WebSocketFrameError, and the end, when a binary frame comes."""
        text: str = await self._frame("text")
        return text

    async def receive_bytes(self) -> bytes:
        """The next bytes; WebSocketFrameError, and the end, when a text frame comes."""
        data: bytes = await self._frame("bytes")
        return data

    async def read_message(self) -> str | bytes:
        """The next frame, whatever its kind."""
        message = await self._next()
        text: str | None = message.get("text")
        return text if text is not None else message.get("bytes") or b""

    async def receive_json(self, mode: str = "text") -> Any:
        """The next frame as JSON; `mode` is `text` or `binary`. WebSocketDataError, and the end, when it is none."""
        frame = await self._frame(_kind(mode))
        try:
            return loads(frame)
        except JsonError:
            await self._fail(WebSocketDataError(1007, "The frame is not valid JSON."))

    async def receive_typed(self) -> Any:
        """The next frame as TYTX: JSON in a text frame, MessagePack in a binary one.

        WebSocketDataError, and the end, when it is none; WebSocketFrameError for MessagePack where it is not installed.
        """
        from genro_asgi.wsx.tytx import DEFAULT_TYPES, TytxError, decode

        frame = await self.read_message()
        try:
            # TYTX is asked for: values with a suffix are typed, whether the text says so at its end or not.
            return decode(frame, "json" if isinstance(frame, str) else "msgpack", types=self.types or DEFAULT_TYPES)
        except TytxError:
            await self._fail(WebSocketDataError(1007, "The frame is not valid TYTX."))
        except ImportError:
            await self._fail(WebSocketFrameError(1003, "MessagePack is not understood here."))

    async def send_text(self, data: str) -> None:
        """Send a text frame."""
        await self._send_frame({"type": "websocket.send", "text": data})

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        await self._send_frame({"type": "websocket.send", "bytes": data})

    async def send_json(self, data: Any, mode: str = "text") -> None:
        """Send a value as JSON, in a frame of `mode` `text` or `binary`."""
        kind = _kind(mode)
        raw = dumps(data)
        await self._send_frame({"type": "websocket.send", kind: raw.decode() if kind == "text" else raw})

    async def send_typed(self, data: Any, mode: str = "text") -> None:
        """Send a value as TYTX: JSON in a text frame, or MessagePack in a binary one."""
        from genro_asgi.wsx.tytx import DEFAULT_TYPES, encode

        types = self.types or DEFAULT_TYPES
        if _kind(mode) == "text":
            await self.send_text(encode(data, types=types).decode())
        else:
            await self.send_bytes(encode(data, "msgpack", types=types))

    async def _send_frame(self, message: Message) -> None:
        if self.application_state == WebSocketState.CONNECTING:
            raise WebSocketDisconnected('WebSocket is not connected. Need to call "accept" first.')
        await self.send(message)

    async def iter_text(self) -> AsyncIterator[str]:
        """The texts until the socket ends; WebSocketFrameError when a binary frame comes."""
        while (text := await self._or_end(self.receive_text())) is not _END:
            yield text

    async def iter_bytes(self) -> AsyncIterator[bytes]:
        """The binary frames until the socket ends; WebSocketFrameError when a text frame comes."""
        while (data := await self._or_end(self.receive_bytes())) is not _END:
            yield data

    async def iter_json(self, mode: str = "text") -> AsyncIterator[Any]:
        """The values until the socket ends; WebSocketDataError when a frame is no JSON."""
        while (value := await self._or_end(self.receive_json(mode))) is not _END:
            yield value

    async def _or_end(self, receiving: Any) -> Any:
        try:
            return await receiving
        except (WebSocketFrameError, WebSocketDataError):
            raise
        except WebSocketDisconnect:
            return _END

    def __aiter__(self) -> AsyncIterator[str]:
        return self.iter_text()


class WebSocketClose:
    """An ASGI application that refuses or closes every socket it gets."""

    def __init__(self, code: int = 1000, reason: str | None = None) -> None:
        self.code = check_code(code)
        self.reason = cut_reason(reason)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close", "code": self.code, "reason": self.reason})


_END: Any = object()

_CLOSE, _BODY = "websocket.close", "websocket.http.response.body"

#: What may be sent in a state.
_AFTER: dict[WebSocketState, tuple[str, ...]] = {
    WebSocketState.CONNECTING: ("websocket.accept", _CLOSE, "websocket.http.response.start"),
    WebSocketState.CONNECTED: ("websocket.send", _CLOSE),
    WebSocketState.RESPONSE: (_BODY,),
}


def _next_state(state: WebSocketState, message: Message) -> WebSocketState:
    kind = message["type"]
    if kind == _CLOSE or (kind == _BODY and not message.get("more_body", False)):
        return WebSocketState.DISCONNECTED
    if kind == "websocket.http.response.start":
        return WebSocketState.RESPONSE
    return WebSocketState.CONNECTED if kind == "websocket.accept" else state


def _raw_headers(headers: AcceptHeaders) -> RawHeaders:
    if isinstance(headers, Mapping):
        return [encode_header(name, value) for name, value in cast("Mapping[str, str]", headers).items()]
    return [encode_header(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers or ()]


def _kind(mode: str) -> str:
    if mode not in ("text", "binary"):
        raise RuntimeError('The "mode" argument should be "text" or "binary".')
    return "text" if mode == "text" else "bytes"
