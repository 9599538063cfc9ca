"""What the cross-package tests share."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of each of our packages by name, as users get it, all in one directory."""
    # Imported here: pytest reads this file also where only one package and its requirements are installed.
    from hatchling.builders.wheel import WheelBuilder

    out = str(tmp_path_factory.mktemp("wheels"))
    sources = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
    return {
        path.name: Path(next(WheelBuilder(str(path)).build(directory=out, versions=["standard"]))) for path in sources
    }
