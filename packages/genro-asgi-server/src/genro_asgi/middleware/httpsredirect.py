"""The home Starlette's users know."""

from genro_asgi.middleware.hosts import HTTPSRedirectMiddleware

__all__ = ["HTTPSRedirectMiddleware"]
