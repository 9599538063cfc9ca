"""From annotations to JSON Schema, with the formats of TYTX."""

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, WithJsonSchema
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from genro_asgi.wsx.tytx.registry import TypeTable

__all__ = ["Mode", "Schemas", "Wanted", "with_formats"]

_REFERENCE = "#/components/schemas/{model}"

#: How a value is described: as it comes in, or as it goes out.
Mode = Literal["validation", "serialization"]
_MODES: tuple[Mode, ...] = ("validation", "serialization")

#: What is to be described: annotations, by a key of one's own and a mode.
Wanted = Mapping[tuple[str, Mode], Any]


class _TytxSchema(GenerateJsonSchema):
    """Decimals and bytes are texts on the wire, of a format that says which."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {  # noqa: RUF012 (as pydantic has it)
        "skipped-choice",
        "non-serializable-default",
    }

    def decimal_schema(self, schema: Any) -> dict[str, Any]:
        """A decimal, without the bounds that JSON Schema has for numbers only."""
        return {"type": "string", "format": "decimal"}

    def bytes_schema(self, schema: Any) -> dict[str, Any]:
        """Bytes, in base64."""
        return {"type": "string", "format": "byte"}


def with_formats(annotation: Any, types: TypeTable | None) -> Any:
    """An annotation in which the classes of a table are texts; the format of each is its suffix."""
    if types is None:
        return annotation
    if isinstance(annotation, type) and annotation in types.by_class and types.owns(annotation):
        format = types.by_class[annotation].suffix
        return Annotated[str, WithJsonSchema({"type": "string", "format": format})]
    origin, parts = get_origin(annotation), get_args(annotation)
    changed = tuple(with_formats(part, types) for part in parts)
    if origin is Literal or all(new is old for new, old in zip(changed, parts, strict=True)):
        return annotation
    generic: Any = Union if origin is UnionType else origin
    return generic[changed]


class Schemas:
    """The schemas of many annotations at once, so that classes of one name are told apart.

    What says nothing about data (a Protocol, a class of the application) has the schema of anything: `{}`.
    """

    def __init__(self, wanted: Wanted) -> None:
        adapters = {key: adapter for key, annotation in wanted.items() if (adapter := _adapter(annotation))}
        inputs: list[tuple[str, Mode, TypeAdapter[Any]]] = [
            (key, mode, adapter) for (key, mode), adapter in adapters.items()
        ]
        found, definitions = TypeAdapter.json_schemas(inputs, ref_template=_REFERENCE, schema_generator=_TytxSchema)
        self._found: dict[Any, dict[str, Any]] = dict(found)
        #: The classes that schemas refer to, by name.
        self.definitions: dict[str, Any] = dict(definitions.get("$defs", {}))

    def get(self, key: str, mode: Mode) -> dict[str, Any]:
        """The schema of one of them, an object of one's own."""
        return dict(self._found.get((key, mode), {}))


def _adapter(annotation: Any) -> "TypeAdapter[Any] | None":
    if annotation in (Any, object, None, type(None)):
        return None
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        for mode in _MODES:
            adapter.json_schema(schema_generator=_TytxSchema, mode=mode)
    except (PydanticUserError, TypeError, NameError, ValueError):
        return None
    return adapter
