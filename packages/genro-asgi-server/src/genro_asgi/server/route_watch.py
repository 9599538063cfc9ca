"""Notices every change of a genro-routes tree, so that compiled tables are never stale.

genro-routes announces nothing, and a table compiled from its tree must follow `plug`, `configure`, `add_branches`...
wherever they are called. Every such call passes through one of a dozen methods; each is wrapped once, in the library,
to count. The wrapped methods do exactly what they did.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from genro_routes.core.base_router import BaseRouter
from genro_routes.core.router import Router
from genro_routes.plugins._base_plugin import BasePlugin

__all__ = ["STAMP", "changed"]

#: One number in a list: how many changes there were. A table compiled at another number is stale.
STAMP = [0]

_WATCHED: tuple[tuple[type, str], ...] = (
    (BaseRouter, "_register_callable"),
    (BaseRouter, "_include_router"),
    (BaseRouter, "_include_node"),
    (BaseRouter, "_add_branch_spec"),
    (BaseRouter, "remove_branch"),
    (BaseRouter, "detach_instance"),
    (BaseRouter, "_rebuild_handlers"),
    (Router, "plug"),
    (Router, "set_plugin_enabled"),
    (BasePlugin, "_write_config"),
)


def changed() -> None:
    """Say that a tree has changed."""
    STAMP[0] += 1


def _counting(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def counted(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        finally:
            STAMP[0] += 1

    counted.__genro_counted__ = True  # type: ignore[attr-defined]
    return counted


def _watch() -> None:
    for owner, name in _WATCHED:
        method = vars(owner)[name]
        if not getattr(method, "__genro_counted__", False):
            setattr(owner, name, _counting(method))


_watch()
