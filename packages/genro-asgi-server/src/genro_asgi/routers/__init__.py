"""Routers that are no classes of handlers."""

from genro_asgi.routers.static_router import StaticRouter

__all__ = ["StaticRouter"]
