"""The sources of configuration as layers: what each one says, checked, and all of them merged."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genro_asgi.server.config_apps import SUFFIX, MiddlewareReader, app_mapping
from genro_asgi.server.config_checks import Where, entries, known
from genro_asgi.server.config_schema import SECTIONS, SERVER_FIELDS, SERVER_SWITCHES
from genro_asgi.server.config_sources import expand, read_arguments, read_environment, read_yaml

__all__ = ["OWN_SECTION", "Layer", "LayerReader", "Merged"]

#: The middleware whose options are a section of their own.
OWN_SECTION = ("auth", "session")

# What an environment variable or an option of the command line may set.
_FLAT = [*(name for name in SERVER_FIELDS if name != "uvicorn"), "config"]


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says, by section; `server` is always there."""

    source: str
    sections: dict[str, Any] = field(default_factory=lambda: {"server": {}})


class LayerReader:
    """Makes layers out of files, the environment, arguments and constructor options."""

    def __init__(self, middleware: MiddlewareReader) -> None:
        self.middleware = middleware

    def file(self, path: Path | None) -> Layer:
        """The layer of a YAML file, its `${VAR}` expanded; an empty one without a file."""
        if path is None:
            return Layer("no file")
        where = Where(str(path))
        return self._layer(where, expand(read_yaml(path), where, os.environ), path.parent)

    def environment(self) -> Layer:
        """The layer of the GENRO_ASGI_* variables."""
        found = read_environment(_FLAT)
        return self._flat(Where("environment"), found, {name: f"GENRO_ASGI_{name.upper()}" for name in found})

    def arguments(self, argv: Sequence[str]) -> Layer:
        """The layer of command-line arguments."""
        found = read_arguments(argv, _FLAT, SERVER_SWITCHES)
        return self._flat(Where("command line"), found, {name: f"--{name.replace('_', '-')}" for name in found})

    def options(self, options: Mapping[str, Any]) -> Layer:
        """The layer of what the constructor was given: sections, and the fields of `server` by themselves."""
        where = Where("AsgiServer()")
        given = {name: value for name, value in options.items() if value is not None}
        flat = {name: _path_text(given.pop(name)) for name in [*SERVER_FIELDS, "config"] if name in given}
        layer = self._layer(where, given, Path.cwd(), also=[*SERVER_FIELDS, "config"])
        _add(layer.sections, self._flat(where, flat, {}).sections)
        return layer

    def _flat(self, where: Where, values: Mapping[str, Any], labels: Mapping[str, str]) -> Layer:
        """A layer of single values for `server`, main_app and config, each under the name its source calls it."""
        layer = Layer(where.source)
        for name, value in values.items():
            here = where.at(labels.get(name, name))
            check = SERVER_FIELDS.get(name, SECTIONS["main_app"])
            target = layer.sections if name in ("main_app", "config") else layer.sections["server"]
            target[name] = check(here, value)
        _resolve_directory(layer, Path.cwd())
        return layer

    def _layer(self, where: Where, values: Mapping[str, Any], base: Path, also: Sequence[str] = ()) -> Layer:
        layer = Layer(where.source)
        for key, value in entries(where, self._spread(where, values)).items():
            if key in SECTIONS:
                if value is not None:
                    layer.sections[key] = SECTIONS[key](where.at(key), value)
            elif key in ("apps", "sys_apps"):
                layer.sections[key] = app_mapping(where.at(key), value)
            elif key == "middleware":
                layer.sections[key] = self.middleware.read(where.at(key), value)
            elif name := self.middleware.spelled_out(key):
                layer.sections[key] = self.middleware.options(where.at(key), name, value)
            else:
                self._unknown(where, key, also)
        _lift_main_app(where, layer.sections)
        _resolve_directory(layer, base)
        return layer

    def _spread(self, where: Where, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values with the options of auth and session in their section, however they were spelled."""
        found = dict(values)
        for name in OWN_SECTION:
            spelled = [found.pop(name + SUFFIX)] if name + SUFFIX in found else []
            inside = found.get("middleware")
            if isinstance(inside, Mapping) and isinstance(inside.get(name), Mapping):
                spelled.append(inside[name])
                found["middleware"] = {**inside, name: True}
            if len(spelled) + (name in found) > 1:
                raise where.at(name).wrong(f"written twice, once as middleware; keep {name}")
            if spelled:
                found[name] = spelled[0]
        return found

    def _unknown(self, where: Where, key: str, also: Sequence[str]) -> None:
        names = {*SECTIONS, "apps", "sys_apps", "middleware", *also}
        if key.endswith(SUFFIX):
            names |= {name + SUFFIX for name in self.middleware.classes}
        known(where, key, names)


class Merged:
    """Layers put on each other, and which of them each section came from."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.sections: dict[str, Any] = {"server": {}}
        self.origins: dict[str, str] = {}
        self.sources: list[str] = []
        for layer in layers:
            self.add(layer)

    def add(self, layer: Layer) -> None:
        """Put one more layer on top."""
        fields = layer.sections["server"]
        self.sections = {**self.sections, **layer.sections, "server": {**self.sections["server"], **fields}}
        written = [name for name in layer.sections if name != "server"] + [f"server.{name}" for name in fields]
        self.origins.update(dict.fromkeys(written, layer.source))
        if written:
            self.sources.append(layer.source)

    def where(self, key: str) -> Where:
        """Where the value of a key was written."""
        return Where(self.origins.get(key, "defaults"), key)

    def directory(self) -> Path:
        """The directory of the site; ConfigError when it is not one."""
        written = self.sections["server"].get("server_dir")
        if written is not None and not Path(written).is_dir():
            raise self.where("server.server_dir").wrong(f"{written!r} is not a directory; give the directory of a site")
        return Path(written or Path.cwd()).resolve()


def _add(sections: dict[str, Any], more: Mapping[str, Any]) -> None:
    sections.update({**more, "server": {**sections["server"], **more["server"]}})


def _path_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _lift_main_app(where: Where, sections: dict[str, Any]) -> None:
    """`server.main_app` is the same as `main_app`."""
    inside = sections["server"].pop("main_app", None)
    if inside is not None and sections.setdefault("main_app", inside) != inside:
        raise where.at("main_app").wrong(f"{sections['main_app']!r} here and {inside!r} in server; keep one")


def _resolve_directory(layer: Layer, base: Path) -> None:
    server = layer.sections["server"]
    if "server_dir" in server:
        server["server_dir"] = str((base / Path(server["server_dir"]).expanduser()).resolve())
