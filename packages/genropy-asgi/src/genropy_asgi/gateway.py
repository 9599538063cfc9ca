"""The ASGI side of one GenroPy site: what is refused, what is answered from memory, what goes to the site."""

from collections.abc import Callable
from typing import Any

from genro_asgi.exceptions import HTTPNotFound
from genro_asgi.middleware.wsgi_gateway import WsgiGateway
from genro_asgi.response import error_response
from genro_asgi.types import Receive, Scope, Send
from genropy_asgi.statics import Statics

__all__ = ["SiteGateway", "leaves_its_folder"]


def leaves_its_folder(path: str) -> bool:
    """Whether a segment of a path is `..`: GenroPy joins segments to folders without looking.

    `site:..` counts too, as GenroPy splits there, and so does a backslash for the systems that do.
    """
    if ".." not in path:
        return False
    return ".." in path.replace("\\", "/").replace(":", "/").split("/")


class SiteGateway(WsgiGateway):
    """Serves a GnrWsgiSite. `wsgi_app` is the site or what was put around it, such as a debugger."""

    def __init__(self, site: Any, wsgi_app: Any, prefixes: Callable[[], frozenset[str]], **options: Any) -> None:
        super().__init__(wsgi_app, prefixes, **options)
        self.site = site
        self.statics = Statics(site, self.bridge)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if leaves_its_folder(scope["path"]):
            await error_response(HTTPNotFound())(scope, receive, send)
        elif not await self.statics(scope, receive, send):
            await self.bridge(scope, receive, send)
