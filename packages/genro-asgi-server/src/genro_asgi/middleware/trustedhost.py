"""The home Starlette's users know."""

from genro_asgi.middleware.hosts import TrustedHostMiddleware

__all__ = ["TrustedHostMiddleware"]
