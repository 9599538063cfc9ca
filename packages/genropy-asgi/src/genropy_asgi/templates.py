"""The mako templates of pages, compiled when they change and not for each page."""

import gc
import os
import posixpath
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from genropy_asgi.found import found

__all__ = ["COUNTS_FOR_ALL", "Lookups", "alone", "install", "lookup_class"]

#: Lists of folders whose templates are kept; each folder of pages, and each set of resources, makes one.
MOST = 256

#: Whether the interpreter counts the depth of syntax trees for all threads together (gh-106905): where two are made at
#: once, one of them may end as a SystemError.
COUNTS_FOR_ALL = sys.version_info < (3, 11, 8) or (3, 12) <= sys.version_info < (3, 12, 2)

_parsing = threading.Lock()


def install() -> None:
    """Have the pages made from here on in this process share their templates.

    A GenroPy that makes its pages without mako, as it can already be told to, has nothing to be shared.
    """
    webpage = found("gnr.web.gnrwebpage")
    base = getattr(webpage, "TemplateLookup", None)
    if isinstance(base, type):  # once ours is in its place it is none
        webpage.TemplateLookup = Lookups(lookup_class(base)).get
        parser = found("mako._ast_util")
        if COUNTS_FOR_ALL:
            parser.parse = alone(parser.parse)


class Lookups:
    """The lookups there are, by what they were made with; of too many the one that was not used for longest goes."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make
        self._kept: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, directories: list[str], **options: Any) -> Any:
        """What TemplateLookup(directories, **options) would be."""
        key = (*directories, *sorted(options.items()))
        with self._lock:
            lookup = self._kept.pop(key, None) or self._make(directories=list(directories), **options)
            self._kept[key] = lookup
            if len(self._kept) > MOST:
                self._kept.popitem(last=False)
        return lookup


def lookup_class(base: Any) -> Any:
    """mako's TemplateLookup, made to be kept."""

    class Lookup(base):  # type: ignore[misc]
        """mako's lookup, which looks for the file each time: another folder may have one meanwhile."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self._seen: dict[str, tuple[str, tuple[int, int, int], Any]] = {}
            self._compiling = threading.Lock()

        def get_template(self, uri: str) -> Any:
            """The template of the file that `uri` names now."""
            name = uri.replace("\\", "/").lstrip("/")
            for folder in self.directories:
                file = posixpath.normpath(posixpath.join(folder, name))
                signature = _signature_of(file)
                if signature is not None:
                    return self._current(uri, file, signature)
            if self._seen.pop(uri, None) is not None:
                self._collection.pop(uri, None)
            return super().get_template(uri)

        def _current(self, uri: str, file: str, signature: tuple[int, int, int]) -> Any:
            seen = self._seen.get(uri)
            if seen is not None and seen[0] == file and seen[1] == signature:
                return seen[2]
            with self._compiling:  # those who wait for it find it done
                seen = self._seen.get(uri)
                if seen is None or seen[:2] != (file, signature):
                    self._collection.pop(uri, None)
                    seen = self._seen[uri] = file, signature, self._load(file, uri)
            return seen[2]

    return Lookup


def _signature_of(file: str) -> tuple[int, int, int] | None:
    if not os.path.isfile(file):
        return None
    state = os.stat(file)
    return state.st_mtime_ns, state.st_size, state.st_ino


def alone(parse: Callable[..., Any]) -> Callable[..., Any]:
    """The same parser, at work in one thread at a time; no finalizer lets another one in."""

    def parse_alone(*args: Any, **kwargs: Any) -> Any:
        with _parsing:
            collects = gc.isenabled()
            gc.disable()
            try:
                return parse(*args, **kwargs)
            finally:
                if collects:
                    gc.enable()

    return parse_alone
