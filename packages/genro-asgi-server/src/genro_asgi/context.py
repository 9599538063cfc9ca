"""The execution context of a handler: `self.ctx` in routing classes."""

from typing import Any

from genro_routes import RoutingContext

from genro_asgi.request import BaseRequest

__all__ = ["AsgiContext"]


class AsgiContext(RoutingContext):
    """What a handler may reach for; each attribute is looked up on the request when it is asked for."""

    def __init__(self, request: BaseRequest, parent: RoutingContext | None = None) -> None:
        super().__init__(parent)
        self.request = request

    @property
    def response(self) -> Any:
        """The answer under construction."""
        return self.request.response

    @property
    def server(self) -> Any:
        """The server that got the request."""
        return self.request.server

    @property
    def app(self) -> Any:
        """The application whose handler answers."""
        return getattr(self.request.endpoint, "app", None)

    @property
    def db(self) -> Any:
        """The application's database."""
        return self.request.db

    @property
    def session(self) -> Any:
        """The client's session."""
        return self.request.session

    @property
    def avatar(self) -> Any:
        """Who is asking, as the authenticator described them; None when nobody is known."""
        return self.request.auth
