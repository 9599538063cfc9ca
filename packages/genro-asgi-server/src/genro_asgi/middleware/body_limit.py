"""A limit on request bodies around plain ASGI applications."""

from genro_asgi.body import check_length, too_large
from genro_asgi.exceptions import HTTPException
from genro_asgi.response import error_response
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["RequestBodyLimitMiddleware"]


class RequestBodyLimitMiddleware:
    """Answers 413 to bodies over `max_body_size` bytes: at once by Content-Length, else when the limit is passed."""

    def __init__(self, app: ASGIApp, max_body_size: int) -> None:
        self.app = app
        self.max_body_size = max_body_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        total = 0
        started = False

        async def counting() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body") or b"")
            if total > self.max_body_size:
                raise too_large(self.max_body_size)
            return message

        async def noticing(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            for name, value in scope["headers"]:
                if name == b"content-length":
                    check_length(value, self.max_body_size)
            await self.app(scope, counting, noticing)
        except HTTPException as error:
            if started or error.status_code not in (400, 413):
                raise
            await error_response(error)(scope, receive, send)
