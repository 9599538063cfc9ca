"""Distributions of others: one adds a room to the namespace, one leans on core alone."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import uv
from hatchling.builders.wheel import WheelBuilder

PYPROJECT = """
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["genro-asgi-core~=1.0"]

[tool.hatch.build]
dev-mode-dirs = ["src"]

[tool.hatch.build.targets.wheel]
packages = ["src/{top}"]
"""
CONTRIB = """
from genro_asgi.exceptions import HTTPNotFound

def missing() -> HTTPNotFound:
    return HTTPNotFound("no such thing")
"""


def distribution(root: Path, name: str, files: dict[str, str], version: str = "standard") -> Path:
    """The wheel of a small project: `files` below its src; `version` is standard or editable."""
    top = next(iter(files)).partition("/")[0]
    root.mkdir(parents=True)
    (root / "pyproject.toml").write_text(PYPROJECT.format(name=name, top=top), encoding="utf-8")
    for path, text in files.items():
        file = root / "src" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return Path(next(WheelBuilder(str(root)).build(directory=str(root / "dist"), versions=[version])))


def contrib(root: Path, version: str) -> Path:
    """Somebody's `genro_asgi.contrib_x`: no genro_asgi/__init__.py, py.typed inside its own room."""
    files = {"genro_asgi/contrib_x/__init__.py": CONTRIB, "genro_asgi/contrib_x/py.typed": ""}
    return distribution(root / f"contrib-{version}", "acme-genro-asgi-contrib-x", files, version)


class Venv:
    """A new environment; nothing is downloaded into it."""

    def __init__(self, path: Path) -> None:
        self.python = path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.uv("venv", "--quiet", "--python", sys.executable, str(path))

    def uv(self, *args: str) -> None:
        subprocess.run([uv.find_uv_bin(), *args], check=True, capture_output=True, timeout=60)

    def install(self, *args: str | Path) -> None:
        self.uv("pip", "install", "--quiet", "--no-index", "--python", str(self.python), *map(str, args))

    def borrow_third_party(self) -> None:
        """Let it see what this environment has installed, but not what is editable here: .pth files do not nest."""
        purelib = Path(self.run("import sysconfig; print(sysconfig.get_path('purelib'))"))
        (purelib / "zz_third_party.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")

    def run(self, code: str) -> str:
        done = subprocess.run([self.python, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def venv(tmp_path: Path) -> Venv:
    return Venv(tmp_path / "venv")


INSTALLED = "from importlib.metadata import distributions as d; print(*sorted(x.name for x in d()))"


def test_a_distribution_that_leans_on_core_alone(venv: Venv, wheels: dict[str, Path], tmp_path: Path) -> None:
    code = "from genro_asgi.types import Scope\n\ndef path(scope: Scope) -> str:\n    return str(scope['path'])\n"
    wheel = distribution(tmp_path / "app", "acme-app", {"acme_app/__init__.py": code})
    venv.install("--find-links", wheels["genro-asgi-core"].parent, wheel)
    assert venv.run("import acme_app; print(acme_app.path({'path': '/x'}))") == "/x"
    assert venv.run(INSTALLED) == "acme-app genro-asgi-core"


@pytest.mark.parametrize("version", ["standard", "editable"])
def test_a_room_of_somebody_else_without_the_facade(
    version: str, venv: Venv, wheels: dict[str, Path], tmp_path: Path
) -> None:
    venv.install("--find-links", wheels["genro-asgi-core"].parent, contrib(tmp_path, version))
    assert venv.run("from genro_asgi.contrib_x import missing; print(missing().status_code)") == "404"
    assert venv.run("import genro_asgi; print(genro_asgi.__file__)") == "None"
    assert venv.run(INSTALLED) == "acme-genro-asgi-contrib-x genro-asgi-core"


@pytest.mark.parametrize("version", ["standard", "editable"])
def test_a_room_of_somebody_else_beside_all_of_ours(
    version: str, venv: Venv, wheels: dict[str, Path], tmp_path: Path
) -> None:
    venv.install("--no-deps", *wheels.values(), contrib(tmp_path, version))
    venv.borrow_third_party()
    code = """
import genro_asgi
from genro_asgi.contrib_x import missing
for name in genro_asgi.__all__:
    getattr(genro_asgi, name)
assert type(missing()) is genro_asgi.HTTPNotFound
print(genro_asgi.__version__, genro_asgi.__file__)
"""
    number, file = venv.run(code).split(maxsplit=1)
    assert number == wheels["genro-asgi"].name.split("-")[1]
    assert Path(file).is_relative_to(venv.python.parent.parent)
