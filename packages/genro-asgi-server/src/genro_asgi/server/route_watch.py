"""Notices every change of a genro-routes tree, so that compiled tables are never stale.

genro-routes announces nothing, and a table compiled from its tree must follow `plug`, `configure`, `add_branches`...
wherever they are called. Every such call passes through one of a dozen methods; each is wrapped once, in the library,
to tell who listens. The wrapped methods do exactly what they did.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol
from weakref import WeakSet

from genro_routes.core.base_router import BaseRouter
from genro_routes.core.router import Router
from genro_routes.plugins._base_plugin import BasePlugin

__all__ = ["changed", "watch"]

#: Called after every change; a table puts its own method here, weakly, and forgets what it knew.
_listeners: "WeakSet[Listener]" = WeakSet()


class Listener(Protocol):
    """Who wants to hear of changes."""

    def tree_changed(self) -> None:
        """Something in some tree is not what it was."""


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


def watch(listener: Listener) -> None:
    """Let `listener` hear of every change, as long as it lives."""
    _listeners.add(listener)


def changed() -> None:
    """Tell everybody that a tree has changed."""
    for listener in list(_listeners):
        listener.tree_changed()


def _telling(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def telling(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        finally:
            changed()

    telling.__genro_watched__ = True  # type: ignore[attr-defined]
    return telling


def _wrap_all() -> None:
    for owner, name in _WATCHED:
        method = vars(owner)[name]
        if not getattr(method, "__genro_watched__", False):
            setattr(owner, name, _telling(method))


_wrap_all()
