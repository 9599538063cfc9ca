"""Routers that are no classes of handlers."""
