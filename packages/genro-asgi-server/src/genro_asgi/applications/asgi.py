"""AsgiApplication: a group of handlers with a place on the server, a life cycle and resources of its own."""

import html
import mimetypes
import sys
from pathlib import Path
from typing import Any, ClassVar

from genro_routes import RoutingClass

from genro_asgi.response import HTMLResponse, Response
from genro_asgi.routing import route

__all__ = ["AsgiApplication"]


class AsgiApplication(RoutingClass):
    """The base of applications: subclass it, mark handlers with `@route()`, name it in `apps:` of config.yaml.

    `on_init(**kwargs)` gets the options of the configuration. `error_map` maps exceptions of handlers to a status.
    With `message_auth` a message may bring an `authorization` header, which counts for its call instead of the
    credentials of its connection.
    """

    app_protocol: ClassVar[str] = "asgi"
    openapi_info: ClassVar[dict[str, Any]] = {}
    error_map: ClassVar[dict[type[Exception], int]] = {}
    default_db_name: ClassVar[str | None] = None
    message_auth: ClassVar[bool] = False

    mount_name: str = ""

    def __init__(self, **kwargs: Any) -> None:
        base_dir = kwargs.pop("base_dir", None)
        module = sys.modules.get(type(self).__module__)
        self.base_dir = Path(base_dir or getattr(module, "__file__", None) or ".").resolve()
        if self.base_dir.is_file():
            self.base_dir = self.base_dir.parent
        self.db_name: str | None = kwargs.pop("db_name", None) or self.default_db_name
        #: What its section says of a documentation page.
        self.docs: str = kwargs.pop("docs", "off")
        self.on_init(**kwargs)

    # With *args a type checker accepts whatever keyword arguments a subclass names.
    def on_init(self, *args: Any, **kwargs: Any) -> None:
        """Take the options of the configuration, always by keyword; the default knows none."""
        if kwargs:
            raise TypeError(f"{type(self).__name__} has no option {', '.join(sorted(kwargs))}.")

    def on_startup(self) -> Any:
        """Called before the first request, sync or async; an exception stops the boot."""

    def on_shutdown(self) -> Any:
        """Called after the last request, sync or async."""

    @property
    def main(self) -> Any:
        """The router of the application."""
        return self.route

    @property
    def server(self) -> Any:
        """The server the application is mounted on, None before."""
        parent = getattr(self, "_routing_parent", None)
        while parent is not None and getattr(parent, "_routing_parent", None) is not None:
            parent = parent._routing_parent
        return parent

    @property
    def db(self) -> Any:
        """The database named by `db_name`, else the default one."""
        return self.server.get_db(self.db_name or "default")

    @property
    def resources_dir(self) -> Path:
        """Where the application keeps its resources: `resources` beside its module."""
        return self.base_dir / "resources"

    def load_resource(self, *segments: str, name: str) -> tuple[bytes, str] | None:
        """Content and media type of a file below `resources_dir`; None when there is none or it lies outside."""
        root = self.resources_dir.resolve()
        try:
            path = root.joinpath(*segments, name).resolve()
            if not path.is_relative_to(root) or not path.is_file():
                return None
        except (ValueError, OSError):
            return None  # a NUL, or a name no file system takes
        return path.read_bytes(), mimetypes.guess_type(path.name)[0] or "application/octet-stream"

    @route(inline=True, methods="GET")
    def index(self) -> Response:
        """The front page of an application that has no other."""
        info = type(self).openapi_info
        title = html.escape(str(info.get("title") or self.mount_name or type(self).__name__))
        text = html.escape(str(info.get("description") or ""))
        version = html.escape(str(info.get("version") or ""))
        return HTMLResponse(PAGE.format(title=title, version=version, text=text))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}}</style></head>
<body><h1>{title} <small>{version}</small></h1><p>{text}</p></body></html>
"""
