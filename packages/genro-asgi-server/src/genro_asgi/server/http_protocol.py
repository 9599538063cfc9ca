"""uvicorn's HTTP protocol with limits on the head of a request, kept while it is being read."""

import asyncio
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from genro_asgi.exceptions import HTTPBadRequest, HTTPException, HTTPHeaderFieldsTooLarge, HTTPRequestTimeout
from genro_asgi.limits import Limits
from genro_asgi.response import error_response

__all__ = ["GenroConfig", "GenroHttpProtocol"]


#: Bytes of a body that are still taken after its request was answered, so that a client that sends first and listens
#: later gets the answer; then the connection is closed.
UNREAD = 16 * 1024 * 1024


class GenroConfig(Config):
    """uvicorn's configuration, and the limits its protocol keeps."""

    limits: Limits = Limits()


class GenroHttpProtocol(HttpToolsProtocol):
    """Answers 431, 400 or 408 and closes, before a head without end has filled the memory or taken the evening."""

    def __init__(self, config: Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.limits: Limits = getattr(config, "limits", GenroConfig.limits)
        self._refused = False
        self._refusal = b""
        self._head_open = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._left_unread = UNREAD

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        if self.limits.body_timeout is not None and self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits.body_timeout, self._too_slow)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if self._head_open:
            self._refuse(HTTPRequestTimeout("The head of the request did not arrive in time."))
        elif self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        cycle = self.cycle
        if cycle is not None and cycle.response_complete and cycle.more_body:
            self._left_unread -= len(data)
            if self._left_unread < 0:
                self.transport.close()
                return
        super().data_received(data)
        if self._head_open and not self._refused:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.header_bytes + self.limits.url_bytes:
                self._refuse(HTTPHeaderFieldsTooLarge("The request has too many or too large header fields."))
            else:
                self._start_timer()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_open, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._head_open = False
        if self._head_timer is not None:
            self._stop_timer()
        error = self._check_head()
        if error is not None:
            self._refuse(error)
            # What a parser callback raises ends the parsing of this connection.
            raise error
        super().on_headers_complete()

    def _check_head(self) -> HTTPException | None:
        headers = self.headers
        size = sum([len(name) + len(value) for name, value in headers])
        if len(headers) > self.limits.header_count or size > self.limits.header_bytes:
            return HTTPHeaderFieldsTooLarge("The request has too many or too large header fields.")
        names = [name for name, _ in headers]
        hosts = names.count(b"host")
        assert self.parser is not None
        # HTTP/1.0 knew no Host.
        if hosts != 1 and (hosts > 1 or self.parser.get_http_version() == "1.1"):
            return HTTPBadRequest("A request has exactly one Host header (RFC 9112, 3.2).")
        # The parser would take any other coding as a body without an end.
        if b"transfer-encoding" in names and headers[names.index(b"transfer-encoding")][1].lower() != b"chunked":
            return HTTPException(501, "No other transfer coding than chunked is understood.")
        return None

    def _refuse(self, error: HTTPException) -> None:
        self._refused = True
        response = error_response(error)
        headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
        lines = [STATUS_LINE[error.status_code], *(b"%b: %b\r\n" % pair for pair in headers)]
        self._refusal = b"".join([*lines, b"\r\n", response.body])
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._send_refusal()
        elif cycle.more_body and not self._head_open:
            self._break_off(cycle)

    def _break_off(self, cycle: RequestResponseCycle) -> None:
        """The body of a request ended in nonsense: to its handler the client has gone, and the client gets a 400."""
        cycle.disconnected = True
        cycle.message_event.set()
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()  # it has not begun, and others come first
        elif cycle.response_started:
            self.transport.close()
        else:
            self._send_refusal()

    def _send_refusal(self) -> None:
        self.transport.write(self._refusal)
        self.transport.close()

    def on_response_complete(self) -> None:
        # Answers keep the order of their requests: a refusal waits for those that came before it.
        last = not self.pipeline
        cycle = self.cycle
        if cycle is not None and cycle.more_body and cycle.response_complete:
            self._left_unread = UNREAD
            self._start_timer()
        super().on_response_complete()
        if self._refused and last and not self.transport.is_closing():
            self._send_refusal()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; nothing more after a refusal."""
        if not self._refused:
            self._refuse(HTTPBadRequest("This is not a valid HTTP request."))
