"""The arrows between the packages, read from the imports of every module."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
META = "genro-asgi"
ARROWS = {
    "genro-asgi-core": set(),
    "genro-asgi-wsx": {"genro-asgi-core"},
    "genro-asgi-request": {"genro-asgi-core", "genro-asgi-wsx"},
    "genro-asgi-executors": {"genro-asgi-core"},
    "genro-asgi-server": {"genro-asgi-core", "genro-asgi-wsx", "genro-asgi-request", "genro-asgi-executors"},
    "genropy-asgi": {"genro-asgi-server"},
    "genro-asgi": {
        "genro-asgi-core",
        "genro-asgi-wsx",
        "genro-asgi-request",
        "genro-asgi-executors",
        "genro-asgi-server",
    },
}
OPTIONAL_ARROWS = {"genro-asgi-executors": {"genro-asgi-wsx"}, "genro-asgi": {"genropy-asgi"}}

# Each third-party import, the one room it may appear in, and the requirement that brings it there.
ROOMS = {
    "orjson": ("genro-asgi-core", "orjson"),
    "httpx": ("genro-asgi-core", "httpx"),
    "msgpack": ("genro-asgi-wsx", "msgpack"),
    "nats": ("genro-asgi-wsx", "nats-py"),
    "websockets": ("genro-asgi-wsx", "websockets"),
    "python_multipart": ("genro-asgi-request", "python-multipart"),
    "uvicorn": ("genro-asgi-server", "uvicorn"),
    "uvloop": ("genro-asgi-server", "uvicorn"),
    "httptools": ("genro-asgi-server", "uvicorn"),
    "yaml": ("genro-asgi-server", "pyyaml"),
    "click": ("genro-asgi-server", "click"),
    "genro_routes": ("genro-asgi-server", "genro-routes"),
    "genro_toolbox": ("genro-asgi-server", "genro-routes"),
    "pydantic": ("genro-asgi-server", "genro-routes"),
    "jwt": ("genro-asgi-server", "pyjwt"),
    "opentelemetry": ("genro-asgi-server", "opentelemetry-api"),
    "prometheus_client": ("genro-asgi-server", "prometheus-client"),
    "gnr": ("genropy-asgi", "genropy"),
}


class Import(NamedTuple):
    """One import in the sources: who, what, and whether a missing module there is survived."""

    package: str
    importer: str
    module: str
    name: str
    where: str
    optional: bool


def requirement_name(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    assert match is not None
    return match[0].lower()


def needs(package: str) -> tuple[set[str], set[str]]:
    """What a package declares: (always, with an extra only)."""
    project = tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    always = {requirement_name(item) for item in project["dependencies"]}
    extras = [item for group in project.get("optional-dependencies", {}).values() for item in group]
    return always, {requirement_name(item) for item in extras} - always - {package}


NEEDS = {package: needs(package) for package in ARROWS}


def reachable(package: str) -> set[str]:
    """The siblings a package may import: those it declares, and those that they declare."""
    found: set[str] = set()
    queue = list(ARROWS[package])
    while queue:
        found.add(queue[-1])
        queue.extend(ARROWS[queue.pop()] - found)
    return found


def survives(node: ast.Try) -> bool:
    """Whether a try block is there for a module that may be missing."""
    caught = {ast.unparse(handler.type) for handler in node.handlers if handler.type}
    return bool(caught & {"ImportError", "ModuleNotFoundError"})


def imports_below(node: ast.AST, optional: bool) -> Iterator[tuple[str, str, int, bool]]:
    """Every import below a node as (module, name, line, optional)."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, "", child.lineno, optional) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            module = "." * child.level + (child.module or "")
            yield from ((module, alias.name, child.lineno, optional) for alias in child.names)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            asked = isinstance(child, ast.If)  # for TYPE_CHECKING, or for what is installed
            tried = isinstance(child, ast.Try) and survives(child)
            yield from imports_below(child, optional or inside or asked or tried)


def source_files(package: str) -> list[Path]:
    return sorted((ROOT / "packages" / package / "src").rglob("*.py"))


