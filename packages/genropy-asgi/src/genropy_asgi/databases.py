"""Databases of GenroPy behind the handlers of the server."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from genro_asgi.exceptions import ConfigError
from genro_asgi.request import BaseRequest
from genropy_asgi.found import found, said_in_one_line

__all__ = ["GenropyDatabase", "RequestDatabase", "open_application"]


def open_application(name: str, where: str) -> Any:
    """The GnrApp of an instance; ConfigError, beginning with `where`, when it cannot be made."""
    try:
        with said_in_one_line(name):
            return found("gnr.app.gnrapp").GnrApp(name)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except Exception as error:
        raise ConfigError(f"{where}: GnrApp({name!r}) cannot be made: {type(error).__name__}: {error}") from error


class GenropyDatabase:
    """The database of a GnrApp, whose connections belong to threads, given to requests one at a time.

    Its attributes are those of the database. What a request leaves open in a thread is rolled back and closed when the
    request ends, or before another one gets that thread.
    """

    def __init__(self, db: Any) -> None:
        self.db = db
        self._lock = threading.Lock()
        self._owners: dict[int, BaseRequest] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    def closeConnection(self) -> None:
        """Roll back and close what the calling thread has open."""
        with self._lock:
            self._owners.pop(threading.get_ident(), None)
            self.db.closeConnection()

    def lend(self, request: BaseRequest) -> None:
        """Make the calling thread the request's; RuntimeError on the event loop, where a thread has many requests."""
        if _on_event_loop():
            raise RuntimeError(
                "a GenroPy database was used on the event loop; its calls wait, and its connections belong to threads: "
                "use it in a plain `def` handler, or through `await server.handlers.run(...)`."
            )
        thread = threading.get_ident()
        with self._lock:
            owner = self._owners.get(thread)
            if owner is not request:
                if owner is not None:
                    self.db.closeConnection()
                self._owners[thread] = request

    def take_back(self, request: BaseRequest) -> None:
        """Close what the request has left open, in whatever threads."""
        with self._lock:
            for thread in [thread for thread, owner in self._owners.items() if owner is request]:
                del self._owners[thread]
                for connection in (self.db._connections.pop(thread, None) or {}).values():
                    _close(connection)


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _close(connection: Any) -> None:
    # A driver that refuses another thread, such as SQLite's, closes when nobody holds the connection any more.
    for step in ("rollback", "close"):
        try:
            getattr(connection, step)()
        except Exception:
            return


class _Closer:
    """What closes a database at the end of a request; all of one request are the same to it."""

    def __init__(self, database: GenropyDatabase, request: BaseRequest) -> None:
        self.what = database, request

    def __call__(self) -> None:
        database, request = self.what
        database.take_back(request)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Closer) and self.what == other.what

    def __hash__(self) -> int:
        return hash((id(self.what[0]), id(self.what[1])))


class RequestDatabase:
    """A database as one request sees it."""

    def __init__(self, database: GenropyDatabase, request: BaseRequest) -> None:
        self._database = database
        self._request = request

    def __getattr__(self, name: str) -> Any:
        self._database.lend(self._request)
        return getattr(self._database.db, name)

    @property
    def closeConnection(self) -> Callable[[], None]:
        """Closes what the request has open."""
        return _Closer(self._database, self._request)
