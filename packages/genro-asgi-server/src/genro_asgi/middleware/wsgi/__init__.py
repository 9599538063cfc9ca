"""WSGI applications over ASGI."""

from genro_asgi.middleware.wsgi.bridge import WSGIMiddleware

__all__ = ["WSGIMiddleware"]
