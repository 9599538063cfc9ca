"""ServerConfig: the merged and checked configuration of one server."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from genro_asgi.exceptions import ConfigError
from genro_asgi.limits import Limits
from genro_asgi.server.config_apps import (
    DEFAULT_CLASS,
    SUFFIX,
    AppReader,
    AppSpec,
    MiddlewareReader,
    convention_app,
    merge_options,
)
from genro_asgi.server.config_checks import known
from genro_asgi.server.config_layers import OWN_SECTION, Layer, LayerReader, Merged
from genro_asgi.server.config_options import Options, plain
from genro_asgi.server.config_schema import BUILTIN_POOLS, DEFAULTS, UNREAD_KEYS, UNREAD_SECTIONS

__all__ = ["Options", "ServerConfig"]

FILE_NAME = "config.yaml"


class ServerConfig:
    """Reads, merges and checks everything a server is configured with; what is wrong is a one-line ConfigError.

    Later wins: defaults, `~/.genro-asgi/config.yaml`, `config.yaml` of `server_dir` (or `--config`), GENRO_ASGI_*,
    `argv`, the arguments given here. The fields of `server` are merged one by one, other sections as a whole.
    Nothing of the site is imported.
    """

    def __init__(
        self,
        server_dir: str | Path | None = None,
        host: str | None = None,
        port: int | None = None,
        reload: bool | None = None,
        argv: Sequence[str] | None = None,
        *,
        known_middleware: Mapping[str, type] | None = None,
        **options: Any,
    ) -> None:
        self._middleware_reader = MiddlewareReader(known_middleware)
        layers = LayerReader(self._middleware_reader)
        given = layers.options({"server_dir": server_dir, "host": host, "port": port, "reload": reload, **options})
        outer = [layers.environment(), layers.arguments(argv or ()), given]
        user_wide = layers.file(_user_file())
        start = Merged([user_wide, *outer])
        self._config_file = _config_file(start)
        defaults = Layer("defaults", plain(DEFAULTS))
        merged = Merged([defaults, user_wide, layers.file(self._config_file), *outer])
        self._server_dir = merged.directory()
        merged.sections["server"]["server_dir"] = str(self._server_dir)
        self._merged = merged
        self._middleware = self._all_middleware()
        self._specs = {section: self._read_specs(section) for section in ("apps", "sys_apps")}
        convention = self._add_convention_app()
        self._main_app = self._choose_main_app(convention)

    def _all_middleware(self) -> dict[str, Any]:
        sections = self._merged.sections
        found: dict[str, Any] = dict(sections.get("middleware", {}))
        for key in sections:
            if key.endswith(SUFFIX):
                merge_options(found, key.removesuffix(SUFFIX), sections[key])
        for name in OWN_SECTION:
            if sections.get(name) and name not in found and name in self._middleware_reader.classes:
                found[name] = {}
        return found

    def _read_specs(self, section: str) -> dict[str, AppSpec]:
        reader = AppReader(self._server_dir, self._middleware_reader)
        where = self._merged.where(section)
        written = self._merged.sections.get(section, {})
        return {name: reader.read(where.at(name), name, value) for name, value in written.items()}

    def _add_convention_app(self) -> str | None:
        """The name of the app the directory has by convention; it is added unless its module is configured."""
        module = convention_app(self._server_dir)
        specs, name = self._specs["apps"], self._server_dir.name
        if module is None:
            return None
        if name not in specs and all(spec[0] != module for spec in specs.values()):
            specs[name] = (module, DEFAULT_CLASS, None, {})
        return name if name in specs and specs[name][0] == module else None

    def _choose_main_app(self, convention: str | None) -> str | None:
        names = list(self._specs["apps"])
        explicit: str | None = self._merged.sections.get("main_app")
        return explicit or convention or (names[0] if len(names) == 1 else None)

    def __getitem__(self, key: str) -> Any:
        """A section by name, or a value by its dotted key; None when it is not there."""
        head, dot, rest = key.partition(".")
        section = getattr(self, head) if head in _PROPERTIES else None
        if not dot:
            return section
        if isinstance(section, Limits):
            return getattr(section, rest, None)
        return Options(section)[rest] if isinstance(section, Mapping) else None

    @property
    def server(self) -> Options:
        """host, port, reload, server_dir, workers, timeout_graceful, proxy, uvicorn."""
        return self._section("server")

    @property
    def server_dir(self) -> Path:
        """The directory of the site, resolved."""
        return self._server_dir

    @property
    def config_file(self) -> Path | None:
        """The YAML file of the site, if there is one."""
        return self._config_file

    @property
    def main_app(self) -> str | None:
        """The app `/` leads to: the one written, else the convention app, else the only one."""
        return self._main_app

    @property
    def middleware(self) -> dict[str, Any]:
        """Options by middleware name, in the order written; False for what is switched off."""
        return {name: plain(options) for name, options in self._middleware.items()}

    @property
    def plugins(self) -> Options:
        """Options of the genro-routes plugins by name."""
        return self._section("plugins")

    @property
    def apps(self) -> Options:
        """The apps by mount name, the convention app among them: module, middleware and keyword arguments."""
        return _apps(self._specs["apps"])

    @property
    def sys_apps(self) -> Options:
        """The system apps by name, in the form of `apps`."""
        return _apps(self._specs["sys_apps"])

    @property
    def openapi(self) -> dict[str, Any]:
        """The info object of the OpenAPI document."""
        return {**DEFAULTS["openapi"], **plain(self._merged.sections["openapi"])}

    @property
    def databases(self) -> Options:
        """Databases by logical name."""
        return self._section("databases")

    @property
    def storage(self) -> Options:
        """mounts by name, and encrypted."""
        return self._section("storage")

    @property
    def auth(self) -> Options:
        """default_deny, basic, bearer, jwt, api_keys, users."""
        return self._section("auth")

    @property
    def session(self) -> Options:
        """store, ttl, cookie_name, secure, samesite."""
        return self._section("session")

    @property
    def limits(self) -> Limits:
        """The limits, with the defaults of those not written."""
        limits: Limits = self._merged.sections.get("limits") or Limits()
        return limits

    @property
    def executors(self) -> Options:
        """The pools by name, `handlers`, `files` and `background` always among them."""
        return Options({**plain(BUILTIN_POOLS), **self._merged.sections.get("executors", {})})

    @property
    def nats(self) -> Options:
        """url (a list), subject, queue, creds, user, password, token, tls_ca."""
        return self._section("nats")

    @property
    def websocket(self) -> Options:
        """origins, max_in_flight, heartbeat, compression."""
        return self._section("websocket")

    @property
    def logging(self) -> Options:
        """level, format, slow_ms."""
        return self._section("logging")

    @property
    def metrics(self) -> bool:
        """Whether metrics are kept and shown."""
        return bool(self._merged.sections.get("metrics", False))

    @property
    def otel(self) -> bool:
        """Whether requests are traced with OpenTelemetry."""
        return bool(self._merged.sections.get("otel", False))

    @property
    def sources(self) -> list[str]:
        """Where the configuration came from, the strongest last: files, environment, command line, AsgiServer()."""
        return list(self._merged.sources)

    def get_plugin_specs(self, available: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
        """Options by plugin name; with the names that are available, another one is a ConfigError."""
        for name in self.plugins if available is not None else ():
            known(self._merged.where("plugins"), name, available or (), "plugin")
        return self.plugins.as_dict()

    def get_app_specs_raw(self) -> dict[str, AppSpec]:
        """`{name: (module, class, middleware or None, kwargs)}` of the apps; nothing is imported."""
        return _copied(self._specs["apps"])

    def get_sys_app_specs_raw(self) -> dict[str, AppSpec]:
        """The same of the system apps."""
        return _copied(self._specs["sys_apps"])

    def unread(self, read: Collection[str] = ()) -> list[str]:
        """Where something is written that this release checks and does not act on, but for the sections in `read`."""
        written = [name for name in UNREAD_SECTIONS if name not in read and self._merged.sections.get(name)]
        written += [key for key in UNREAD_KEYS if self[key]]
        documented = [name for name, spec in self._specs["apps"].items() if spec[3].get("docs", "off") != "off"]
        return [self.where(key) for key in (*written, *(f"apps.{name}.docs" for name in documented))]

    def where(self, key: str) -> str:
        """The source and the dotted key of a section, to begin an error about what it says."""
        head, dot, rest = key.partition(".")
        place = self._merged.where(head)
        return f"{place.source}: {place.key}{dot}{rest}"

    def _section(self, name: str) -> Options:
        return Options(self._merged.sections.get(name))

    def __repr__(self) -> str:
        return f"ServerConfig(server_dir={str(self._server_dir)!r}, sources={self.sources!r})"


_PROPERTIES = frozenset(name for name, value in vars(ServerConfig).items() if isinstance(value, property))


def _user_file() -> Path | None:
    """`~/.genro-asgi/config.yaml` if there is one; a home that may not be entered has none."""
    try:
        path = Path.home() / ".genro-asgi" / FILE_NAME
        return path if path.is_file() else None
    except (RuntimeError, PermissionError):
        return None


def _config_file(start: Merged) -> Path | None:
    """The file that was asked for, from the site or from the current directory, else config.yaml of the site."""
    directory = start.directory()
    wanted = start.sections.get("config")
    if wanted is None:
        path = directory / FILE_NAME
        return path if path.exists() else None
    for base in (directory, Path.cwd()):
        path = base / Path(wanted).expanduser()
        if path.is_file():
            return path
    raise ConfigError(f"{start.origins['config']}: config: no file {wanted!r} in {directory} or {Path.cwd()}.")


def _apps(specs: Mapping[str, AppSpec]) -> Options:
    found: dict[str, Any] = {}
    for name, (module, class_name, middleware, kwargs) in specs.items():
        found[name] = {"module": f"{module}:{class_name}", **kwargs}
        if middleware is not None:
            found[name]["middleware"] = middleware
    return Options(found)


def _copied(specs: Mapping[str, AppSpec]) -> dict[str, AppSpec]:
    return {name: (module, cls, plain(own), plain(kwargs)) for name, (module, cls, own, kwargs) in specs.items()}
