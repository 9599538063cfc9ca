"""A scripted client and a bridge whose threads end with the test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_asyncio

from genro_asgi.middleware.wsgi import WSGIMiddleware


class Client:
    """One HTTP exchange seen from the server: what it hands to the application, and what it gets back."""

    def __init__(self, method: str = "GET", path: str = "/", headers: Any = (), **scope: Any) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": list(headers),
            "http_version": "1.1",
            "scheme": "http",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 4711),
            **scope,
        }
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.receives = 0
        self.takes = asyncio.Event()
        self.takes.set()
        self.news = asyncio.Condition()
        self.send_error: Exception | None = None

    def feed(self, body: bytes, more: bool = False) -> "Client":
        self.inbox.put_nowait({"type": "http.request", "body": body, "more_body": more})
        return self

    def leave(self) -> None:
        self.inbox.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> dict[str, Any]:
        self.receives += 1
        message = await self.inbox.get()
        if isinstance(message, Exception):
            raise message
        return message  # type: ignore[no-any-return]

    async def send(self, message: Any) -> None:
        if self.send_error is not None:
            raise self.send_error
        await self.takes.wait()
        async with self.news:
            self.sent.append(message)
            self.news.notify_all()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(10), self.news:
            await self.news.wait_for(condition)

    @property
    def status(self) -> int:
        return self.sent[0]["status"]  # type: ignore[no-any-return]

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode("latin-1") for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def complete(self) -> bool:
        return len(self.sent) > 1 and not self.sent[-1].get("more_body", False)


class Host:
    """Makes bridges, and calls them."""

    def __init__(self) -> None:
        self.bridges: list[WSGIMiddleware] = []
        self.client = Client

    def bridge(self, app: Any, workers: int = 4, **options: Any) -> WSGIMiddleware:
        bridge = WSGIMiddleware(app, workers=workers, **options)
        self.bridges.append(bridge)
        return bridge

    async def ask(self, app: Any, method: str = "GET", path: str = "/", headers: Any = (), **options: Any) -> Client:
        """One request without a body from beginning to end."""
        client = Client(method, path, headers)
        if method not in ("GET", "HEAD"):
            client.feed(b"")
        await self.run(self.bridge(app, **options), client)
        return client

    async def post(self, app: Any, body: bytes, headers: Any = None, **options: Any) -> Client:
        """One request with a body."""
        if headers is None:
            headers = [(b"content-length", b"%d" % len(body))]
        client = Client("POST", headers=headers).feed(body)
        await self.run(self.bridge(app, **options), client)
        return client

    async def run(self, bridge: WSGIMiddleware, client: Client) -> None:
        async with asyncio.timeout(10):
            await bridge(client.scope, client.receive, client.send)


@pytest_asyncio.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    yield host
    async with asyncio.timeout(10):
        for bridge in host.bridges:
            await bridge.shutdown()
