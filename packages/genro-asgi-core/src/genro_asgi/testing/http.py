"""HTTP without a network: one request to an application, and its response as the client sees it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Any

from genro_asgi.datastructures.headers import Headers
from genro_asgi.exceptions import ClientDisconnect, status_phrase
from genro_asgi.jsoncodec import loads
from genro_asgi.testing.exchange import Exchange, check_headers
from genro_asgi.types import ASGIApp, Message, Scope

__all__ = ["HttpExchange", "TestResponse"]

# As much as uvicorn lets wait before send() does not return.
_HIGH_WATER = 64 * 1024


#: Messages only a server that offers them understands (ASGI, extensions).
_OFFERED = (
    "http.response.debug",
    "http.response.early_hint",
    "http.response.pathsend",
    "http.response.push",
    "http.response.trailers",
)


class HttpExchange(Exchange):
    """An application at work on one HTTP request.

    With `in_step` the application goes on after the start of its response when that is read, and after each chunk
    when it has been read. `extensions` is what came by http.response.debug and http.response.trailers.
    """

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        body: bytes | AsyncIterable[bytes],
        timeout: float,
        in_step: bool = False,
    ) -> None:
        super().__init__(app, scope, timeout)
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunks: deque[bytes] = deque()
        self.complete = False
        self.upload_error: Exception | None = None
        self._content = body if isinstance(body, bytes) else b""
        self._upload = None if isinstance(body, bytes) else aiter(body)
        self._uploaded = False
        self._closed = asyncio.Event()
        self._drained = asyncio.Event()
        self._left = False
        self._limit = 0 if in_step else _HIGH_WATER
        self._unread = 0
        self._read_from = not in_step
        self.lower_headers = in_step
        self.extensions: dict[str, Any] = {}
        self._trailers: list[tuple[bytes, bytes]] | None = None
        self._body_complete = False
        self._expected: int | None = None
        self._sent = 0

    @property
    def _bodiless(self) -> bool:
        return self.scope["method"] == "HEAD" or self.status in (204, 304)

    async def receive(self) -> Message:
        """Chunks of the body as the client makes them, and http.disconnect when the response or the client is gone."""
        if not self._uploaded and not self._closed.is_set():
            try:
                body, more = await self._next_chunk()
            except ClientDisconnect:
                self.disconnect()
            except Exception as error:
                self.upload_error = error
                self.disconnect()
            else:
                self._uploaded = not more
                return {"type": "http.request", "body": body, "more_body": more}
        await self._closed.wait()
        return {"type": "http.disconnect"}

    async def _next_chunk(self) -> tuple[bytes, bool]:
        if self._upload is None:
            return self._content, False
        try:
            return await anext(self._upload), True
        except StopAsyncIteration:
            return b"", False

    def disconnect(self) -> None:
        """The client leaves: what the application sends from now on goes nowhere."""
        self._left = True
        self._closed.set()
        self._drained.set()
        self._changed.set()

    async def send(self, message: Message) -> None:
        """Take a message, and do not return while the client has too much unread."""
        if self._left:
            await asyncio.sleep(0)
            # From 2.4 on the specification wants an OSError; servers of 2.3 say nothing.
            if self.scope["asgi"]["spec_version"] >= "2.4":
                raise OSError("The client has left.")
            return
        await super().send(message)
        while not self._left and (self._unread > self._limit or (self.status and not self._read_from)):
            self._drained.clear()
            await self._drained.wait()

    def handle(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._start(message)
        elif kind == "http.response.body":
            body = message.get("body", b"")
            if not isinstance(body, bytes | bytearray | memoryview):
                raise AssertionError(f"The body of http.response.body must be bytes, got {type(body).__name__}.")
            self._write(bytes(body), bool(message.get("more_body", False)))
        elif kind in _OFFERED and kind in (self.scope.get("extensions") or ()):
            self._extend(kind, message)
        else:
            raise AssertionError(f"{kind!r} is not a message of an HTTP response.")

    def _extend(self, kind: str, message: Message) -> None:
        if kind == "http.response.pathsend":
            path = Path(message["path"])
            if not path.is_absolute():
                raise AssertionError(f"The path of http.response.pathsend must be absolute, got {str(path)!r}.")
            self._write(path.read_bytes(), False)
        elif kind == "http.response.trailers":
            self._trail(message)
        elif kind == "http.response.debug":
            self.extensions[kind] = message["info"]

    def _trail(self, message: Message) -> None:
        if self._trailers is None:
            raise AssertionError("http.response.trailers was sent without declaring trailers in the start.")
        if not self._body_complete:
            raise AssertionError("http.response.trailers was sent before body completed.")
        if self.complete:
            raise AssertionError("http.response.trailers was sent after response completed.")
        self._trailers += check_headers(message, self.lower_headers)
        if not message.get("more_trailers", False):
            self._complete()

    def _complete(self) -> None:
        self.complete = True
        self._closed.set()

    def _start(self, message: Message) -> None:
        if self.status:
            raise AssertionError("http.response.start was sent twice.")
        status = message.get("status")
        if not isinstance(status, int) or not 100 <= status <= 599:
            raise AssertionError(f"The status of http.response.start must be an int from 100 to 599, got {status!r}.")
        headers = check_headers(message, self.lower_headers)
        lengths = {value for name, value in headers if name == b"content-length"}
        if len(lengths) > 1 or not all(value.isdigit() for value in lengths):
            raise AssertionError(f"content-length must be one number, got {sorted(lengths)}.")
        self.status, self.headers = int(status), headers
        self._expected = int(lengths.pop()) if lengths and not self._bodiless else None
        if message.get("trailers", False):
            self._trailers = self.extensions["http.response.trailers"] = []

    def _write(self, body: bytes, more: bool) -> None:
        if not self.status:
            raise AssertionError("A body was sent before http.response.start.")
        if self._body_complete:
            raise AssertionError("A body was sent after body completed.")
        self._sent += len(body)
        if self._sent and self.status in (204, 304):
            raise AssertionError(f"A response with status {self.status} has no body, got {self._sent} bytes.")
        short = not more and self._expected is not None and self._sent < self._expected
        if self._expected is not None and (short or self._sent > self._expected):
            raise AssertionError(f"content-length says {self._expected} bytes, the body has {self._sent}.")
        if body and not self._bodiless:
            self.chunks.append(body)
            self._unread += len(body)
        if not more:
            self._body_complete = True
            if self._trailers is None:
                self._complete()

    async def read(self) -> bytes | None:
        """The next chunk as it was sent; None when there is none to come."""
        self._read_from = True
        self._drained.set()
        await self.until(lambda: self.chunks or self.complete, "send more of the response")
        if not self.chunks:
            return None
        chunk = self.chunks.popleft()
        self._unread -= len(chunk)
        self._drained.set()
        return chunk

    def check_complete(self, raise_app_exceptions: bool) -> None:
        """Raise what must be raised about an application that has ended, or about its response."""
        if self.upload_error is not None:
            raise self.upload_error
        error = self.error
        if error is not None and (raise_app_exceptions or error is self.violation):
            raise error
        if self.complete or self._left or (self._body_complete and self.violation is None):
            return
        if error is None:
            raise AssertionError("The application returned without a whole response.")
        if self.status:
            raise ConnectionResetError("The application failed in the middle of its response.")
        self.status, self.headers = 500, [(b"content-type", b"text/plain; charset=utf-8")]
        self.chunks.append(b"Internal Server Error")
        self.complete = True


class TestResponse:
    """A response; of `client.stream` the chunks come by iteration, otherwise it is all here."""

    __test__ = False

    def __init__(self, exchange: HttpExchange, url: str) -> None:
        self.url = url
        self.status_code = exchange.status
        self.headers = Headers(raw=exchange.headers)
        self.chunks: list[bytes] = []
        self._exchange = exchange

    @property
    def reason_phrase(self) -> str:
        return status_phrase(self.status_code)

    @property
    def content(self) -> bytes:
        """The body, as far as it was read."""
        return b"".join(self.chunks)

    @property
    def text(self) -> str:
        """The body as text, in the charset its content-type names."""
        _, _, charset = self.headers.get("content-type", "").partition("charset=")
        return self.content.decode(charset.partition(";")[0].strip(' "') or "utf-8")

    def json(self) -> Any:
        return loads(self.content)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies this response sets, without their attributes."""
        pairs = (value.partition(";")[0].partition("=") for value in self.headers.getlist("set-cookie"))
        return {name.strip(): value.strip() for name, _, value in pairs}

    def disconnect(self) -> None:
        """Leave, in the middle of it or before."""
        self._exchange.disconnect()

    async def read(self) -> bytes:
        """Read to the end."""
        async for _ in self:
            pass
        return self.content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self._exchange.read()) is not None:
            self.chunks.append(chunk)
            yield chunk

    def __repr__(self) -> str:
        return f"<TestResponse [{self.status_code} {self.reason_phrase}]>"
