"""From what a client sends to what a handler's annotation says."""

import typing
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import Enum
from types import UnionType
from typing import Any, Literal, Union
from uuid import UUID

from genro_asgi.wsx.tytx.registry import TypeTable

__all__ = ["Coercion", "coercion_for"]

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


class Coercion:
    """How one parameter gets its value: `convert` raises ValueError or TypeError, `expected` says what was wanted."""

    __slots__ = ("convert", "expected", "many")

    def __init__(self, convert: Callable[[Any], Any] | None, expected: str, many: bool = False) -> None:
        self.convert = convert
        self.expected = expected
        #: Whether a repeated query name gives all its values.
        self.many = many


def to_int(value: Any) -> int:
    """An integer: itself, a whole float, or ASCII digits with an optional sign."""
    if isinstance(value, str):
        digits = value[1:] if value[:1] in ("-", "+") else value
        if not (digits.isascii() and digits.isdigit()):
            raise ValueError
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError
    return int(value)


def to_float(value: Any) -> float:
    """A finite float, from a number or its text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or (isinstance(value, str) and "_" in value):
        raise ValueError
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError
    return number


def to_bool(value: Any) -> bool:
    """A boolean: itself, or true/false, 1/0, yes/no, on/off in any case."""
    if isinstance(value, bool):
        return value
    text = str(value).lower() if isinstance(value, str | int) else ""
    if text not in _TRUE and text not in _FALSE:
        raise ValueError
    return text in _TRUE


def to_str(value: Any) -> str:
    """A string; numbers of a JSON body are not turned into one."""
    if not isinstance(value, str):
        raise ValueError
    return value


def to_decimal(value: Any) -> Decimal:
    """A finite Decimal, from a number or its text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError from None
    if not number.is_finite() or abs(number.adjusted()) > 400:
        raise ValueError
    return number


