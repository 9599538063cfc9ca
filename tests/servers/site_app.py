"""The application the real-server tests talk to; each server process imports it by name."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from genro_asgi import AsgiServer, get_current_request, route

EVENTS: list[str] = []


class SiteServer(AsgiServer):
    """Handlers that make the rules of the road visible."""

    @route()
    async def index(self) -> dict[str, str]:
        return {"status": "ok"}

    @route()
    async def hello(self, name: str, times: int = 1) -> dict[str, Any]:
        return {"hello": name, "times": times}

    @route(methods="POST")
    async def echo(self, body_data: Any) -> Any:
        return body_data

    @route(methods="POST")
    async def stream_in(self, body_stream: AsyncIterator[bytes]) -> dict[str, int]:
        EVENTS.append("upload-started")
        try:
            return {"size": sum([len(chunk) async for chunk in body_stream])}
        except BaseException as error:
            EVENTS.append(f"upload-{type(error).__name__}")
            raise

    @route()
    async def wait(self, seconds: float = 30) -> str:
        EVENTS.append("wait-started")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            EVENTS.append("wait-cancelled")
            raise
        return "waited"

    @route(on_disconnect="finish")
    async def finish(self) -> str:
        EVENTS.append("finish-started")
        await asyncio.sleep(0.6)
        EVENTS.append("finish-done")
        return "done"

    @route()
    async def stream_out(self) -> AsyncIterator[bytes]:
        EVENTS.append("download-started")
        try:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)
        finally:
            EVENTS.append("download-closed")

    @route(methods="GET")
    async def events(self) -> dict[str, Any]:
        assert self.request_registry is not None
        return {"events": list(EVENTS), "live": len(self.request_registry)}

    @route(methods="POST")
    async def forget(self) -> None:
        EVENTS.clear()

    @route()
    async def bad_header(self) -> str:
        request = get_current_request()
        assert request is not None
        request.response.set_header("x-evil", "a\r\nset-cookie: stolen=1")
        return "never"

    @route(timeout=0.2)
    async def too_slow(self) -> str:
        await asyncio.sleep(30)
        return "never"

    @route()
    def crash(self) -> str:
        raise RuntimeError("the secret of the house")

    @route()
    def sync(self) -> str:
        return "from a thread"


def create() -> SiteServer:
    """The server, with its directory far from any config.yaml of the caller."""
    return SiteServer(server_dir=Path(__file__).parent, limits={"max_body": "64 KiB"})
