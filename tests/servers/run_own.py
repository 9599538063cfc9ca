"""Runs the test site with `AsgiServer.run()` on the port given."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import site_app

if __name__ == "__main__":
    site_app.create().run(port=int(sys.argv[1]))
