"""Serve the atlas: `python examples/atlas/run.py [--host NAME] [--port NUMBER]`."""

import argparse
from pathlib import Path

from genro_asgi import AsgiServer, ConfigError

PLACES = {
    "": "the catalogues",
    "names": "a long call that tells how far it is",
    "board": "a board to share, live",
    "countries/search?text=united&size=5": "search, a page at a time",
    "countries/detail/IT": "one record",
    "languages/export?text=sign": "CSV, streamed",
    "me": "needs a token",
}


class Demo(AsgiServer):
    """The site of config.yaml, which says where it is once it listens."""

    def on_startup(self) -> None:
        """Print some URLs."""
        for path, what in PLACES.items():
            print(f"  {self.url}/atlas/{path}  ({what})", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve the atlas on this machine.")
    parser.add_argument("--host", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="the port to listen on (8000); 0 takes a free one")
    arguments = parser.parse_args()
    try:
        Demo(Path(__file__).parent, arguments.host, arguments.port).run()
    except ConfigError as error:
        parser.error(str(error))
