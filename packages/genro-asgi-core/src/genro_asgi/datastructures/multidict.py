"""Dictionaries that keep every value of a key, in order; plain lookup gives the last one."""

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from operator import itemgetter
from typing import Any, Self, TypeVar

__all__ = ["ImmutableMultiDict", "MultiDict"]

K = TypeVar("K")
V_co = TypeVar("V_co", covariant=True)

_Source = Mapping[K, V_co] | Iterable[tuple[K, V_co]]


class ImmutableMultiDict(Mapping[K, V_co]):
    """A read-only multi-valued mapping, made of another one, a mapping, pairs, or keywords."""

    __slots__ = ("_dict", "_list")

    _list: list[tuple[K, V_co]]
    _dict: dict[K, V_co]

    def __init__(self, value: _Source[K, V_co] = (), /, **kwargs: V_co) -> None:
        self._list = _pairs(value)
        if kwargs:
            self._list += kwargs.items()  # type: ignore[arg-type]
        self._dict = dict(self._list)

    def getlist(self, key: Any) -> list[V_co]:
        """Every value of a key, in order; empty when there is none."""
        return [value for name, value in self._list if name == key]

    def keys(self) -> KeysView[K]:
        return self._dict.keys()

    def values(self) -> ValuesView[V_co]:
        return self._dict.values()

    def items(self) -> ItemsView[K, V_co]:
        return self._dict.items()

    def multi_items(self) -> list[tuple[K, V_co]]:
        """Every pair, in order."""
        return list(self._list)

    def __getitem__(self, key: K) -> V_co:
        return self._dict[key]

    def __contains__(self, key: object) -> bool:
        return key in self._dict

    def __iter__(self) -> Iterator[K]:
        return iter(self._dict)

    def __len__(self) -> int:
        return len(self._dict)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return False
        # The order of the keys is of no matter, that of the values of one key is.
        return sorted(self._list, key=itemgetter(0)) == sorted(other._list, key=itemgetter(0))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._list!r})"


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, ImmutableMultiDict):
        return value.multi_items()
    return list(value.items() if isinstance(value, Mapping) else value)


class MultiDict(ImmutableMultiDict[Any, Any]):
    """A multi-valued mapping that can be changed."""

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:
        self.setlist(key, [value])

    def __delitem__(self, key: Any) -> None:
        del self._dict[key]
        self._drop(key)

    def _drop(self, key: Any) -> None:
        self._list = [pair for pair in self._list if pair[0] != key]

    def pop(self, key: Any, default: Any = None) -> Any:
        """Remove a key with all its values; gives the last one."""
        self._drop(key)
        return self._dict.pop(key, default)

    def popitem(self) -> tuple[Any, Any]:
        """Remove the newest key with all its values."""
        key, value = self._dict.popitem()
        self._drop(key)
        return key, value

    def poplist(self, key: Any) -> list[Any]:
        """Remove a key; gives all its values."""
        values = self.getlist(key)
        self.pop(key)
        return values

    def clear(self) -> None:
        self._dict.clear()
        self._list.clear()

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self.append(key, default)
        return self[key]

    def setlist(self, key: Any, values: list[Any]) -> None:
        """Replace all values of a key; no values removes it."""
        self._drop(key)
        if values:
            self._list += [(key, value) for value in values]
            self._dict[key] = values[-1]
        else:
            self._dict.pop(key, None)

    def append(self, key: Any, value: Any) -> None:
        """Add a value to those the key has."""
        self._list.append((key, value))
        self._dict[key] = value

    def update(self, value: _Source[Any, Any] = (), /, **kwargs: Any) -> None:
        """Take keys and all their values from another source, in place of one's own."""
        new = MultiDict(value, **kwargs)
        self._list = [pair for pair in self._list if pair[0] not in new] + new._list
        self._dict.update(new._dict)

    def copy(self) -> Self:
        return type(self)(self)
