"""The checks a configuration value goes through; each returns the clean value or raises a one-line ConfigError."""

import math
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from genro_asgi.exceptions import ConfigError
from genro_asgi.server.config_options import SECRET_KEYS

__all__ = [
    "Check",
    "Where",
    "anything",
    "choice",
    "entries",
    "integer",
    "known",
    "named",
    "nearest",
    "number",
    "plugin_error",
    "record",
    "switch",
    "text",
    "texts",
]

_TRUE = frozenset({"true", "on", "yes", "1"})
_FALSE = frozenset({"false", "off", "no", "0"})
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Where:
    """Where a value was written: its source (a file, the environment...) and its dotted key."""

    source: str
    key: str = ""

    def at(self, name: str) -> "Where":
        """The place of one key below this one."""
        return Where(self.source, f"{self.key}.{name}" if self.key else name)

    def error(self, value: object, allowed: str) -> ConfigError:
        """The error of a value that is not allowed here; secrets are named by their type only."""
        shown = f"a {type(value).__name__}" if SECRET_KEYS.intersection(self.key.split(".")) else _short(value)
        return self.wrong(f"{shown} is not valid; write {allowed}")

    def wrong(self, text: str) -> ConfigError:
        """The error of this place: source, key, then the text and a period."""
        return ConfigError(f"{self.source}: {self.key}: {text}." if self.key else f"{self.source}: {text}.")


Check = Callable[[Where, Any], Any]


def _short(value: object) -> str:
    shortener = reprlib.Repr()
    shortener.maxstring = shortener.maxother = 80
    return shortener.repr(value)


def nearest(name: object, names: Iterable[str]) -> str:
    """The suggestion that belongs into an error: ", did you mean 'port'" or nothing."""
    close = get_close_matches(str(name), list(names), n=1)
    return f", did you mean {close[0]!r}" if close else ""


def plugin_error(error: Exception) -> str:
    """What a plugin of genro-routes says of its options, as it follows the key: ".rul: Unexpected keyword argument"."""
    first: list[Any] = getattr(error, "errors", list)()[:1]
    return "".join(f".{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in first) or f": {error}"


def known(where: Where, name: object, names: Iterable[str], kind: str = "key") -> None:
    """Let only these names through; the error says which they are and which is nearest."""
    allowed = sorted(names)
    if name not in allowed:
        place = where.at(str(name))
        listed = ", ".join(allowed) or "none"
        raise place.wrong(f"unknown {kind}{nearest(name, allowed)}; allowed are {listed}")


def anything(where: Where, value: Any) -> Any:
    """Every value."""
    return value


def switch(where: Where, value: Any) -> bool:
    """on and off in every spelling YAML, an environment or a person may use."""
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise where.error(value, "on or off")


def integer(low: int | None = None, high: int | None = None) -> Check:
    """A whole number from low to high, both included and both optional."""
    allowed = "a whole number"
    if low is not None:
        allowed += f" of {low} or more" if high is None else f" from {low} to {high}"

    def check(where: Where, value: Any) -> int:
        found = int(value) if isinstance(value, str) and _WHOLE.fullmatch(value.strip()) else value
        if type(found) is not int or (low is not None and found < low) or (high is not None and found > high):
            raise where.error(value, allowed)
        return found

    return check


def number(low: float = -math.inf, unit: str = "") -> Check:
    """A finite number of at least low; the unit is for the error."""
    allowed = "a number" if low == -math.inf else f"a number of {low:g} or more"
    allowed = f"{unit}, {allowed}" if unit else allowed

    def check(where: Where, value: Any) -> float:
        try:
            found = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if not (low <= found and math.isfinite(found)):
            raise where.error(value, allowed)
        return found

    return check


def text(where: Where, value: Any) -> str:
    """A text that is not empty; a number is refused, as 0123 or 1.10 would not arrive as they were written."""
    if not isinstance(value, str) or not value.strip():
        hint = "a text" if isinstance(value, str) else "a text, in quotes if it looks like something else"
        raise where.error(value, hint)
    return value


def texts(where: Where, value: Any) -> list[str]:
    """A list of texts, or one text with commas; off is an empty list."""
    if value is False:
        return []
    items = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise where.error(value, "a list of texts, or one text with commas")
    return [text(where, item) for item in items]


def choice(*names: str) -> Check:
    """One of these words, in lower or upper case."""

    def check(where: Where, value: Any) -> str:
        word = value.strip().lower() if isinstance(value, str) else value
        if word not in names:
            raise where.error(value, f"one of {', '.join(names)}")
        return str(word)

    return check


def entries(where: Where, value: Any) -> dict[str, Any]:
    """A mapping with text keys; nothing at all is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise where.error(value, "a mapping (name: value)")
    for key in value:
        if not isinstance(key, str) or not key:
            raise where.wrong(f"the key {key!r} is not a text; put it in quotes")
    return dict(value)


def record(fields: Mapping[str, Check], required: tuple[str, ...] = ()) -> Check:
    """A mapping with these fields and no others; a null value counts as not written."""

    def check(where: Where, value: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, item in entries(where, value).items():
            known(where, name, fields)
            if item is not None:
                found[name] = fields[name](where.at(name), item)
        for name in required:
            if name not in found:
                raise where.wrong(f"{name} is missing; write it")
        return found

    return check


def named(check_one: Check) -> Check:
    """A mapping from free names to values of one kind."""

    def check(where: Where, value: Any) -> dict[str, Any]:
        return {name: check_one(where.at(name), item) for name, item in entries(where, value).items()}

    return check
