"""What the server's tests share."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _far_from_any_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No config.yaml of the caller, no home of the user."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
