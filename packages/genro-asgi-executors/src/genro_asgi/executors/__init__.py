"""genro_asgi.executors."""
