"""Tests against the real GenroPy; without it there are none to collect."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genropy_sites import Home, Served

if os.environ.get("GENROPY_TESTS") == "required" and find_spec("gnr") is None:
    raise pytest.UsageError("GenroPy is not installed here, and this environment is for testing with it")
# Neither the tests nor what they import can be imported where GenroPy is not.
collect_ignore_glob = ["test_*.py", "pages/*"] if find_spec("gnr") is None else ["pages/*"]
sys.path.insert(0, str(Path(__file__).parent))

STOCK = (sys.executable, "-m", "genropy_asgi.run_gnr", "web", "wsgiserve")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Home]":
    """A home with GenroPy, a site and a running register daemon."""
    from genropy_sites import Home

    home = Home(tmp_path_factory.mktemp("genropy"))
    home.add_site()
    home.start_daemon()
    yield home
    home.stop()


@pytest.fixture(scope="session")
def stock(home: "Home") -> "Served":
    """The site served by GenroPy's own server."""
    return home.serve(*STOCK, "testsite", "-p", "{port}", "-H", "127.0.0.1")


@pytest.fixture(scope="session")
def ours(home: "Home", stock: "Served") -> "Served":
    """The site served by gnrasgiserve, with the register of the daemon."""
    # After the stock server: both write environment.xml when they start.
    return home.serve("gnrasgiserve", "testsite", "-p", "{port}", "-H", "127.0.0.1")
