"""The debugger of GenroPy, kept to the machine the server runs on."""

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["LocalDebugger", "is_local"]

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

# What a proxy on this machine adds for a client that is not on it.
_PROXIED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")


def is_local(environ: dict[str, Any]) -> bool:
    """Whether a request comes from this machine, and not through a proxy on it."""
    if any(name in environ for name in _PROXIED):
        return False
    try:
        address = ipaddress.ip_address(environ.get("REMOTE_ADDR") or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


class LocalDebugger:
    """Gives clients on this machine the debugged site and all others the plain one.

    The debugger runs any code it is sent, and a `Host: localhost` is all it would ask of a stranger.
    """

    def __init__(self, site: WSGIApp, debugged: WSGIApp) -> None:
        self.site = site
        self.debugged = debugged

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        app = self.debugged if is_local(environ) else self.site
        return app(environ, start_response)
