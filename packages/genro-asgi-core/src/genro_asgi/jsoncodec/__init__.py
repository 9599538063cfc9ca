"""JSON in and out: orjson when it is installed, else the standard library; same bytes and refusals from both."""

from genro_asgi.jsoncodec.errors import MAX_DEPTH, JsonError
from genro_asgi.jsoncodec.writing import to_plain

try:
    from genro_asgi.jsoncodec.fast import dumps, loads, quick_dumps, quick_loads

    engine = "orjson"
except ImportError:
    from genro_asgi.jsoncodec.reading import loads, quick_loads
    from genro_asgi.jsoncodec.writing import dumps, quick_dumps

    engine = "stdlib"

__all__ = ["MAX_DEPTH", "JsonError", "dumps", "engine", "loads", "quick_dumps", "quick_loads", "to_plain"]
