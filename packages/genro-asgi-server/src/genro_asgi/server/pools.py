"""The pools of a server: handlers, files and background apart, so that cleanup never waits behind user work."""

from collections.abc import Callable, Mapping
from typing import Any

from genro_asgi.exceptions import ConfigError
from genro_asgi.executors.base import BaseExecutor
from genro_asgi.executors.registry import ExecutorRegistry
from genro_asgi.executors.thread import ThreadExecutor
from genro_asgi.server.loader import AppLoader

__all__ = ["ServerPools", "prepare_worker"]


class ServerPools:
    """Makes the configured pools when they are first asked for, and ends them with the server."""

    def __init__(self, config: Mapping[str, Any], loader: AppLoader, where: str = "executors") -> None:
        self._config = config
        self._loader = loader
        self.registry = ExecutorRegistry()
        for name, options in config.items():
            if options and options.get("initializer"):
                # A worker would say it with the first call only.
                self._initializer(f"{where}.{name}.initializer", options["initializer"])

    def thread(self, name: str) -> ThreadExecutor:
        """A built-in pool of threads, sized by its section of the configuration."""
        options = self._configured(name)
        options.pop("kind", None)
        # A burst of requests queues up; what is beyond any hope of an answer in time is refused.
        options.setdefault("max_pending", 1000)
        if "initializer" in options:
            options["initializer"] = self._initializer(f"executors.{name}.initializer", options["initializer"])
        pool = self.registry.get_or_create(name, kind="thread", **options)
        assert isinstance(pool, ThreadExecutor)
        pool.bypass = False  # the environment asks it of the functions of applications: no handler may block the loop
        return pool

    def _configured(self, name: str) -> dict[str, Any]:
        given = self._config.get(name) or {}
        return {key: value for key, value in given.items() if value is not None}

    def executor(self, name: str, executor_type: str | None = None, **options: Any) -> BaseExecutor:
        """A pool for the application's own work; options given here win over the configuration's."""
        existing = self.registry.get(name)
        if existing is not None and not existing.closed and not options:
            return existing
        merged = {**self._configured(name), **options}
        kind = merged.pop("kind", None) or executor_type or "process"
        if kind in ("process", "local"):
            # A worker process has to find the modules of the site before it is asked for their functions.
            first = _reference(name, merged.pop("initializer", None))
            merged["initargs"] = (str(self._loader.server_dir), first, tuple(merged.get("initargs", ())))
            merged["initializer"] = prepare_worker
        elif isinstance(merged.get("initializer"), str):
            merged["initializer"] = self._initializer(f"executors.{name}.initializer", merged["initializer"])
        return self.registry.get_or_create(name, kind=kind, **merged)

    def _initializer(self, where: str, reference: str) -> Callable[..., Any]:
        try:
            found = resolve(self._loader, reference, where)
        except AttributeError as error:
            raise ConfigError(f"{where}: {reference!r} names nothing that is there; write module:function.") from error
        if not callable(found):
            raise ConfigError(f"{where}: {reference!r} is no function; name one that takes no arguments.")
        return found

    async def shutdown(self) -> None:
        """End all pools; threads that do not return are left behind."""
        await self.registry.shutdown_all(wait=True, timeout=1.0)


def _reference(pool: str, initializer: Callable[..., Any] | str | None) -> str | None:
    """An initializer as `module:function`, which a worker can look up once it knows the site."""
    if initializer is None or isinstance(initializer, str):
        return initializer
    name = getattr(initializer, "__qualname__", "")
    if not name or "<" in name:
        raise ConfigError(f"executors.{pool}: initializer {initializer!r} has no name; use a function of a module.")
    return f"{initializer.__module__}:{name}"


def resolve(loader: AppLoader, reference: str, where: str) -> Callable[..., Any]:
    """The function that `module:function` names, a module of the site first; ConfigError for a module that is none."""
    module, _, name = reference.partition(":")
    found: Any = loader.load_module(module, where=where)
    for part in name.split("."):
        found = getattr(found, part)
    function: Callable[..., Any] = found
    return function


def prepare_worker(server_dir: str, initializer: str | None, initargs: tuple[Any, ...]) -> None:
    """Run in each worker process first: make the site's modules importable, then run the pool's own initializer."""
    loader = AppLoader(server_dir)
    if initializer is not None:
        resolve(loader, initializer, "initializer")(*initargs)
