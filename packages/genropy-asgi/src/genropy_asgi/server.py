"""GenropyAsgiServer: a server with the databases of GenroPy, and a GenroPy site behind its routes."""

from typing import Any

from genro_asgi.exceptions import ConfigError
from genro_asgi.request import current_request
from genro_asgi.server.server import AsgiServer
from genropy_asgi import templates
from genropy_asgi.databases import GenropyDatabase, RequestDatabase, open_application
from genropy_asgi.gateway import SiteGateway

__all__ = ["GenropyAsgiServer"]


class GenropyAsgiServer(AsgiServer):
    """An AsgiServer that opens the GenroPy instances named by `databases.<name>.genropy_app`.

    `gnr_apps` holds their GnrApp by database name.
    """

    config_read = frozenset({"databases"})

    site: Any = None
    gnr_apps: dict[str, Any]

    def _mount_configured(self) -> None:
        # The databases come first: applications may ask for them as soon as they are made.
        self.gnr_apps = {}
        for name, settings in self.config.databases.as_dict().items():
            self._open(name, settings.get("genropy_app"), self.config.where(f"databases.{name}"))
        super()._mount_configured()

    def _open(self, name: str, instance: str | None, where: str) -> None:
        if instance is None:
            raise ConfigError(f"{where}: no genropy_app; write the name of a GenroPy instance.")
        self.gnr_apps[name] = open_application(instance, where)
        self.register_db(name, GenropyDatabase(self.gnr_apps[name].db))

    def get_db(self, name: str) -> Any:
        """A registered database; inside a request one that is closed with it."""
        db = super().get_db(name)
        request = current_request.get()
        return RequestDatabase(db, request) if isinstance(db, GenropyDatabase) and request is not None else db

    def serve_site(self, site: Any, wsgi_app: Any = None, **options: Any) -> None:
        """Have a GnrWsgiSite answer what no application of this server does.

        wsgi_app: what to call instead of the site, such as a debugger around it
        options:  those of WSGIMiddleware
        """
        if self.wsgi_gateway is None:
            raise ConfigError(f"{self.config.where('middleware.wsgi_gateway')} is off; a site needs it: switch it on.")
        templates.install()
        self.site = site
        options = {**self.wsgi_gateway.options, **options}
        self.wsgi_gateway.gateway = SiteGateway(site, wsgi_app or site, self.asgi_prefixes, **options)
