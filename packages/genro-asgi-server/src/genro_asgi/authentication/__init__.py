"""genro_asgi.authentication."""
