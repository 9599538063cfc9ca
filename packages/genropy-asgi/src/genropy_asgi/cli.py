"""The command gnrasgiserve: gnrwsgiserve with an ASGI server at the end."""

import sys
from typing import Any

from genro_asgi.exceptions import ConfigError
from genropy_asgi.found import found, no_root_py, said_in_one_line
from genropy_asgi.serving import REGISTERS, SiteServing

__all__ = ["main"]

DESCRIPTION = "This command serves a genropy web application on ASGI."


def main() -> None:
    """Serve a site as `gnrwsgiserve` does; what is wrong is told in one line, with exit code 1."""
    try:
        command = make_command()
        with said_in_one_line(command.site_name):
            command.run()
    except ConfigError as error:
        print(f"gnrasgiserve: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:  # before there was a server that obeys it
        sys.exit(130)


def make_command() -> Any:
    """GenroPy's own command, its arguments parsed and its configuration read, with our way to serve."""
    with said_in_one_line(""):
        serverwsgi = found("gnr.web.serverwsgi")
        parser, serverwsgi.GnrCliArgParse = serverwsgi.GnrCliArgParse, _parser_of(serverwsgi)
        try:
            return _command_of(serverwsgi)()
        except serverwsgi.ServerException as error:
            raise _server_error(serverwsgi, error) from error
        finally:
            serverwsgi.GnrCliArgParse = parser


def _parser_of(serverwsgi: Any) -> Any:
    base: Any = serverwsgi.GnrCliArgParse

    class Parser(base):  # type: ignore[misc]
        """GenroPy's parser with our options beside those it is given."""

        def __init__(self, *args: Any, **options: Any) -> None:
            # GenroPy takes the old names of its commands for those that do not begin with "gnr ".
            super().__init__(*args, prog="gnr web asgiserve", conflict_handler="resolve", **options)
            self.prog = "gnrasgiserve"
            self.add_argument("-n", "--noclean", action="store_true", help="Accepted and ignored")
            self.add_argument(
                "--register",
                choices=REGISTERS,
                help="Where the site's register lives: in the daemon, or in this process (Default: daemon)",
            )

    return Parser


def _command_of(serverwsgi: Any) -> Any:
    base: Any = serverwsgi.Server

    class Command(base):  # type: ignore[misc]
        """The steps of gnrwsgiserve up to the last."""

        description = DESCRIPTION

        def serve(self) -> None:
            """Serve with uvicorn instead of werkzeug."""
            SiteServing(self).run()

    return Command


def _server_error(serverwsgi: Any, error: Exception) -> ConfigError:
    text = str(error).removeprefix("Error: ")
    start, _, name = text.partition("root.py in the site provided ")
    if start == "no ":
        name = name.strip("()")
        return no_root_py(name, serverwsgi.PathResolver().site_name_to_path(name))
    return ConfigError(text)
