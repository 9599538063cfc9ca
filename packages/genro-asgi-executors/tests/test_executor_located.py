"""Functions of modules that a fresh interpreter does not find by their name."""

import importlib
import pickle
import signal
import socket
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from offload_jobs import add

from genro_asgi.executors import ExecutorTimeoutError, LocalExecutor, wire, worker
from genro_asgi.executors.located import Located, locate, places_of
from genro_asgi.executors.progress import here

Make = Callable[..., LocalExecutor]

TEXT = """
class Own:
    def __init__(self, value):
        self.value = value

def ready(value):
    global prepared
    prepared = value

def double(own):
    return Own(own.value * 2), prepared

def fail():
    raise Special("special")

class Special(Exception):
    pass
"""


@pytest.fixture
def by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports a module of that name from a file, as pytest does in the mode `importlib`."""

    def load(name: str) -> Any:
        path = tmp_path / "nowhere"
        packages = name.split(".")[:-1]
        for end, part in enumerate(packages, 1):
            path /= part
            package = ModuleType(".".join(packages[:end]))
            package.__path__ = [str(path)]
            if end == 1:
                path.mkdir(parents=True)
                (path / "__init__.py").write_text("")
                package.__file__ = str(path / "__init__.py")
            monkeypatch.setitem(sys.modules, package.__name__, package)
        path.mkdir(parents=True, exist_ok=True)
        file = path / f"{name.rpartition('.')[2]}.py"
        file.write_text(TEXT)
        spec = spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize("name", ["only_a_file", "a_package.only_a_file", "a_package.a_folder.only_a_file"])
@pytest.mark.asyncio
async def test_modules_imported_by_file(processes: Make, by_file: Callable[[str], Any], name: str) -> None:
    module = by_file(name)
    pool = processes(initializer=module.ready, initargs=(module.Own(5),))
    doubled, prepared = await pool.run(module.double, module.Own(4))
    assert (type(doubled), doubled.value, prepared.value) == (module.Own, 8, 5)
    with pytest.raises(module.Special, match="special"):
        await pool.run(module.fail)


SLOW = """
import os
import time

def who():
    return os.getpid()

def hang():
    time.sleep(60)

if LOADED:
    time.sleep(1.5)
"""


@pytest.mark.asyncio
async def test_what_a_module_takes_to_import_is_no_running_time(
    processes: Make, by_file: Callable[[str], Any], tmp_path: Path
) -> None:
    """Or no call would ever end in time: each would lose its worker, and the next one have to import it again."""
    module = by_file("only_a_file")
    exec(SLOW, module.__dict__ | {"LOADED": False, "__name__": "only_a_file"}, module.__dict__)
    Path(module.__file__).write_text(SLOW.replace("LOADED", "True"))
    pool = processes(timeout=1, max_workers=1)
    first = await pool.run(module.who)
    with pytest.raises(ExecutorTimeoutError, match=r"only_a_file.hang ran longer than 1 s"):
        await pool.run(module.hang)
    assert await pool.run(module.who) != first
    assert pool.metrics()["timed_out"] == 1


def test_an_import_that_does_not_end_is_left_to_its_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next one is not made at all; a worker must get ready some day."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in (("never_ends", "while True: pass"), ("never_asked", "")):
        (tmp_path / f"{name}.py").write_text(f"{text}\ndef work(): ...")
    names = ("no_such:work", "offload_jobs:add", "never_ends:work", "never_asked:work")
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(worker, "PATIENCE", 0.2)
    timer, handler = signal.getitimer(signal.ITIMER_REAL), signal.getsignal(signal.SIGALRM)
    with ours, theirs:
        one = worker.Worker(wire.Channel(theirs))
        one._import([pickle.dumps((name, (), {})) for name in names])
    here.reporter = None
    assert set(one.functions) == {"offload_jobs:add"}
    assert "never_asked" not in sys.modules
    assert signal.getsignal(signal.SIGALRM) == handler
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) is (timer[0] > 0)


@pytest.mark.asyncio
async def test_in_bypass(processes: Make, by_file: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    module = by_file("only_a_file")
    doubled, _ = await processes(bypass=True, initializer=module.ready, initargs=(1,)).run(module.double, module.Own(4))
    assert doubled.value == 8


def test_the_modules_of_a_program_need_no_help() -> None:
    assert places_of(add.__module__) == []
    assert places_of("importlib.util") == []
    assert places_of("time") == []
    assert places_of("__main__") == []
    assert places_of("of_nobody") == []


def test_a_module_that_hides_behind_another_one(by_file: Callable[[str], Any], tmp_path: Path) -> None:
    """The name alone would lead to the one of the standard library."""
    module = by_file("json.tool")
    assert places_of("json.tool") == [
        ("json", str(tmp_path / "nowhere/json/__init__.py"), [str(tmp_path / "nowhere/json")]),
        ("json.tool", module.__file__, None),
    ]


def test_what_was_located_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for name in ("located_space", "located_space.inner"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "inner.py").write_text("value = 3")
    places: Any = [("located_space", None, [str(tmp_path)]), ("located_space.inner", str(tmp_path / "inner.py"), None)]
    make, args = Located("located_space.inner:value", places).__reduce__()
    assert make is locate
    for _ in range(2):
        assert locate(*args) == "located_space.inner:value"
    assert len([finder for finder in sys.meta_path if type(finder).__module__ == locate.__module__]) == 1
    assert importlib.import_module("located_space.inner").value == 3
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("located_space.other")
    for name in ("located_space", "located_space.inner"):
        sys.modules.pop(name)
