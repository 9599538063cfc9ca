"""Starting and stopping: applications in the order they were mounted, and back."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from genro_asgi.datastructures.state import State
from genro_asgi.exceptions import ConfigError
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["ForeignLifespan", "Lifespan", "ServerLifespan"]

logger = logging.getLogger("genro_asgi")


async def call_hook(hook: Callable[[], Any]) -> None:
    """Call a start or stop hook, sync or async."""
    result = hook()
    if isinstance(result, Awaitable):
        await result


class ForeignLifespan:
    """Speaks the lifespan protocol to a mounted ASGI application (ASGI, Lifespan 2.0).

    An application that does not know the protocol, which it says by raising, is left alone.
    """

    def __init__(self, app: ASGIApp, state: dict[str, Any]) -> None:
        self.app = app
        self.state = state
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: dict[str, asyncio.Future[Message]] = {}
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Start the application; RuntimeError with its own words when it says it failed."""
        self._task = asyncio.ensure_future(self._run())
        message = await self._ask("startup")
        if message is not None and message["type"] == "lifespan.startup.failed":
            raise RuntimeError(message.get("message") or f"{self.app!r} failed to start")
        if message is None:
            self._task = None

    async def shutdown(self) -> None:
        """Stop the application, if it ever started."""
        if self._task is None:
            return
        message = await self._ask("shutdown")
        if message is not None and message["type"] == "lifespan.shutdown.failed":
            raise RuntimeError(message.get("message") or f"{self.app!r} failed to stop")
        done, _ = await asyncio.wait((self._task,), timeout=10)
        if not done:
            logger.error("%r said it has stopped, and did not return; it is cancelled.", self.app)
            self._task.cancel()

    async def _ask(self, phase: str) -> Message | None:
        assert self._task is not None
        answer = self._answers[phase] = asyncio.get_running_loop().create_future()
        await self._to_app.put({"type": f"lifespan.{phase}"})
        await asyncio.wait((answer, self._task), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            message: Message = answer.result()
            return message
        if not self._task.cancelled() and self._task.exception() is not None:
            logger.debug("%r does not support the lifespan protocol", self.app, exc_info=self._task.exception())
        return None

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        await self.app(scope, self._to_app.get, self._take)

    async def _take(self, message: Message) -> None:
        phase = message["type"].split(".")[1] if message["type"].count(".") == 2 else ""
        answer = self._answers.get(phase)
        if answer is not None and not answer.done():
            answer.set_result(message)


class ServerLifespan:
    """The lifespan of a server: its own hooks, system apps, apps and mounted foreign applications."""

    def __init__(self, server: "AsgiServer") -> None:
        self.server = server
        self.state: dict[str, Any] = {}
        self.started = False
        self._stops: list[tuple[str, Callable[[], Any]]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.state = scope.get("state", {})
        message = await receive()
        assert message["type"] == "lifespan.startup"
        try:
            await self.startup()
        except ConfigError as exc:
            await send({"type": "lifespan.startup.failed", "message": str(exc)})
            return
        except Exception as exc:
            logger.error("The server did not start.", exc_info=exc)
            await send({"type": "lifespan.startup.failed", "message": f"{type(exc).__name__}: {exc}"})
            return
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()
        except asyncio.CancelledError:
            # A server in a hurry (a second Ctrl-C) never says shutdown; what was started is stopped all the same.
            await self.shutdown()
            return
        await self.shutdown()
        await send({"type": "lifespan.shutdown.complete"})

    async def startup(self) -> None:
        """Start everything in order; when one fails, what had started is stopped and the exception goes on."""
        # The server's state is the one its requests get: what start hooks put there, handlers find.
        self.state.update(self.server.state._state)
        self.server.state = State(self.state)
        self.server._check()  # a route that cannot be compiled stops the boot, and not its first request
        self.server._prepare()  # whatever was put into the registry of requests until now
        for notice in self.server._notices():
            logger.warning("%s", notice)
        try:
            for name, start, stop in self._parts():
                await call_hook(start)
                self._stops.append((name, stop))
        except BaseException:
            await self.shutdown()
            raise
        self.started = True

    async def shutdown(self) -> None:
        """Stop what has started, the last first; an error is logged and keeps nobody else from stopping."""
        self.started = False
        await self.server.drain()
        while self._stops:
            name, stop = self._stops.pop()
            try:
                await call_hook(stop)
            except Exception as exc:
                logger.error("%s did not stop cleanly.", name, exc_info=exc)
        await self.server.close()

    def _parts(self) -> list[tuple[str, Callable[[], Any], Callable[[], Any]]]:
        server = self.server
        owners: list[tuple[str, Any]] = [("server", server)]
        owners += [(f"_sys/{name}", app) for name, app in server.sys_apps.items()]
        owners += list(server.apps.items())
        parts = [(name, app.on_startup, app.on_shutdown) for name, app in owners if hasattr(app, "on_startup")]
        for name, mounted in server.mounts.items():
            foreign = ForeignLifespan(mounted.app, mounted.state)
            parts.append((name, foreign.startup, foreign.shutdown))
        return parts


Lifespan = ServerLifespan
