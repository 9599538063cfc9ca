"""TYTX: JSON and MessagePack that keep Decimal, date, datetime, time and bytes apart from strings.

`to_tytx` and `from_tytx` have the names of genro-tytx 0.16 and write its bytes, with two differences: a plain
string that looks typed is marked as text (`12::D` travels as `12::D::T`), and microseconds are kept. Reading is
strict: whatever is not a document raises TytxError. The other names of genro-tytx are here as well, from `shorthands`.
"""

from typing import TYPE_CHECKING, Any

from genro_asgi.wsx.errors import TytxError
from genro_asgi.wsx.tytx.codec import Transport, decode, encode, from_tytx, to_tytx, typed_copy
from genro_asgi.wsx.tytx.registry import BUILTIN_TYPES, DEFAULT_TYPES, TypeTable, register_class, register_type
from genro_asgi.wsx.tytx.tree import MAX_DEPTH, hydrate

if TYPE_CHECKING:
    from genro_asgi.wsx.tytx.shorthands import (
        from_msgpack,
        from_qs,
        from_tytx_iter,
        from_xml,
        json_dumps,
        json_loads,
        to_msgpack,
        to_qs,
        to_tytx_iter,
        to_xml,
    )

__all__ = [
    "BUILTIN_TYPES",
    "DEFAULT_TYPES",
    "MAX_DEPTH",
    "Transport",
    "TypeTable",
    "TytxError",
    "decode",
    "encode",
    "from_msgpack",
    "from_qs",
    "from_tytx",
    "from_tytx_iter",
    "from_xml",
    "hydrate",
    "json_dumps",
    "json_loads",
    "register_class",
    "register_type",
    "to_msgpack",
    "to_qs",
    "to_tytx",
    "to_tytx_iter",
    "to_xml",
    "typed_copy",
]


def __getattr__(name: str) -> Any:
    # Late, because hardly anybody needs them.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from genro_asgi.wsx.tytx import shorthands

    return getattr(shorthands, name)
