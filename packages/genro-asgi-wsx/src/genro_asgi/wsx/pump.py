"""A session's streams for asyncio: items as an async iterator, and waiting until one more may be sent."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Protocol

from genro_asgi.wsx.incoming import Incoming
from genro_asgi.wsx.outgoing import Outgoing
from genro_asgi.wsx.streams import Receiver

__all__ = ["iterate", "send_chunks", "send_items", "wait_ready"]


_END = object()


class _Sending(Protocol):
    on_ready: Any


async def iterate(receiver: Receiver) -> AsyncGenerator[Any, None]:
    """The items of a stream as they come; raises the receiver's error after the last one, if it has one.

    What was not taken is let go of when the iteration is left.
    """
    came = asyncio.Event()
    receiver.on_item = came.set
    try:
        while True:
            while len(receiver):
                yield receiver.take()
            if receiver.ended:
                if receiver.error is not None:
                    raise receiver.error
                return
            came.clear()
            await came.wait()
    finally:
        receiver.on_item = None
        receiver.discard()


async def wait_ready(sending: _Sending) -> None:
    """Wait for the `on_ready` of a call that streams; to be asked while its `ready` is false."""
    came = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not came.done():
            came.set_result(None)

    sending.on_ready = wake
    try:
        await came
    finally:
        sending.on_ready = None


async def send_chunks(call: Outgoing, chunks: AsyncIterator[Any]) -> None:
    """Stream items to the peer, as fast as it takes them, until there are no more or it wants no more.

    The call is given up when the iterator or an item fails, and the error is raised.
    """
    try:
        async for item in chunks:
            while call.sender is not None and not call.chunk_ready:
                await wait_ready(call)
            if call.sender is None:
                return
            call.session.tell(call.chunk(item))
        call.session.tell(call.end_chunks())
    except BaseException:
        call.cancel()
        raise


async def send_items(call: Incoming, items: AsyncIterator[Any]) -> None:
    """Stream the items of an answer, as fast as the peer takes them; who called has still to say respond().

    The iterator is closed when the peer wants no more. WsxError and TytxError as from Incoming.item().
    """
    try:
        call.start_stream()
        while call.open:
            while call.open and not call.ready:
                await wait_ready(call)
            item = await anext(items, _END)
            if item is _END:
                return
            call.session.tell(call.item(item))
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()
