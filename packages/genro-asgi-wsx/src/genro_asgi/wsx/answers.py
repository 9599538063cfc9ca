"""What a caller awaits: the answer to a call, or the items of it, and how long it may take."""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

from genro_asgi.budget import time_left
from genro_asgi.wsx.codec import as_message
from genro_asgi.wsx.errors import WsxCallError
from genro_asgi.wsx.kinds import Response
from genro_asgi.wsx.outgoing import Outgoing
from genro_asgi.wsx.pump import iterate, send_chunks

__all__ = ["await_answer", "await_items", "milliseconds", "seconds", "within_budget"]

# The longest time that a message can tell in every form.
_LONGEST = 2**53


async def await_answer(outgoing: Outgoing, chunks: AsyncIterator[Any] | None = None) -> Response:
    """The answer to a call to which `chunks` are streamed; WsxCallError when it is an error. Leaving cancels it."""
    done = asyncio.get_running_loop().create_future()
    items: list[Any] = []

    def changed() -> None:
        while len(outgoing.items):
            items.append(outgoing.items.take())
        if outgoing.done and not done.done():
            done.set_result(None)

    outgoing.on_change = changed
    changed()
    pump = None if chunks is None else asyncio.create_task(send_chunks(outgoing, chunks))
    try:
        await done
    finally:
        outgoing.on_change = None
        outgoing.cancel()
        await _stopped(pump)
    if outgoing.error is not None or outgoing.response is None:
        raise outgoing.error or WsxCallError(500, "the call ended without an answer")
    response = as_message("response", outgoing.response)
    assert isinstance(response, Response)
    return replace(response, data=items) if outgoing.streamed else response


async def await_items(outgoing: Outgoing, chunks: AsyncIterator[Any] | None = None) -> AsyncGenerator[Any, None]:
    """The items of an answer as they come; leaving the iteration cancels the call."""
    pump = None if chunks is None else asyncio.create_task(send_chunks(outgoing, chunks))
    try:
        async with aclosing(iterate(outgoing.items)) as items:
            async for item in items:
                yield item
        if not outgoing.streamed and outgoing.response is not None and outgoing.response.data is not None:
            yield outgoing.response.data
    finally:
        outgoing.cancel()
        await _stopped(pump)


async def _stopped(pump: asyncio.Task[None] | None) -> None:
    if pump is not None:
        pump.cancel()
        with suppress(asyncio.CancelledError):
            await pump


def seconds(timeout: float | None) -> float | None:
    """A timeout as the caller gave it, None for none; ValueError for what is no time."""
    if timeout is None or timeout == math.inf:
        return None
    if not timeout > 0:
        raise ValueError(f"timeout is {timeout!r}; give seconds above 0, or None to wait as long as it takes.")
    return timeout


def within_budget(timeout: float | None) -> float | None:
    """The timeout of a call, which has no more time than what makes it; WsxCallError when there is none left."""
    left = time_left()
    if left is None:
        return timeout
    if left <= 0:
        raise WsxCallError(504, "no time is left for the call", retry=True)
    return left if timeout is None else min(timeout, left)


def milliseconds(timeout: float | None) -> int | None:
    """A timeout as a message tells it."""
    return None if timeout is None else max(round(min(timeout * 1000, _LONGEST)), 1)
