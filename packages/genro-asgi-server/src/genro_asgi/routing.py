"""The `route` decorator of genro-routes, which also takes the router name older code gives it."""

from collections.abc import Callable
from typing import Any, TypeVar

from genro_routes import Router, RoutingClass, Section, route as _route

__all__ = ["Router", "RoutingClass", "Section", "route"]

F = TypeVar("F", bound=Callable[..., Any])


def route(router: str | None = None, /, **options: Any) -> Callable[[F], F]:
    """Make a method a handler.

    Options: `name`, `methods` ("GET,POST"), `auth_rule`, `media_type`, `timeout` (seconds), `max_body` (bytes),
    `inline` (a sync handler that never blocks), `on_disconnect` ("cancel" or "finish"), `websocket` (a raw socket),
    `subscribe` (True, or what becomes of slow subscribers) with `presence`, `idempotent` (calling it twice does what
    calling it once does, as the schema tells clients), `meta_...`.
    A class has one router, so the positional name that older code passes (`@route("root")`) changes nothing.
    """
    mark = _route(**options)

    def decorate(handler: F) -> F:
        mark(handler)
        return handler

    return decorate
