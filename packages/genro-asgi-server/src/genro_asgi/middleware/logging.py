"""The access log: one line for each answer."""

import logging
from time import time
from typing import Any, ClassVar

from genro_asgi.datastructures.headers import Headers
from genro_asgi.exceptions import ConfigError
from genro_asgi.middleware.base import Middleware
from genro_asgi.middleware.redact import named, redact_headers, redact_path, redact_query
from genro_asgi.request import BaseRequest, HttpRequest
from genro_asgi.response import Response
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["LoggingMiddleware"]


class LoggingMiddleware(Middleware):
    """Logs method, path, status, milliseconds and what the client calls the request; secrets are redacted."""

    name: ClassVar[str] = "logging"
    order: ClassVar[int] = 90  # around the errors, so that it sees the answer a failure got

    def __init__(
        self,
        server: Any = None,
        logger_name: str = "genro_asgi.access",
        level: str = "INFO",
        include_headers: bool = False,
        include_query: bool = True,
    ) -> None:
        super().__init__(server)
        self.logger = logging.getLogger(logger_name)
        number = logging.getLevelNamesMapping().get(str(level).upper())
        if number is None:
            raise ConfigError(f"middleware logging: level {level!r} is unknown; use DEBUG, INFO, WARNING or ERROR.")
        self.level = number
        self.include_headers, self.include_query = include_headers, include_query

    def after(self, request: BaseRequest, response: Response) -> None:
        """Write the line."""
        self.note(request, response.status_code)

    def note(self, request: BaseRequest, status: int) -> None:
        """Write the line of a request; the endpoint calls this itself where no other hook wants to see a response."""
        if self.logger.isEnabledFor(self.level):
            scope: Scope = getattr(request, "scope", None) or {}
            headers = redact_headers(request.headers.items()) if self.include_headers else None
            self._write(request.method, request.path, scope, status, request.created_at, request.given_id, headers)

    async def around(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run an application that leaves the road before there is a request, and write the same line for it."""
        started, status = time(), 500

        async def noticing(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, noticing)
        finally:
            if self.logger.isEnabledFor(self.level):
                headers = redact_headers(Headers(scope=scope).items()) if self.include_headers else None
                request = HttpRequest()
                request.attach(scope, receive)
                self._write(scope["method"], scope["path"], scope, status, started, request.given_id, headers)

    def _write(
        self, method: str, path: str, scope: Scope, status: int, started: float, id: str | None, headers: Any
    ) -> None:
        query = scope.get("query_string", b"").decode("latin-1") if self.include_query else ""
        asked = f"?{redact_query(query)}" if query else ""
        # The clock may have been set meanwhile.
        milliseconds = max(0.0, (time() - started) * 1000)
        extra = named(id) if headers is None else f"{named(id)} {headers}"
        values = (method, redact_path(path), asked, status, milliseconds, extra)
        # Not through `log()`, which would look for the caller: for every line the same, and a third of its price.
        logger = self.logger
        logger.handle(
            logger.makeRecord(logger.name, self.level, __file__, 0, "%s %s%s %s (%.1fms)%s", values, None, "note")
        )
