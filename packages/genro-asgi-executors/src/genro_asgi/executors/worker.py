"""The inside of a worker process: it reads calls from its pool, runs them and writes back what became of them."""

import importlib
import multiprocessing.process
import os
import pickle
import runpy
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import TextIOWrapper
from types import GeneratorType, ModuleType
from typing import Any, NoReturn

from genro_asgi.executors import wire
from genro_asgi.executors.errors import ExecutorError, describe, shown
from genro_asgi.executors.progress import here

# Seconds for importing what was called before; what takes longer is imported again when it is called.
PATIENCE = 30.0

_inside = False


def in_worker() -> bool:
    """Whether this process is a worker of a pool: what starts a server or a pool must not do so here."""
    return _inside


def main(sock_fd: int, lifeline: int, *slots: int) -> None:
    """Serve one pool over an inherited socket until it hangs up."""
    global _inside
    _inside = True
    for fd in (sock_fd, lifeline, *slots):
        os.set_inheritable(fd, False)
    die_with_parent(lifeline)
    # The pool decides when a worker ends, also while the whole service is told to stop and drains. A handler that does
    # nothing, rather than SIG_IGN, is not inherited by the programs that calls start.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stay)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what the thread that started us blocks is none of our business
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what a call has printed is not lost with its process
    with socket.socket(fileno=sock_fd) as sock, suppress(ConnectionError):  # the pool may not wait for the last answer
        worker = Worker(wire.Channel(sock), slots)
        os.register_at_fork(after_in_child=worker.be_a_copy)
        worker.serve()


def _stay(number: int, stack: object) -> None: ...


def die_with_parent(lifeline: int) -> None:  # pragma: no cover - only ever in a worker process
    """Have the kernel end this process, and whatever it started, when the write end of a pipe closes.

    The pool holds that end, and loses it only with its process. No thread watches, and a call that holds the GIL does
    not delay it: SIGIO ends a process that does not handle it.
    """
    import fcntl  # not everywhere, and this module is read where no worker runs

    signal.signal(signal.SIGIO, signal.SIG_DFL)  # who ignores it hands that on
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if _incoming(lifeline).poll(0):
        os._exit(1)  # it closed before we could ask


