"""An asynchronous test client that needs no network and no dependency, and what it is made of."""

from genro_asgi.testing.client import AsyncClient
from genro_asgi.testing.cookies import Cookies
from genro_asgi.testing.http import HttpExchange, TestResponse
from genro_asgi.testing.lifespan import LifespanManager
from genro_asgi.testing.scope import make_scope
from genro_asgi.testing.websocket import WebSocketDenied, WebSocketSession

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
