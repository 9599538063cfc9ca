"""One worker process as its pool sees it: how it is started, spoken to, ended and buried."""

import asyncio
import atexit
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, finalize

from genro_asgi.executors import wire
from genro_asgi.executors.errors import ExecutorError

if TYPE_CHECKING:
    from genro_asgi.executors.job import Job

# How often (seconds) the end of a killed process is looked for where the kernel does not tell us.
POLL = 0.01
READ = 1 << 17
# Seconds that free processes get to leave by themselves when the program ends without a shutdown.
PATIENCE = 1.0
_running: "WeakSet[WorkerProcess]" = WeakSet()


class Slot:
    """A place for one call that is sent ahead: a pipe that holds its number until somebody claims the call."""

    def __init__(self, undo: ExitStack) -> None:
        self.claims, self._offers = self.fds = os.pipe()
        for fd in self.fds:
            undo.callback(os.close, fd)
        # Neither side waits when it finds no number: the flag belongs to the pipe.
        os.set_blocking(self.claims, False)
        self._number = 0

    def offer(self) -> int:
        """Put a new number in."""
        self._number = (self._number + 1) % wire.NUMBERS
        os.write(self._offers, bytes([self._number]))
        return self._number

    def withdraw(self) -> bool:
        """Take the number out; False when it was claimed."""
        try:
            return os.read(self.claims, 1) != b""
        except BlockingIOError:
            return False


