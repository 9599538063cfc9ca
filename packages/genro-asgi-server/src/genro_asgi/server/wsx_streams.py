"""Answers item by item: what a generator yields, as fast as the client and the socket take it."""

from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any

from genro_asgi.delivery import ThreadedIterator, close_source
from genro_asgi.jsoncodec import dumps, loads
from genro_asgi.request import MsgRequest
from genro_asgi.response import SseEvent, StreamingResponse
from genro_asgi.server.wsx_reply import reply_of
from genro_asgi.wsx.errors import TytxError
from genro_asgi.wsx.incoming import Incoming
from genro_asgi.wsx.pump import wait_ready

if TYPE_CHECKING:
    from genro_asgi.server.wsx_calls import WsxCalls

__all__ = ["credit_for", "stream_answer"]

_END: Any = object()


async def credit_for(call: Incoming, value: Any) -> None:
    """Wait for the first grant of a caller that takes no items yet; a generator does not even begin before it."""
    if isinstance(value, AsyncGeneratorType | GeneratorType) and not call.is_event:
        call.start_stream()
        while call.open and not call.ready:
            await wait_ready(call)


async def stream_answer(
    connection: "WsxCalls", request: MsgRequest, call: Incoming, response: StreamingResponse
) -> None:
    """Send each item of a stream, and in the end its status; however it ends, the source is closed.

    Where nobody is to be answered it runs to its end all the same.
    """
    source = response.body_iterator
    if isinstance(source, ThreadedIterator):
        source.run = connection.handler.server.files.run
    items = aiter(source)
    try:
        if call.is_event:
            while await anext(items, _END) is not _END:
                pass
            return
        call.start_stream()
        while True:
            # The generator is not asked for an item that nobody can take.
            while call.open and not call.ready:
                await wait_ready(call)
            item = await anext(items, _END)
            if item is _END:
                break
            frame = _frame(call, item)
            if frame is None:
                return  # it was ended from outside
            connection.write(frame)
    finally:
        await close_source(items, source)
    late = request._response
    if late is not None:
        response.status_code = late.status_code
    reply = reply_of(response)
    frame = call.respond(reply.status, None, reply.headers, reply.cookies)
    if frame is not None:
        connection.write(frame)


def _frame(call: Incoming, item: Any) -> Any:
    headers = None
    if isinstance(item, SseEvent):
        headers = {"sse-event": item.event} if item.event is not None else None
        item = item.data
    try:
        return call.item(item, headers)
    except TytxError:
        return call.item(loads(dumps(item)), headers)
