"""TYTX: JSON and MessagePack that keep Decimal, date, datetime, time and bytes apart from strings.

`to_tytx` and `from_tytx` have the names of genro-tytx 0.16 and write its bytes, with two differences: a plain
string that looks typed is marked as text (`12::D` travels as `12::D::T`), and microseconds are kept. Reading is
strict: whatever is not a document raises TytxError.
"""

from genro_asgi.wsx.errors import TytxError
from genro_asgi.wsx.tytx.codec import Transport, decode, encode, from_tytx, to_tytx, typed_copy
from genro_asgi.wsx.tytx.registry import BUILTIN_TYPES, DEFAULT_TYPES, TypeTable, register_class, register_type
from genro_asgi.wsx.tytx.tree import MAX_DEPTH, hydrate

__all__ = [
    "BUILTIN_TYPES",
    "DEFAULT_TYPES",
    "MAX_DEPTH",
    "Transport",
    "TypeTable",
    "TytxError",
    "decode",
    "encode",
    "from_tytx",
    "hydrate",
    "register_class",
    "register_type",
    "to_tytx",
    "typed_copy",
]
