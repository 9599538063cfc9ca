"""Serves existing GenroPy sites on ASGI, unchanged."""

from genropy_asgi.server import GenropyAsgiServer

__all__ = ["GenropyAsgiServer"]
