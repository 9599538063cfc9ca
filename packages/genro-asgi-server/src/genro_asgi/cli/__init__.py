"""genro_asgi.cli."""
