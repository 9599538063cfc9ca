"""Executors by name: made once, found again, and ended together."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from genro_asgi.executors.base import BaseExecutor
from genro_asgi.executors.local import LocalExecutor
from genro_asgi.executors.thread import ThreadExecutor

Factory = Callable[..., BaseExecutor]


class ExecutorRegistry:
    """The pools of one program. The kinds are `process` (also called `local`), `thread`, and what is registered."""

    def __init__(self) -> None:
        self._factories: dict[str, Factory] = {
            "process": LocalExecutor,
            "local": LocalExecutor,
            "thread": ThreadExecutor,
        }
        self._executors: dict[str, BaseExecutor] = {}
        self._made_with: dict[str, tuple[Factory, dict[str, Any]]] = {}

    @property
    def executors(self) -> Mapping[str, BaseExecutor]:
        """All pools by name, to be read only."""
        return MappingProxyType(self._executors)

    def register_factory(self, executor_type: str, factory: Factory) -> None:
        """Add or replace a kind; `factory(name, **options)` makes an executor."""
        self._factories[executor_type] = factory

    def get(self, name: str) -> BaseExecutor | None:
        """The pool of that name, or None."""
        return self._executors.get(name)

    def get_or_create(
        self, name: str = "default", executor_type: str | None = None, *, kind: str | None = None, **options: Any
    ) -> BaseExecutor:
        """The pool of that name, made at the first call; the kind is `process` unless one is given.

        `executor_type` is the older spelling of `kind`. Raises ValueError for an unknown kind, and when the pool exists
        and what is asked for is not what it was made with. A pool that was shut down is made anew.
        """
        asked = self._kind(name, executor_type, kind)
        existing = self._executors.get(name)
        if existing is not None and not existing.closed:
            self._compare(name, asked, options)
            return existing
        factory = self._factory(asked or "process")
        executor = factory(name, **options)
        self._executors[name] = executor
        self._made_with[name] = (factory, options)
        return executor

    def all_metrics(self) -> dict[str, dict[str, Any]]:
        """The metrics of every pool by name."""
        return {name: executor.metrics() for name, executor in self._executors.items()}

    async def shutdown_all(self, wait: bool = True, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Shut every pool down, all at the same time and within one `timeout` in seconds."""
        ends = [executor.shutdown(wait, timeout) for executor in self._executors.values()]
        outcomes = await asyncio.gather(*ends, return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        if failures:
            raise ExceptionGroup("executors that did not shut down", failures)

    def __len__(self) -> int:
        return len(self._executors)

    def __contains__(self, name: object) -> bool:
        return name in self._executors

    def __iter__(self) -> Iterator[str]:
        return iter(self._executors)

    def _kind(self, name: str, executor_type: str | None, kind: str | None) -> str | None:
        if executor_type and kind and self._factory(executor_type) is not self._factory(kind):
            raise ValueError(
                f"executor {name!r} is asked for as kind {kind!r} and as {executor_type!r}; give one of them"
            )
        return kind or executor_type

    def _factory(self, kind: str) -> Factory:
        try:
            return self._factories[kind]
        except KeyError:
            known = ", ".join(sorted(self._factories))
            raise ValueError(f"there is no executor kind {kind!r}; the kinds are {known}") from None

    def _compare(self, name: str, kind: str | None, options: dict[str, Any]) -> None:
        factory, made_with = self._made_with[name]
        if kind is not None and self._factory(kind) is not factory:
            raise ValueError(f"executor {name!r} exists and is of another kind than {kind!r}; choose another name")
        for option, value in options.items():
            if option not in made_with or made_with[option] != value:
                raise ValueError(
                    f"executor {name!r} exists and was not made with {option}={value!r}; "
                    "give its options where it is made first, or choose another name"
                )
