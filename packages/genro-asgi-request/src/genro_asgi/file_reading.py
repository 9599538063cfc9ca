"""Reading files without making the loop wait: what is in the page cache is read at once, the rest in a thread."""

import errno
import os
import stat
import threading

from genro_asgi.delivery import Runner

__all__ = ["MissingFile", "NotAFile", "open_file", "read_cached", "read_piece"]

# Linux only; elsewhere every read goes to a thread.
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
# A FIFO or a device would block the loop at open; they are refused right after.
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

_scratch = threading.local()


class MissingFile(FileNotFoundError, RuntimeError):
    """There is no such file; genro's users expect a FileNotFoundError, Starlette's a RuntimeError."""


class NotAFile(OSError, RuntimeError):
    """A directory, or something else that is not a regular file; Starlette's users expect a RuntimeError."""


def open_file(path: str | os.PathLike[str]) -> tuple[int, os.stat_result]:
    """A descriptor of a regular file and what is known of it; MissingFile, NotAFile, or the system's OSError."""
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError as error:
        raise MissingFile(errno.ENOENT, "The file does not exist", path) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotAFile(errno.EINVAL, "This is not a file that can be sent", path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def read_cached(descriptor: int, size: int, offset: int) -> bytes | None:
    """Up to `size` bytes that are in the page cache; None when they are not, or nobody can tell."""
    if _NOWAIT is None:
        return None
    # One buffer a thread: filling it again and copying costs less than fresh memory for each read.
    buffer: bytearray | None = getattr(_scratch, "buffer", None)
    if buffer is None or len(buffer) < size:
        buffer = _scratch.buffer = bytearray(size)
    try:
        count = os.preadv(descriptor, [buffer if len(buffer) == size else memoryview(buffer)[:size]], offset, _NOWAIT)
    except OSError:  # not cached, or a file system that cannot tell
        return None
    return bytes(buffer if count == len(buffer) else memoryview(buffer)[:count])


async def read_piece(descriptor: int, size: int, offset: int, run: Runner) -> bytes:
    """Up to `size` bytes, at least one; RuntimeError when the file has become shorter."""
    piece = read_cached(descriptor, size, offset)
    if piece is None:
        piece = await run(os.pread, descriptor, size, offset)
    if not piece:
        raise RuntimeError(f"The file was cut at byte {offset} while it was sent.")
    return piece
