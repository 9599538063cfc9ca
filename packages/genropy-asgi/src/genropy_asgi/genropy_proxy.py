"""GenropyProxy: a GenroPy site below a prefix of any ASGI server."""

from typing import Any

from genro_asgi.types import Receive, Scope, Send
from genropy_asgi import templates
from genropy_asgi.debugger import LocalDebugger
from genropy_asgi.found import found, make_site
from genropy_asgi.gateway import SiteGateway

__all__ = ["GenropyProxy"]


class GenropyProxy:
    """An ASGI application that is a GenroPy site: `server.mount("legacy", GenropyProxy(site_name="mysite"))`.

    site_name: the name of the site, as for gnrasgiserve
    gnr_site:  a GnrWsgiSite there is already, instead of a name
    debug:     GenroPy's debugger for developers, on requests from this machine only
    options:   those of WSGIMiddleware

    The site learns its prefix from the requests. ConfigError when it cannot be made.
    """

    app_protocol = "wsgi"

    def __init__(self, site_name: str | None = None, gnr_site: Any = None, debug: bool = False, **options: Any) -> None:
        if (site_name is None) == (gnr_site is None):
            raise TypeError("GenropyProxy wants a site_name or a gnr_site, one of them.")
        self.site = make_site(site_name, site_name) if site_name is not None else gnr_site
        templates.install()
        wsgi_app = self.site
        if debug:
            debugged = found("gnr.web.serverwsgi").GnrDebuggedApplication(self.site, evalex=True, pin_security=False)
            wsgi_app = LocalDebugger(self.site, debugged)
        self._gateway = SiteGateway(self.site, wsgi_app, frozenset, **options)
        self._root: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            root = scope.get("root_path", "")
            if root != self._root:
                self._settle(root)
            await self._gateway(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._gateway.bridge(scope, receive, send)

    def _settle(self, root: str) -> None:
        """Have the site make its links for the prefix it is below; GenroPy has it from its configuration only."""
        self._root = root
        if not root:
            return
        site = self.site
        old, site.default_uri = site.default_uri, root.rstrip("/") + "/"
        if site.homepage.startswith(old):
            site.homepage = site.default_uri + site.homepage[len(old) :]

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._gateway.shutdown()
        self.site.on_site_stop()
        await send({"type": "lifespan.shutdown.complete"})
