"""genro_asgi.wsx."""
