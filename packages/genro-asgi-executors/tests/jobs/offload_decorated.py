"""Functions decorated where they are defined, as users write them."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from genro_asgi.executors import LocalExecutor
from genro_asgi.executors.worker import in_worker

pool = LocalExecutor("decorated", max_workers=1)


def outer(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Another decorator, on top."""

    @functools.wraps(fn)
    def call(*args: Any) -> Any:
        return fn(*args)

    return call


@pool
def double(number: int) -> tuple[int, bool]:
    return number * 2, in_worker()


@outer
@pool
@outer
def cached_triple(number: int) -> tuple[int, bool]:
    return number * 3, in_worker()


@pool
def letters(text: str) -> Iterator[str]:
    yield from text
