"""One run of an application, and the waiting for what it does."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from genro_asgi.types import ASGIApp, Message, Scope

__all__ = ["Exchange", "check_headers"]


def check_headers(message: Message, lower: bool = False) -> list[tuple[bytes, bytes]]:
    """The headers of a message the application sent; AssertionError when they are not what ASGI wants.

    With `lower` names may have capitals, which most servers let pass.
    """
    pairs = []
    for pair in message.get("headers", ()):
        if not (isinstance(pair, list | tuple) and len(pair) == 2):
            raise AssertionError(f"A header must be a pair of bytes, got {pair!r}.")
        name, value = pair
        if not (isinstance(name, bytes) and isinstance(value, bytes)):
            raise AssertionError(f"A header must be a pair of bytes, got {pair!r}.")
        if lower:
            name = name.lower()
        if name != name.lower():
            raise AssertionError(f"A header name must be in lower case, got {name!r}.")
        if not name or any(byte in name + value for byte in b"\r\n\0") or name.startswith(b":"):
            raise AssertionError(f"The header {name!r}: {value!r} would break the response.")
        pairs.append((name, value))
    return pairs


class Exchange(ABC):
    """An application at work on one scope; subclasses give it `receive` and say what its messages mean.

    A message against the specification raises AssertionError in the application, and, because applications catch
    things, in the client as well.
    """

    #: Whether capitals in header names are let pass.
    lower_headers = False

    def __init__(self, app: ASGIApp, scope: Scope, timeout: float) -> None:
        self.scope = scope
        self.timeout = timeout
        self.violation: AssertionError | None = None
        self._app = app
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run the application in a task of its own."""
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # asked for here, because who finds a violation never asks
        self._changed.set()

    async def _run(self) -> None:
        await self._app(self.scope, self.receive, self.send)

    @abstractmethod
    async def receive(self) -> Message:
        """What the application awaits for the next thing the client did."""

    @abstractmethod
    def handle(self, message: Message) -> None:
        """Take a message of the application; AssertionError when the specification forbids it."""

    async def send(self, message: Message) -> None:
        """What the application awaits to say something to the client."""
        try:
            if not isinstance(message, Mapping) or not isinstance(message.get("type"), str):
                raise AssertionError(f"A message must be a mapping with a type, got {message!r}.")
            self.handle(message)
        except AssertionError as error:
            self.violation = self.violation or error
            raise
        finally:
            self._changed.set()
        # A server writes to a socket here: whoever reads must get a turn.
        await asyncio.sleep(0)

    @property
    def ended(self) -> bool:
        """Whether the application has returned or raised."""
        return self._task is not None and self._task.done()

    @property
    def error(self) -> BaseException | None:
        """What the application ended with, the specification's complaint first."""
        if self.violation is not None:
            return self.violation
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()

    async def until(self, ready: Callable[[], Any], what: str) -> None:
        """Wait for a condition, or for the application to end; TimeoutError says what did not happen."""
        try:
            async with asyncio.timeout(self.timeout):
                while not ready() and not self.ended:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"The application did not {what} within {self.timeout} s.") from None

    async def finish(self) -> None:
        """Wait for the application to end; one that does not is cancelled, and TimeoutError says so."""
        try:
            await self.until(lambda: False, "return")
        finally:
            await self.cancel()

    async def cancel(self) -> None:
        """End the application, if it has not ended."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
