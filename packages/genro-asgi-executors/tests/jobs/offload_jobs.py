"""Functions for the tests of the process pools: a worker process imports this module."""

import atexit
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from genro_asgi.executors import report
from genro_asgi.executors.worker import in_worker

loaded: Any = None
LOCK = threading.Lock()


def add(a: int, b: int = 0) -> int:
    return a + b


def echo(value: Any) -> Any:
    return value


def pid() -> int:
    return os.getpid()


def inside() -> bool:
    return in_worker()


def preload(value: Any) -> None:
    global loaded
    loaded = value


def preload_model(size: int) -> None:
    """As an initializer that reads a model does: a lot of memory, once per worker."""
    global loaded
    loaded = bytearray(range(256)) * (size // 256)


def preloaded() -> Any:
    return loaded


def look_up(index: int) -> tuple[int, int, int]:
    return loaded[index], len(loaded), os.getpid()


def broken_initializer(text: str) -> None:
    raise ValueError(text)


def dying_initializer() -> None:
    os._exit(7)


def fail(text: str) -> None:
    inner(text)


def inner(text: str) -> None:
    raise ValueError(text)


class Picky(Exception):
    """Pickles, and cannot be made again: the classic trap."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Wordy(Exception):
    """Pickles, and says something else when it is made again."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Keyed(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__("keyed")
        self.code = code


class Missing(FileNotFoundError):
    def __init__(self, code: int) -> None:
        super().__init__(2, "gone")
        self.code = code


class Travels(Exception):
    """Knows how to pickle."""

    def __init__(self, code: int, text: str = "travels") -> None:
        super().__init__(text)
        self.code = code

    def __reduce__(self) -> Any:
        return travelled, (self.code,)


def travelled(code: int) -> Travels:
    error = Travels(code)
    error.add_note("noted")
    return error


class Slotted(Exception):
    """Has to be made by its init."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Stubborn(Exception):
    """Nobody can make it again."""

    def __new__(cls, code: int, secret: object = None) -> "Stubborn":
        if secret is None:
            raise TypeError("no secret")
        return super().__new__(cls, code)

    def __init__(self, code: int, secret: object) -> None:
        super().__init__(code)


def raise_special(name: str, grouped: bool = False) -> None:
    error: Exception = {
        "Picky": lambda: Picky(3, "picky"),
        "Wordy": lambda: Wordy(3),
        "Keyed": lambda: Keyed(code=3),
        "Missing": lambda: Missing(3),
        "Travels": lambda: Travels(3),
        "Slotted": lambda: Slotted(3),
    }[name]()
    error.add_note("noted")
    raise ExceptionGroup("several", [error]) if grouped else error


def raise_stubborn() -> None:
    raise Stubborn(3, "secret")


class Unsendable(Exception):
    def __init__(self) -> None:
        super().__init__("unsendable")
        self.handle = lambda: None


def raise_unsendable() -> None:
    raise Unsendable


def exit_with(code: int) -> None:
    sys.exit(code)


def stop_iteration() -> None:
    raise StopIteration("enough")


def make_lambda() -> dict[str, Any]:
    return {"rows": [1, lambda: 2]}


class Fickle:
    """Leaves its process, and cannot enter another."""

    def __reduce__(self) -> Any:
        return refuse, ()


def refuse() -> None:
    raise LookupError("not here")


def make_fickle() -> Fickle:
    return Fickle()


def hang(seconds: float = 60.0) -> None:
    report(None, str(os.getpid()))
    time.sleep(seconds)


def spin() -> None:
    """Hold the GIL in C and never come back."""
    report(None, str(os.getpid()))
    sum(range(10**12))


def hang_up_on_file(path: str) -> str:
    """Run until a file appears."""
    report(None, str(os.getpid()))
    while not os.path.exists(path):
        time.sleep(0.002)
    return "released"


def meet(place: str, number: int) -> int:
    """Run until so many calls have come to the same place."""
    open(os.path.join(place, f"{os.getpid()}-{time.monotonic_ns()}"), "w").close()
    while len(os.listdir(place)) < number:
        time.sleep(0.0005)
    return number


def die(how: str) -> None:
    report(None, str(os.getpid()))
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "realtime":
        os.kill(os.getpid(), signal.SIGRTMIN + 1)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(3)
    elif how == "close":
        os.closerange(3, 1000)
        time.sleep(60)


def stubborn() -> int:
    """Do not let the process end by itself."""
    import atexit

    atexit.register(time.sleep, 60)
    return os.getpid()


def terminate_self() -> str:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"


def start_child(seconds: float = 60) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=subprocess.DEVNULL)
    child.returncode = 0  # nobody is going to wait for it
    report(None, str(child.pid))
    time.sleep(seconds)


def tell_at_exit(text: str) -> None:
    atexit.register(print, text)


def print_and_die(text: str) -> None:
    print(text)
    os.kill(os.getpid(), signal.SIGKILL)


def grow(size: int) -> int:
    global loaded
    loaded = bytearray(size)
    return os.getpid()


def exhaust_memory(limit: int) -> int:
    """Ask for more memory than this process is allowed to have."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        return len(bytearray(2 * limit))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def state_of_a_worker() -> tuple[Any, bool, int]:
    """What was loaded, whether the lock is free, and the number of threads."""
    return loaded, not LOCK.locked(), threading.active_count()


def steps(count: int) -> str:
    for step in range(count):
        report(step / count, f"step {step}")
    report(7, "beyond")
    report(None)
    return "done"


def count_to(number: int) -> Iterator[int]:
    yield from range(number)


def count_and_fail(number: int) -> Iterator[int]:
    yield from range(number)
    raise ValueError("no more")


def count_and_mark(path: str) -> Iterator[int]:
    """Count without end; write a file when closed."""
    try:
        number = 0
        while True:
            yield number
            number += 1
    finally:
        with open(path, "w") as mark:
            mark.write("closed")


def count_and_hang(number: int) -> Iterator[int]:
    yield from range(number)
    time.sleep(60)


def items_of(value: list[Any]) -> list[Any]:
    return value


def yield_lambda() -> Iterator[Any]:
    yield 1
    yield lambda: 2


def use_pool() -> Any:
    import asyncio

    from genro_asgi.executors import LocalExecutor

    async def main() -> int:
        return await LocalExecutor("nested").run(add, 1)

    return asyncio.run(main())


async def coroutine() -> int:
    return 1


def work(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def fork_and_return() -> Any:
    """Both sides of a fork come back from the call, the copy first."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return "the original" if pid else "the copy"


def fork_and_yield() -> Iterator[Any]:
    yield fork_and_return()
    yield "more"


def tell_and_nap(begun: Any) -> None:
    begun.set()
    time.sleep(60)


def fork_and_terminate() -> int | None:
    """Fork a process off as multiprocessing does, and stop it."""
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    child = context.Process(target=tell_and_nap, args=(begun,))
    child.start()
    begun.wait()
    child.terminate()
    child.join(10)
    return child.exitcode


class Traitor:
    """Leaves its process in peace, and ends the one it enters."""

    def __reduce__(self) -> Any:
        return sys.exit, (5,)


def make_traitor() -> Traitor:
    return Traitor()


class Renegade(Exception):
    """Becomes something else on its way."""

    def __reduce__(self) -> Any:
        return str, ("no exception",)


class Mute(BaseException):
    def __repr__(self) -> str:
        raise ValueError("no words")


class Turncoat(Exception):
    def __reduce__(self) -> Any:
        return sys.exit, (5,)


def raise_odd(name: str) -> None:
    raise {"Renegade": Renegade, "Mute": Mute, "Turncoat": Turncoat}[name]


class Frozen(Exception):
    """As a frozen dataclass is."""

    def __init__(self, code: int) -> None:
        self.__dict__["code"] = code

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"cannot assign to field {name!r}")


def raise_frozen() -> None:
    raise Frozen(3)


def size_of(value: Any) -> int:
    return len(value)


def key() -> bytes:
    return bytes(multiprocessing.current_process().authkey)


def large_items(count: int, size: int, place: str) -> Iterator[bytes]:
    """Items, each of which leaves a file when it is made."""
    for number in range(count):
        Path(place, str(number)).touch()
        yield bytes(size)
