"""What sending a body piece by piece needs: sources that are always closed, clients that may leave."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from functools import lru_cache
from typing import Any

from genro_asgi.exceptions import ClientDisconnect
from genro_asgi.types import Message, Receive, Scope, Send

__all__ = [
    "Begun",
    "Runner",
    "ThreadedIterator",
    "begin",
    "close_source",
    "run_while_connected",
    "send_tells",
    "tell",
]

#: Runs a blocking function elsewhere: `await run(function, *args)`.
Runner = Callable[..., Awaitable[Any]]

_END: Any = object()


def send_tells(scope: Scope) -> bool:
    """Whether the server's `send` itself raises OSError once the client has left (ASGI HTTP, spec_version 2.4)."""
    return scope.get("type", "http") != "http" or _tells(str(scope.get("asgi", {}).get("spec_version", "2.0")))


@lru_cache(maxsize=16)
def _tells(version: str) -> bool:
    parts = version.split(".")
    return all(part.isdigit() for part in parts) and tuple(map(int, parts)) >= (2, 4)


async def run_while_connected(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Run a coroutine to its end, or until the client leaves; a disconnect cancels it and is no error."""
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_until_disconnect(receive))
    try:
        await asyncio.wait((task, watcher), return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and watcher.exception() is not None:
            # A server that cannot say whether the client is there is no reason to stop.
            await asyncio.wait((task,))
    finally:
        watcher.cancel()
        task.cancel()
        await asyncio.wait((task, watcher))
    if not task.cancelled():
        task.result()


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class ThreadedIterator(AsyncIterator[Any]):
    """The items of a sync iterable, each fetched by `run`, so that the loop never waits for one."""

    def __init__(self, source: Iterable[Any], run: Runner = asyncio.to_thread) -> None:
        self.source = source
        self.run = run
        self._iterator = iter(source)
        self._busy = threading.Lock()

    async def __anext__(self) -> Any:
        item = await self.run(self._next)
        if item is _END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Close the iterator and its source, after the step a cancelled reader may have left in its thread."""
        if hasattr(self._iterator, "close") or hasattr(self.source, "close"):
            await self.run(self._close)

    def _next(self) -> Any:
        with self._busy:
            return next(self._iterator, _END)

    def _close(self) -> None:
        with self._busy:
            for part in (self._iterator, self.source):
                close = getattr(part, "close", None)
                if close is not None:
                    close()


class Begun(AsyncIterator[Any]):
    """An async iterator whose first item was taken already, and comes first again."""

    def __init__(self, first: Any, rest: AsyncIterator[Any]) -> None:
        self._first = first
        self._rest = rest

    async def __anext__(self) -> Any:
        first, self._first = self._first, _END
        return await anext(self._rest) if first is _END else first

    async def aclose(self) -> None:
        """Close what is left."""
        await close_source(self._rest)


async def begin(pieces: Any, run: Runner) -> Begun:
    """Run a generator up to its first piece: what it raises or sets until then still decides about the answer."""
    source = pieces if isinstance(pieces, AsyncIterator) else ThreadedIterator(pieces, run)
    return Begun(await anext(source, _END), source)


async def close_source(*sources: Any) -> None:
    """Close async generators, and anything else with an `aclose`, each of them once."""
    for position, source in enumerate(sources):
        if hasattr(source, "aclose") and source not in sources[:position]:
            await source.aclose()


async def tell(send: Send, message: Message) -> None:
    """Send one message; ClientDisconnect when the server says that nobody is there."""
    try:
        await send(message)
    except OSError as error:
        raise ClientDisconnect("The client left before the answer was complete.") from error