def module_name(package: str, path: Path) -> str:
    parts = path.relative_to(ROOT / "packages" / package / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def all_imports() -> list[Import]:
    found = []
    for package in ARROWS:
        for path in source_files(package):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for module, name, line, optional in imports_below(tree, False):
                where = f"{path.relative_to(ROOT)}:{line}"
                found.append(Import(package, module_name(package, path), module, name, where, optional))
    return found


IMPORTS = all_imports()


def homes() -> dict[str, str]:
    """Each module below genro_asgi and genropy_asgi, with the package that ships it."""
    found = {}
    for package in ARROWS:
        for path in source_files(package):
            module = module_name(package, path)
            if module != "genro_asgi" or package == META:
                found[module] = package
    return found


HOMES = homes()


def test_declared_dependencies_are_the_arrows() -> None:
    siblings = set(ARROWS)
    assert {package: always & siblings for package, (always, _) in NEEDS.items()} == ARROWS
    optional = {package: extras & siblings for package, (_, extras) in NEEDS.items()}
    assert {package: found for package, found in optional.items() if found} == OPTIONAL_ARROWS


def test_the_arrows_have_no_cycle() -> None:
    assert [package for package in ARROWS if package in reachable(package)] == []


def test_every_import_is_absolute() -> None:
    assert [item.where for item in IMPORTS if item.module.startswith(".")] == []


def test_nobody_imports_the_facade() -> None:
    """`from genro_asgi import limits` is a module of the namespace, `from genro_asgi import Limits` is the facade's."""
    wrong = [
        f"{item.where}: {item.name or item.module}"
        for item in IMPORTS
        if item.module == "genro_asgi" and item.package != META and f"genro_asgi.{item.name}" not in HOMES
    ]
    assert wrong == []


def test_imports_between_packages_follow_the_arrows() -> None:
    wrong = []
    for item in IMPORTS:
        if item.module.partition(".")[0] not in ("genro_asgi", "genropy_asgi"):
            continue
        home = HOMES.get(f"{item.module}.{item.name}") or HOMES.get(item.module)
        allowed = {item.package, *reachable(item.package)}
        if item.optional:
            allowed |= OPTIONAL_ARROWS.get(item.package, set())
        if home not in allowed:
            wrong.append(f"{item.where}: {item.package} imports {item.module} of {home}")
    assert wrong == []


def third_party(item: Import) -> str | None:
    top = item.module.partition(".")[0]
    return None if top in sys.stdlib_module_names or top in ("genro_asgi", "genropy_asgi", "") else top


def test_each_third_party_import_is_in_its_room() -> None:
    rooms = {top: home for top, (home, _) in ROOMS.items()}
    wrong = [
        f"{item.where}: {top} belongs to {rooms.get(top, 'no room')}"
        for item in IMPORTS
        if (top := third_party(item)) and rooms.get(top) != item.package
    ]
    assert wrong == []


def test_a_third_party_import_is_declared_or_optional() -> None:
    tried: set[str] = set()
    # What only an optional module imports is optional too.
    while True:
        needed = {item.module for item in IMPORTS if not item.optional and item.importer not in tried}
        found = {item.module for item in IMPORTS if item.optional or item.importer in tried} - needed
        if found == tried:
            break
        tried = found
    wrong = []
    for item in IMPORTS:
        top = third_party(item)
        if top not in ROOMS:
            continue
        requirement = ROOMS[top][1]
        always, extras = NEEDS[item.package]
        optional = item.optional or item.importer in tried
        if requirement not in always and not (requirement in extras and optional):
            wrong.append(f"{item.where}: {top} needs {requirement}, which is not declared, or is an extra's")
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import orjson", [("orjson", "", 1, False)]),
        ("from a.b import c, d", [("a.b", "c", 1, False), ("a.b", "d", 1, False)]),
        ("from . import x", [(".", "x", 1, False)]),
        ("class A:\n    import jwt", [("jwt", "", 2, False)]),
        ("def f():\n    if x:\n        import nats", [("nats", "", 3, True)]),
        ("async def f():\n    import nats", [("nats", "", 2, True)]),
        ("if TYPE_CHECKING:\n    import nats", [("nats", "", 2, True)]),
        ("try:\n    import orjson\nexcept ImportError:\n    pass", [("orjson", "", 2, True)]),
        ("try:\n    import orjson\nexcept ValueError:\n    pass", [("orjson", "", 2, False)]),
    ],
)
def test_the_reader_of_imports(source: str, expected: list[tuple[str, str, int, bool]]) -> None:
    assert list(imports_below(ast.parse(source), False)) == expected
