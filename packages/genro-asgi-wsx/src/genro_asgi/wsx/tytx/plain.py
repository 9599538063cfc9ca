"""Turns any value into a document that JSON and MessagePack write as it is: the careful way out."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from genro_asgi.jsoncodec import dumps, loads, writing
from genro_asgi.wsx.errors import TytxError
from genro_asgi.wsx.tytx.registry import NATIVE_ENTRIES, TypeEntry, TypeTable
from genro_asgi.wsx.tytx.tree import MAX_DEPTH, join_pointer

__all__ = ["INT64_MIN", "UINT64_MAX", "PlainCopy", "to_plain"]

#: Integers beyond these travel as `digits::L`.
INT64_MIN, UINT64_MAX = -(2**63), 2**64 - 1

_TOO_DEEP = "the value is nested too deeply, or holds itself"


class PlainCopy:
    """Copies values into dict, list, str, int, float, bool and None, and what `leaf` makes of typed values.

    With `escape`, plain strings that look typed are marked as text.
    """

    def __init__(self, types: TypeTable, leaf: Callable[[TypeEntry, Any], Any], escape: bool) -> None:
        self.types = types
        self.leaf = leaf
        self.escape = escape

    def of(self, value: Any) -> Any:
        """The copy of a value; TytxError names the one inside that has no form."""
        try:
            return self._copy(value, MAX_DEPTH)
        except RecursionError:
            raise TytxError(_TOO_DEEP) from None

    def _copy(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return f"{value}::T" if self.escape and self.types.looks_typed(value) else value
        if value is None or kind is bool:
            return value
        if kind is float:
            return value if math.isfinite(value) else None
        if kind is int:
            return value if INT64_MIN <= value <= UINT64_MAX else self._typed(NATIVE_ENTRIES[int], value)
        if not depth:
            raise TytxError(_TOO_DEEP)
        if kind is dict:
            return dict(self._items([(_key(key), item) for key, item in value.items()], depth))
        if kind is list or kind is tuple:
            return [item for _, item in self._items(enumerate(value), depth)]
        return self._other(value, depth)

    def _items(self, items: Iterable[tuple[Any, Any]], depth: int) -> list[tuple[Any, Any]]:
        copies = []
        key: Any = None
        try:
            for key, item in items:
                copies.append((key, self._copy(item, depth - 1)))
        except TytxError as error:
            error.pointer = join_pointer(key, error.pointer)
            raise
        return copies

    def _other(self, value: Any, depth: int) -> Any:
        entry = self.types.entry_for(type(value))
        if entry is not None and not entry.json_native:
            return self._typed(entry, value)
        try:
            plain = to_plain(value) if entry is None else entry.write(value)
        except Exception as error:
            raise TytxError(f"{type(value).__name__} has no TYTX form; register it with register_type()") from error
        try:
            return self._copy(plain, depth - 1)
        except TytxError:
            # A model may hold classes that only its own JSON form knows how to write.
            if not hasattr(type(value), "model_dump"):
                raise
            return self._copy(value.model_dump(mode="json"), depth - 1)

    def _typed(self, entry: TypeEntry, value: Any) -> Any:
        try:
            return self.leaf(entry, value)
        except Exception as error:
            raise TytxError(f"{type(value).__name__} cannot be written as {entry.suffix}: {error}") from error


def to_plain(value: Any) -> Any:
    """What a value without a TYTX form is written as: as in JSON, but typed values inside it stay what they are."""
    if hasattr(type(value), "model_dump"):  # pydantic, which is no dependency
        return value.model_dump()
    return writing.to_plain(value)


def _key(key: Any) -> str:
    if type(key) is str:
        return key
    # Whatever JSON makes of such a key; it is too rare to have a way of its own.
    try:
        return str(next(iter(loads(dumps({key: None})))))
    except (TypeError, ValueError):
        raise TytxError(f"{type(key).__name__} cannot be a key; use a str") from None
