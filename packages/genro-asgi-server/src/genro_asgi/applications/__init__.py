"""Applications: groups of handlers with a place on the server."""

from genro_asgi.applications.asgi import AsgiApplication

__all__ = ["AsgiApplication"]
