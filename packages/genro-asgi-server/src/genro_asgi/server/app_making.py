"""From the section of an application to the application: its class found, made, and told where it stands."""

import traceback
from typing import Any

from genro_routes import RoutingClass

from genro_asgi.applications import asgi
from genro_asgi.exceptions import ConfigError
from genro_asgi.server.config_apps import AppSpec
from genro_asgi.server.loader import AppLoader

__all__ = ["make_app"]

# What AsgiApplication takes itself; a plain routing class need not know that these options exist.
_OURS = ("db_name", "docs")


def make_app(loader: AppLoader, where: str, spec: AppSpec) -> Any:
    """The application of a section; ConfigError, beginning with `where`, when it cannot be found or made."""
    module, class_name, _, kwargs = spec
    cls: Any = loader.load(f"{module}:{class_name}", where=where)
    options, kept = dict(kwargs), {}
    if isinstance(cls, type) and hasattr(cls, "load_resource"):
        options.setdefault("base_dir", loader.directory_of(cls))
    elif isinstance(cls, type) and issubclass(cls, RoutingClass):
        kept = {name: options.pop(name) for name in _OURS if name in options}
    try:
        app = cls(**options)
    except Exception as error:
        raise ConfigError(f"{where}: {class_name} cannot be made: {_told(error)}") from error
    for name, value in kept.items():
        setattr(app, name, value)
    return app


def _told(error: Exception) -> str:
    """What went wrong, and the line of the site where it did."""
    said = " ".join(str(error).split())
    if not isinstance(error, TypeError | ConfigError):
        said = f"{type(error).__name__}: {said}" if said else type(error).__name__
    # The first frame is the call above.
    frames = [f for f in traceback.extract_tb(error.__traceback__)[1:] if f.filename != asgi.__file__]
    return f"{said} ({frames[-1].filename}, line {frames[-1].lineno})." if frames else said
