"""Install anew the packages of this workspace that stand in the running environment as copies.

hatch installs a sibling that a package depends on once and takes it for current from then on: after a change there the
tests of `alone` would run against the old copy.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import distributions
from urllib.parse import urlsplit
from urllib.request import url2pathname


def copied_folders() -> list[str]:
    """The folders that distributions of this environment were installed from, without the editable ones (PEP 610)."""
    origins = [json.loads(text) for found in distributions() if (text := found.read_text("direct_url.json"))]
    copied = [origin for origin in origins if "dir_info" in origin and not origin["dir_info"].get("editable")]
    return sorted({url2pathname(urlsplit(origin["url"]).path) for origin in copied})


def main() -> int:
    folders = copied_folders()
    if not folders:
        return 0
    command = [os.environ.get("HATCH_UV", "uv"), "pip", "install", "--quiet", "--no-deps", "--reinstall", *folders]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
