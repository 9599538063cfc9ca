"""A session's streams for asyncio: items as an async iterator, and waiting until one more may be sent."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

from genro_asgi.wsx.streams import Receiver

__all__ = ["iterate", "wait_ready"]


class _Sending(Protocol):
    on_ready: Any


async def iterate(receiver: Receiver) -> AsyncIterator[Any]:
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
