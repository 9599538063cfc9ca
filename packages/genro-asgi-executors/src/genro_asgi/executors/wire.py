"""What travels between a pool and its worker processes: frames of a kind, a length and a pickle."""

import pickle
import socket
import struct
from typing import Any

from genro_asgi.executors.errors import shown

HEAD = struct.Struct("<BQ")

# To a worker.
SETUP, CALL, STREAM, CLOSE = range(4)
# A call that is sent while another one runs is of kind AHEAD + 64 * slot + number, and the number is put into the pipe
# of that slot: who takes it out has the call, be it the worker that comes to it or the pool that thinks better of it.
AHEAD = 0x80
NUMBERS = 64
# From a worker.
READY, BROKEN, RESULT, ERROR, ITEM, END, PROGRESS = range(7)
# Added to the last frame of a call: the worker leaves after it and takes no other.
LAST = 0x80

PROTOCOL = pickle.HIGHEST_PROTOCOL
CHUNK = 1 << 16
_DEPTH = 8


def frame(kind: int, payload: bytes = b"") -> bytes:
    """One frame as bytes."""
    return HEAD.pack(kind, len(payload)) + payload


class Frames:
    """Takes bytes as they arrive and gives the frames that are whole."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that `data` completes, as (kind, payload)."""
        buffer = self._buffer
        if not buffer and len(data) >= HEAD.size:
            kind, length = HEAD.unpack_from(data)
            if len(data) == HEAD.size + length:  # nearly always: one call, one answer
                return [(kind, data[HEAD.size :])]
        buffer += data
        frames = []
        while len(buffer) >= HEAD.size:
            kind, length = HEAD.unpack_from(buffer)
            end = HEAD.size + length
            if len(buffer) < end:
                break
            frames.append((kind, bytes(memoryview(buffer)[HEAD.size : end])))
            del buffer[:end]
        return frames


class Channel:
    """The worker's end of the socket: blocking, one frame at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._frames = Frames()
        self._waiting: list[tuple[int, bytes]] = []

    def receive(self) -> tuple[int, bytes] | None:
        """The next frame, or None when the pool has hung up."""
        while not self._waiting:
            data = self.sock.recv(CHUNK)
            if not data:
                return None
            self._waiting = self._frames.feed(data)
        return self._waiting.pop(0)

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Send one frame; waits while the pool does not read."""
        if len(payload) <= CHUNK:
            self.sock.sendall(frame(kind, payload))
        else:  # a copy of it may be more than the memory there is
            self.sock.sendall(HEAD.pack(kind, len(payload)))
            self.sock.sendall(payload)


def picklable(value: object) -> bool:
    """Whether a value can be sent."""
    try:
        pickle.dumps(value, PROTOCOL)
    except Exception:
        return False
    return True


def culprit(value: Any, path: str, depth: int = _DEPTH) -> str:
    """Which part of a value that does not pickle is to blame, as `path (type)`."""
    if isinstance(value, dict):
        parts = [(f"{path}[{shown(key)}]", item) for key, item in value.items()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    else:
        parts = [(f"{path}.{name}", item) for name, item in getattr(value, "__dict__", {}).items()]
    if depth and not isinstance(value, type):
        for inner, item in parts:
            if not picklable(item):
                return culprit(item, inner, depth - 1)
    return f"{path} ({type(value).__qualname__})"
