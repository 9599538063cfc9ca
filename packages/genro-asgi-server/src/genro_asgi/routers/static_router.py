"""A directory as a branch of the routes."""

import os
from typing import Any

from genro_routes import RoutingClass

from genro_asgi.exceptions import HTTPNotFound
from genro_asgi.request import HttpRequest
from genro_asgi.response import Response
from genro_asgi.routing import route
from genro_asgi.staticfiles import PathLike, StaticFiles

__all__ = ["StaticRouter"]


class StaticRouter(RoutingClass):
    """The files below `root`, mounted on a server or included in a router: StaticFiles as a handler.

    Middleware, authorisation and logs see its requests as those of any other handler. With `html_index` a directory
    is its index.html; the other options are those of StaticFiles. A path with a part that begins with @ is a 404, as
    everywhere among the routes.
    """

    def __init__(self, root: PathLike, name: str | None = None, *, html_index: bool = True, **options: Any) -> None:
        self.files = StaticFiles(directory=root, html=html_index, **options)
        self.name = name or os.path.basename(os.path.abspath(root))

    @route(methods="GET")
    async def index(self, *path: str, request: Any) -> Response:
        """The file at a path, or the index of a directory."""
        if not isinstance(request, HttpRequest):
            raise HTTPNotFound("Files are sent over HTTP only.")
        return await self.files.get_response(self.files.join(path), request.scope)
