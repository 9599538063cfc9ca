"""`genro-asgi routes`: the table of what a site answers."""

from collections.abc import Iterable, Sequence

import click

from genro_asgi.cli.common import build_server, site_options

__all__ = ["routes"]

_HEADINGS = ("METHODS", "PATH", "HANDLER", "AUTH", "TRANSPORTS")


@click.command()
@site_options
def routes(directory: str | None, config: str | None) -> None:
    """List the routes of the site in DIR (default: the current directory)."""
    server = build_server(directory, config=config)
    rows = [
        (",".join(route.methods), route.path, _shown(route.handler), route.auth or "-", ",".join(route.transports))
        for route in server.iter_routes()
    ]
    for line in _table([_HEADINGS, *rows]):
        click.echo(line)


def _shown(handler: str) -> str:
    """The handler as the site names it, without the private package its modules are imported under."""
    from genro_asgi.server.loader import ROOT_PACKAGE

    return handler.split(".", 2)[2] if handler.startswith(ROOT_PACKAGE + ".") else handler


def _table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
