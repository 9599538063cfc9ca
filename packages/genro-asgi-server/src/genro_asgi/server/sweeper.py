"""One timer for all requests: finds those that take long, so that the short ones pay for no watcher and no timeout."""

import asyncio
from typing import Any

from genro_asgi.limits import Limits
from genro_asgi.request import HttpRequest, RequestRegistry

__all__ = ["Sweeper"]

#: Seconds between two rounds.
PERIOD = 0.1


class Sweeper:
    """Looks at the requests in flight ten times a second."""

    def __init__(self, registry: RequestRegistry, limits: Limits) -> None:
        self.registry = registry
        self.body_timeout, self.handler_timeout = limits.body_timeout, limits.handler_timeout
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin the rounds on this loop."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(PERIOD, self._round, loop)

    def stop(self) -> None:
        """End the rounds."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _round(self, loop: asyncio.AbstractEventLoop) -> None:
        for request in list(self.registry.live):
            if isinstance(request, HttpRequest) and request.task is not None and request.task.get_loop() is loop:
                self._look_at(request)
        self._timer = loop.call_later(PERIOD, self._round, loop)

    def _look_at(self, request: HttpRequest) -> None:
        if request.phase == "socket" or request.phase == "passed":
            return  # a raw WebSocket, or a WSGI application, may take as long as it likes, and reads for itself
        if request.phase != request.swept_phase:
            request.swept_phase, request.ticks = request.phase, 0
        request.ticks += 1
        lasted = request.ticks * PERIOD
        if request.phase == "body":
            if request.chunks:
                request.chunks = request.ticks = 0
            elif self.body_timeout is not None and lasted > self.body_timeout:
                request.cancel("body")
            return
        limit = self.handler_timeout if request.phase == "handler" and request.timer is None else None
        if limit is not None and lasted > limit:
            request.cancel("deadline")
        if request.watcher is None and (request.body_read or not request.may_have_body()):
            request.extra = True
            request.watcher = asyncio.ensure_future(watch(request))


async def watch(request: HttpRequest) -> None:
    """Wait for the client to leave, and cancel the handler unless its route wants it to finish."""
    receive: Any = request._receive
    while (message := await receive())["type"] != "http.disconnect":
        request.keep(message)
        if len(request._body) > request.limits.max_body:
            return  # a body nobody announced and nobody reads
    request.disconnected = True
    if request.endpoint is None or not request.endpoint.finish_on_disconnect:
        request.cancel("disconnected")