def _from_text(cls: type, parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        # A datetime is a date to isinstance; a handler that asks for a date wants none of it.
        if type(value) is cls:
            return value
        if not isinstance(value, str) or not value.isascii():
            raise ValueError
        return parse(value)

    return convert


def to_bytes(value: Any) -> bytes:
    """Bytes as they are, or the UTF-8 of a string."""
    if isinstance(value, bytes):
        return value
    return to_str(value).encode()


_SIMPLE: dict[Any, Coercion] = {
    int: Coercion(to_int, "an integer"),
    float: Coercion(to_float, "a number"),
    bool: Coercion(to_bool, "true or false"),
    str: Coercion(to_str, "a string"),
    bytes: Coercion(to_bytes, "a string"),
    Decimal: Coercion(to_decimal, "a decimal number"),
    date: Coercion(_from_text(date, date.fromisoformat), "a date like 2025-01-31"),
    datetime: Coercion(_from_text(datetime, datetime.fromisoformat), "a date and time like 2025-01-31T12:30:00Z"),
    time: Coercion(_from_text(time, time.fromisoformat), "a time like 12:30:00"),
    UUID: Coercion(_from_text(UUID, UUID), "a UUID"),
}

# What an annotation may be and still say nothing about the value.
_ANYTHING = Coercion(None, "a value")


def coercion_for(annotation: Any, types: TypeTable | None = None) -> Coercion:
    """The coercion of an annotation; what neither this module nor the table of `types` knows goes through pydantic."""
    if types is not None and isinstance(annotation, type) and annotation in types.by_class and types.owns(annotation):
        return _of_table(annotation, types)
    if annotation is Any or annotation is object:
        return _ANYTHING
    if isinstance(annotation, type) and annotation in _SIMPLE:
        return _SIMPLE[annotation]
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        # Constraints in the metadata are pydantic's business.
        return _through_pydantic(annotation)
    if origin in (Union, UnionType):
        return _union(typing.get_args(annotation), types)
    if origin is Literal:
        return _literal(typing.get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _enum(annotation)
    if annotation in (list, set, tuple, frozenset) or origin in (list, set, frozenset):
        return _many(annotation if origin is None else origin, typing.get_args(annotation), types)
    return _through_pydantic(annotation)


def _of_table(cls: type, types: TypeTable) -> Coercion:
    """An instance, or the literal of one where nothing is typed; else what the class is without a table."""
    read, otherwise = types.by_class[cls].read, coercion_for(cls)

    def convert(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and not (otherwise.convert and _is_document(value)):
            try:
                return read(value)
            except Exception as error:  # a registered reader may raise anything
                raise ValueError from error
        if otherwise.convert is None:
            raise ValueError
        return otherwise.convert(value)

    return Coercion(convert, f"a {cls.__name__}")


def _union(members: tuple[Any, ...], types: TypeTable | None) -> Coercion:
    optional = type(None) in members
    # str takes everything, so it is asked last: `int | str` gives 3 for "3".
    choices = sorted(
        (coercion_for(m, types) for m in members if m is not type(None)), key=lambda coercion: coercion is _SIMPLE[str]
    )
    exact = tuple(m for m in members if isinstance(m, type) and m is not type(None))

    def convert(value: Any) -> Any:
        if value is None and optional:
            return None
        # A value of a JSON body that already is of a member's class stays as it is.
        if not isinstance(value, str) and type(value) in exact:
            return value
        if len(choices) == 1 and choices[0].convert is not None:
            return choices[0].convert(value)  # its error says more than that no choice fits
        for choice in choices:
            try:
                return choice.convert(value) if choice.convert is not None else value
            except (ValueError, TypeError):
                continue
        raise ValueError

    expected = " or ".join(choice.expected for choice in choices)
    return Coercion(convert, expected, many=any(choice.many for choice in choices))


def _literal(values: tuple[Any, ...]) -> Coercion:
    by_text = {str(value): value for value in values}

    def convert(value: Any) -> Any:
        if isinstance(value, str) and value in by_text:
            return by_text[value]
        for allowed in values:
            if value == allowed and type(value) is type(allowed):
                return allowed
        raise ValueError

    return Coercion(convert, "one of " + ", ".join(by_text))


def _enum(cls: type[Enum]) -> Coercion:
    by_text = {str(member.value): member for member in cls}

    def convert(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        member = by_text.get(value) if isinstance(value, str) else None
        return cls(value) if member is None else member

    return Coercion(convert, "one of " + ", ".join(by_text))


def _many(cls: Any, args: tuple[Any, ...], types: TypeTable | None) -> Coercion:
    item = coercion_for(args[0], types) if args else _ANYTHING

    def convert(value: Any) -> Any:
        values = value if isinstance(value, list | tuple | set | frozenset) else [value]
        return cls(values if item.convert is None else [item.convert(one) for one in values])

    return Coercion(convert, f"a list of {item.expected.removeprefix('a ').removeprefix('an ')}s", many=True)


def _through_pydantic(annotation: Any) -> Coercion:
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    except (PydanticSchemaGenerationError, PydanticUserError, TypeError, NameError):
        # An annotation that describes no data (a Protocol, a class of the application) is no filter.
        return _ANYTHING

    def convert(value: Any) -> Any:
        try:
            return adapter.validate_json(value) if _is_document(value) else adapter.validate_python(value)
        except ValidationError as error:
            raise FieldErrors(_fields(error)) from None

    return Coercion(convert, "valid")


def _is_document(value: Any) -> bool:
    return isinstance(value, str) and value[:1] in ("{", "[")


class FieldErrors(ValueError):
    """What is wrong inside a structured value: pairs of a field's path and a message, without the values."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        super().__init__(fields)
        self.fields = fields


def _fields(error: Any) -> list[tuple[str, str]]:
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return [(".".join(map(str, detail["loc"])), _said(detail["msg"])) for detail in details[:20]]


def _said(message: str) -> str:
    """The words of a validator's own ValueError, without what pydantic puts before them."""
    return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
