"""The front door: every public name is there, leads to its home module, and costs nothing before it is used."""

import ast
import importlib
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import genro_asgi

FACADE = Path(genro_asgi.__file__)


def type_checking_names() -> dict[str, str]:
    """Each name of the TYPE_CHECKING block, with the module it is imported from."""
    names = {}
    for node in ast.parse(FACADE.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for line in node.body:
                assert isinstance(line, ast.ImportFrom), ast.unparse(line)
                names |= {alias.asname or alias.name: line.module or "" for alias in line.names}
    return names


def fresh_python(code: str) -> str:
    """What `code` prints in an interpreter that has imported nothing yet."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_module_in_use_is_the_facade_and_not_a_marker() -> None:
    assert "_HOMES" in vars(genro_asgi)
    assert FACADE.parent == Path(next(iter(genro_asgi.__path__)))


def test_type_checkers_see_what_python_sees() -> None:
    homes = {name: f"genro_asgi.{home}" for name, home in genro_asgi._HOMES.items()}
    assert type_checking_names() == homes


def test_all_and_the_lazy_table_hold_the_same_names() -> None:
    assert list(genro_asgi._HOMES) == genro_asgi.__all__
    assert len(set(genro_asgi.__all__)) == len(genro_asgi.__all__)


@pytest.mark.parametrize("name", genro_asgi.__all__)
def test_name_leads_to_its_home(name: str) -> None:
    home = importlib.import_module(f"genro_asgi.{genro_asgi._HOMES[name]}")
    assert getattr(genro_asgi, name) is getattr(home, name)


def test_star_import_and_dir_give_every_name() -> None:
    namespace: dict[str, object] = {}
    exec("from genro_asgi import *", namespace)
    assert set(genro_asgi.__all__) <= set(namespace)
    assert set(genro_asgi.__all__) <= set(dir(genro_asgi))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'genro_asgi' has no attribute 'Nothing'"):
        _ = genro_asgi.Nothing


def test_version_is_that_of_the_distribution() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", genro_asgi.__version__)
    assert genro_asgi.__version__ == version("genro-asgi")


def test_import_loads_no_other_module_of_ours_and_no_third_party_one() -> None:
    code = (
        "import sys, asyncio; before = set(sys.modules); import genro_asgi;"
        "print(*sorted({name for name in set(sys.modules) - before if name.partition('.')[0] not in"
        " sys.stdlib_module_names}))"
    )
    assert fresh_python(code).split() == ["genro_asgi"]


def test_a_light_name_does_not_load_the_server() -> None:
    code = "import sys; from genro_asgi import HTTPException; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in fresh_python(code).split()}
    assert not loaded & {"genro_routes", "pydantic", "uvicorn", "yaml", "click"}
