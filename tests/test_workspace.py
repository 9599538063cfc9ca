"""The workspace rules: one version, exact pins, equal markers, and no file in two wheels."""

import importlib
import importlib.util
import re
import shutil
import tarfile
import tomllib
import zipfile
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent
PACKAGES = {path.parent.name: path.parent for path in sorted(ROOT.glob("packages/*/pyproject.toml"))}
PROJECTS: dict[str, dict[str, Any]] = {
    name: tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8")) for name, path in PACKAGES.items()
}
META = "genro-asgi"
VERSION = PROJECTS[META]["project"]["version"]
SIBLING = re.compile(r"(?P<name>genro(?:py)?-asgi[\w-]*)(?:\[(?P<extras>[\w,-]+)\])?(?P<pin>.*)")
PORTIONS = [name for name in PACKAGES if name not in (META, "genropy-asgi")]


def sibling_pins(project: dict[str, Any]) -> list[tuple[str, str]]:
    """Every requirement of a project on another one of ours, extras included, as (name, pin)."""
    groups = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
    matches = [SIBLING.fullmatch(requirement) for group in groups for requirement in group]
    return [(match["name"], match["pin"]) for match in matches if match]


@pytest.fixture(scope="module")
def bump() -> ModuleType:
    """scripts/bump.py, which is no module of any package."""
    spec = importlib.util.spec_from_file_location("bump", ROOT / "scripts" / "bump.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def files_of(wheel: Path) -> list[str]:
    return [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]


def test_there_are_seven_distributions() -> None:
    assert sorted(PACKAGES) == [
        "genro-asgi",
        "genro-asgi-core",
        "genro-asgi-executors",
        "genro-asgi-request",
        "genro-asgi-server",
        "genro-asgi-wsx",
        "genropy-asgi",
    ]
    assert all(PROJECTS[name]["project"]["name"] == name for name in PACKAGES)


def test_one_version_everywhere() -> None:
    assert {name: project["project"]["version"] for name, project in PROJECTS.items()} == dict.fromkeys(
        PACKAGES, VERSION
    )
    facade = (PACKAGES[META] / "src/genro_asgi/__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{VERSION}"' in facade


def test_changelog_has_the_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert next(heading for heading in headings if heading != "Unreleased") == VERSION


def test_the_meta_pins_every_sibling_exactly() -> None:
    pins = sibling_pins(PROJECTS[META]["project"])
    assert {name for name, _ in pins} >= {*PORTIONS, "genropy-asgi"}
    assert {pin for _, pin in pins} == {f"=={VERSION}"}


@pytest.mark.parametrize("name", [name for name in PACKAGES if name != META])
def test_siblings_take_each_others_patches(name: str) -> None:
    assert {pin for _, pin in sibling_pins(PROJECTS[name]["project"])} <= {f"~={VERSION}"}


@pytest.mark.parametrize("name", PACKAGES)
def test_metadata_is_alike(name: str) -> None:
    project = PROJECTS[name]["project"]
    assert project["requires-python"] == ">=3.11"
    assert project["license"] == "Apache-2.0"
    assert project["readme"] == "README.md"
    assert project["classifiers"] == PROJECTS[META]["project"]["classifiers"]
    assert PROJECTS[name]["build-system"] == PROJECTS[META]["build-system"]


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_holds_the_license(name: str) -> None:
    assert (PACKAGES[name] / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_markers_are_alike() -> None:
    markers = {(PACKAGES[name] / "src/genro_asgi/__init__.py").read_text(encoding="utf-8") for name in PORTIONS}
    assert len(markers) == 1
    assert markers.pop().endswith("import pkgutil\n\n__path__ = pkgutil.extend_path(__path__, __name__)\n")


def test_no_file_is_in_two_wheels(wheels: dict[str, Path]) -> None:
    owners = Counter(file for wheel in wheels.values() for file in files_of(wheel))
    assert [file for file, count in owners.items() if count > 1] == []


def test_only_the_meta_ships_the_facade(wheels: dict[str, Path]) -> None:
    owners = [name for name, wheel in wheels.items() if "genro_asgi/__init__.py" in files_of(wheel)]
    assert owners == [META]


def test_a_wheel_ships_its_namespace_and_nothing_else(wheels: dict[str, Path]) -> None:
    tops = {name: {file.partition("/")[0] for file in files_of(wheel)} for name, wheel in wheels.items()}
    assert tops == {key: {"genro_asgi"} for key in [META, *PORTIONS]} | {"genropy-asgi": {"genropy_asgi"}}


def test_every_shipped_module_is_typed(wheels: dict[str, Path]) -> None:
    """Core ships the py.typed of the loose modules; every subpackage has its own."""
    shipped = {file for wheel in wheels.values() for file in files_of(wheel)}
    markers = {file for file in shipped if file.endswith("/py.typed")}
    assert [name for name, wheel in wheels.items() if "genro_asgi/py.typed" in files_of(wheel)] == ["genro-asgi-core"]
    rooms = {
        "/".join(file.split("/")[:2])
        for file in shipped
        if file.startswith("genro_asgi/") and file.count("/") > 1 and file.endswith(".py")
    }
    assert {f"{room}/py.typed" for room in rooms} | {"genro_asgi/py.typed", "genropy_asgi/py.typed"} == markers


@pytest.mark.parametrize("name", PACKAGES)
def test_wheel_metadata_carries_license_and_readme(name: str, wheels: dict[str, Path]) -> None:
    archive = zipfile.ZipFile(wheels[name])
    info = f"{name.replace('-', '_')}-{VERSION}.dist-info"
    assert f"{info}/licenses/LICENSE" in archive.namelist()
    metadata = archive.read(f"{info}/METADATA").decode()
    assert f"\nVersion: {VERSION}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert f"\n# {name}\n" in metadata


def test_the_core_wheel_pulls_nothing(wheels: dict[str, Path]) -> None:
    archive = zipfile.ZipFile(wheels["genro-asgi-core"])
    metadata = archive.read(f"genro_asgi_core-{VERSION}.dist-info/METADATA").decode()
    required = re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE)
    assert [line for line in required if "extra ==" not in line] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_the_wheel_from_the_sdist_is_the_wheel_from_the_tree(
    name: str, wheels: dict[str, Path], tmp_path: Path
) -> None:
    sdist = next(SdistBuilder(str(PACKAGES[name])).build(directory=str(tmp_path), versions=["standard"]))
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / f"{name.replace('-', '_')}-{VERSION}"
    again = Path(next(WheelBuilder(str(unpacked)).build(directory=str(tmp_path), versions=["standard"])))
    assert again.read_bytes() == wheels[name].read_bytes()


@pytest.mark.parametrize("name", PACKAGES)
def test_every_command_leads_to_a_function(name: str) -> None:
    for command, target in PROJECTS[name]["project"].get("scripts", {}).items():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function)), command


def test_bump_reaches_every_version_and_pin(bump: ModuleType, tmp_path: Path) -> None:
    copies = {path: tmp_path / path.relative_to(ROOT) for path in bump.versioned_files(ROOT)}
    for path, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    bump.bump(tmp_path, "98.76.54")
    for path, copy in copies.items():
        text = copy.read_text(encoding="utf-8")
        assert text.replace("98.76.54", VERSION) == path.read_text(encoding="utf-8")
        if path.name == "pyproject.toml":
            project = tomllib.loads(text)["project"]
            assert project["version"] == "98.76.54"
            assert {pin.lstrip("=~") for _, pin in sibling_pins(project)} <= {"98.76.54"}
        else:
            assert '__version__ = "98.76.54"' in text


@pytest.mark.parametrize("argv", [[], ["1.2"], ["v1.2.3"], ["1.2.3", "1.2.4"]])
def test_bump_refuses_what_is_no_version(argv: list[str], bump: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert bump.main(argv) == 2
    assert capsys.readouterr().err == "usage: hatch run bump MAJOR.MINOR.PATCH\n"
