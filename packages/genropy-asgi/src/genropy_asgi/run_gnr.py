"""GenroPy's own commands where genro-routes is installed: `python -m genropy_asgi.run_gnr web daemon`."""

import sys

from genro_asgi.exceptions import ConfigError
from genropy_asgi.found import found, spare_api_dispatcher

__all__ = ["main"]


def main() -> None:
    """Run `gnr` with the arguments given; what makes a site there fails without this (see spare_api_dispatcher)."""
    sys.argv[0] = "gnr"
    try:
        command = found("gnr.core.cli.gnr")
        spare_api_dispatcher()
    except ConfigError as error:
        print(f"gnr: {error}", file=sys.stderr)
        sys.exit(1)
    command.main()


if __name__ == "__main__":
    main()
