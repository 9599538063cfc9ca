"""Functions and arguments as a worker process can find them: by name, and pickled."""

import inspect
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from genro_asgi.executors import wire
from genro_asgi.executors.decorator import refuse_async
from genro_asgi.executors.errors import ExecutorError, describe, shown
from genro_asgi.executors.located import Located, places_of
from genro_asgi.executors.worker import parcel as pack

if TYPE_CHECKING:
    from functools import partial


def refuse_nameless(fn: Callable[..., Any]) -> None:
    """Raise ExecutorError for a function that no other process could find by its name."""
    name = getattr(fn, "__qualname__", None)
    if not isinstance(name, str) or not isinstance(getattr(fn, "__module__", None), str):
        why = f"{shown(fn)} has no name of its own"
    elif "<lambda>" in name:
        why = f"{describe(fn)} is a lambda"
    elif "<locals>" in name:
        why = f"{describe(fn)} is defined inside another function"
    elif "." in name:
        why = f"{describe(fn)} is a method"
    else:
        return
    raise ExecutorError(f"{why}, which a worker process cannot find; use a function at the top level of a module")


def reference(fn: Callable[..., Any]) -> "str | Located":
    """The `module:name` of a function, with the files it takes to import it if need be.

    Raises ExecutorError when that name does not lead back to it.
    """
    refuse_nameless(fn)
    refuse_async(fn)
    module = fn.__module__
    found = getattr(sys.modules.get(module), fn.__qualname__, None)
    if found is not fn and getattr(found, "__offloaded__", None) is not fn:
        raise ExecutorError(
            f"the name {describe(fn)} leads to something else than the function; "
            "give it a name of its own at the top level of its module"
        )
    if module in ("__main__", "__mp_main__") and main_module() is None:
        raise ExecutorError(f"{describe(fn)} is defined where a worker process cannot load it; move it to a module")
    name = f"{module}:{fn.__qualname__}"
    places = places_of(module)
    return Located(name, places) if places else name


def unfold(fn: "partial[Any]", args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of a partial as the call it stands for: (function, args, kwargs)."""
    return fn.func, (*fn.args, *args), {**fn.keywords, **kwargs}


def main_module() -> tuple[str, str] | None:
    """How a worker loads the program's own script: ("module", name) or ("path", file).

    None for an interactive session, a script that is piped in, and the `__main__` of a package, which runs without
    asking.
    """
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return None if spec.name == "__main__" or spec.name.endswith(".__main__") else ("module", spec.name)
    path = getattr(main, "__file__", None)
    return ("path", os.path.abspath(path)) if path is not None and os.path.isfile(path) else None


def parcel(name: "str | Located", fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """A call as bytes. Raises ExecutorError with the name of the argument that cannot be sent."""
    try:
        return pickle.dumps((name, args, kwargs), wire.PROTOCOL)
    except Exception as exc:
        for path, value in _named(fn, args, kwargs):
            if not wire.picklable(value):
                raise ExecutorError(
                    f"argument {wire.culprit(value, path)} of {describe(fn)} cannot be sent to a worker process: "
                    f"{exc}; pass plain data, or make it in an initializer"
                ) from exc
        raise ExecutorError(f"the arguments of {describe(fn)} cannot be sent to a worker process: {exc}") from exc


def _named(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    try:
        return list(inspect.signature(fn).bind(*args, **kwargs).arguments.items())
    except (TypeError, ValueError):
        return [*((str(index), value) for index, value in enumerate(args, 1)), *kwargs.items()]


def call_as_sent(fn: Callable[..., Any], payload: bytes) -> Any:
    """A call as a worker would make it: with copies of the arguments, and of the result."""
    _, args, kwargs = pickle.loads(payload)
    return pickle.loads(pack(fn(*args, **kwargs), fn, "the result"))


def items_as_sent(fn: Callable[..., Any], payload: bytes) -> Iterator[Any]:
    """A stream as a worker would make it."""
    _, args, kwargs = pickle.loads(payload)
    for item in fn(*args, **kwargs):
        yield pickle.loads(pack(item, fn, "an item"))
