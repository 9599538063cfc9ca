"""One item at a time out of an iterator that lives in threads."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from typing import Any

# What a pull returns when the iterator has ended: StopIteration cannot travel through a future.
END = object()


class Pull:
    """A call that makes the iterator when it is first made, and yields the next item each time.

    It carries the name of the function it stands for, and one context for all items.
    """

    def __init__(self, make: Callable[[], Iterable[Any]], named: object) -> None:
        self.__qualname__ = getattr(named, "__qualname__", repr(named))
        self.__module__ = getattr(named, "__module__", None) or "builtins"
        self._make: Callable[[], Iterable[Any]] | None = make
        self._iterator: Iterator[Any] | None = None
        self._context = copy_context()
        self._lock = threading.Lock()
        self._running = False
        self._dismissed = False

    def __call__(self) -> object:
        with self._lock:
            self._running = True
        try:
            return END if self._dismissed else self._context.run(self._next)
        finally:
            with self._lock:
                self._running = False
            if self._dismissed:
                self._context.run(self._close)

    @property
    def begun(self) -> bool:
        """True once the iterator was asked for."""
        return self._make is None

    def dismiss(self) -> bool:
        """No more items are wanted; True when one more call is needed to close the iterator."""
        with self._lock:
            self._dismissed = True
            return self._iterator is not None and not self._running

    def _next(self) -> object:
        if self._make is not None:
            make, self._make = self._make, None
            self._iterator = iter(make())
        assert self._iterator is not None
        try:
            return next(self._iterator)
        except StopIteration:
            self._iterator = None
            return END
        except BaseException:
            self._iterator = None
            raise

    def _close(self) -> None:
        iterator, self._iterator = self._iterator, None
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
