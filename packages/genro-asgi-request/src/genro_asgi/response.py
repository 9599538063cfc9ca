"""The answers a handler can give, all in one place."""

from pathlib import PurePath
from typing import Any

from genro_asgi.base_response import (
    HeadersArgument,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    error_response,
    plain_error,
)
from genro_asgi.delivery import Runner
from genro_asgi.file_response import FileResponse
from genro_asgi.set_cookie import make_cookie
from genro_asgi.sse import EventPieces, SseEvent, SseResponse
from genro_asgi.streaming import StreamingResponse

__all__ = [
    "FileResponse",
    "HTMLResponse",
    "HeadersArgument",
    "JSONResponse",
    "PlainTextResponse",
    "RedirectResponse",
    "Response",
    "Runner",
    "SseEvent",
    "SseResponse",
    "StreamingResponse",
    "as_response",
    "error_response",
    "make_cookie",
    "plain_error",
]


def as_response(result: Any, media_type: str | None = None) -> Response:
    """The response of a value that is sent piece by piece: a path is a file, an iterator a stream."""
    if isinstance(result, Response):
        return result
    if isinstance(result, PurePath):
        return FileResponse(result, media_type=media_type)
    if media_type is not None and media_type.partition(";")[0] == EventPieces.media_type:
        return EventPieces(result, media_type=media_type)
    return StreamingResponse(result, media_type=media_type or "application/octet-stream")
