"""The client for programs without asyncio: the same calls, blocking, on a loop in a thread of its own."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from typing import Any, Self

from genro_asgi.wsx.client import Client
from genro_asgi.wsx.kinds import Response

__all__ = ["SyncClient", "connect"]

_END = object()


def connect(url: str, auth: Any = None, **options: Any) -> "SyncClient":
    """A blocking client, connected; to be used in a `with`, or closed. Options: see Client."""
    return SyncClient(url, auth, **options)


class SyncClient:
    """As Client, but every method waits for its result; it may be used by several threads."""

    def __init__(self, url: str, auth: Any = None, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wsx-sync-client", daemon=True)
        self._thread.start()
        try:
            self._client: Client = self._wait(_opened(url, auth, options))
        except BaseException:
            self._stop()
            raise

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("The client was closed; connect again.")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # the caller was interrupted: so is the call
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread."""
        if self._thread.is_alive():
            self._wait(self._client.close())
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    @property
    def identity(self) -> Any:
        """Who the server says we are."""
        return self._client.identity

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

    def event(self, path: str, data: Any = None, method: str = "POST") -> None:
        """Send a message that is not answered."""
        self._wait(self._client.event(path, data, method))

    def schema(self) -> dict[str, Any]:
        """The server's OpenAPI document; see Client.schema."""
        document: dict[str, Any] = self._wait(self._client.schema())
        return document

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
            self._wait(_closed(items))


async def _opened(url: str, auth: Any, options: dict[str, Any]) -> Client:
    return await Client(url, auth, **options)


async def _next(items: AsyncGenerator[Any, None]) -> Any:
    return await anext(items, _END)


async def _closed(items: AsyncGenerator[Any, None]) -> None:
    await items.aclose()
