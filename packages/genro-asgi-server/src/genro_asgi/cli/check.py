"""`genro-asgi check`: everything that can be wrong before serving."""

from pathlib import Path

import click

from genro_asgi.cli.common import build_server, site_options

__all__ = ["check"]


@click.command()
@site_options
def check(directory: str | None, config: str | None) -> None:
    """Check the site in DIR (default: the current directory) without serving it.

    The configuration is read, the apps are imported and made, the routes compiled; no app is started.
    """
    server = build_server(directory, config=config)
    server._check()
    for notice in server._notices():
        click.echo(notice, err=True)
    source = _shown(server.config.config_file) or f"{server.config.server_dir} (no config.yaml)"
    apps, routes = len(server.config.apps), sum(1 for _ in server.iter_routes())
    click.echo(f"{source}: {_count(apps, 'app')}, {_count(routes, 'route')}, no errors.")


def _shown(path: Path | None) -> str:
    """The path as a person in the current directory would write it."""
    if path is None:
        return ""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
