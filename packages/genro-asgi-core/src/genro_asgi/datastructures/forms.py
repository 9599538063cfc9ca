"""What a form brought: its fields, and its files."""

import asyncio
from typing import Any, BinaryIO

from genro_asgi.datastructures.headers import Headers
from genro_asgi.datastructures.instances import TakenAsItIs
from genro_asgi.datastructures.multidict import ImmutableMultiDict

__all__ = ["FormData", "UploadFile"]


class UploadFile(TakenAsItIs):
    """A file of a form; what is on disk is read and written in a thread.

    `filename` and `content_type` are what the client says; `size` is bytes. `file` is the file itself, for code that
    may block.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        size: int | None = None,
        filename: str | None = None,
        headers: Headers | None = None,
    ) -> None:
        self.file = file
        self.size = size
        self.filename = filename
        self.headers = Headers() if headers is None else headers

    @property
    def content_type(self) -> str | None:
        """The Content-Type of the part, None without one."""
        return self.headers.get("content-type")

    def in_memory(self, more: int = 0) -> bool:
        """Whether the file is in memory, and is still after `more` bytes have been written."""
        # A SpooledTemporaryFile; of any other file nobody knows.
        if getattr(self.file, "_rolled", True):
            return False
        limit: int = getattr(self.file, "_max_size", 0)
        return not limit or self.file.tell() + more <= limit

    async def write(self, data: bytes) -> None:
        """Write at the current place."""
        if self.size is not None:
            self.size += len(data)
        await self._do(self.file.write, data, more=len(data))

    async def read(self, size: int = -1) -> bytes:
        """Read `size` bytes from the current place, or all there are."""
        content: bytes = await self._do(self.file.read, size)
        return content

    async def seek(self, offset: int) -> None:
        """Go to a place, in bytes from the start."""
        await self._do(self.file.seek, offset)

    async def close(self) -> None:
        """Close the file; a temporary one is gone then."""
        await self._do(self.file.close)

    async def _do(self, function: Any, *args: Any, more: int = 0) -> Any:
        return function(*args) if self.in_memory(more) else await asyncio.to_thread(function, *args)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(filename={self.filename!r}, size={self.size!r}, headers={self.headers!r})"


class FormData(ImmutableMultiDict[str, UploadFile | str]):
    """The fields and files of a form, in their order."""

    __slots__ = ()

    async def close(self) -> None:
        """Close all files."""
        for _, value in self.multi_items():
            if isinstance(value, UploadFile):
                await value.close()
