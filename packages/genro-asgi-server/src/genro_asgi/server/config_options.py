"""Options: a read-only mapping whose keys are attributes too."""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["SECRET_KEYS", "Options", "plain"]

#: What stands under these names is never shown, neither by an error nor by a repr.
SECRET_KEYS = frozenset(
    {"api_keys", "basic", "bearer", "creds", "jwt", "params", "password", "secret", "token", "url", "users"}
)


class Options(Mapping[str, Any]):
    """Configuration values by item and by attribute; a key that is not there is None.

    Mappings inside are Options as well, and a dotted key walks down: `options["apps.shop.module"]`.
    A key named like a method (`items`, `get`...) is reached as an item.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values: dict[str, Any] = dict(values or {})

    def __getitem__(self, key: str) -> Any:
        if key in self._values:
            value = self._values[key]
            return Options(value) if isinstance(value, Mapping) else value
        head, dot, rest = key.partition(".")
        inner = self._values.get(head) if dot else None
        return Options(inner)[rest] if isinstance(inner, Mapping) else None

    def __getattr__(self, name: str) -> Any:
        # copy and pickle look for special methods on objects that have no values yet.
        if name.startswith("__") or name == "_values":
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return self[name]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, dotted or not; the default when it is missing or None."""
        value = self[key]
        return default if value is None else value

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def as_dict(self) -> dict[str, Any]:
        """A plain dict of all values, which the caller may change."""
        return {key: plain(value) for key, value in self._values.items()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and self.as_dict() == plain(other)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return Options, (self._values,)

    def __repr__(self) -> str:
        return f"Options({_hidden(self._values)})"


def plain(value: Any) -> Any:
    """The same value with fresh dicts and lists all the way down."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def _hidden(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: "***" if key in SECRET_KEYS else _hidden(inner) for key, inner in value.items()}
    return [_hidden(inner) for inner in value] if isinstance(value, list) else value
