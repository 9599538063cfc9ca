"""genro_asgi.applications."""
