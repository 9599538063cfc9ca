"""Bytes that are kept for later: in memory while they are few, in a temporary file when they are many."""

from typing import BinaryIO, cast

from genro_asgi.delivery import Runner

__all__ = ["KeptBody", "SpoolWriter", "new_spool", "write_all"]

Writes = list[tuple[BinaryIO, bytes]]

#: Bytes gathered before they are written.
_BATCH = 512 * 1024


def new_spool(max_memory: int) -> BinaryIO:
    """A temporary file that stays in memory up to `max_memory` bytes."""
    from tempfile import SpooledTemporaryFile  # slow to import, and most processes never need it

    # At 0 the library would never go to disk.
    return cast("BinaryIO", SpooledTemporaryFile(max_size=max(max_memory, 1)))


def write_all(writes: Writes) -> None:
    """Make the writes."""
    for spool, data in writes:
        spool.write(data)


class SpoolWriter:
    """Collects writes to spools and makes them together: at once where all stays in memory, else in a thread."""

    def __init__(self) -> None:
        self._writes: Writes = []
        self._size = 0

    def add(self, spool: BinaryIO, data: bytes) -> None:
        """Write `data` to `spool`, soon."""
        self._writes.append((spool, data))
        self._size += len(data)

    @property
    def is_full(self) -> bool:
        """Whether it is time to flush."""
        return self._size >= _BATCH

    def take(self) -> Writes:
        """What is to be written; it is the caller's from now on."""
        writes, self._writes, self._size = self._writes, [], 0
        return writes

    async def flush(self, run: Runner) -> None:
        """Make the writes; those that go to disk by `run`."""
        writes = self.take()
        more: dict[BinaryIO, int] = {}
        for spool, data in writes:
            more[spool] = more.get(spool, 0) + len(data)
        if any(_is_on_disk(spool, size) for spool, size in more.items()):
            await run(write_all, writes)
        else:
            write_all(writes)


def _is_on_disk(spool: BinaryIO, more: int) -> bool:
    """Whether writing `more` bytes goes to the disk."""
    return bool(spool._rolled) or spool.tell() + more > spool._max_size  # type: ignore[attr-defined]


class KeptBody:
    """The raw bytes of a body that was parsed while it came."""

    def __init__(self, max_memory: int) -> None:
        self.spool = new_spool(max_memory)

    def read(self) -> bytes:
        """All of them; may wait for the disk."""
        self.spool.seek(0)
        return self.spool.read()

    def close(self) -> None:
        """Forget them."""
        self.spool.close()

    # Nobody but this object knows of the file; one that is left open at its end would be a warning.
    __del__ = close
