"""`genro-asgi serve`: serve a site with uvicorn."""

import os
import ssl
import stat
from pathlib import Path
from typing import Any

import click

from genro_asgi.cli.common import build_server, site_options

__all__ = ["serve"]

_FILE = click.Path(exists=True, dir_okay=False)


@click.command()
@site_options
@click.option("--host", metavar="NAME", help="The address to listen on; 127.0.0.1 by default.")
@click.option("--port", metavar="NUMBER", help="The port to listen on; 8000 by default, 0 for a free one.")
@click.option("--reload/--no-reload", default=None, help="Start anew when a Python or YAML file changes.")
@click.option("--workers", metavar="NUMBER", help="How many processes serve; 1 by default.")
@click.option("--uds", metavar="PATH", help="Listen on a UNIX socket in place of host and port.")
@click.option("--fd", type=int, metavar="NUMBER", help="Listen on a socket that is open already.")
@click.option(
    "--proxy-headers/--no-proxy-headers", default=None, help="Believe X-Forwarded-* of trusted proxies; off by default."
)
@click.option("--forwarded-allow-ips", metavar="LIST", help="The proxies that are trusted: addresses, networks or *.")
@click.option("--ssl-certfile", type=_FILE, metavar="FILE", help="The certificate, to serve HTTPS.")
@click.option("--ssl-keyfile", type=_FILE, metavar="FILE", help="The key of the certificate, when it is a file apart.")
def serve(
    directory: str | None,
    config: str | None,
    host: str | None,
    port: str | None,
    reload: bool | None,
    workers: str | None,
    **uvicorn_options: Any,
) -> None:
    """Serve the site in DIR (default: the current directory)."""
    given = {name: value for name, value in uvicorn_options.items() if value is not None}
    if "ssl_keyfile" in given and "ssl_certfile" not in given:
        raise click.UsageError("--ssl-keyfile needs --ssl-certfile.")
    server = build_server(directory, config=config, host=host, port=port, reload=reload, workers=workers)
    _check_socket(given.get("uds"), given.get("fd"))
    try:
        server.run(**given)
    except ssl.SSLError as error:
        names = " and ".join(given[name] for name in ("ssl_certfile", "ssl_keyfile") if name in given)
        raise click.ClickException(f"Cannot use the certificate in {names}: {error}.") from error
    except OSError as error:
        raise click.ClickException(f"Cannot serve: {error}.") from error


def _check_socket(uds: str | None, fd: int | None) -> None:
    """The mistakes uvicorn would tell with a traceback."""
    if uds is not None and not Path(uds).absolute().parent.is_dir():
        raise click.UsageError(f"--uds {uds}: there is no directory {Path(uds).parent}; make it first.")
    try:
        open_socket = fd is None or stat.S_ISSOCK(os.fstat(fd).st_mode)
    except (OSError, OverflowError):
        open_socket = False
    if not open_socket:
        raise click.UsageError(f"--fd {fd}: not an open socket; the parent process must open it and pass it on.")
