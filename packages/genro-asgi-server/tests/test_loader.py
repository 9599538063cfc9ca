import pickle
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from genro_asgi.exceptions import ConfigError
from genro_asgi.server.loader import ROOT_PACKAGE, AppLoader


@pytest.fixture(autouse=True)
def no_module_stays() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(ROOT_PACKAGE):
            del sys.modules[name]


def site(directory: Path, **files: str) -> Path:
    """A site directory with these modules; a name with a slash is one of a package."""
    for name, text in files.items():
        path = directory / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return directory


def error_of(loader: AppLoader, spec: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        loader.load(spec, where="config.yaml: apps.shop")
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_class_of_a_local_module(tmp_path: Path) -> None:
    loader = AppLoader(site(tmp_path, shop_app="class Shop: pass"))
    found = loader.load("shop_app:Shop")
    assert found.__name__ == "Shop"
    assert found.__module__ == f"{loader.package}.shop_app"
    assert loader.directory_of(found) == tmp_path.resolve()
    assert "shop_app" not in sys.modules


def test_without_a_class_it_is_application(tmp_path: Path) -> None:
    assert AppLoader(site(tmp_path, shop_app="class Application: pass")).load("shop_app").__name__ == "Application"


def test_only_the_configured_module_is_imported(tmp_path: Path) -> None:
    site(tmp_path, shop_app="class Application: pass", run="raise SystemExit('a second server')")
    site(tmp_path, **{"shop/views": "raise RuntimeError('not asked for')", "shop/main": "class Main: pass"})
    loader = AppLoader(tmp_path)
    loader.load("shop_app")
    loader.load("shop.main:Main")
    assert loader.loaded() == ["shop", "shop.main", "shop_app"]


def test_an_installed_module_is_imported_as_it_is_named(tmp_path: Path) -> None:
    from collections import OrderedDict

    loader = AppLoader(tmp_path)
    assert loader.load("collections:OrderedDict") is OrderedDict
    assert loader.directory_of(int) == tmp_path.resolve()
    assert loader.loaded() == []


def test_relative_imports_reach_the_package_and_what_is_beside(tmp_path: Path) -> None:
    site(
        tmp_path,
        models="NAME = 'beside'",
        shop_app="from .models import NAME\nfrom . import models\nclass Application: name = NAME",
        **{
            "shop/__init__": "from .names import NAME",
            "shop/names": "NAME = 'inside'",
            "shop/main": "from . import NAME\nfrom .names import NAME as again\nclass Main: names = (NAME, again)",
        },
    )
    loader = AppLoader(tmp_path)
    assert loader.load("shop_app").name == "beside"
    assert loader.load("shop.main:Main").names == ("inside", "inside")


def test_two_sites_with_the_same_names_do_not_meet(tmp_path: Path) -> None:
    sites = [site(tmp_path / parent / "shop", shop_app=f"class Application: of = {parent!r}") for parent in "ab"]
    loaders = [AppLoader(one) for one in sites]
    assert [loader.load("shop_app").of for loader in loaders] == ["a", "b"]
    assert loaders[0].package != loaders[1].package


def test_a_base_directory_of_its_own(tmp_path: Path) -> None:
    other = site(tmp_path / "elsewhere", shop_app="class Application: of = 'elsewhere'")
    loader = AppLoader(site(tmp_path / "site", shop_app="class Application: of = 'site'"))
    assert loader.load("shop_app", other).of == "elsewhere"
    assert loader.load("shop_app").of == "site"


def test_the_same_directory_gives_the_same_modules(tmp_path: Path) -> None:
    site(tmp_path, shop_app="class Application: pass")
    first = AppLoader(tmp_path).load("shop_app")
    assert AppLoader(tmp_path / "." / "").load("shop_app") is first
    assert pickle.loads(pickle.dumps(first)) is first


def test_unload_forgets_the_module_and_no_other(tmp_path: Path) -> None:
    site(tmp_path, shop="class Application: pass", shop2="class Application: pass")
    site(tmp_path, **{"pack/views": "class V: pass"})
    loader = AppLoader(tmp_path)
    first, second = loader.load("shop"), loader.load("shop2")
    loader.load("pack.views:V")
    assert loader.unload("shop") is True
    assert loader.loaded() == ["pack", "pack.views", "shop2"]
    assert loader.load("shop2") is second
    assert loader.load("shop") is not first
    assert loader.unload("pack") is True
    assert loader.loaded() == ["shop", "shop2"]
    assert loader.unload("pack") is False
    loader.unload_all()
    assert loader.loaded() == []


def test_a_module_that_is_not_there(tmp_path: Path) -> None:
    loader = AppLoader(site(tmp_path, shop_app=""))
    assert str(error_of(loader, "shp_app:Application")) == (
        f"config.yaml: apps.shop: no module 'shp_app' in {tmp_path.resolve()} nor installed, did you mean 'shop_app'."
    )
    assert "no module 'json.nothing'" in str(error_of(loader, "json.nothing:X"))


def test_a_class_that_is_not_there(tmp_path: Path) -> None:
    loader = AppLoader(site(tmp_path, shop_app="class Application: pass\nvalue = 3"))
    place = tmp_path.resolve() / "shop_app.py"
    assert str(error_of(loader, "shop_app:Aplication")) == (
        f"config.yaml: apps.shop: no class 'Aplication' in {place}, did you mean 'Application'."
    )
    assert str(error_of(loader, "shop_app:value")) == (
        f"config.yaml: apps.shop: value in {place} is an object of type int; name a class."
    )


@pytest.mark.parametrize(
    ("text", "cause", "said"),
    [
        ("x = 1\nraise ValueError('two\\nlines')", ValueError, "ValueError: two lines ({file}, line 2)."),
        ("import nothing_like_it", ModuleNotFoundError, "No module named 'nothing_like_it' ({file}, line 1)."),
        ("import sibling", ModuleNotFoundError, "({file}, line 1); write `from . import sibling`."),
        (
            "raise ModuleNotFoundError('nameless')",
            ModuleNotFoundError,
            "ModuleNotFoundError: nameless ({file}, line 1).",
        ),
        ("from .gone import x", ModuleNotFoundError, "No module named 'gone' ({file}, line 1)."),
        ("x = 1\ndef (", SyntaxError, "SyntaxError: invalid syntax ({file}, line 2)."),
        ("raise SystemExit('bye')", SystemExit, "SystemExit: bye ({file}, line 1)."),
    ],
)
def test_a_module_that_breaks_keeps_its_cause(tmp_path: Path, text: str, cause: type[BaseException], said: str) -> None:
    loader = AppLoader(site(tmp_path, shop_app=text, sibling=""))
    error = error_of(loader, "shop_app")
    assert str(error).startswith("config.yaml: apps.shop: module 'shop_app' cannot be imported: ")
    assert str(error).endswith(said.format(file=tmp_path.resolve() / "shop_app.py"))
    assert type(error.__cause__) is cause
    assert loader.loaded() == []
