"""AppLoader: imports the modules a configuration names, each site under a package name of its own."""

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from genro_asgi.exceptions import ConfigError
from genro_asgi.server.config_checks import nearest

__all__ = ["ROOT_PACKAGE", "AppLoader"]

#: The package all sites are imported under.
ROOT_PACKAGE = "genro_root"


class AppLoader:
    """Imports the classes of one site.

    A module that is a file below `server_dir` is imported as `genro_root.<site>.<module>`, so two sites may both
    have a `shop_app`; its relative imports reach its package and the modules beside it. Another module is imported
    as it is named. Nothing is imported but what is asked for, and what that imports itself. The name of the
    package depends on the directory only: another process that makes an AppLoader finds the same modules.
    """

    def __init__(self, server_dir: str | Path) -> None:
        self.server_dir = Path(server_dir).resolve()
        self.package = _site_package(self.server_dir)

    def load(self, spec: str, base: str | Path | None = None, *, where: str = "app") -> type[Any]:
        """The class of `module:Class` (`module` alone means Application), looked for in `base`, else in server_dir.

        `where` opens the text of the ConfigError for a module or class that is not there or cannot be imported;
        an exception of the module itself is its cause.
        """
        module_name, _, class_name = spec.partition(":")
        module = self.load_module(module_name, base, where=where)
        class_name = class_name or "Application"
        found = getattr(module, class_name, None)
        if isinstance(found, type):
            return found
        place = getattr(module, "__file__", None) or module_name
        if found is not None:
            kind = type(found).__name__
            raise ConfigError(f"{where}: {class_name} in {place} is an object of type {kind}; name a class.")
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise ConfigError(f"{where}: no class {class_name!r} in {place}{nearest(class_name, classes)}.")

    def load_module(self, name: str, base: str | Path | None = None, *, where: str = "app") -> ModuleType:
        """The module of that name, imported from `base` or server_dir when it is a file there."""
        directory = Path(base).resolve() if base is not None else self.server_dir
        importlib.invalidate_caches()
        package = _site_package(directory) + "." if _is_local(directory, name) else ""
        try:
            return importlib.import_module(package + name)
        except ModuleNotFoundError as error:
            missing = (error.name or "").removeprefix(package)
            if name != missing and not name.startswith(missing + "."):
                hint = f"; write `from . import {missing}`" if missing and _is_local(directory, missing) else ""
                raise _broken(where, name, package, error, hint) from error
            there = [path.stem for path in directory.glob("*.py")]
            there += [path.parent.name for path in directory.glob("*/__init__.py")]
            text = f"{where}: no module {name!r} in {directory} nor installed{nearest(name, there)}."
            raise ConfigError(text) from error
        except (Exception, SystemExit) as error:
            raise _broken(where, name, package, error) from error

    def directory_of(self, cls: type) -> Path:
        """The directory of the file a class comes from; server_dir when it has none."""
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        return Path(file).resolve().parent if file else self.server_dir

    def loaded(self) -> list[str]:
        """The modules of the site that are imported, by the name a configuration gives them."""
        start = self.package + "."
        return sorted(name.removeprefix(start) for name in sys.modules if name.startswith(start))

    def unload(self, name: str) -> bool:
        """Forget a module of the site and what is inside it, so that it is imported anew; False if it was not."""
        full_name = f"{self.package}.{name}"
        found = [module for module in sys.modules if module == full_name or module.startswith(full_name + ".")]
        for module in found:
            _forget(module)
        return bool(found)

    def unload_all(self) -> None:
        """Forget every module of the site."""
        for name in self.loaded():
            self.unload(name)


def _site_package(directory: Path) -> str:
    """The package a directory is imported as, made when it is not there."""
    slug = re.sub(r"\W", "_", directory.name) or "site"
    digest = hashlib.blake2s(str(directory).encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    name = f"{ROOT_PACKAGE}.{slug}_{digest}"
    for package, path in ((ROOT_PACKAGE, None), (name, directory)):
        if package not in sys.modules:
            _make_package(package, path)
    return name


def _make_package(name: str, directory: Path | None) -> None:
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(directory)] if directory else []
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def _forget(full_name: str) -> None:
    sys.modules.pop(full_name, None)
    parent, _, child = full_name.rpartition(".")
    if parent in sys.modules:
        vars(sys.modules[parent]).pop(child, None)


def _is_local(directory: Path, name: str) -> bool:
    path = directory.joinpath(*name.split("."))
    return path.with_name(path.name + ".py").is_file() or (path / "__init__.py").is_file()


def _broken(where: str, name: str, package: str, error: BaseException, hint: str = "") -> ConfigError:
    """The error of a module that is there and raises while it is imported, with the line that did it."""
    # The first frame is the loader's own.
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)[1:] if "importlib" not in frame.filename]
    file, line = (frames[-1].filename, frames[-1].lineno) if frames else ("", None)
    said = str(error)
    if isinstance(error, SyntaxError):
        file, line, said = error.filename or file, error.lineno, error.msg
    place = f" ({file}, line {line})" if file else ""
    # The private name of the site's package would only puzzle.
    said = " ".join(said.replace(package, "").split() if package else said.split())
    return ConfigError(f"{where}: module {name!r} cannot be imported: {type(error).__name__}: {said}{place}{hint}.")
