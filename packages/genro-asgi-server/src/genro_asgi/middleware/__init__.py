"""genro_asgi.middleware."""