class WorkerProcess:
    """A process, the socket to it, and the job it has in hand.

    `on_frame` is called with each frame it sends, `on_end` once when it is gone and buried.
    """

    def __init__(
        self,
        on_frame: Callable[["WorkerProcess", int, bytes], None],
        on_end: Callable[["WorkerProcess"], None],
    ) -> None:
        self.on_frame = on_frame
        self.on_end = on_end
        self.job: Job[Any] | None = None
        # A job that was sent while the other one runs, and how many such were recalled since the last answer.
        self.ahead: Job[Any] | None = None
        self.recalled = 0
        self.ready = False
        self.exit_code: int | None = None
        self.paused = False
        self.leaving = False
        self.gone = False
        # Whether it ended before it came to the call in hand, which had been sent ahead.
        self.unclaimed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._frames = wire.Frames()
        self._inbox: deque[tuple[int, bytes]] = deque()
        self._buffer = bytearray(READ)
        self._view = memoryview(self._buffer)
        self._unsent = memoryview(b"")
        self._slot = 0
        if os.name != "posix" or getattr(sys, "frozen", False):
            raise ExecutorError("worker processes need a POSIX system and an interpreter; use kind='thread' instead")
        self._start()
        self._sock.setblocking(False)
        self._exit_fd = _exit_fd(self._process.pid)
        fds = [self._lifeline, *self._slots[0].fds, *self._slots[1].fds]
        if self._exit_fd is not None:
            fds.append(self._exit_fd)
        # Also for who is forgotten together with a loop that was closed.
        self._estate = finalize(self, _release, self._process, self._sock, fds)
        self._estate.atexit = False
        _running.add(self)

    def _start(self) -> None:
        with ExitStack() as ours, ExitStack() as theirs:
            try:
                self._sock, sock = socket.socketpair()
                ours.enter_context(self._sock)
                theirs.enter_context(sock)
                lifeline, self._lifeline = os.pipe()
                ours.callback(os.close, self._lifeline)
                theirs.callback(os.close, lifeline)
                self._slots = [Slot(ours), Slot(ours)]
                fds = (sock.fileno(), lifeline, *(slot.claims for slot in self._slots))
                self._process = subprocess.Popen(
                    _command(*fds), stdin=subprocess.DEVNULL, pass_fds=fds, process_group=0
                )
            except OSError as exc:
                raise ExecutorError(f"a worker process cannot be started: {exc}") from exc
            ours.pop_all()  # they stay open while it lives

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def fate(self) -> str:
        """How the process ended, in words."""
        if self.exit_code is None or self.exit_code >= 0:
            return f"ended with exit code {self.exit_code}"
        try:
            return f"was killed by {signal.Signals(-self.exit_code).name}"
        except ValueError:
            return f"was killed by signal {-self.exit_code}"

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen to the process on this loop."""
        self._loop = loop
        self.paused = False
        loop.add_reader(self._sock.fileno(), self._read)
        if self._unsent:
            loop.add_writer(self._sock.fileno(), self._write_more)
        if self._exit_fd is not None:
            loop.add_reader(self._exit_fd, self._ended)
        elif self.leaving:
            self._watch()

    def detach(self) -> None:
        """Listen no more; the loop may be closed already."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            if self._exit_fd is not None:
                self._loop.remove_reader(self._exit_fd)
        self._loop = None

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Write a frame, as far as the socket takes it now. Raises ConnectionError when the process is gone."""
        if self.gone:
            raise ConnectionResetError("the process has ended")
        data = wire.frame(kind, payload)
        if self._unsent:
            self._unsent = memoryview(b"".join((self._unsent, data)))
            return
        sent = self._write(data)
        if sent == len(data):
            return
        self._unsent = memoryview(data)[sent:]
        assert self._loop is not None
        self._loop.add_writer(self._sock.fileno(), self._write_more)

    def send_ahead(self, payload: bytes) -> None:
        """Write a call that the worker takes when it is done with the one in hand, unless it is recalled."""
        slot = self._slots[self._slot]
        number = slot.offer()
        try:
            self.send(wire.AHEAD + wire.NUMBERS * self._slot + number, payload)
        except ConnectionError:
            slot.withdraw()
            raise

    def recall(self) -> bool:
        """Take back what was sent ahead; False when the worker has begun it."""
        return self._slots[self._slot].withdraw()

    def go_on(self) -> None:
        """What was sent ahead is in hand now. It may not be claimed yet, so the next one goes to the other slot."""
        self._slot = 1 - self._slot

    def read_all(self) -> None:
        """Take everything the worker has sent so far."""
        while data := self._receive():
            self._take(data)

    def pause(self) -> None:
        """Read no more for now: the process waits when the socket is full."""
        if not self.paused and self._loop is not None:
            self.paused = True
            self._loop.remove_reader(self._sock.fileno())

    def resume(self) -> None:
        """Read again."""
        if self.paused and self._loop is not None:
            self.paused = False
            self._loop.add_reader(self._sock.fileno(), self._read)

    def hang_up(self) -> None:
        """Let the process end by itself, after what it has in hand."""
        self.leaving = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """End the process now, and the programs it started."""
        self.leaving = True
        _end_group(self._process.pid)
        self._watch()

    def disown(self) -> None:
        """Close what a fork has copied: the process has to notice when the one that started it ends.

        The loop is not told: it may share its selector with the other process.
        """
        self._process.returncode = 0  # it is nobody's child here
        self._bury()

    def part(self) -> None:
        """Let the process go, or end it when it is not free: the program ends, and its loop runs no more."""
        if self.ready and self.job is None:
            self.hang_up()
        else:
            _end_group(self._process.pid)

    def see_off(self, deadline: float) -> None:
        """Wait until the process has ended, or the deadline (of the monotonic clock) has passed, and bury it."""
        while not _is_over(self._process) and monotonic() < deadline:
            sleep(0.002)
        self._bury()

    def _write(self, data: bytes | memoryview) -> int:
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    def _write_more(self) -> None:
        assert self._loop is not None
        try:
            self._unsent = self._unsent[self._write(self._unsent) :]
        except ConnectionError:
            self._unsent = self._unsent[:0]  # its end is on its way to us
        if not self._unsent:
            self._unsent = memoryview(b"")  # a part that is empty holds the whole
            self._loop.remove_writer(self._sock.fileno())

    def _read(self) -> None:
        data = self._receive()
        if data is None:
            return
        if not data:
            self._on_hang_up()
            return
        self._take(data)

    def _take(self, data: bytes) -> None:
        """Hand frames on in order, also when what one of them leads to is that all are read."""
        inbox = self._inbox
        inbox += self._frames.feed(data)
        while inbox:
            kind, payload = inbox.popleft()
            self.on_frame(self, kind, payload)

    def _receive(self) -> bytes | None:
        """Bytes, none of them at the end, or None when nothing is there yet."""
        try:
            # Into a buffer that is there: to allocate one of this size costs more than the rest of the call.
            size = self._sock.recv_into(self._buffer)
            return bytes(self._view[:size])
        except (BlockingIOError, InterruptedError):
            return None
        except ConnectionError:
            return b""

    def _on_hang_up(self) -> None:
        """It closed its end: it leaves, or died, or lost its mind."""
        self.pause()
        if self.leaving:
            self._watch()
        else:
            self.kill()

    def _watch(self) -> None:
        """Find out that the process ended, where the kernel does not tell us."""
        if self._exit_fd is None and self._loop is not None:
            self._loop.call_later(POLL, self._look)

    def _look(self) -> None:
        if self.gone:
            return
        if _is_over(self._process):
            self._ended()
        else:
            self._watch()

    def _ended(self) -> None:
        """Take what it still had to say, and bury it."""
        self.gone = True
        self.read_all()
        self.unclaimed = self._slots[1 - self._slot].withdraw()
        self.detach()
        self._bury()
        self.exit_code = self._process.returncode
        self.on_end(self)

    def _bury(self) -> None:
        self.gone = True
        if (estate := self._estate.detach()) is not None:  # calling it would do nothing when the program ends
            _, release, args, _ = estate
            release(*args)


def _is_over(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has ended; where the system lets us, it is left unburied, so that its group is its own."""
    if not hasattr(os, "waitid"):  # pragma: no cover - only where the system has none
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True  # somebody else has buried it


def _end_group(pid: int) -> None:
    # It is not buried yet, so neither its number nor its group can belong to somebody else.
    for end in (os.killpg, os.kill):
        with suppress(OSError):
            end(pid, signal.SIGKILL)


def _release(process: subprocess.Popen[bytes], sock: socket.socket, fds: list[int]) -> None:
    """Bury a process, with what it started and left behind, and close what leads to it."""
    if process.returncode is None:
        _end_group(process.pid)
        process.wait()
    sock.close()
    for fd in fds:
        os.close(fd)


@atexit.register
def _end_all() -> None:
    """What a shutdown would have done, for pools that had none: what processes do when they leave is done."""
    workers = [worker for worker in _running if not worker.gone]
    for worker in workers:
        worker.part()
    deadline = monotonic() + PATIENCE
    for worker in workers:
        worker.see_off(deadline)


def _command(*fds: int) -> list[str]:
    """A fresh interpreter that finds its modules where this one does; it is never forked off this process."""
    path = [os.path.abspath(entry) for entry in sys.path]
    code = f"import sys; sys.path[:] = {path!r}; from genro_asgi.executors.worker import main; main(*{fds!r})"
    return [sys.executable, *subprocess._args_from_interpreter_flags(), "-c", code]  # type: ignore[attr-defined]


def _exit_fd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends, where there is such a thing (Linux)."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
