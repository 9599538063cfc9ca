"""A call to a pool that a handler returns before it has ended: its progress for those who ask, else its result."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from genro_asgi.exceptions import HTTPServiceUnavailable
from genro_asgi.executors.job import Job
from genro_asgi.request import BaseRequest, MsgRequest
from genro_asgi.response import Response, SseEvent, SseResponse, StreamingResponse, error_response

if TYPE_CHECKING:
    from genro_asgi.server.dispatcher import Dispatcher

__all__ = ["progress_of", "wants_progress"]


def wants_progress(request: BaseRequest) -> bool:
    """Whether the client reads streams: it accepts server-sent events, or gave its WSX call credit for items."""
    if isinstance(request, MsgRequest) and request.message.fields.get("credit") is not None:
        return True
    return any(
        kind.partition(";")[0].strip() == "text/event-stream" for kind in request.headers.get("accept", "").split(",")
    )


def progress_of(dispatcher: "Dispatcher", request: BaseRequest, job: Job[Any]) -> Response:
    """The answer that tells how far a call is while it runs.

    Its items are `{"fraction", "text"}` for each report and `{"result"}` in the end; server-sent events are named
    `progress`, `result` and, with a problem body, `problem`. Who leaves cancels the call.
    """
    if isinstance(request, MsgRequest):
        return StreamingResponse(_Followed(job, _items(job)))
    stopped = error_response(HTTPServiceUnavailable("The server is shutting down.", code="DRAINING", retry=True))
    events = _Followed(job, _events(dispatcher, request, job))
    return SseResponse(events, headers={"vary": "Accept"}, last_event=_problem(stopped))


class _Followed(AsyncIterator[Any]):
    """Items that give their call up when they are closed, also before the first of them was asked for."""

    def __init__(self, job: Job[Any], items: AsyncGenerator[Any, None]) -> None:
        self._job = job
        self._items = items

    async def __anext__(self) -> Any:
        return await anext(self._items)

    async def aclose(self) -> None:
        await self._items.aclose()
        if not self._job.cancel() and not self._job.cancelled():
            self._job.exception()  # who left does not want to hear of it


async def _items(job: Job[Any]) -> AsyncGenerator[dict[str, Any], None]:
    async with aclosing(aiter(job)) as reports:  # type: ignore[type-var]
        async for report in reports:
            yield {"fraction": report.fraction, "text": report.text}
    yield {"result": await job}


async def _events(dispatcher: "Dispatcher", request: BaseRequest, job: Job[Any]) -> AsyncGenerator[SseEvent, None]:
    try:
        async with aclosing(_items(job)) as items:
            async for item in items:
                yield SseEvent(item, "result" if "result" in item else "progress")
    except Exception as exc:
        # The answer has begun, so that its status cannot tell any more.
        yield _problem(await dispatcher.failed(request, exc))


def _problem(response: Response) -> SseEvent:
    return SseEvent(response.finish()[2].decode(), "problem")
