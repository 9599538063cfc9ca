"""Files of a directory as an ASGI application: contained, conditional, in ranges, precompressed where that is there."""

import errno
import importlib.util
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from genro_asgi.datastructures.headers import Headers
from genro_asgi.datastructures.url import URL
from genro_asgi.exceptions import HTTPException, HTTPMethodNotAllowed, HTTPNotFound
from genro_asgi.file_response import FileResponse, guess_media_type
from genro_asgi.request import route_path
from genro_asgi.response import RedirectResponse, Response
from genro_asgi.types import Receive, Scope, Send
from genro_asgi.websocket import WebSocketClose

__all__ = ["StaticFiles"]

PathLike = str | os.PathLike[str]

#: Siblings that are served instead of a file, the smallest first.
_ENCODINGS = (("zstd", ".zst"), ("br", ".br"), ("gzip", ".gz"))
# What the operating system says of names no file can have, and of paths through files.
_NO_SUCH_NAME = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.ENOTDIR, errno.ELOOP, errno.ENOENT})


class StaticFiles:
    """Serves the files below a directory, and those of installed packages.

    With `html`, a directory is its index.html and a missing file is 404.html with status 404. What lies outside the
    directory is a 404, also behind a symbolic link unless `follow_symlink`; so is every name that begins with a dot
    unless `dotfiles`. Raises HTTPException, which the server turns into the answer.
    """

    def __init__(
        self,
        *,
        directory: PathLike | None = None,
        packages: Sequence[str | tuple[str, str]] | None = None,
        html: bool = False,
        check_dir: bool = True,
        follow_symlink: bool = False,
        dotfiles: bool = False,
        precompressed: bool = True,
    ) -> None:
        self.directory = directory
        self.packages = packages
        self.all_directories = self.get_directories(directory, packages)
        self.html, self.follow_symlink = html, follow_symlink
        self.dotfiles, self.precompressed = dotfiles, precompressed
        self.config_checked = False
        if check_dir and directory is not None and not os.path.isdir(directory):
            raise RuntimeError(f"Directory '{directory}' does not exist")

    def get_directories(
        self, directory: PathLike | None = None, packages: Sequence[str | tuple[str, str]] | None = None
    ) -> list[PathLike]:
        """The directories that are looked through, in order: the given one, then `statics` of each package."""
        directories: list[PathLike] = [] if directory is None else [directory]
        for package in packages or ():
            name, folder = package if isinstance(package, tuple) else (package, "statics")
            spec = importlib.util.find_spec(name)
            origin = spec.origin if spec is not None else None
            if origin is None:
                raise AssertionError(f"Package {name!r} could not be found.")
            found = Path(origin).resolve().parent / folder
            if not found.is_dir():
                raise AssertionError(f"Directory '{folder}' in package {name!r} could not be found.")
            directories.append(found)
        return directories

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        if scope["type"] != "http":
            raise AssertionError(f"StaticFiles serves http, not {scope['type']!r}.")
        if not self.config_checked:
            await self.check_config()
            self.config_checked = True
        response = await self.get_response(self.get_path(scope), scope)
        await response(scope, receive, send)

    async def check_config(self) -> None:
        """RuntimeError when the directory does not exist, or is none."""
        directory = self.directory
        if directory is not None and not os.path.isdir(directory):  # noqa: ASYNC240 - once
            what = "is not a directory" if os.path.exists(directory) else "does not exist"  # noqa: ASYNC240
            raise RuntimeError(f"StaticFiles path '{directory}' {what}.")

    def get_path(self, scope: Scope) -> str:
        """The path of the file, relative to the directory, as the operating system writes paths."""
        return self.join(route_path(scope).split("/"))

    def join(self, parts: Iterable[str]) -> str:
        """A path of these parts; ones that lead upwards stay in it, and are refused when it is looked up."""
        return os.sep.join(part for part in parts if part) or os.curdir

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, a redirect to a directory's own URL, or HTTPException 404 or 405."""
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPMethodNotAllowed(headers=[("Allow", "GET, HEAD")])
        full_path, stat_result = self._found(path)
        if stat_result is not None and stat.S_ISREG(stat_result.st_mode):
            return self.file_response(full_path, stat_result, scope)
        if self.html and stat_result is not None and stat.S_ISDIR(stat_result.st_mode):
            index, index_stat = self.lookup_path(os.path.join(path, "index.html"))
            if index_stat is not None and stat.S_ISREG(index_stat.st_mode):
                if scope["path"].endswith("/"):
                    return self.file_response(index, index_stat, scope)
                url = URL(scope=scope)
                return RedirectResponse(url.replace(path=url.path + "/"))
        if self.html:
            missing, missing_stat = self.lookup_path("404.html")
            if missing_stat is not None and stat.S_ISREG(missing_stat.st_mode):
                return FileResponse(missing, status_code=404)
        raise HTTPNotFound

    def _found(self, path: str) -> tuple[str, os.stat_result | None]:
        if path != os.curdir and not all(map(self._is_name, path.split(os.sep))):
            return "", None
        try:
            return self.lookup_path(path)
        except PermissionError:
            raise HTTPException(401) from None
        except OSError as error:
            if error.errno in _NO_SUCH_NAME:
                return "", None
            raise
        except ValueError:  # text no file system can write
            return "", None

    def _is_name(self, part: str) -> bool:
        """Whether a part of a path can be the name of something we show."""
        if part.startswith("."):
            return self.dotfiles and part not in (".", "..")
        # Elsewhere a backslash is a separator, and a colon follows a drive or names a stream of a file.
        return bool(part) and "\0" not in part and "\\" not in part and (os.name != "nt" or ":" not in part)

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """The absolute path of a file below one of the directories and its stat; ("", None) when there is none."""
        for directory in self.all_directories:
            joined = os.path.join(directory, path)
            full_path = os.path.abspath(joined) if self.follow_symlink else os.path.realpath(joined)
            root = os.path.abspath(directory) if self.follow_symlink else os.path.realpath(directory)
            if os.path.commonpath([full_path, root]) != root:
                continue  # an absolute path, or a link that leads outside
            try:
                return full_path, os.stat(full_path)
            except (FileNotFoundError, NotADirectoryError):
                continue
        return "", None

    def file_response(
        self, full_path: PathLike, stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """The answer with a file; conditions and ranges of the request are seen to when it is sent."""
        if not self.precompressed:
            return FileResponse(full_path, status_code=status_code, stat_result=stat_result)
        path = os.fsdecode(full_path)
        media_type = guess_media_type(path)
        siblings = self._siblings(path)
        accepted = accepted_encodings(Headers(scope=scope).get("accept-encoding", "")) if siblings else set()
        for encoding, sibling in siblings:
            if encoding in accepted:
                headers = {"content-encoding": encoding, "vary": "Accept-Encoding"}
                return FileResponse(sibling, status_code=status_code, headers=headers, media_type=media_type)
        # Caches must know that another client may get another one.
        vary = {"vary": "Accept-Encoding"} if siblings else None
        return FileResponse(path, status_code, vary, media_type, stat_result=stat_result)

    def _siblings(self, path: str) -> list[tuple[str, str]]:
        return [
            (encoding, path + ending)
            for encoding, ending in _ENCODINGS
            if os.path.isfile(path + ending) and self._contained(path + ending)
        ]

    def _contained(self, path: str) -> bool:
        """Whether a file is where it seems to be, or links are followed."""
        return self.follow_symlink or os.path.realpath(path) == os.path.abspath(path)


def accepted_encodings(header: str) -> set[str]:
    """The content codings an Accept-Encoding allows by name, without those of weight 0 (RFC 9110, 12.5.3)."""
    accepted: set[str] = set()
    for item in header.split(","):
        name, _, parameters = item.partition(";")
        weight: Any = parameters.replace(" ", "").lower().removeprefix("q=")
        if not parameters or weight.strip("0.") != "":
            accepted.add(name.strip().lower())
    return accepted
