"""The package can be imported where GenroPy is not installed."""

import sys

import genropy_asgi


def test_import_does_not_look_for_genropy() -> None:
    assert genropy_asgi.__doc__ == "Serves existing GenroPy sites on ASGI, unchanged."
    assert "gnr" not in sys.modules
