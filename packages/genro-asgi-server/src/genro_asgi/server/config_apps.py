"""The apps and the middleware of a configuration, in all their spellings, as the server takes them."""

import ast
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genro_asgi.server.config_checks import Check, Where, anything, entries, integer, known, number, switch, text, texts

__all__ = ["AppReader", "AppSpec", "MiddlewareReader", "app_mapping", "convention_app"]

#: module, class, middleware by name or None, and what the class is called with.
AppSpec = tuple[str, str, dict[str, Any] | None, dict[str, Any]]

DEFAULT_CLASS = "Application"
SUFFIX = "_middleware"
#: Credentials are looked at in any case; its name is accepted, its options are the section `auth`.
ALWAYS_ON = "auth"
DOCS = ("swagger", "redoc", "scalar", "off")

# `${VAR}` gives texts; where a class says bool, "off" must not arrive as something true.
_BY_TYPE: dict[type, Check] = {bool: switch, int: integer(), float: number(), str: text}

_MOUNT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*", re.ASCII)


def app_mapping(where: Where, value: Any) -> dict[str, Any]:
    """The apps of one source by mount name; leading and trailing slashes of a name do not count."""
    found: dict[str, Any] = {}
    for written, spec in entries(where, value).items():
        name = written.strip("/")
        if not _MOUNT_NAME.fullmatch(name):
            raise where.at(written).wrong(
                "not a name for a URL; write letters, digits and . _ ~ - with a letter or digit first"
            )
        if name in found:
            raise where.at(written).wrong(f"{name!r} is written twice; keep one")
        found[name] = spec
    return found


class MiddlewareReader:
    """Reads `middleware:` in every spelling into an ordered `{name: options | False}`.

    The middleware there is comes from the registry when the first name is met, or from the mapping given here.
    """

    def __init__(self, classes: Mapping[str, type] | None = None) -> None:
        self._classes = classes

    @property
    def classes(self) -> Mapping[str, type]:
        """The middleware classes by name."""
        if self._classes is None:
            from genro_asgi.middleware.registry import known_middleware

            self._classes = known_middleware()
        return self._classes

    def read(self, where: Where, value: Any) -> dict[str, Any]:
        """`{name: on|off|{options}}`, a list of names, or one text with commas."""
        if isinstance(value, str | list | tuple):
            value = dict.fromkeys(texts(where, value), True)
        found: dict[str, Any] = {}
        for name, item in entries(where, value).items():
            if name == ALWAYS_ON and name not in self.classes:
                if item is not None and not switch(where.at(name), item):
                    raise where.at(name).wrong("cannot be switched off, as auth_rule is always enforced; take it out")
            else:
                found[name] = self.options(where.at(name), name, item)
        return found

    def options(self, where: Where, name: str, value: Any) -> dict[str, Any] | bool:
        """The options of one middleware: {} when it is only switched on, False when it is off."""
        known(Where(where.source, where.key.rpartition(".")[0]), name, self.classes, "middleware")
        if isinstance(value, Mapping):
            return self.checked(where, self.classes[name], entries(where, value))
        return {} if value is None or switch(where, value) else False

    def checked(self, where: Where, cls: type, options: dict[str, Any]) -> dict[str, Any]:
        """Options the class takes by keyword, of the simple type it announces for them."""
        parameters = dict(inspect.signature(cls).parameters)
        parameters.pop("server", None)
        free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        found: dict[str, Any] = {}
        for name, value in options.items():
            if not free:
                known(where, name, parameters, "option")
            annotation = parameters[name].annotation if name in parameters else None
            check = _BY_TYPE.get(annotation, anything) if isinstance(annotation, type) else anything
            found[name] = check(where.at(name), value)
        return found

    def spelled_out(self, key: str) -> str | None:
        """The middleware a key of the form `<name>_middleware` speaks of."""
        name = key.removesuffix(SUFFIX)
        return name if name != key and name in self.classes else None


@dataclass(frozen=True, slots=True)
class AppReader:
    """Reads the entries of `apps:` and `sys_apps:` into specs; nothing is imported."""

    server_dir: Path
    middleware: MiddlewareReader

    def read(self, where: Where, name: str, value: Any) -> AppSpec:
        """`"module:Class"`, `"module"`, nothing at all, or a mapping with the module and more."""
        if value is None or isinstance(value, str):
            value = {"module": value}
        kwargs = {key: item for key, item in entries(where, value).items() if key != "module"}
        module, class_name = self.target(where.at("module"), name, value.get("module"))
        middleware = self.app_middleware(where, kwargs)
        if "db_name" in kwargs:
            kwargs["db_name"] = text(where.at("db_name"), kwargs["db_name"])
        if "docs" in kwargs:
            kwargs["docs"] = _docs(where.at("docs"), kwargs["docs"])
        return module, class_name, middleware, kwargs

    def target(self, where: Where, name: str, value: Any) -> tuple[str, str]:
        """The module and the class; without a module it is `<name>_app.py` of the site, if there is one."""
        if value is None:
            module = f"{name}_app"
            if _is_module(self.server_dir, module):
                return module, DEFAULT_CLASS
            raise where.wrong(f"not written, and there is no {module}.py in {self.server_dir}; write module:Class")
        module, colon, class_name = text(where, value).strip().partition(":")
        parts = [*module.split("."), class_name if colon else DEFAULT_CLASS]
        if not all(part.isidentifier() for part in parts):
            raise where.error(value, "module:Class, such as shop_app:Application")
        return module, parts[-1]

    def app_middleware(self, where: Where, kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """Takes the middleware of one app out of its mapping; None when it has none."""
        written = {key: name for key in kwargs if (name := self.middleware.spelled_out(key))}
        if "middleware" not in kwargs and not written:
            return None
        found = self.middleware.read(where.at("middleware"), kwargs.pop("middleware", None))
        for key, name in written.items():
            merge_options(found, name, self.middleware.options(where.at(key), name, kwargs.pop(key)))
        return found


def merge_options(found: dict[str, Any], name: str, options: dict[str, Any] | bool) -> None:
    """Add `<name>_middleware` to what `middleware:` says; there, off and options of the same name win."""
    said = found.setdefault(name, options)
    if isinstance(said, dict) and isinstance(options, dict):
        found[name] = {**options, **said}


def _docs(where: Where, value: Any) -> str:
    word = value.strip().lower() if isinstance(value, str) else value
    if word in (None, False, "no", "false", "none"):
        return "off"
    if word not in DOCS:
        raise where.error(value, f"one of {', '.join(DOCS)}")
    return str(word)


def convention_app(server_dir: Path) -> str | None:
    """The module of the app a site has by its name alone: `<dir>/<dir>_app.py` that binds Application."""
    module = f"{server_dir.name}_app"
    path = server_dir / f"{module}.py"
    if not module.isidentifier() or not path.is_file():
        return None
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        # The loader says what is wrong with it, with the line.
        return module
    return module if any(DEFAULT_CLASS in _bound(statement) for statement in tree.body) else None


def _bound(statement: ast.stmt) -> set[str]:
    """The names a statement at module level binds."""
    if isinstance(statement, ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in statement.names}
    if isinstance(statement, ast.Assign):
        return {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return set()


def _is_module(directory: Path, module: str) -> bool:
    return (directory / f"{module}.py").is_file() or (directory / module / "__init__.py").is_file()
