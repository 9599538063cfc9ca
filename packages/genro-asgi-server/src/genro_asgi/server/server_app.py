"""The server's own application, mounted at /_server: index, info, health and the files of clients."""

import html
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from genro_asgi.applications.asgi import AsgiApplication
from genro_asgi.exceptions import HTTPNotFound, HTTPServiceUnavailable
from genro_asgi.response import FileResponse, HTMLResponse, Response
from genro_asgi.routing import route

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["TRANSPORTS", "ServerApplication", "framework_version", "site_name"]

#: What a server can be reached by.
TRANSPORTS = ("http", "websocket")

#: What browsers may fetch below /_server/resource; what stands beside them is for developers.
RESOURCES = {"wsx.js": "text/javascript"}


def site_name(server: "AsgiServer") -> str:
    """The name of the site, whatever handler of its own is called `name`."""
    return str(server.openapi_info.get("title") or "genro-asgi")


def framework_version() -> str:
    """The version of the framework."""
    try:
        return version("genro-asgi-server")
    except PackageNotFoundError:
        return "unknown"


class ServerApplication(AsgiApplication):
    """What a server says of itself; nothing here changes it, and nothing tells of processes or paths."""

    mount_name = "_server"

    def on_init(self, server: "AsgiServer | None" = None, **kwargs: Any) -> None:
        """Note when the server came up."""
        super().on_init(**kwargs)
        self.started_at = time()

    @route(inline=True, methods="GET", open=True)
    def index(self) -> Response:
        """A page with the way to what is mounted."""
        names = sorted({*self.server.apps, *(name for name, _ in self.server.mounts.items())})
        links = "".join(f'<li><a href="/{html.escape(n, quote=True)}/">{html.escape(n)}</a></li>' for n in names)
        return HTMLResponse(PAGE.format(links=links or "<li>Nothing is mounted yet.</li>"))

    @route(inline=True, methods="GET")
    def info(self) -> dict[str, Any]:
        """Name, version, uptime in seconds, mounts with their protocol, transports."""
        server = self.server
        mounts = {name: getattr(app, "app_protocol", "asgi") for name, app in server.apps.items()}
        mounts |= {name: getattr(mount.app, "app_protocol", "asgi") for name, mount in server.mounts.items()}
        return {
            "name": site_name(server),
            "version": framework_version(),
            "uptime": round(time() - self.started_at, 3),
            "mounts": mounts,
            "transports": list(TRANSPORTS),
        }

    @route(inline=True, methods="GET", auth_rule="admin")
    def executors(self) -> dict[str, Any]:
        """The metrics of all pools by name: workers, busy, pending, counters, wait and run times."""
        metrics: dict[str, Any] = self.server.pools.registry.all_metrics()
        return metrics

    @route(inline=True, methods="GET", open=True)
    def resource(self, *path: str) -> Response:
        """A file for pages: `wsx.js`, the JavaScript client of WSX."""
        name = "/".join(path)
        if name not in RESOURCES:
            raise HTTPNotFound(f"There is no resource {name[:100]!r}.")
        file = Path(str(files("genro_asgi.wsx") / "static" / name))
        # A page gets the client that fits its server, also after an update.
        return FileResponse(file, headers={"cache-control": "no-cache"}, media_type=RESOURCES[name])

    @route(inline=True, methods="GET", open=True)
    def health(self) -> dict[str, str]:
        """`{"status": "ok"}`, or 503 while the server is draining."""
        if self.server.draining:
            raise HTTPServiceUnavailable("The server is shutting down.", code="DRAINING", retry=True)
        return {"status": "ok"}


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>genro-asgi</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}}</style></head>
<body><h1>Server is running</h1><ul>{links}</ul></body></html>
"""