def _incoming(fd: int) -> "select.poll":
    """What tells whether there is something to read: select() would not take the numbers a busy server hands on."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return poll


class _Enough(BaseException):
    """Importing has taken too long."""


class Worker:
    """One process of a pool: one call at a time."""

    def __init__(self, channel: wire.Channel, slots: tuple[int, ...] = ()) -> None:
        self.channel = channel
        self.slots = slots
        self.payload = b""
        self.claims: list[int | None] = [None] * len(slots)
        self.functions: dict[str, Callable[..., Any]] = {}
        self.main: tuple[str, str] | None = None
        self.main_loaded = False
        self.copied = False
        self.calls = 0
        self.max_calls = float("inf")
        self.max_rss = float("inf")
        here.reporter = self.report

    def serve(self) -> None:
        """Answer calls until the pool hangs up or this worker has served its time."""
        receive = self.channel.receive
        while (message := receive()) is not None:
            kind, self.payload = message
            del message  # what a call was given is not kept until the next one
            if kind == wire.CALL:
                last = self._answer(self._result)
            elif kind >= wire.AHEAD:
                last = self._claim(*divmod(kind - wire.AHEAD, wire.NUMBERS)) and self._answer(self._result)
            elif kind == wire.STREAM:
                last = self._answer(self._stream)
            else:
                # A CLOSE that comes here is for a stream that has ended meanwhile.
                last = kind == wire.SETUP and not self._set_up(self.payload)
            if last:
                return

    def be_a_copy(self) -> None:  # pragma: no cover - only ever in a process that a call has forked off
        """End when told to, as any process, and answer nobody: the pool waits for the original."""
        self.copied = True
        self.channel.sock.close()
        here.reporter = None
        for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            if signal.getsignal(number) is _stay:
                signal.signal(number, usual)

    def report(self, fraction: float | None, text: str) -> None:
        """Send a report of the running function."""
        self.channel.send(wire.PROGRESS, pickle.dumps((fraction, text), wire.PROTOCOL))

    def _claim(self, slot: int, number: int) -> bool:
        """Whether a call that was sent ahead is still ours to run."""
        if self.claims[slot] is None:
            try:
                self.claims[slot] = os.read(self.slots[slot], 1)[0]
            except BlockingIOError:
                return False
        if self.claims[slot] != number:
            return False  # this one was recalled, and we have the claim to one that comes later
        self.claims[slot] = None
        return True

    def _set_up(self, payload: bytes) -> bool:
        try:
            setup = pickle.loads(payload)
            sys.argv[:] = setup["argv"]
            # What multiprocessing.Manager shares is only for processes that know its key.
            multiprocessing.process.current_process().authkey = setup["authkey"]
            self.main = setup["main"]
            self.max_calls = setup["max_calls"] or self.max_calls
            self.max_rss = setup["max_rss"] or self.max_rss
            if setup["initializer"] is not None:
                fn, args, _ = self._read(setup["initializer"])
                fn(*args)
            if setup["functions"]:
                self._import(setup["functions"])
        except BaseException as exc:
            self.channel.send(wire.BROKEN, _failure(exc, None))
            return False
        self.channel.send(wire.READY)
        return True

    def _import(self, calls: list[bytes]) -> None:
        """Import what these calls need, as far as it is to be had and does not take for ever."""

        def enough(number: int, stack: object) -> NoReturn:
            raise _Enough

        before, timer = signal.signal(signal.SIGALRM, enough), signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        try:
            for call in calls:
                with suppress(Exception, SystemExit):  # its own call will say so
                    self._read(call)
        except _Enough:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, *timer)
            signal.signal(signal.SIGALRM, before)

    def _answer(self, run: Callable[..., tuple[int, bytes]]) -> bool:
        """Run one call and send its outcome; True when it was the last one."""
        fn = None
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        try:
            payload, self.payload = self.payload, b""
            fn, args, kwargs = self._read(payload)
            del payload
            kind, data = run(fn, args, kwargs)
        except BaseException as exc:
            kind, data = wire.ERROR, _failure(exc, fn)
        if self.copied:
            _leave()
        self.calls += 1
        last = self.calls >= self.max_calls
        if self.max_rss != float("inf"):
            del args, kwargs  # neither they nor the result stay
            last = last or rss() - len(data) > self.max_rss
        self.channel.send(kind | wire.LAST if last else kind, data)
        return last

    def _result(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, bytes]:
        return wire.RESULT, parcel(fn(*args, **kwargs), fn, "the result")

    def _stream(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, bytes]:
        items: Iterable[Any] = fn(*args, **kwargs)
        incoming = _incoming(self.channel.sock.fileno())
        try:
            for item in items:
                self.channel.send(wire.ITEM, parcel(item, fn, "an item"))
                # Only CLOSE, or the end of the pool, can come while a stream runs.
                if incoming.poll(0):
                    break
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        return wire.END, b""

    def _read(self, payload: bytes) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        if b"_main__" in payload:  # or __mp_main__, from a process that multiprocessing has started
            self._load_main()
        try:
            name, args, kwargs = pickle.loads(payload)
        except BaseException as exc:  # what rebuilds itself may even exit
            text = f"the arguments of {_meant(payload)} cannot be rebuilt in a worker process: {shown(exc)}"
            raise ExecutorError(text) from exc
        fn = self.functions.get(name)
        if fn is None:
            fn = self.functions[name] = resolve(name)
        return fn, args, kwargs

    def _load_main(self) -> None:
        """Run the program's own script as the module `__mp_main__`, once, for what is defined there."""
        if self.main is None or self.main_loaded:
            return
        how, where = self.main
        run = runpy.run_module if how == "module" else runpy.run_path
        module = ModuleType("__mp_main__")
        module.__dict__.update(run(where, run_name="__mp_main__"))
        sys.modules["__main__"] = sys.modules["__mp_main__"] = module
        self.main_loaded = True


def resolve(name: str) -> Callable[..., Any]:
    """The function that `module:name` stands for, without the decorator that sends it here."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as exc:
        raise ExecutorError(f"a worker process cannot import {module}.{attribute}: {exc}") from exc
    function: Callable[..., Any] = getattr(found, "__offloaded__", found)
    return function


def _meant(payload: bytes) -> str:
    """The name of the function that a call is for, out of bytes that cannot be unpickled."""
    import pickletools  # only for what fails

    with suppress(Exception):
        for _, value, _ in pickletools.genops(payload):
            if isinstance(value, str) and ":" in value:
                return value.replace(":", ".")
    return "a call"


def parcel(value: object, fn: Callable[..., Any], what: str) -> bytes:
    """A value as bytes; the ExecutorError says which part of it cannot be sent."""
    try:
        return pickle.dumps(value, wire.PROTOCOL)
    except Exception as exc:
        hint = "; iterate it with stream()" if isinstance(value, GeneratorType) else "; return plain data"
        raise ExecutorError(
            f"{what} of {describe(fn)} cannot be sent from a worker process: "
            f"{wire.culprit(value, 'value')}: {exc}{hint}"
        ) from exc


def _leave() -> NoReturn:  # pragma: no cover - only ever in a process that a call has forked off
    """End a copy that has come back from the call: its answer would be taken for that to another one."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(0)


def _failure(exc: BaseException, fn: Callable[..., Any] | None) -> bytes:
    from genro_asgi.executors.failures import failure  # a worker that never fails starts without it

    return failure(exc, fn, __file__)


def rss() -> int:
    """Bytes of memory this process holds; where the system does not say, the most it ever held."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
