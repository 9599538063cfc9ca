"""Which classes travel under which TYTX suffix."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, is_dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, Self, TypeVar
from uuid import UUID
from weakref import WeakSet

from genro_asgi.wsx.tytx import literals

__all__ = [
    "BUILTIN_TYPES",
    "DEFAULT_TYPES",
    "NATIVE_ENTRIES",
    "TypeEntry",
    "TypeTable",
    "register_class",
    "register_type",
]

T = TypeVar("T")

_SUFFIX = re.compile(r"[A-Z]+")
# Writers of JSON and msgpack do these by themselves and never ask.
_NATIVE = (str, int, float, dict, list, tuple, Enum, UUID)


@dataclass(frozen=True, slots=True)
class TypeEntry:
    """One class and its suffix; `write` makes the literal without the suffix, `read` takes it back."""

    cls: type
    suffix: str
    write: Callable[[Any], str]
    read: Callable[[str], Any]
    json_native: bool = False


_ENTRIES = (
    TypeEntry(Decimal, "N", str, literals.read_decimal),
    TypeEntry(date, "D", literals.write_date, literals.read_date),
    TypeEntry(datetime, "DHZ", literals.write_datetime, literals.read_datetime_utc),
    TypeEntry(time, "H", literals.write_time, literals.read_time),
    TypeEntry(bytes, "RAW", literals.write_bytes, literals.read_bytes),
    TypeEntry(bytearray, "RAW", literals.write_bytes, literals.read_bytes),
    TypeEntry(memoryview, "RAW", literals.write_bytes, literals.read_bytes),
)
#: What JSON has itself: typed only in markup, and integers beyond 64 bits.
NATIVE_ENTRIES: dict[type, TypeEntry] = {
    int: TypeEntry(int, "L", int.__str__, literals.read_int, json_native=True),
    float: TypeEntry(float, "R", float.__repr__, literals.read_float, json_native=True),
    bool: TypeEntry(bool, "B", literals.write_bool, literals.read_bool, json_native=True),
    NoneType: TypeEntry(NoneType, "NN", literals.write_none, literals.read_none, json_native=True),
}

_BUILTIN_SUFFIXES = frozenset({entry.suffix for entry in (*_ENTRIES, *NATIVE_ENTRIES.values())} | {"DH", "T", "QS"})

# A suffix of their own would change every document.
_FIXED = frozenset({dict, list, object, str, tuple, *NATIVE_ENTRIES, *(entry.cls for entry in _ENTRIES)})


class _WrittenDates(dict[date, str]):
    """Dates with their suffix, as documents repeat them: looking one up is cheaper than writing it, or lru_cache."""

    def __missing__(self, value: date) -> str:
        if len(self) >= 1024:
            self.clear()
        text = self[value] = value.isoformat() + "::D"
        return text


# The classes a document is full of get a writer with the suffix built in: it saves a call for each value.
_JSON_WRITERS: dict[type, Callable[[Any], str]] = {
    Decimal: lambda value: str(value) + "::N",
    date: _WrittenDates().__getitem__,
    datetime: lambda value: literals.write_datetime(value) + "::DHZ",
    time: lambda value: literals.write_time(value) + "::H",
    bytes: lambda value: literals.write_bytes(value) + "::RAW",
    bytearray: lambda value: literals.write_bytes(value) + "::RAW",
    memoryview: lambda value: literals.write_bytes(value) + "::RAW",
}


class TypeTable:
    """The types a codec knows: the built-in ones, and those registered with it.

    A table made by `TypeTable()` knows the built-in types only; `copy()` starts from another one.
    """

    def __init__(self) -> None:
        #: suffix -> function from literal to value
        self.readers: dict[str, Callable[[str], Any]] = {
            entry.suffix: entry.read for entry in (*_ENTRIES, *NATIVE_ENTRIES.values())
        }
        self.readers["DH"] = literals.read_datetime
        self.readers["T"] = literals.read_text
        #: class -> function from value to literal with suffix; what JSON writes by itself is not in it
        self.json_writers: dict[type, Callable[[Any], str]] = dict(_JSON_WRITERS)
        #: class -> what is known about it, without what JSON has itself
        self.by_class: dict[type, TypeEntry] = {entry.cls: entry for entry in _ENTRIES}
        #: whether a registered class is one that a JSON or msgpack writer would write by itself
        self.shadows_native = False
        #: what writes documents with these types, while it does not; see codec.py
        self.idle: list[Any] = []
        # Suffixes that only others read, and the tables that are this one with more of them.
        self._elsewhere: frozenset[str] = frozenset()
        self._views: WeakSet[TypeTable] = WeakSet()
        self._refresh()

    def _refresh(self) -> None:
        # QS is read by other implementations without being asked, so it counts as a suffix when writing.
        self.suffixes: frozenset[str] = frozenset(self.readers) | {"QS"} | self._elsewhere
        codes = "|".join(sorted(self.suffixes))
        #: finds, in a JSON text, the strings that look typed; a quote followed by a colon ends a key
        self.typed_strings: re.Pattern[bytes] = re.compile(rf'::(?:{codes})"(?!:)'.encode())
        for view in self._views:
            view.shadows_native = self.shadows_native
            view._refresh()

    @property
    def own_suffixes(self) -> frozenset[str]:
        """The suffixes of the types that were registered."""
        return frozenset(self.readers) - _BUILTIN_SUFFIXES

    @property
    def escaped_suffixes(self) -> frozenset[str]:
        """The suffixes besides its own that plain strings are marked as text for."""
        return self._elsewhere

    def escaping(self, suffixes: Iterable[str]) -> "TypeTable":
        """This table, which also marks plain strings with these suffixes as text, because who reads them knows more.

        What is registered in one of the two is known to both; what is no suffix is left out.
        """
        elsewhere = self._elsewhere.union(suffix for suffix in suffixes if _SUFFIX.fullmatch(suffix))
        if elsewhere <= self.suffixes:
            return self
        view = type(self).__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._elsewhere, view._views, view.idle = elsewhere, WeakSet(), []
        view._refresh()
        self._views.add(view)
        return view

    def copy(self) -> Self:
        """A table that knows the same types and can be extended on its own."""
        table = type(self)()
        table.readers = dict(self.readers)
        if "QS" in self.readers:
            table.allow_qs()
        table.json_writers = dict(self.json_writers)
        table.by_class = dict(self.by_class)
        table.shadows_native = self.shadows_native
        table._refresh()
        return table

    def entry_for(self, cls: type) -> TypeEntry | None:
        """What writes instances of a class: its own entry, or that of the nearest registered base."""
        for base in cls.__mro__:
            entry = self.by_class.get(base)
            if entry is not None:
                return entry
        return None

    def owns(self, cls: type) -> bool:
        """Whether instances of a class travel under a suffix that was registered."""
        entry = self.entry_for(cls)
        return entry is not None and entry.suffix not in _BUILTIN_SUFFIXES

    def json_writer_for(self, cls: type) -> Callable[[Any], str] | None:
        """What writes instances of a class that is not in `json_writers` itself, if anything does."""
        entry = self.entry_for(cls)
        if entry is None or entry.json_native:
            return None
        return lambda value: f"{entry.write(value)}::{entry.suffix}"

    def looks_typed(self, text: str) -> bool:
        """Whether a reader would take this plain string for a typed value."""
        return text.rpartition("::")[2] in self.suffixes and "::" in text

    def allow_qs(self) -> None:
        """Read `a=1::L&b=x::QS` as a dict and `a&b::QS` as a list; without this they are plain strings."""
        self.readers["QS"] = self.read_qs

    def read_qs(self, literal: str) -> dict[str, Any] | list[Any]:
        """The dict or list of a query string; ValueError when it is both."""
        items = [item.partition("=") for item in literal.split("&")] if literal else []
        signs = {sign for _, sign, _ in items}
        if len(signs) > 1:
            raise ValueError("mixes names with values and names without")
        if signs == {"="}:
            return {name: self._read_qs_value(value) for name, _, value in items}
        return [self._read_qs_value(name) for name, _, _ in items]

    def _read_qs_value(self, text: str) -> Any:
        literal, mark, suffix = text.rpartition("::")
        return self.readers[suffix](literal) if mark and suffix in self.readers else text

    def register(
        self,
        cls: type,
        suffix: str,
        serializer: Callable[[Any], str],
        deserializer: Callable[[str], Any],
        json_native: bool = False,
    ) -> None:
        """Let a class travel as `literal::SUFFIX`; subclasses that are not registered travel the same way.

        With `json_native` a JSON document holds the literal without its suffix. ValueError for a suffix that is
        not all A-Z or that belongs to another class, and for a class whose form is fixed.
        """
        if type(suffix) is not str or not _SUFFIX.fullmatch(suffix) or suffix == "JS":
            raise ValueError(f"TYTX suffix {suffix!r} is invalid; write upper-case ASCII letters, and not JS.")
        if cls in _FIXED:
            raise ValueError(f"{cls.__name__} has a fixed TYTX form; register a class of your own.")
        old = self.by_class.get(cls)
        taken = suffix in self.readers or suffix == "QS"
        if taken and (old is None or old.suffix != suffix):
            raise ValueError(f"TYTX suffix {suffix!r} is already registered; choose another one for {cls.__name__}.")
        if old is not None:
            del self.readers[old.suffix]
            self.json_writers.pop(cls, None)
        self.by_class[cls] = TypeEntry(cls, suffix, serializer, deserializer, json_native)
        self.readers[suffix] = deserializer
        if not json_native:
            self.json_writers[cls] = lambda value: f"{serializer(value)}::{suffix}"
        self.shadows_native = self.shadows_native or issubclass(cls, _NATIVE) or is_dataclass(cls)
        self._refresh()

    def register_class(self, cls: type[T]) -> type[T]:
        """Register a class that holds `__tytx_suffix__`, `to_tytx()`, the class method `from_tytx(text)` and, if it
        wants, `__tytx_json_native__`; usable as a decorator. AttributeError for a class without one of them."""
        hooks: Any = cls
        native = getattr(hooks, "__tytx_json_native__", False)
        if not callable(hooks.to_tytx):
            raise TypeError(f"{cls.__name__}.to_tytx is no method; it writes an instance as text.")
        self.register(cls, hooks.__tytx_suffix__, lambda value: value.to_tytx(), hooks.from_tytx, native)
        return cls


#: The built-in types alone: what an untrusted message is read with.
BUILTIN_TYPES = TypeTable()
#: The built-in types and those added by register_type(): what to_tytx() and from_tytx() use.
DEFAULT_TYPES = TypeTable()


def register_type(
    cls: type,
    suffix: str,
    serializer: Callable[[Any], str],
    deserializer: Callable[[str], Any],
    json_native: bool = False,
) -> None:
    """Add a class to DEFAULT_TYPES; see TypeTable.register."""
    DEFAULT_TYPES.register(cls, suffix, serializer, deserializer, json_native)


def register_class(cls: type[T]) -> type[T]:
    """Add a class to DEFAULT_TYPES by its own hooks; see TypeTable.register_class."""
    return DEFAULT_TYPES.register_class(cls)
