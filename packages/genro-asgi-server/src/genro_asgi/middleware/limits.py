"""The limits of a request's head: header count and size, the URL's length, one Host."""

from itertools import chain
from typing import Any, ClassVar

from genro_asgi.exceptions import HTTPBadRequest, HTTPHeaderFieldsTooLarge, HTTPUriTooLong
from genro_asgi.middleware.base import Middleware
from genro_asgi.request import BaseRequest, HttpRequest
from genro_asgi.types import Scope

__all__ = ["LimitsMiddleware"]

# Headers that mean nothing when they come twice (RFC 9112, 3.2 and 6.3).
_SINGLE = (b"host", b"content-length", b"authorization", b"content-type")


class LimitsMiddleware(Middleware):
    """Refuses heads over the server's limits before anything looks at them, under any ASGI server."""

    name: ClassVar[str] = "limits"
    order: ClassVar[int] = 110
    default: ClassVar[bool] = True
    transports: ClassVar[frozenset[str]] = frozenset({"http"})

    def __init__(self, server: Any = None) -> None:
        super().__init__(server)
        limits = server.limits
        self.count, self.size, self.url = limits.header_count, limits.header_bytes, limits.url_bytes

    def before(self, request: BaseRequest) -> None:
        """431 for headers, 414 for the URL, 400 for two of a header that can only be one."""
        assert isinstance(request, HttpRequest)
        self.check(request.scope)

    def check(self, scope: Scope) -> None:
        """The same for a scope."""
        headers = scope["headers"]
        if len(headers) > self.count or len(b"".join(chain.from_iterable(headers))) > self.size:
            raise HTTPHeaderFieldsTooLarge("The request has too many or too large header fields.")
        if len(scope["path"]) + len(scope.get("query_string", b"")) > self.url:
            raise HTTPUriTooLong(f"The URL is longer than {self.url} bytes.")
        names = [name for name, _ in headers]
        if len(set(names)) == len(names):
            return
        for name in _SINGLE:
            if names.count(name) > 1:
                raise HTTPBadRequest(f"The {name.decode()} header may come only once.")


def __getattr__(name: str) -> Any:
    # Where one may look for it, too.
    if name == "RequestBodyLimitMiddleware":
        from genro_asgi.middleware.body_limit import RequestBodyLimitMiddleware

        return RequestBodyLimitMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
