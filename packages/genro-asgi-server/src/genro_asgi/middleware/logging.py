"""The access log: one line for each answer."""

import logging
from time import perf_counter
from typing import Any, ClassVar

from genro_asgi.exceptions import ConfigError
from genro_asgi.middleware.base import Middleware
from genro_asgi.middleware.redact import redact_headers, redact_path, redact_query
from genro_asgi.request import BaseRequest
from genro_asgi.response import Response

__all__ = ["LoggingMiddleware"]


class LoggingMiddleware(Middleware):
    """Logs method, path, status and milliseconds; secrets in queries and headers are redacted."""

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

    def before(self, request: BaseRequest) -> None:
        """Start the clock."""
        request.log_started = perf_counter()  # type: ignore[attr-defined]

    def after(self, request: BaseRequest, response: Response) -> None:
        """Write the line."""
        if not self.logger.isEnabledFor(self.level):
            return
        milliseconds = (perf_counter() - getattr(request, "log_started", perf_counter())) * 1000
        extra = f" {redact_headers(request.headers.items())}" if self.include_headers else ""
        self.logger.log(
            self.level, "%s %s%s %s (%.1fms)%s", request.method, redact_path(request.path), self._query(request),
            response.status_code, milliseconds, extra,
        )  # fmt: skip

    def _query(self, request: BaseRequest) -> str:
        raw = getattr(request, "scope", None) or {}
        query = raw.get("query_string", b"").decode("latin-1") if self.include_query else ""
        return f"?{redact_query(query)}" if query else ""
