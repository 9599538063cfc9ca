"""The client for programs without asyncio: the same calls, blocking, on a loop in a thread of its own."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from types import AsyncGeneratorType
from typing import Any, Self

from genro_asgi.wsx.client import Client
from genro_asgi.wsx.connection import Handler
from genro_asgi.wsx.credentials import Auth, AuthSource
from genro_asgi.wsx.errors import WsxCallError
from genro_asgi.wsx.kinds import Response

__all__ = ["SyncClient", "connect"]

_END = object()
_CLOSED = "The client was closed; connect again."
_INSIDE = "What the client calls must not wait for it; do so in another thread, or use genro_asgi.wsx.client."


def connect(url: str, auth: AuthSource = None, **options: Any) -> "SyncClient":
    """A blocking client, connected; to be used in a `with`, or closed. Options: see Client."""
    return SyncClient(url, auth, **options)


class SyncClient:
    """As Client, but every method waits for its result; it may be used by several threads."""

    def __init__(self, url: str, auth: AuthSource = None, **options: Any) -> None:
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._end = asyncio.Event()
        self._over = False
        # One that may be entered twice: what collects garbage in here may find an iteration to be left.
        self._lock = threading.RLock()
        self._thread = threading.Thread(target=self._run, name="wsx-sync-client", daemon=True)
        self._thread.start()
        try:
            self._client: Client = self._wait(_opened(url, auth, options))
        except BaseException:
            self._over = True
            self._stop()
            raise

    def _run(self) -> None:
        with self._runner:
            self._runner.run(self._end.wait())

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        with self._lock:
            if self._over or threading.current_thread() is self._thread:
                work.close()
                raise RuntimeError(_CLOSED if self._over else _INSIDE)
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise WsxCallError(503, "the client was closed", code="DISCONNECTED") from None
        except BaseException:
            future.cancel()  # the caller was interrupted: so is the call
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread; what other threads wait for fails with 503 DISCONNECTED."""
        if threading.current_thread() is self._thread:
            raise RuntimeError(_INSIDE)
        with self._lock:
            first, self._over = not self._over, True
            closing = asyncio.run_coroutine_threadsafe(self._client.close(), self._loop) if first else None
        if closing is None:
            self._thread.join()
            return
        try:
            closing.result()
        finally:
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    @property
    def identity(self) -> Any:
        """Who the server says we are."""
        return self._client.identity

    @property
    def features(self) -> frozenset[str]:
        """What both sides can do besides."""
        return self._client.features

    def request(self, method: str, path: str, data: Any = None, **options: Any) -> Response:
        """The whole answer; see Client.request."""
        answer: Response = self._wait(self._client.request(method, path, data, **options))
        return answer

    def call(self, method: str, path: str, data: Any = None, **options: Any) -> Any:
        """The data of the answer; see Client.call."""
        return self._wait(self._client.call(method, path, data, **options))

    def get(self, path: str, query: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """The data of the answer to a GET."""
        return self.call("GET", path, query=query, **options)

    def post(self, path: str, data: Any = None, **options: Any) -> Any:
        """The data of the answer to a POST."""
        return self.call("POST", path, data, **options)

    def put(self, path: str, data: Any = None, **options: Any) -> Any:
        """The data of the answer to a PUT."""
        return self.call("PUT", path, data, **options)

    def patch(self, path: str, data: Any = None, **options: Any) -> Any:
        """The data of the answer to a PATCH."""
        return self.call("PATCH", path, data, **options)

    def delete(self, path: str, query: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """The data of the answer to a DELETE."""
        return self.call("DELETE", path, query=query, **options)

    def event(self, path: str, data: Any = None, method: str = "POST", **options: Any) -> None:
        """Send a message that is not answered."""
        self._wait(self._client.event(path, data, method, **options))

    def schema(self) -> dict[str, Any]:
        """The server's OpenAPI document; see Client.schema."""
        document: dict[str, Any] = self._wait(self._client.schema())
        return document

    def authenticate(self, auth: Auth) -> None:
        """Renew the credentials; see Client.authenticate."""
        self._wait(self._client.authenticate(auth))

    def on_broadcast(self, receiver: Callable[[Any], Awaitable[None] | None]) -> None:
        """Call a function with what the server sends without being asked, in a thread that must not wait for calls."""
        self._client.on_broadcast(receiver)

    def handle(self, path: str, handler: Handler) -> None:
        """Let a function answer the calls of the server to a path, in a thread that must not wait for calls."""
        self._client.handle(path, handler)

    def stream(
        self, path: str, query: Mapping[str, Any] | None = None, data: Any = None, **options: Any
    ) -> Iterator[Any]:
        """The items of a streamed answer; see Client.stream."""
        return self._iterate(lambda: self._client.stream(path, query, data, **options))

    def subscribe(self, topic: str, filter: Any = None, **options: Any) -> Iterator[dict[str, Any]]:
        """The events of a topic; see Client.subscribe."""
        return self._iterate(lambda: self._client.subscribe(topic, filter, **options))

    def _iterate(self, make: Callable[[], AsyncGenerator[Any, None]]) -> Iterator[Any]:
        items = make()
        try:
            while (item := self._wait(_next(items))) is not _END:
                yield item
        finally:
            self._leave(items)

    def _leave(self, items: AsyncGenerator[Any, None]) -> None:
        with self._lock:
            if self._over:
                return  # the loop has ended it, or will
            left = asyncio.run_coroutine_threadsafe(_closed(items), self._loop)
        # One that was forgotten is left by whoever finds it, and that may be the loop itself.
        if threading.current_thread() is not self._thread:
            with suppress(CancelledError):
                left.result()


async def _opened(url: str, auth: AuthSource, options: dict[str, Any]) -> Client:
    return await Client(url, auth, **options)


async def _next(items: AsyncGenerator[Any, None]) -> Any:
    return await anext(items, _END)


async def _closed(items: AsyncGenerator[Any, None]) -> None:
    assert isinstance(items, AsyncGeneratorType)
    while items.ag_running:  # noqa: ASYNC110 (the step that was interrupted ends, and tells nobody)
        await asyncio.sleep(0)
    await items.aclose()
