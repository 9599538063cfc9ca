"""Turns exceptions into answers, and tells the log what the client must not know."""

import logging
from typing import Any, ClassVar

from genro_asgi.exceptions import HTTPException, HTTPForbidden, HTTPGatewayTimeout, HTTPServiceUnavailable
from genro_asgi.executors.errors import ExecutorOverloadError, ExecutorTimeoutError
from genro_asgi.middleware.base import Middleware
from genro_asgi.middleware.redact import clean, redact_path
from genro_asgi.request import BaseRequest
from genro_asgi.response import Response, error_response

__all__ = ["ErrorsMiddleware", "answer_for"]

logger = logging.getLogger("genro_asgi")


class ErrorsMiddleware(Middleware):
    """The outermost hook: every exception becomes the one error body, and from 500 up a log record.

    `error_map` (exception class -> status, class attribute of an application) is asked with the class's ancestors.
    """

    name: ClassVar[str] = "errors"
    order: ClassVar[int] = 100
    default: ClassVar[bool] = True

    def __init__(self, server: Any = None, debug: bool = False) -> None:
        super().__init__(server)
        self.debug = debug

    def on_error(self, request: BaseRequest, exc: Exception) -> Response:
        """The answer to any exception."""
        response = answer_for(request, exc)
        if self.debug and response.status_code >= 500:
            response = debug_response(exc)
        return response


def answer_for(request: BaseRequest, exc: Exception) -> Response:
    """The error answer of an exception; what ends as 5xx without having been meant so is logged with its traceback."""
    error = as_http_exception(request, exc)
    if error is not exc and error.status_code >= 500:
        log_failure(request, exc)
    elif error.status_code >= 500:
        logger.error("%s %s answered %s (request %s): %s", request.method, redact_path(request.path),
                     error.status_code, request.log_id, clean(error.detail))  # fmt: skip
    return error_response(error)


def as_http_exception(request: BaseRequest, exc: Exception) -> HTTPException:
    """The HTTPException an exception stands for: itself, by the application's error_map, 403, or 500."""
    if isinstance(exc, HTTPException):
        # With a status no answer can have it is a bug, as it is on a response.
        return exc if 200 <= exc.status_code <= 599 else HTTPException(500)
    mapped = _mapped(getattr(request.endpoint, "app", None), exc)
    if mapped is not None:
        return HTTPException(mapped, str(exc) if mapped < 500 else None)
    if isinstance(exc, ExecutorOverloadError):
        return HTTPServiceUnavailable("The server is busy.", code="OVERLOADED", retry=True)
    if isinstance(exc, ExecutorTimeoutError):
        return HTTPGatewayTimeout()
    if isinstance(exc, PermissionError) and exc.errno is None:
        # One that a handler raised; one of the operating system names a path and is a bug.
        return HTTPForbidden(str(exc) or None)
    return HTTPException(500)


def _mapped(app: Any, exc: Exception) -> int | None:
    error_map: dict[type[Exception], int] = getattr(app, "error_map", None) or {}
    return next((error_map[cls] for cls in type(exc).__mro__ if cls in error_map), None)


def log_failure(request: BaseRequest, exc: BaseException) -> None:
    """Log an exception with its traceback and the id of the request it broke."""
    logger.error("%s %s failed (request %s)", request.method, redact_path(request.path), request.log_id, exc_info=exc)


def debug_response(exc: Exception) -> Response:
    """The traceback as text, for a developer's own machine."""
    import traceback

    return Response("".join(traceback.format_exception(exc)), 500, media_type="text/plain")


def __getattr__(name: str) -> Any:
    # Where Starlette's users look for it.
    if name == "ServerErrorMiddleware":
        from genro_asgi.middleware.exceptions import ServerErrorMiddleware

        return ServerErrorMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
