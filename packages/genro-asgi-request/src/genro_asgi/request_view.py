"""Request: what raw ASGI endpoints read an HTTP request with, with the names and the results of Starlette."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any

from genro_asgi.body import decode_json, too_large
from genro_asgi.connection import HTTPConnection
from genro_asgi.datastructures.forms import FormData
from genro_asgi.exceptions import ClientDisconnect
from genro_asgi.limits import Limits
from genro_asgi.types import Message, Receive, Scope, Send

if TYPE_CHECKING:
    from genro_asgi.delivery import Runner
    from genro_asgi.forms import FormPart
    from genro_asgi.multipart import FormDecoder
    from genro_asgi.spool import KeptBody

__all__ = ["FormCall", "Request"]

# What a pushed request says of itself again (HTTP/2 server push).
_PUSHED = ("accept", "accept-encoding", "accept-language", "cache-control", "user-agent")


async def _no_receive() -> Message:
    raise RuntimeError("Receive channel has not been made available; pass receive to Request.")


async def _no_send(message: Message) -> None:
    raise RuntimeError("Send channel has not been made available; pass send to Request.")


class FormCall:
    """A form on its way: `await` it, or let `async with` close its files."""

    def __init__(self, request: "Request", limits: Limits) -> None:
        self._request = request
        self._limits = limits

    def __await__(self) -> Generator[Any, None, FormData]:
        return self._request._read_form(self._limits).__await__()

    async def __aenter__(self) -> FormData:
        return await self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._request.close()


class Request(HTTPConnection):
    """An HTTP request over scope and receive, read when asked.

    The body is there for everybody: `body`, `json` and `form` may be called in any order and again. Of a body that
    was streamed up to `limits.upload_memory` bytes are kept, of a longer one nothing.
    """

    scope_types = ("http",)
    limits: Limits = Limits()
    #: Bytes of a body (413); None is no limit, as in Starlette.
    max_body: int | None = None
    #: The whole body. It is not there before it is known: subclasses ask with hasattr, and put in what they decoded.
    _body: bytes

    def __init__(self, scope: Scope, receive: Receive = _no_receive, send: Send = _no_send) -> None:
        super().__init__(scope)
        self._receive = receive
        self._send = send
        #: Takes what would block the loop.
        self.run: Runner = asyncio.to_thread
        self._form: FormData | None = None
        self._kept: KeptBody | None = None
        #: What has arrived of the body and is not forgotten.
        self._chunks: list[bytes] = []
        self._size = 0
        self._complete = self._forgotten = False
        #: Messages that `is_disconnected` came upon.
        self._early: deque[Message] = deque()
        self._is_disconnected = False

    @property
    def method(self) -> str:
        """The method as the client wrote it."""
        method: str = self.scope["method"]
        return method

    @property
    def receive(self) -> Receive:
        """The receive channel."""
        return self._receive

    async def _arrive(self) -> bytes | None:
        """The next bytes from the client, None at the end; 413 over `max_body`, ClientDisconnect when it is cut."""
        while not self._complete:
            message = self._early.popleft() if self._early else await self._receive()
            if message["type"] == "http.disconnect":
                self._is_disconnected = True
                raise ClientDisconnect("The client left before its request body was complete.")
            self._complete = not message.get("more_body", False)
            chunk: bytes = message.get("body") or b""
            if chunk:
                self._size += len(chunk)
                if self.max_body is not None and self._size > self.max_body:
                    self._forget()
                    raise too_large(self.max_body)
                return chunk
        return None

    def _forget(self) -> None:
        self._forgotten = True
        self._chunks.clear()

    async def _arriving(self) -> AsyncGenerator[bytes, None]:
        """The body from its beginning, as far as it is remembered, and on."""
        if self._forgotten:
            raise RuntimeError("Stream consumed")
        for chunk in self._chunks:
            yield chunk
        while (arrived := await self._arrive()) is not None:
            yield arrived

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives, then an empty chunk; RuntimeError when it went by before and was not kept."""
        if self._kept is not None:
            await self.body()
        if hasattr(self, "_body"):
            yield self._body
            yield b""
            return
        old = len(self._chunks)
        async for chunk in self._arriving():
            if old:
                old -= 1
            elif not self._forgotten:
                self._chunks.append(chunk)
                if self._size > self.limits.upload_memory:
                    self._forget()
            yield chunk
        if not self._forgotten:
            self._body = b"".join(self._chunks)
            self._chunks.clear()
        yield b""

    async def body(self) -> bytes:
        """The whole body, kept for the next asker."""
        if not hasattr(self, "_body") and self._kept is not None:
            self._body = await self.run(self._kept.read)
        if not hasattr(self, "_body"):
            async with aclosing(self.stream()) as chunks:
                self._body = b"".join([chunk async for chunk in chunks])
        return self._body

    async def json(self) -> Any:
        """The body as JSON; when it is malformed a 400 that is a json.JSONDecodeError too."""
        if "json" not in self._parts:
            self._parts["json"] = decode_json(await self.body(), self.limits.json_depth)
        return self._parts["json"]

    def form(
        self,
        *,
        max_files: int | float | None = None,
        max_fields: int | float | None = None,
        max_part_size: int | None = None,
    ) -> FormCall:
        """The form in the body: `await` it, or use it in `async with`, which closes its files.

        `max_part_size` is bytes of a field that is not a file; what is not given is as in `limits`. 400 for a
        malformed form, 413 and 431 over a limit; an empty form when the body is of another type.
        """
        from genro_asgi.forms import form_limits

        return FormCall(self, form_limits(self.limits, max_files, max_fields, max_part_size))

    async def _read_form(self, limits: Limits) -> FormData:
        from genro_asgi.forms import form_decoder

        if self._form is None:
            decoder = form_decoder(self.headers.get("content-type", ""), limits)
            self._form = FormData() if decoder is None else await self._parse_form(decoder, limits)
        return self._form

    async def _parse_form(self, decoder: "FormDecoder", limits: Limits) -> FormData:
        from genro_asgi.forms import read_form
        from genro_asgi.spool import KeptBody

        # A subclass may have a stream of its own, which undoes a compression perhaps.
        direct = not hasattr(self, "_body") and type(self).stream is Request.stream
        keep = KeptBody(limits.upload_memory) if direct else None
        source = self._arriving() if keep is not None else self.stream()
        try:
            async with aclosing(source) as chunks:
                form = await read_form(chunks, decoder, limits, self.run, keep)
        except BaseException:
            if keep is not None:
                keep.close()
                self._forget()
            raise
        if keep is not None:
            self._kept = keep
            self._chunks.clear()
        return form

    def form_stream(
        self,
        *,
        max_files: int | float | None = None,
        max_fields: int | float | None = None,
        max_part_size: int | None = None,
    ) -> AsyncGenerator["FormPart", None]:
        """Yield the fields and files of the form while they arrive; nothing goes to disk, nothing is gathered.

        The limits and errors of `form`; HTTPUnsupportedMediaType when the body is no form.
        """
        from genro_asgi.forms import form_limits, stream_form

        limits = form_limits(self.limits, max_files, max_fields, max_part_size)
        return stream_form(self.stream(), self.headers.get("content-type", ""), limits, self.run)

    async def close(self) -> None:
        """Close the files of the form; the body stays readable."""
        if self._form is not None:
            await self._form.close()

    async def is_disconnected(self) -> bool:
        """Whether the client has left, without waiting for it to; a piece of the body that comes is not lost."""
        if not self._is_disconnected:
            receiver = asyncio.ensure_future(self._receive())
            # One turn of the loop: a server that knows of the disconnect answers at once.
            await asyncio.sleep(0)
            if not receiver.done():
                receiver.cancel()
                await asyncio.wait((receiver,))
            if not receiver.cancelled():
                message = receiver.result()
                self._is_disconnected = message["type"] == "http.disconnect"
                self._early.append(message)
        return self._is_disconnected

    async def taken(self) -> Message | None:
        """The body when it has been read, as the message an application behind begins with; else None."""
        if hasattr(self, "_body") or self._kept is not None:
            return {"type": "http.request", "body": await self.body(), "more_body": False}
        return {"type": "http.request", "body": b"", "more_body": False} if self._complete else None

    async def pass_on(self) -> Message:
        """The next message as it arrives, for an application behind; of the body it holds nothing is left here."""
        if self._is_disconnected and not self._early:
            return {"type": "http.disconnect"}
        message = self._early.popleft() if self._early else await self._receive()
        if message["type"] == "http.disconnect":
            self._is_disconnected = True
        else:
            self._complete = not message.get("more_body", False)
            if not hasattr(self, "_body") and self._kept is None:
                self._forget()
        return message

    async def send_push_promise(self, path: str) -> None:
        """Announce that `path` will be pushed, where the server can (ASGI, http.response.push)."""
        if "http.response.push" in (self.scope.get("extensions") or {}):
            headers = [
                (name.encode(), value.encode("latin-1")) for name in _PUSHED for value in self.headers.getlist(name)
            ]
            await self._send({"type": "http.response.push", "path": path, "headers": headers})

    async def send_early_hints(self, link: str, /, *additional_links: str) -> None:
        """Send a 103 with these Link values, where the server can (ASGI, http.response.early_hint)."""
        if "http.response.early_hint" in (self.scope.get("extensions") or {}):
            links = [value.encode("latin-1") for value in (link, *additional_links)]
            await self._send({"type": "http.response.early_hint", "links": links})
