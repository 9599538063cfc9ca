"""The ASGI side of one GenroPy site: what is refused, what is answered from memory, what goes to the site."""

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

from genro_asgi.exceptions import HTTPNotFound
from genro_asgi.middleware.redact import redact_path, redact_query
from genro_asgi.middleware.wsgi_gateway import WsgiGateway
from genro_asgi.response import error_response
from genro_asgi.types import Message, Receive, Scope, Send
from genropy_asgi.statics import Statics

__all__ = ["SiteGateway", "leaves_its_folder"]

access = logging.getLogger("genro_asgi.access")


def leaves_its_folder(path: str) -> bool:
    """Whether a segment of a path is `..`: GenroPy joins segments to folders without looking.

    `site:..` counts too, as GenroPy splits there, and so does a backslash for the systems that do.
    """
    if ".." not in path:
        return False
    return ".." in path.replace("\\", "/").replace(":", "/").split("/")


class SiteGateway(WsgiGateway):
    """Serves a GnrWsgiSite. `wsgi_app` is the site or what was put around it, such as a debugger."""

    def __init__(
        self, site: Any, wsgi_app: Any, prefixes: Callable[[], frozenset[str]], log: bool = False, **options: Any
    ) -> None:
        super().__init__(wsgi_app, prefixes, **options)
        self.site = site
        self.log = log
        self.statics = Statics(site, self.bridge)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.log and access.isEnabledFor(logging.INFO):
            await self._logged(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if leaves_its_folder(scope["path"]):
            await error_response(HTTPNotFound())(scope, receive, send)
        elif not await self.statics(scope, receive, send):
            await self.bridge(scope, receive, send)

    async def _logged(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        status: int | str = "-"

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, noted)
        finally:
            query = scope.get("query_string", b"").decode("latin-1")
            shown = f"?{redact_query(query)}" if query else ""
            spent = (perf_counter() - started) * 1000
            access.info("%s %s%s %s (%.1fms)", scope["method"], redact_path(scope["path"]), shown, status, spent)
