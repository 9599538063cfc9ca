"""The lifespan of an application, as a server runs it."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from genro_asgi.testing.exchange import Exchange
from genro_asgi.types import ASGIApp, Message

__all__ = ["LifespanManager"]


class LifespanManager(Exchange):
    """Starts an application by `async with`, and shuts it down; `state` is what requests get a copy of.

    An application that returns without a word has no lifespan, which is fine. One that fails to start raises its
    exception, or RuntimeError with the text it sent.
    """

    def __init__(self, app: ASGIApp, timeout: float = 5) -> None:
        self.state: dict[str, Any] = {}
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        super().__init__(app, scope, timeout)
        self._phase = "startup"
        self._answers: dict[str, Message] = {}
        self._startup_read = False
        self._shutdown = asyncio.Event()

    async def receive(self) -> Message:
        if not self._startup_read:
            self._startup_read = True
            return {"type": "lifespan.startup"}
        await self._shutdown.wait()
        return {"type": "lifespan.shutdown"}

    def handle(self, message: Message) -> None:
        kind = message["type"]
        if kind not in (f"lifespan.{self._phase}.complete", f"lifespan.{self._phase}.failed"):
            raise AssertionError(f"{kind!r} is not a message for the {self._phase} of an application.")
        if self._phase in self._answers:
            raise AssertionError(f"The {self._phase} was answered twice.")
        self._answers[self._phase] = message

    async def _ask(self) -> None:
        """Wait for the answer of the phase, and raise when it failed."""
        phase = self._phase
        await self.until(lambda: phase in self._answers, f"answer lifespan.{phase}")
        answer = self._answers.get(phase)
        if answer is not None and answer["type"].endswith(".failed"):
            with suppress(TimeoutError):  # that it failed says more than that it stayed
                await self.finish()
            raise self.error or RuntimeError(f"The application failed at its {phase}: {answer.get('message', '')}")
        if answer is None or phase == "shutdown":
            await self.finish()
        if self.error is not None:
            raise self.error

    async def __aenter__(self) -> Self:
        self.start()
        try:
            await self._ask()
        except BaseException:
            await self.cancel()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._phase = "shutdown"
        self._shutdown.set()
        try:
            await self._ask()
        except BaseException:
            await self.cancel()
            if error is None:
                raise
