"""What the commands share: the arguments that name a site, and the server made of it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["build_server", "site_options"]


def site_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command its [DIR] and --config; both are None when they are not written."""
    command = click.option("--config", metavar="FILE", help="The configuration, in place of DIR/config.yaml.")(command)
    return click.argument("directory", metavar="[DIR]", required=False)(command)


def build_server(directory: str | None, **options: Any) -> "AsgiServer":
    """The server of a site, built but not started; options that are None are left to the configuration."""
    from genro_asgi.server.server import AsgiServer

    argv = [] if directory is None else [f"--server-dir={directory}"]
    for name, value in options.items():
        if isinstance(value, bool):
            argv.append(f"--{name}" if value else f"--no-{name}")
        elif value is not None:
            argv.append(f"--{name}={value}")
    return AsgiServer(argv=argv)
