"""The genro-asgi command line: serve, check, routes, new."""

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from genro_asgi.cli.check import check
from genro_asgi.cli.new import new
from genro_asgi.cli.routes import routes
from genro_asgi.cli.serve import serve
from genro_asgi.exceptions import ConfigError

__all__ = ["main"]

_USER_ERROR = 2
_INTERRUPTED = 130


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"genro-asgi {version('genro-asgi-server')}")
        context.exit()


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    "-v",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version.",
)
@click.pass_context
def _group(context: click.Context) -> None:
    """Serve, check and start genro-asgi sites. A site is a directory with a config.yaml."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (serve, check, routes, new):
    _group.add_command(_command)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 when all went well, 2 for a mistake of the user, told in one line on stderr."""
    try:
        code = _group.main(None if args is None else list(args), "genro-asgi", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.Abort:
        sys.exit(_INTERRUPTED)
    except click.ClickException as error:
        _fail(error.format_message())
    except ConfigError as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    click.echo(f"Error: {' '.join(message.split())}", err=True)
    sys.exit(_USER_ERROR)
