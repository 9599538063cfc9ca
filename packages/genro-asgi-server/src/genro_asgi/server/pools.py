"""The pools of a server: handlers, files and background apart, so that cleanup never waits behind user work."""

from collections.abc import Mapping
from typing import Any

from genro_asgi.executors.thread import ThreadExecutor

__all__ = ["ServerPools"]


class ServerPools:
    """Makes the configured pools when they are first used, and ends them with the server."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._threads: dict[str, ThreadExecutor] = {}

    def thread(self, name: str) -> ThreadExecutor:
        """A thread pool by name, sized by its section of the configuration."""
        if name not in self._threads:
            self._threads[name] = ThreadExecutor(name, **self._options(name))
        return self._threads[name]

    def _options(self, name: str) -> dict[str, Any]:
        given = dict(self._config.get(name) or {})
        given.pop("kind", None)
        # A burst of requests queues up; what is beyond any hope of an answer in time is refused.
        given.setdefault("max_pending", 1000)
        return {key: value for key, value in given.items() if value is not None}

    def executor(self, name: str, **options: Any) -> Any:
        """A pool for the application's own work."""
        if name not in self._threads:
            self._threads[name] = ThreadExecutor(name, **{**self._options(name), **options})
        return self._threads[name]

    async def shutdown(self) -> None:
        """End all pools without waiting for threads that do not return."""
        for pool in self._threads.values():
            await pool.shutdown(wait=False)
