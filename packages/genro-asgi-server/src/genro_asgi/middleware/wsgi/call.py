"""The thread's side of a request: the application is called, iterated and closed as PEP 3333 says."""

import logging
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from genro_asgi.exceptions import HTTPException
from genro_asgi.middleware.redact import redact_path
from genro_asgi.middleware.wsgi.environ import Environ
from genro_asgi.middleware.wsgi.exchange import CHUNK_COST, Exchange
from genro_asgi.middleware.wsgi.gate import ClientGone
from genro_asgi.middleware.wsgi.head import BODILESS, Head, parse_head

__all__ = ["WSGIApp", "WsgiCall", "plain_head"]

WSGIApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

logger = logging.getLogger("genro_asgi.wsgi")

_TEXTS = {
    400: b"The request body ended before its Content-Length.",
    408: b"The request body took too long to arrive.",
    413: b"The request body is too large.",
    500: b"Internal Server Error",
}


def plain_head(status: int, text: bytes) -> Head:
    """The head of a short answer of ours."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
    return status, headers, len(text)


def _telling(error: BaseException, fault: int) -> Exception:
    """What is raised to those around us."""
    if fault:
        return HTTPException(fault, _TEXTS[fault].decode())
    if isinstance(error, Exception):
        return error
    wrapped = RuntimeError(f"the WSGI application raised {error!r}")
    wrapped.__cause__ = error  # SystemExit and the like would end the server
    return wrapped


def _not_bytes(chunk: object) -> TypeError:
    return TypeError(f"the WSGI application sent {chunk!r:.80} as body; it must send bytes")


class WsgiCall(Exchange):
    """One call of a WSGI application."""

    _left: int | None = None  # bytes of body the announced length leaves
    _mute = False  # there is no body, whatever the application sends

    @property
    def what(self) -> str:
        """The request as the log names it."""
        return f"{self.scope['method']} {redact_path(self.scope['path'])}"

    def run(self, app: WSGIApp, environ: Environ) -> None:
        """Serve the request from the call to close(), all in the thread that calls this. Raises nothing."""
        if self.gone:
            self.ended = True
            return
        result: Any = None
        try:
            result = app(environ, self.start_response)
            kind = type(result)
            if kind is list or kind is tuple:
                # All of it is here: no chunk has to be on its way while the application makes the next one.
                self._put_out_whole(result)
                result = None
            else:
                self._put_out(result)
        except BaseException as error:
            self._fail(error)
        self.finished = True
        if result is not None:
            self._close(result)
        self.ended = True

    def _close(self, result: Any) -> None:
        close = getattr(result, "close", None)
        if close is None:
            return
        # The client need not wait for it.
        self.signal()
        try:
            close()
        except BaseException:
            logger.exception("close() of the WSGI response to %s failed", self.what)

    def raise_error(self) -> None:
        """Raise what `run` has met with; called in the request's own coroutine."""
        error, self.error = self.error, None  # its traceback knows us
        assert error is not None
        try:
            raise error
        finally:
            del error

    def start_response(
        self, status: str, response_headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333, "The start_response() Callable"."""
        if exc_info is not None:
            try:
                if self.committed and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # the traceback holds this frame
        elif self.head is not None:
            raise RuntimeError("start_response() was called twice; call it again with exc_info only")
        self.head = parse_head(status, response_headers)
        return self.write

    def write(self, data: bytes, /) -> None:
        """Send a piece of the body now; raises ClientGone, an OSError, when nobody listens."""
        if self.finished:
            raise RuntimeError("write() was called after the end of the response")
        if self.gone:
            raise ClientGone
        self._put(data)

    def _put_out(self, result: Any) -> None:
        if not hasattr(result, "__iter__") and not hasattr(result, "__getitem__"):
            raise TypeError(f"the WSGI application returned {result!r}; it must return an iterable of bytes")
        for chunk in result:
            if not self._put(chunk) or self.gone:
                return
        if not self.committed:
            self._commit(0)
        self._check_length()

    def _put_out_whole(self, chunks: list[bytes] | tuple[bytes, ...]) -> None:
        total = 0
        for chunk in chunks:
            if not isinstance(chunk, bytes):
                raise _not_bytes(chunk)
            total += len(chunk)
        if not self.committed:
            self._commit(total)
        for chunk in chunks:
            if not self._queue(chunk):
                return
        self._check_length()

    def _put(self, chunk: bytes) -> bool:
        """Pass a chunk on, waiting while too much is on its way; False when no more is wanted."""
        if not isinstance(chunk, bytes):
            raise _not_bytes(chunk)
        if self.head is None:
            raise RuntimeError("the WSGI application sent a piece of body before it called start_response()")
        if not chunk:
            return True
        if not self.committed:
            self._commit()
        more = self._queue(chunk)
        self.signal()
        if not self.has_room():
            self.wait_for_room()
        return more

    def _queue(self, chunk: bytes) -> bool:
        """Put a chunk out, cut to the announced length; False when it was cut."""
        more = True
        if self._left is not None:
            if len(chunk) > self._left:
                chunk = chunk[: self._left]
                more = False
                if not self._mute:
                    logger.error("the WSGI response to %s is longer than its Content-Length; it was cut", self.what)
            self._left -= len(chunk)
        if chunk:
            self.produced += len(chunk) + CHUNK_COST
            self.output.append(chunk)
        return more

    def _commit(self, total: int | None = None) -> None:
        """Make the head final; `total` is the size of the body when all of it is known."""
        if self.input is not None and self.input.fault:
            raise OSError("the request body was refused")
        if self.head is None:
            raise RuntimeError("the WSGI application ended without calling start_response()")
        status, headers, length = self.head
        if self.scope["method"] == "HEAD" or status in BODILESS:
            self._mute = True
            self._left = 0
        elif length is not None:
            self._left = length
        elif total is not None:
            headers.append((b"content-length", b"%d" % total))
        self.committed = True

    def _check_length(self) -> None:
        if self._left:
            self.broken = f"the WSGI response is {self._left} bytes shorter than its Content-Length"
            logger.error("the WSGI response to %s broke off: %s", self.what, self.broken)

    def _fail(self, error: BaseException) -> None:
        """Answer 500, or what the body is at fault for; once the head is out, the answer can only break off."""
        fault = self.input.fault if self.input is not None else 0
        if self.hub.raise_errors and not (self.committed or self.gone):
            self.error = _telling(error, fault)
            return
        if fault and not self.gone:
            logger.warning("the WSGI request %s was refused with %d", self.what, fault)
        elif self.gone or isinstance(error, ClientGone):
            logger.info("the client of %s left: %r", self.what, error)
        else:
            logger.error("the WSGI application failed at %s", self.what, exc_info=error)
        if self.committed:
            self.broken = "the WSGI application failed after its headers were sent"
            return
        status = fault or 500
        text = _TEXTS[status]
        self.head = plain_head(status, text)
        self.committed = True
        if self.scope["method"] != "HEAD":
            self.output.append(text)
            self.produced += len(text) + CHUNK_COST
