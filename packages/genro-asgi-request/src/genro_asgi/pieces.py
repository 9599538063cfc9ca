"""Sends what an async iterator gives: pieces that come without a wait between them go out together."""

from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from time import monotonic
from types import coroutine
from typing import Any

from genro_asgi.exceptions import ClientDisconnect

__all__ = ["send_pieces"]

#: Bytes after which pieces are sent, and seconds after which they are, should the iterator keep the loop busy.
ENOUGH = 65536
LONG = 0.005

#: Sends some bytes of a body.
Emit = Callable[[bytes], Awaitable[None]]


@coroutine
def send_pieces(pieces: AsyncIterator[Any], encode: Callable[[Any], bytes], emit: Emit) -> Generator[Any, Any, None]:
    """Await `emit` with the bytes of all pieces; ClientDisconnect when it raises OSError.

    A message for each piece is most of what a long stream costs. Nobody can see the difference as long as no piece
    waits for anything: whenever the iterator does, or fails, what it gave so far is sent first.
    """
    batch: list[bytes] = []
    more = True
    while more:
        collecting = _collect(pieces, batch, encode)
        try:
            more = yield from _run(collecting, batch, emit)
        except Exception:
            if batch:
                yield from _flush(batch, emit)
            raise
        if batch:
            yield from _flush(batch, emit)


async def _collect(pieces: AsyncIterator[Any], batch: list[bytes], encode: Callable[[Any], bytes]) -> bool:
    """Take pieces until there are enough for a message; False when there are no more."""
    size, late = 0, monotonic() + LONG
    async for piece in pieces:
        data = piece if piece.__class__ is bytes else encode(piece)
        batch.append(data)
        size += len(data)
        if size >= ENOUGH or monotonic() > late:
            return True
    return False


def _run(collecting: Coroutine[Any, Any, bool], batch: list[bytes], emit: Emit) -> Generator[Any, Any, bool]:
    """Drive the collector as `yield from` would, but send what there is whenever it is about to wait."""
    failure: ClientDisconnect | None = None
    step: Callable[[Any], Any] = collecting.send
    argument: Any = None
    try:
        while True:
            waited = step(argument)
            step, argument = collecting.send, None
            try:
                if batch and failure is None:
                    yield from _flush(batch, emit)
            except BaseException as error:
                # The iterator is in the middle of a wait: there it ends, as if its task had been cancelled.
                if isinstance(error, ClientDisconnect):
                    failure, error = error, CancelledError()
                if hasattr(waited, "cancel"):
                    waited.cancel()
                step, argument = collecting.throw, error
                continue
            try:
                argument = yield waited
            except BaseException as error:
                step, argument = collecting.throw, error
    except StopIteration as end:
        more: bool = end.value
    except CancelledError:
        if failure is None:
            raise
        more = False
    if failure is not None:
        raise failure
    return more


def _flush(batch: list[bytes], emit: Emit) -> Generator[Any, Any, None]:
    data = batch[0] if len(batch) == 1 else b"".join(batch)
    batch.clear()
    if data:
        try:
            yield from emit(data).__await__()
        except OSError as error:
            raise ClientDisconnect("The client left before the answer was complete.") from error
