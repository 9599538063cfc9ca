"""A limit on request bodies around plain ASGI applications."""

from genro_asgi.datastructures.headers import Headers
from genro_asgi.exceptions import ClientDisconnect, HTTPContentTooLarge
from genro_asgi.response import plain_error
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["MAX_BODY_SIZE_SCOPE_KEY", "BodyTooLarge", "RequestBodyLimitMiddleware"]

#: Where the scope says how many bytes the body may have.
MAX_BODY_SIZE_SCOPE_KEY = "genro_asgi.max_body_size"
_COUNTER_KEY = "genro_asgi.body_counter"


class BodyTooLarge(HTTPContentTooLarge):
    """413, out of the application's `receive`; the outermost limit answers it unless somebody did before."""


class RequestBodyLimitMiddleware:
    """Answers 413 to bodies over `max_body_size` bytes.

    It does so when the application begins to read or to answer and the Content-Length is over the limit, else when the
    limit is passed. Of several around one application the innermost counts: a route may allow more than its site.
    """

    def __init__(self, app: ASGIApp, max_body_size: int) -> None:
        self.app = app
        self.max_body_size = max_body_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        around: _Counter | None = scope.get(_COUNTER_KEY)
        counter = _Counter(scope, receive, send) if around is None else around
        counter.limit = self.max_body_size
        below = {**scope, MAX_BODY_SIZE_SCOPE_KEY: self.max_body_size, _COUNTER_KEY: counter}
        if around is None:
            await counter.run(self.app, below)
        else:
            counter.check(counter.total)
            await self.app(below, receive, send)


class _Counter:
    """The body of one request, counted as it comes; all limits around it share it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        said = Headers(scope=scope).get("content-length", "")
        # What is no number is the server's affair; the bytes are counted in any case.
        self._said = int(said) if said.isascii() and said.isdigit() and len(said) < 20 else 0
        self.limit = self.total = 0
        self._started = self._refused = False

    def check(self, size: int) -> None:
        """413 when `size` bytes are too many."""
        if size > self.limit:
            raise BodyTooLarge

    async def run(self, app: ASGIApp, below: Scope) -> None:
        """Run the application, and answer for it when it did not stand the end of its body."""
        try:
            await app(below, self.receive, self.send)
        except BodyTooLarge:
            if self._started:
                raise
            await self._refuse()
        except (OSError, ClientDisconnect):
            if not self._refused:
                raise

    async def _refuse(self) -> None:
        self._started = self._refused = True
        await plain_error(HTTPContentTooLarge("Content Too Large"))(self._scope, self._receive, self._send)

    async def receive(self) -> Message:
        """The next message; 413 when it is too much."""
        if self._refused:
            return {"type": "http.disconnect"}
        self.check(self._said)
        message = await self._receive()
        self.total += len(message.get("body") or b"")
        self.check(self.total)
        return message

    async def send(self, message: Message) -> None:
        """Send a message, or the refusal when it begins an answer to what nobody has read."""
        if message["type"] == "http.response.start" and not self._refused:
            # An application that says so itself may say it in its own way.
            if self._said > self.limit and message["status"] != 413:
                await self._refuse()
            self._started = True
        if not self._refused:
            await self._send(message)
        elif message.get("more_body", False):
            # As a server tells a stream that its client has left.
            raise OSError("The request was answered: its body is too large.")
