"""Test clients: an asynchronous one that needs no dependency, and Starlette's synchronous one on httpx."""

from typing import TYPE_CHECKING, Any

from genro_asgi.testing.client import AsyncClient
from genro_asgi.testing.cookies import Cookies
from genro_asgi.testing.http import HttpExchange, TestResponse
from genro_asgi.testing.lifespan import LifespanManager
from genro_asgi.testing.scope import make_scope
from genro_asgi.testing.websocket import WebSocketDenied, WebSocketSession

if TYPE_CHECKING:
    from genro_asgi.testing.sync_client import (
        TestClient as TestClient,
        WebSocketDenialResponse as WebSocketDenialResponse,
        WebSocketTestSession as WebSocketTestSession,
    )

# Not in __all__, because httpx is an extra: `from genro_asgi.testing import *` must work without it.
_ON_HTTPX = frozenset(("TestClient", "WebSocketDenialResponse", "WebSocketTestSession"))

__all__ = [
    "AsyncClient",
    "Cookies",
    "HttpExchange",
    "LifespanManager",
    "TestResponse",
    "WebSocketDenied",
    "WebSocketSession",
    "make_scope",
]


def __getattr__(name: str) -> Any:
    if name not in _ON_HTTPX:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from genro_asgi.testing import sync_client
    except ModuleNotFoundError as error:
        raise ImportError(f'{name} needs httpx; run pip install "genro-asgi-core[testing]".') from error
    return getattr(sync_client, name)
