"""One end of an ASGI exchange, for tests that look at the messages themselves."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest


class Exchange:
    """A scope with its channels: what the client sends is given, what the application sends is kept.

    After the body `receive` waits until `leave` is called. `on_send` sees each message first, and may raise.
    """

    def __init__(
        self,
        method: str = "GET",
        path: str = "/",
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | Iterable[bytes] = b"",
        query: bytes = b"",
        messages: Iterable[dict[str, Any]] | None = None,
        on_send: Callable[[dict[str, Any]], Any] | None = None,
        **scope: Any,
    ) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            "client": ("127.0.0.1", 4321),
            "server": ("example.org", 80),
        } | scope
        chunks = [body] if isinstance(body, bytes) else list(body)
        self.incoming: list[dict[str, Any]] = list(messages) if messages is not None else [
            {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
            for number, chunk in enumerate(chunks, 1)
        ]  # fmt: skip
        self.sent: list[dict[str, Any]] = []
        self.on_send = on_send
        self.left = asyncio.Event()
        self.receives = 0

    def leave(self) -> None:
        """The client closes the connection."""
        self.left.set()

    async def receive(self) -> dict[str, Any]:
        self.receives += 1
        if self.incoming:
            return self.incoming.pop(0)
        await self.left.wait()
        return {"type": "websocket.disconnect" if self.scope["type"] == "websocket" else "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if self.on_send is not None:
            await asyncio.sleep(0)
            self.on_send(message)
        self.sent.append(message)

    async def run(self, app: Any) -> "Exchange":
        """Let an ASGI application answer; gives the exchange back."""
        await app(self.scope, self.receive, self.send)
        return self

    @property
    def status(self) -> int:
        """The status that was sent."""
        status: int = self.sent[0]["status"]
        return status

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        return list(self.sent[0]["headers"])

    @property
    def headers(self) -> dict[str, str]:
        """The headers that were sent."""
        return {name.decode(): value.decode("latin-1") for name, value in self.raw_headers}

    @property
    def body(self) -> bytes:
        """The body that was sent; the exchange must be complete."""
        assert self.sent[-1].get("more_body", False) is False
        return b"".join(message.get("body", b"") for message in self.sent[1:])


@pytest.fixture
def exchange() -> type[Exchange]:
    """The class of exchanges."""
    return Exchange
