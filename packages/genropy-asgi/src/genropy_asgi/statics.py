"""Static files of a site, answered on the event loop with the headers GenroPy gave them the first time."""

import os
import re
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from stat import S_ISREG
from time import monotonic, time
from typing import Any

from genro_asgi.middleware.wsgi import WSGIMiddleware
from genro_asgi.types import Message, Receive, Scope, Send
from genropy_asgi.found import found

__all__ = ["Statics"]

Pair = tuple[bytes, bytes]

#: Places whose files anybody gets, with the seconds their way from URL to file is trusted: that of `_site` is
#: configured in the database, the others by the configuration of the process.
PLACES = {"_gnr": 60.0, "_dojo": 60.0, "_rsrc": 60.0, "_pkg": 60.0, "_site": 5.0}
#: Bytes of the largest file that is kept, and of all that are.
LARGEST = 1024 * 1024
ROOM = 64 * 1024 * 1024

# The query by which pages have a changed file loaded anew; GenroPy obeys some others.
_HARMLESS_QUERY = re.compile(rb"(?:mtime=[0-9.]*)?")
# Headers that change the answer in ways that are GenroPy's to know.
_NOT_OURS = frozenset(
    {b"range", b"if-range", b"if-match", b"if-modified-since", b"if-unmodified-since", b"content-length",
     b"transfer-encoding", b"expect"}
)  # fmt: skip


@dataclass(slots=True)
class _Kept:
    """An answer of GenroPy, and what must be so that it is still the answer."""

    file: str
    signature: tuple[int, int, int]
    until: float
    headers: list[Pair]
    expires_at: int | None
    lifetime: float
    etag: str
    body: bytes


class Statics:
    """Answers what it has seen the site answer, as long as the file is the same; the rest it lets pass.

    Resolution, headers and content are GenroPy's: only its answers to plain GETs are kept, and every request looks at
    the file again.
    """

    def __init__(self, site: Any, bridge: WSGIMiddleware) -> None:
        self.site = site
        self.bridge = bridge
        self.compresses = self._compresses()
        self._kept: dict[tuple[str, bytes], _Kept] = {}
        self._size = 0
        self._second = 0
        self._dates: dict[float, bytes] = {}

    def _compresses(self) -> bool:
        return bool(found("gnr.core.gnrstring").boolean(self.site.config["wsgi?compression"]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer the request; False, and nothing done, when it is the site's."""
        path: str = scope["path"]
        root = scope.get("root_path", "")
        if root and path.startswith(root):
            path = path[len(root) :]
        if path[:2] != "/_" or scope["method"] not in ("GET", "HEAD"):
            return False
        place = path[1:].partition("/")[0]
        if place not in PLACES or not _HARMLESS_QUERY.fullmatch(scope["query_string"]):
            return False
        seen, encodings = None, b""
        for name, value in scope["headers"]:
            if name in _NOT_OURS and not (name == b"if-modified-since" and self._has_etag(scope)):
                return False
            if name == b"if-none-match":
                seen = value
            elif name == b"accept-encoding" and self.compresses:
                encodings = value
        key = path, encodings
        kept = self._fresh(key)
        if kept is None:
            if scope["method"] != "GET" or seen is not None:
                return False
            await self._keep(key, PLACES[place], scope, receive, send)
            return True
        return await self._send(kept, seen, scope["method"] == "HEAD", send)

    def _has_etag(self, scope: Scope) -> bool:
        # GenroPy looks at the date only where there is no ETag, as RFC 9110, 13.1.3 says.
        return any(name == b"if-none-match" for name, _ in scope["headers"])

    def _fresh(self, key: tuple[str, bytes]) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        # One stat of a file that was just used costs less than asking a thread to do it.
        if kept.until > monotonic() and signature_of(kept.file) == kept.signature:
            return kept
        self._drop(key)
        return None

    def _drop(self, key: tuple[str, bytes]) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._size -= len(kept.body)

    async def _send(self, kept: _Kept, seen: bytes | None, head: bool, send: Send) -> bool:
        if seen is not None:
            if seen.decode("latin-1").replace('"', "") != kept.etag:
                return False
            # Without quotes: the header is GenroPy's.
            headers = [(b"etag", kept.etag.encode("latin-1"))]
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return True
        headers = kept.headers.copy()
        if kept.expires_at is not None:
            headers[kept.expires_at] = (b"expires", self._date_in(kept.lifetime))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else kept.body})
        return True

    def _date_in(self, seconds: float) -> bytes:
        now = int(time())
        if now != self._second:
            self._second = now
            self._dates.clear()
        date = self._dates.get(seconds)
        if date is None:
            date = self._dates[seconds] = formatdate(now + seconds).encode()
        return date

    async def _keep(self, key: tuple[str, bytes], seconds: float, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the site answer, and keep the answer when it is whole and the file has not changed meanwhile."""
        file = await self.bridge.pool.run(self._resolve, key[0])
        before = signature_of(file) if file else None
        answer = _Answer(send)
        await self.bridge(scope, receive, answer)
        if before is None or file is None or not answer.whole or signature_of(file) != before:
            return
        kept = answer.kept(file, before, monotonic() + seconds)
        if kept is not None:
            self._drop(key)
            self._kept[key] = kept
            self._size += len(kept.body)
            while self._size > ROOM:
                self._drop(next(iter(self._kept)))

    def _resolve(self, path: str) -> str | None:
        """The file GenroPy serves for a path; called in a thread of the site."""
        site = self.site
        try:
            site.currentDomain = site.rootDomain
            path_list = site.get_path_list(path)
            node = site.storageNodeFromPathList(path_list, site.storageType(path_list))
            file = node.internal_path if node else None
            return file if isinstance(file, str) else None
        except Exception:
            return None  # whatever it is, the site says it in its answer
        finally:
            site.cleanup()


class _Answer:
    """Passes an answer on and remembers it, up to the size that is kept."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._head: Message = {}
        self._parts: list[bytes] = []
        self._size = 0
        self.whole = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
        else:
            body = message.get("body", b"")
            self._size += len(body)
            if self._size <= LARGEST:
                self._parts.append(body)
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.whole = self._head.get("status") == 200 and self._size <= LARGEST

    def kept(self, file: str, signature: tuple[int, int, int], until: float) -> _Kept | None:
        headers: list[Pair] = list(self._head["headers"])
        etag, expires_at, lifetime = "", None, 0.0
        for at, (name, value) in enumerate(headers):
            if name == b"etag":
                etag = value.decode("latin-1").replace('"', "")
            elif name == b"expires":
                expires_at = at
                lifetime = round(parsedate_to_datetime(value.decode("latin-1")).timestamp() - time())
            elif name == b"set-cookie":
                return None  # it is somebody's own
        if not etag:
            return None
        return _Kept(file, signature, until, headers, expires_at, lifetime, etag, b"".join(self._parts))


def signature_of(file: str) -> tuple[int, int, int] | None:
    """What changes with a file; None when it is not there, or no file."""
    try:
        state = os.stat(file)
    except (OSError, ValueError):
        return None
    return (state.st_mtime_ns, state.st_size, state.st_ino) if S_ISREG(state.st_mode) else None
