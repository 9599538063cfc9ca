"""GenroPy's own commands where genro-routes is installed: `python -m genropy_asgi.run_gnr web daemon`."""

import os
import sys

from genro_asgi.exceptions import ConfigError
from genro_asgi.server.orphans import end_with_parent
from genropy_asgi.found import found, spare_api_dispatcher

__all__ = ["OWNED", "main"]

#: The variable of the environment by which a server says that it owns this process.
OWNED = "GENROPY_ASGI_OWNED"


def main() -> None:
    """Run `gnr` with the arguments given; what makes a site there fails without this (see spare_api_dispatcher)."""
    sys.argv[0] = "gnr"
    if os.environ.pop(OWNED, ""):
        end_with_parent(3.0)
    try:
        command = found("gnr.core.cli.gnr")
        spare_api_dispatcher()
    except ConfigError as error:
        print(f"gnr: {error}", file=sys.stderr)
        sys.exit(1)
    command.main()


if __name__ == "__main__":
    main()
