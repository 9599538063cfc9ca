"""The exceptions a handler raises, and the one body every error answer has.

HTTPException
 ├─ HTTPBadRequest 400          ├─ HTTPContentTooLarge 413
 ├─ HTTPUnauthorized 401        ├─ HTTPUriTooLong 414
 ├─ HTTPForbidden 403           ├─ HTTPUnsupportedMediaType 415
 ├─ HTTPNotFound 404            ├─ HTTPUnprocessableContent 422
 ├─ HTTPMethodNotAllowed 405    ├─ HTTPTooManyRequests 429
 ├─ HTTPRequestTimeout 408      ├─ HTTPHeaderFieldsTooLarge 431
 ├─ HTTPConflict 409            ├─ HTTPServiceUnavailable 503
 ├─ HTTPGone 410                ├─ HTTPGatewayTimeout 504
 └─ Redirect 302
WebSocketException      the server closes the socket
WebSocketDisconnect     the peer has closed it
ClientDisconnect        the client left while its request was being read
ConfigError             a mistake in the configuration, told in one line
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote

__all__ = [
    "ClientDisconnect",
    "ConfigError",
    "HTTPBadRequest",
    "HTTPConflict",
    "HTTPContentTooLarge",
    "HTTPException",
    "HTTPForbidden",
    "HTTPGatewayTimeout",
    "HTTPGone",
    "HTTPHeaderFieldsTooLarge",
    "HTTPMethodNotAllowed",
    "HTTPNotFound",
    "HTTPRequestTimeout",
    "HTTPServiceUnavailable",
    "HTTPTooManyRequests",
    "HTTPUnauthorized",
    "HTTPUnprocessableContent",
    "HTTPUnsupportedMediaType",
    "HTTPUriTooLong",
    "Redirect",
    "WebSocketDisconnect",
    "WebSocketException",
    "default_code",
    "problem",
    "status_phrase",
]

ErrorHeaders = Mapping[str, str] | Sequence[tuple[str, str]]

_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {
    # RFC 9110 renamed these; older Pythons still say it the old way.
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
    499: "Client Closed Request",
}

_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "BAD_METHOD",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    413: "TOO_LARGE",
    414: "URI_TOO_LONG",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMITED",
    431: "HEADERS_TOO_LARGE",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNSUPPORTED",
    503: "OVERLOADED",
    504: "DEADLINE",
}


def status_phrase(status: int) -> str:
    """The reason phrase of a status, also of one nobody registered."""
    phrase = _PHRASES.get(status)
    if phrase is None:
        phrase = "Server Error" if status >= 500 else "Client Error" if status >= 400 else "Unknown Status"
    return phrase


def default_code(status: int) -> str:
    """The machine-readable name of an error status, such as NOT_FOUND."""
    return _CODES.get(status) or f"ERROR_{int(status)}"


def problem(
    status: int,
    detail: str | None = None,
    code: str | None = None,
    retry: bool = False,
    details: Any = None,
) -> dict[str, Any]:
    """The body of an error answer, on every transport (RFC 9457 plus error, code, retry and details).

    From 500 up the detail is the phrase and there are no details: what broke inside stays inside.
    """
    title = status_phrase(status)
    if status >= 500 or not detail:
        detail = title
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": int(status),
        "detail": detail,
        "error": detail,
        "code": code or default_code(status),
        "retry": retry,
    }
    if details is not None and status < 500:
        body["details"] = details
    return body


class HTTPException(Exception):
    """An answer with an error status; `detail` is for the client, and never leaves when the status is 5xx."""

    def __init__(
        self,
        status_code: int,
        detail: str | None = None,
        headers: ErrorHeaders | None = None,
        *,
        code: str | None = None,
        retry: bool = False,
        details: Any = None,
    ) -> None:
        self.status_code = status_code
        self.detail: str = status_phrase(status_code) if detail is None else detail
        self.headers = headers
        self.code = code or default_code(status_code)
        self.retry = retry
        self.details = details

    def __str__(self) -> str:
        return f"{int(self.status_code)}: {self.detail}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(status_code={int(self.status_code)}, detail={self.detail!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the class with whatever was passed by position, which may be nothing.
        return Exception.__new__, (type(self),), self.__dict__


class _FixedStatus(HTTPException):
    """An HTTPException whose class says the status; `detail` stays the only positional argument needed."""

    status: ClassVar[int]

    def __init__(
        self,
        detail: str | None = None,
        headers: ErrorHeaders | None = None,
        *,
        code: str | None = None,
        retry: bool = False,
        details: Any = None,
    ) -> None:
        super().__init__(self.status, detail, headers, code=code, retry=retry, details=details)


class HTTPBadRequest(_FixedStatus):
    """400: the request makes no sense as it is."""

    status = 400


class HTTPUnauthorized(_FixedStatus):
    """401: who is asking is not known."""

    status = 401


class HTTPForbidden(_FixedStatus):
    """403: who is asking may not."""

    status = 403


class HTTPNotFound(_FixedStatus):
    """404: nothing lives there."""

    status = 404


class HTTPMethodNotAllowed(_FixedStatus):
    """405: the path exists, the method does not; `headers` should carry Allow."""

    status = 405


class HTTPRequestTimeout(_FixedStatus):
    """408: the body took too long to arrive."""

    status = 408


class HTTPConflict(_FixedStatus):
    """409: the state of the resource forbids it."""

    status = 409


class HTTPGone(_FixedStatus):
    """410: it was there and is no more."""

    status = 410


class HTTPContentTooLarge(_FixedStatus):
    """413: the body, or a part of it, is over a limit."""

    status = 413


class HTTPUriTooLong(_FixedStatus):
    """414: path and query are over the limit."""

    status = 414


class HTTPUnsupportedMediaType(_FixedStatus):
    """415: the body is of a type nobody here decodes."""

    status = 415


class HTTPUnprocessableContent(_FixedStatus):
    """422: well formed, and still not acceptable."""

    status = 422


class HTTPTooManyRequests(_FixedStatus):
    """429: too many requests; `headers` may carry Retry-After."""

    status = 429


class HTTPHeaderFieldsTooLarge(_FixedStatus):
    """431: too many header fields, or too many bytes in them."""

    status = 431


class HTTPServiceUnavailable(_FixedStatus):
    """503: not now."""

    status = 503


class HTTPGatewayTimeout(_FixedStatus):
    """504: the handler did not finish in its time."""

    status = 504


# What RFC 3986 reserves, plus % so that a URL that is already encoded stays as it is.
_URL_SAFE = ":/%#?=@[]!$&'()*+,;"


class Redirect(HTTPException):
    """Sends the client elsewhere; characters a URL cannot hold are percent-encoded in the Location header."""

    def __init__(self, url: str, status_code: int = 302) -> None:
        if any(char in url for char in "\r\n\0"):
            raise ValueError(f"Redirect url {url!r} holds a CR, LF or NUL; take it out.")
        super().__init__(status_code, headers=[("Location", quote(url, safe=_URL_SAFE))])
        self.url = url


class WebSocketException(Exception):
    """The server wants the socket closed with this code and reason (RFC 6455, 7.4)."""

    def __init__(self, code: int = 1000, reason: str = "") -> None:
        self.code = code
        self.reason = reason or ""

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(code={self.code!r}, reason={self.reason!r})"


class WebSocketDisconnect(Exception):
    """The socket is closed; 1006 means the peer vanished without a word."""

    def __init__(self, code: int = 1000, reason: str | None = "") -> None:
        self.code = code
        self.reason = reason or ""

    def __str__(self) -> str:
        return f"WebSocket disconnected with code {self.code}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(code={self.code!r}, reason={self.reason!r})"


class ClientDisconnect(Exception):
    """The client left while its request body was still being read."""


class ConfigError(Exception):
    """A mistake in the configuration: one line that names the file, the key and what is allowed."""
