"""Turns the typed strings of a parsed document into values."""

from datetime import date
from decimal import Decimal
from typing import Any

from genro_asgi.wsx.errors import TytxError
from genro_asgi.wsx.tytx.registry import DEFAULT_TYPES, TypeTable

__all__ = ["MAX_DEPTH", "clip", "hydrate", "join_pointer", "read_literal"]

#: Nested lists and objects of a typed document; other implementations write 254 at most.
MAX_DEPTH = 256


def clip(text: str) -> str:
    """A text from outside as an error may show it: quoted and short."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def join_pointer(key: object, rest: str) -> str:
    """A JSON pointer (RFC 6901) that begins with a key and goes on with another pointer."""
    return f"/{str(key).replace('~', '~0').replace('/', '~1')}{rest}"


def read_literal(literal: str, suffix: str, types: TypeTable) -> Any:
    """The value of a literal; TytxError when it cannot be read."""
    try:
        return types.readers[suffix](literal)
    except Exception as error:  # a registered reader may raise anything
        raise _unreadable(f"{literal}::{suffix}", types.readers, error) from error


def hydrate(value: Any, types: TypeTable = DEFAULT_TYPES, *, pointer: str = "", max_depth: int = MAX_DEPTH) -> Any:
    """Turn the typed strings of a parsed document into values, in place, and return the document.

    `pointer` is where the document sits in a larger one. TytxError names the value that cannot be read.
    """
    kind = type(value)
    try:
        if kind is dict or kind is list:
            _walk(value, types.readers, max_depth)
        elif kind is str:
            literal, mark, suffix = value.rpartition("::")
            if mark and suffix in types.readers:
                return read_literal(literal, suffix, types)
    except TytxError as error:
        error.pointer = pointer + error.pointer
        raise
    return value


# Dates and amounts read lately; every table reads them the same way, and nobody can change them. Documents of one
# kind repeat them: where they do this takes a third off the walk, where every amount is new it adds a twentieth.
_seen: dict[str, Any] = {}
_SEEN_MAX = 1024


def _walk(node: Any, readers: dict[str, Any], depth: int) -> None:
    # This walk is what decoding a typed document costs. Hence the two loops, the test for one character before
    # the one for two, and the usual Decimals and dates of an object read in place.
    if not depth:
        raise TytxError("the document is nested too deeply", code="MALFORMED")
    key: Any = None
    item: Any = None
    try:
        if type(node) is dict:
            for key, item in node.items():
                kind = type(item)
                if kind is str:
                    if ":" in item:
                        value = _seen.get(item)
                        if value is not None:
                            node[key] = value
                            continue
                        literal, _, suffix = item.rpartition("::")
                        if suffix == "N" and not literal.strip("0123456789.-") and len(literal) <= 400:
                            node[key] = _seen[item] = Decimal(literal)
                        elif suffix == "D" and len(literal) == 10 and literal[7] == "-":
                            node[key] = _seen[item] = date.fromisoformat(literal)
                        elif suffix in readers:
                            node[key] = readers[suffix](literal)
                elif kind is dict or kind is list:
                    _walk(item, readers, depth - 1)
            if len(_seen) > _SEEN_MAX:
                _seen.clear()
        else:
            for key, item in enumerate(node):
                kind = type(item)
                if kind is dict or kind is list:
                    _walk(item, readers, depth - 1)
                elif kind is str and ":" in item:
                    literal, _, suffix = item.rpartition("::")
                    if suffix in readers:
                        node[key] = readers[suffix](literal)
    except TytxError as error:
        error.pointer = join_pointer(key, error.pointer)
        raise
    except Exception as error:  # a registered reader may raise anything
        raise _unreadable(item, readers, error, join_pointer(key, "")) from error


def _unreadable(item: Any, readers: dict[str, Any], error: Exception, pointer: str = "") -> TytxError:
    if isinstance(error, RecursionError):
        return TytxError("the document is nested too deeply", pointer, "MALFORMED")
    literal, _, suffix = item.rpartition("::")
    # What goes wrong inside a registered reader is not for the client, unless it says so with a ValueError.
    reason = "is not a value of its type"
    try:
        readers[suffix](literal)  # once more, because what is read in place has no words of its own
    except ValueError as refusal:
        reason = str(refusal)[:120]
    except Exception:
        pass
    return TytxError(f"{clip(item)} {reason}", pointer)
