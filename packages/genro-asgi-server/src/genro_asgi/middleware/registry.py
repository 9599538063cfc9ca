"""The middleware a configuration can name."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from genro_asgi.exceptions import ConfigError
from genro_asgi.middleware.base import Middleware

__all__ = ["known_middleware", "make_middleware", "register_middleware"]

_HOMES = {
    "cors": "genro_asgi.middleware.cors:CorsHook",
    "errors": "genro_asgi.middleware.errors:ErrorsMiddleware",
    "limits": "genro_asgi.middleware.limits:LimitsMiddleware",
    "logging": "genro_asgi.middleware.logging:LoggingMiddleware",
    "wsgi_gateway": "genro_asgi.middleware.wsgi_gateway:WsgiGatewayMiddleware",
}
_registered: dict[str, type[Middleware]] = {}


def register_middleware(middleware: type[Middleware]) -> type[Middleware]:
    """Make a middleware class known under its `name`; ValueError when the name belongs to another. A decorator."""
    name = middleware.name
    if not name:
        raise ValueError(f"{middleware.__name__} has no name; set the class attribute `name`.")
    if name in _HOMES or _registered.get(name, middleware) is not middleware:
        raise ValueError(f"Middleware name {name!r} is taken; choose another for {middleware.__name__}.")
    _registered[name] = middleware
    return middleware


def known_middleware() -> dict[str, type[Middleware]]:
    """The middleware classes by the name a configuration uses."""
    built_in: dict[str, type[Middleware]] = {}
    for name, home in _HOMES.items():
        module, _, attribute = home.partition(":")
        built_in[name] = getattr(import_module(module), attribute)
    return built_in | _registered


def make_middleware(server: Any, key: str, chosen: Mapping[str, Any]) -> list[Middleware]:
    """The middleware of a section of the configuration, by name and options; False is off.

    ConfigError, beginning with where `key` stands, for options that are no good.
    """
    known = known_middleware()
    made = []
    for name, options in chosen.items():
        if options is False or name not in known:
            continue
        try:
            made.append(known[name](server=server, **options))
        except Exception as error:
            said = str(error).removeprefix(f"middleware {name}: ").removesuffix(".")
            raise ConfigError(f"{server.config.where(key)}.{name}: {said}.") from error
    return made
