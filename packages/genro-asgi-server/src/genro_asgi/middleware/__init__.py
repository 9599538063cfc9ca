"""What sits around handlers: hooks, and classic ASGI middleware."""
