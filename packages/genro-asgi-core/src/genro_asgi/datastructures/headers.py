"""Header fields: what a request brought, and what a response will send."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from genro_asgi.types import Scope

__all__ = ["Headers", "MutableHeaders", "RawHeaders", "encode_header", "headers_from_scope"]

RawHeaders = list[tuple[bytes, bytes]]

_Source = Mapping[str, str] | Iterable[tuple[bytes, bytes]]

# RFC 9110, 5.6.2
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def encode_header(name: str, value: str) -> tuple[bytes, bytes]:
    """A header as ASGI sends it; ValueError for a name that is no token, CR, LF or NUL, or what is not latin-1."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"Header name {name!r} is not a token; use letters, digits and dashes.")
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError(f"The value of header {name!r} holds a CR, LF or NUL; take it out.")
    try:
        return name.lower().encode("latin-1"), value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"The value of header {name!r} is not latin-1; encode it first.") from None


def _key(name: str) -> bytes:
    # What is not latin-1 is in no header; it must be looked up in vain rather than raise.
    return name.lower().encode("latin-1", "replace")


def _encode(source: Any) -> RawHeaders:
    if isinstance(source, Headers):
        return source.raw[:]
    if isinstance(source, Mapping):
        return [encode_header(name, value) for name, value in source.items()]
    return [(name.lower(), value) for name, value in source]


class Headers(Mapping[str, str]):
    """Header fields in their order, found whatever the case; plain lookup gives the first of a name.

    Made of a mapping (`headers=`), of the raw pairs of ASGI (`raw=`, kept and not copied) or of a scope. The first
    argument may be raw pairs as well; their names are put in lower case.
    """

    __slots__ = ("_list",)

    _list: RawHeaders

    def __init__(
        self,
        headers: _Source | None = None,
        raw: RawHeaders | None = None,
        scope: Scope | None = None,
    ) -> None:
        if (headers is not None) + (raw is not None) + (scope is not None) > 1:
            raise TypeError(f"{type(self).__name__} takes one of headers, raw and scope.")
        if headers is not None:
            self._list = _encode(headers)
        elif scope is not None:
            self._list = list(scope.get("headers") or ())
        else:
            self._list = [] if raw is None else raw

    @property
    def raw(self) -> RawHeaders:
        """The pairs of bytes, as ASGI has them."""
        return self._list

    def keys(self) -> list[str]:  # type: ignore[override]
        return [name.decode("latin-1") for name, _ in self._list]

    def values(self) -> list[str]:  # type: ignore[override]
        return [value.decode("latin-1") for _, value in self._list]

    def items(self) -> list[tuple[str, str]]:  # type: ignore[override]
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._list]

    def getlist(self, key: str) -> list[str]:
        """Every value of a name, in order; empty when there is none."""
        wanted = _key(key)
        return [value.decode("latin-1") for name, value in self._list if name == wanted]

    def mutablecopy(self) -> "MutableHeaders":
        return MutableHeaders(raw=self._list[:])

    def __getitem__(self, key: str) -> str:
        wanted = _key(key)
        for name, value in self._list:
            if name == wanted:
                return value.decode("latin-1")
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        wanted = _key(key)
        return any(name == wanted for name, _ in self._list)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._list)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return False
        return sorted(map(tuple, self._list)) == sorted(map(tuple, other._list))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        items = self.items()
        shown = f"{dict(items)!r}" if len(dict(items)) == len(items) else f"raw={self._list!r}"
        return f"{type(self).__name__}({shown})"


class MutableHeaders(Headers):
    """Header fields that can be changed; names and values are checked with encode_header.

    With `scope=` (a scope or a response start message) the list inside it is the one that changes.
    """

    __slots__ = ()

    def __init__(
        self,
        headers: _Source | None = None,
        raw: RawHeaders | None = None,
        scope: Scope | None = None,
    ) -> None:
        super().__init__(headers, raw, scope)
        if scope is not None:
            scope["headers"] = self._list

    def __setitem__(self, key: str, value: str) -> None:
        """Replace the first field of that name, drop the others, or append it."""
        pair = encode_header(key, value)
        found = [index for index, (name, _) in enumerate(self._list) if name == pair[0]]
        if not found:
            self._list.append(pair)
            return
        self._list[found[0]] = pair
        for index in reversed(found[1:]):
            del self._list[index]

    def __delitem__(self, key: str) -> None:
        """Drop every field of that name, if there is any."""
        unwanted = _key(key)
        self._list[:] = [pair for pair in self._list if pair[0] != unwanted]

    def append(self, key: str, value: str) -> None:
        """Add a field, whatever others have that name."""
        self._list.append(encode_header(key, value))

    def setdefault(self, key: str, value: str) -> str:
        """Set a field unless it is there; gives the value that counts."""
        pair = encode_header(key, value)
        for name, present in self._list:
            if name == pair[0]:
                return present.decode("latin-1")
        self._list.append(pair)
        return value

    def update(self, other: Mapping[str, str]) -> None:
        """Set every field of a mapping."""
        for name, value in other.items():
            self[name] = value

    def add_vary_header(self, vary: str) -> None:
        """Add field names to Vary that it does not list yet."""
        listed = [name.strip() for value in self.getlist("vary") for name in value.split(",") if name.strip()]
        seen = {name.lower() for name in listed}
        fresh = [name.strip() for name in vary.split(",") if name.strip().lower() not in seen]
        if "*" not in seen:
            self["vary"] = ", ".join(listed + fresh)

    def __ior__(self, other: Mapping[str, str]) -> Self:
        self.update(_mapping(other))
        return self

    def __or__(self, other: Mapping[str, str]) -> "MutableHeaders":
        new = self.mutablecopy()
        new.update(_mapping(other))
        return new


def _mapping(other: Any) -> Mapping[str, str]:
    if not isinstance(other, Mapping):
        raise TypeError(f"Expected a mapping but got {type(other).__name__}")
    return other


def headers_from_scope(scope: Scope) -> Headers:
    """The headers of an ASGI scope, names in lower case; none when the scope has no headers."""
    return Headers(scope.get("headers") or ())
