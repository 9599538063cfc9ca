"""genro_asgi.server."""
