"""Both JSON engines, one after the other; orjson only where it is installed."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest


@dataclass(frozen=True)
class Engine:
    name: str
    loads: Callable[..., Any]
    dumps: Callable[[Any], bytes]


@pytest.fixture(params=["stdlib", "orjson"] if find_spec("orjson") else ["stdlib"], scope="session")
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "orjson":
        fast = import_module("genro_asgi.jsoncodec.fast")
        return Engine("orjson", fast.loads, fast.dumps)
    reading, writing = import_module("genro_asgi.jsoncodec.reading"), import_module("genro_asgi.jsoncodec.writing")
    return Engine("stdlib", reading.loads, writing.dumps)
