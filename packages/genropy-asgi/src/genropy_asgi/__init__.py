"""Serves existing GenroPy sites on ASGI, unchanged."""
