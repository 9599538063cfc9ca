"""Which hosts a server answers for, and over which scheme."""

from collections.abc import Sequence

from genro_asgi.datastructures.headers import Headers
from genro_asgi.datastructures.url import URL, is_host
from genro_asgi.response import PlainTextResponse, RedirectResponse, Response
from genro_asgi.types import ASGIApp, Receive, Scope, Send

__all__ = ["HTTPSRedirectMiddleware", "TrustedHostMiddleware"]

_WILDCARD = "Domain wildcard patterns must be like '*.example.com'."


class TrustedHostMiddleware:
    """Answers 400 to requests whose Host is not among `allowed_hosts` (`*.example.com` allows subdomains)."""

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str] | None = None, www_redirect: bool = True) -> None:
        hosts = ["*"] if allowed_hosts is None else [host.lower() for host in allowed_hosts]
        for pattern in hosts:
            if "*" in pattern[1:] or (pattern.startswith("*") and pattern != "*" and not pattern.startswith("*.")):
                raise AssertionError(_WILDCARD)
        self.app = app
        self.allowed_hosts = hosts
        self.allow_any = "*" in hosts
        self.www_redirect = www_redirect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.allow_any or scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        host = _name(Headers(scope=scope).get("host", ""))
        if host and self._matches(host):
            await self.app(scope, receive, send)
            return
        response: Response = invalid_host()
        if host and self.www_redirect and self._matches("www." + host):
            url = URL(scope=scope)
            response = RedirectResponse(str(url.replace(netloc="www." + url.netloc)))
        await response(scope, receive, send)

    def _matches(self, host: str) -> bool:
        return any(
            host == pattern or (pattern.startswith("*") and host.endswith(pattern[1:]))
            for pattern in self.allowed_hosts
        )


def invalid_host() -> Response:
    """The answer to a Host that is none, or none of ours."""
    return PlainTextResponse("Invalid host header", status_code=400)


def _name(header: str) -> str:
    """The name in a Host header, empty when it is none; its port may be any number, as in RFC 3986."""
    name, _, port = header.rpartition(":")
    if not name or header.endswith("]"):
        name = header
    elif not (port.isascii() and port.isdigit()):
        return ""
    return name.lower() if is_host(name) and (name.endswith("]") or ":" not in name) else ""


class HTTPSRedirectMiddleware:
    """Sends http to https and ws to wss, with 307 so that the method stays."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope.get("scheme") not in ("http", "ws"):
            await self.app(scope, receive, send)
            return
        url = URL(scope=scope)
        if not url.netloc:
            # Neither the client nor the server says where we are.
            await invalid_host()(scope, receive, send)
            return
        secure = {"http": "https", "ws": "wss"}[url.scheme]
        netloc = url.hostname if url.port in (80, 443) else url.netloc
        await RedirectResponse(str(url.replace(scheme=secure, netloc=netloc)), 307)(scope, receive, send)
