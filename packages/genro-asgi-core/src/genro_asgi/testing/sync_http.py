"""What carries the requests of TestClient to the application, and brings the responses as they are read."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx

from genro_asgi.testing.http import HttpExchange
from genro_asgi.testing.portal import Portal
from genro_asgi.types import Scope

if TYPE_CHECKING:
    from genro_asgi.testing.sync_client import TestClient

__all__ = ["TIMEOUT", "Transport"]

# Tests of Starlette know no limit; this one is for those that would never end.
TIMEOUT = 60


class Transport(httpx.BaseTransport):
    """Carries httpx's requests to the application."""

    def __init__(self, client: "TestClient") -> None:
        self._client = client
        self._open: set[_Body] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        scope = self._client.make_scope(request, "http")
        with ExitStack() as stack:
            portal = stack.enter_context(self._client.portal())
            exchange = portal.call(self._begin(scope, request.read()))
            body = _Body(portal, exchange, self._client.raise_server_exceptions)
            self._open.add(body)
            stack.callback(self._open.discard, body)
            body.owned = stack.pop_all()
        response = httpx.Response(
            exchange.status, headers=exchange.headers, stream=body, request=request, extensions=exchange.extensions
        )
        body.response = response
        return response

    async def _begin(self, scope: Scope, body: bytes) -> HttpExchange:
        exchange = HttpExchange(self._client.app, scope, body, TIMEOUT, in_step=True)
        exchange.start()
        try:
            await exchange.until(lambda: exchange.status, "start its response")
            if exchange.ended or exchange.violation is not None:
                await exchange.finish()
                if not exchange.status and exchange.error is None:
                    raise AssertionError("TestClient did not receive any response.")
                started = bool(exchange.status)
                _check(exchange, self._client.raise_server_exceptions)
                if exchange.error is not None and not started:
                    exchange.chunks.clear()  # Starlette's client makes up a status, and no body
        except BaseException:
            await exchange.cancel()
            raise
        return exchange

    def close(self) -> None:
        """Leave what is still being answered."""
        for body in list(self._open):
            body.abandon()


def _check(exchange: HttpExchange, raise_exceptions: bool) -> None:
    """Raise what is to be raised; who wants no exceptions gets what was sent before one, as from Starlette's client."""
    try:
        exchange.check_complete(raise_exceptions)
    except ConnectionResetError:
        if raise_exceptions:
            raise


class _Body(httpx.SyncByteStream):
    """A response that comes as it is read; at its end the application is let finish, and what it raised is raised."""

    def __init__(self, portal: Portal, exchange: HttpExchange, raise_exceptions: bool) -> None:
        self._portal, self._exchange, self._raise = portal, exchange, raise_exceptions
        self.response: httpx.Response | None = None
        #: What is let go with it.
        self.owned = ExitStack()
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        while (chunk := self._portal.call(self._exchange.read())) is not None:
            yield chunk

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with self.owned:
            self._portal.call(self._end())
            self._tell_extensions()

    async def _end(self) -> None:
        exchange = self._exchange
        if not (exchange.complete or exchange.ended):
            exchange.disconnect()
            await exchange.cancel()
            return
        await exchange.finish()
        _check(exchange, self._raise)

    def abandon(self) -> None:
        """Cancel the application, wherever it is."""
        if not self._closed:
            self._closed = True
            with self.owned:
                self._portal.call(self._exchange.cancel())

    def _tell_extensions(self) -> None:
        if self.response is None:
            return
        self.response.extensions.update(self._exchange.extensions)
        info = self._exchange.extensions.get("http.response.debug")
        for name in ("template", "context"):
            if isinstance(info, Mapping) and name in info:
                setattr(self.response, name, info[name])
