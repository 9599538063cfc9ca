"""JSON in and out: orjson when it is installed, else the standard library; same bytes and refusals from both."""

from genro_asgi.jsoncodec.errors import MAX_DEPTH, JsonError
from genro_asgi.jsoncodec.writing import to_plain

try:
    from genro_asgi.jsoncodec.fast import OPTIONS, dumps, loads, quick_dumps, quick_loads, raw_dumps

    engine = "orjson"
except ImportError:
    from genro_asgi.jsoncodec.reading import loads, quick_loads
    from genro_asgi.jsoncodec.writing import OPTIONS, dumps, quick_dumps, raw_dumps

    engine = "stdlib"

__all__ = [
    "MAX_DEPTH",
    "OPTIONS",
    "JsonError",
    "dumps",
    "engine",
    "loads",
    "quick_dumps",
    "quick_loads",
    "raw_dumps",
    "to_plain",
]
