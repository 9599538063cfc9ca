"""What an embedded application may use of its server, and the base of applications that are handed it."""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["AsgiServerEnabler", "ServerBinder"]


class ServerBinder:
    """A narrow view of a server: configuration, logger and executors."""

    def __init__(self, server: "AsgiServer") -> None:
        self._server = server

    @property
    def config(self) -> Any:
        """The server's configuration."""
        return self._server.config

    @property
    def logger(self) -> logging.Logger:
        """The server's logger."""
        return self._server.logger

    def executor(self, name: str, **options: Any) -> Any:
        """A named pool of the server, made on first use; call it as a decorator."""
        return self._server.executor(name, **options)


class AsgiServerEnabler:
    """The base of ASGI applications that want their server: `self.binder` is set when they are mounted."""

    binder: ServerBinder | None = None
