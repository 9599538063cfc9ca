"""The parts under the pools: frames, backlog, histograms, error texts, and the inside of a worker."""

import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import offload_jobs as jobs
import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.executors import ExecutorError, reference, wire, worker
from genro_asgi.executors.backlog import MAX_LEVELS, Backlog
from genro_asgi.executors.crew import Crew, WorkerThread
from genro_asgi.executors.errors import RemoteTraceback, describe
from genro_asgi.executors.failures import failure, remote_error
from genro_asgi.executors.job import CallOptions
from genro_asgi.executors.metrics import BOUNDS, Histogram, Tally
from genro_asgi.executors.progress import here

deterministic = settings(derandomize=True, deadline=None)
frames = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)))


@given(frames, st.lists(st.integers(1, 30)))
@deterministic
def test_frames_survive_any_cut(sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(wire.frame(kind, payload) for kind, payload in sent)
    reader, received = wire.Frames(), []
    for cut in cuts:
        received += reader.feed(data[:cut])
        data = data[cut:]
    received += reader.feed(data)
    assert received == sent


@given(frames)
@deterministic
def test_a_channel_gives_one_frame_at_a_time(sent: list[tuple[int, bytes]]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer, reader = wire.Channel(ours), wire.Channel(theirs)
        for kind, payload in sent:
            writer.send(kind, payload)
        ours.shutdown(socket.SHUT_WR)
        received = []
        while (frame := reader.receive()) is not None:
            received.append(frame)
    assert received == sent


def test_a_large_frame_is_sent_without_a_copy() -> None:
    class Sink:
        def __init__(self) -> None:
            self.sent: list[bytes] = []

        def sendall(self, data: bytes) -> None:
            self.sent.append(data)

    sink, payload = Sink(), bytes(wire.CHUNK + 1)
    wire.Channel(cast("Any", sink)).send(wire.RESULT, payload)
    assert b"".join(sink.sent) == wire.frame(wire.RESULT, payload)
    assert sink.sent[-1] is payload


class Holder:
    def __init__(self, value: Any) -> None:
        self.value = value


loop_of_lists: list[Any] = [lambda: 1]
loop_of_lists.append(loop_of_lists)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (lambda: 1, "x (function)"),
        ([1, (2, lambda: 1)], "x[1][1] (function)"),
        ({"a": {3: lambda: 1}}, "x['a'][3] (function)"),
        (Holder([lambda: 1]), "x.value[0] (function)"),
        ({(lambda: 1): 2}, "x (dict)"),
        (loop_of_lists, "x[0] (function)"),
        (type("Local", (), {}), "x (type)"),
    ],
)
def test_the_culprit_is_named(value: Any, path: str) -> None:
    assert wire.culprit(value, "x") == path


def test_the_search_for_a_culprit_ends() -> None:
    endless: list[Any] = []
    endless.append([endless, SimpleNamespace(__reduce_ex__=1)])
    deep: Any = lambda: 1  # noqa: E731
    for _ in range(20):
        deep = [deep]
    assert wire.culprit(deep, "x") == "x" + "[0]" * 8 + " (list)"


class Waiting:
    """As much of a job as a backlog looks at."""

    def __init__(self, priority: int) -> None:
        self.options = CallOptions(priority=priority)


def waiting(priority: int) -> Any:
    return Waiting(priority)


@given(st.lists(st.tuples(st.integers(-3, 3), st.sampled_from(["push", "pop", "remove", "back"]))))
@deterministic
def test_a_backlog_is_a_queue_per_priority(steps: list[tuple[int, str]]) -> None:
    backlog, model, popped = Backlog(), cast("list[Any]", []), cast("list[Any]", [])
    for priority, step in steps:
        if step == "push":
            job = waiting(priority)
            backlog.push(job)
            model.append(job)
        elif step == "pop":
            expected = max(model, key=lambda job: job.options.priority, default=None)
            assert backlog.pop() is expected
            if expected is not None:
                model.remove(expected)
                popped.append(expected)
        elif step == "remove":
            victim = model[priority % len(model)] if model else waiting(9)
            assert backlog.remove(victim) is bool(model)
            if model:
                model.remove(victim)
            assert backlog.remove(victim) is False
        elif popped:
            job = popped.pop()
            backlog.push_back(job)
            model.insert(0, job)
        assert (len(backlog), bool(backlog)) == (len(model), bool(model))


def test_a_backlog_has_a_limit_of_priorities() -> None:
    backlog = Backlog()
    for priority in range(MAX_LEVELS):
        backlog.push(waiting(priority))
    with pytest.raises(ValueError, match=f"priority -1 would be number {MAX_LEVELS + 1} in use; use fewer of them"):
        backlog.push(waiting(-1))
    assert backlog.pop().options.priority == MAX_LEVELS - 1  # type: ignore[union-attr]
    backlog.push(waiting(-1))  # one that nothing waits with counts no more
    assert len(backlog) == MAX_LEVELS
    last = [backlog.pop() for _ in range(MAX_LEVELS)][-1]
    assert last is not None
    assert last.options.priority == -1
    backlog.push_back(last)
    assert backlog.pop() is last


def test_a_job_that_came_to_a_queue_just_closed_is_not_lost() -> None:
    backlog = Backlog()
    for priority in range(MAX_LEVELS):
        backlog.push(waiting(priority))
    while backlog.pop():
        pass

    class Slow(dict[int, Any]):
        """Between looking up a queue and using it another thread opens one, and so closes all that are empty."""

        def get(self, priority: int, default: Any = None) -> Any:
            queue = super().get(priority)
            backlog._open(-1)
            return queue

    backlog._levels = Slow(backlog._levels)
    job = waiting(5)
    backlog.push(job)
    assert (len(backlog), backlog.pop()) == (1, job)


@given(st.lists(st.floats(0, 100)), st.lists(st.floats(0, 100)))
@deterministic
def test_histograms_are_cumulative_and_add_up(first: list[float], second: list[float]) -> None:
    one, two, both = Histogram(), Histogram(), Histogram()
    for values, histogram in ((first, one), (second, two), (first + second, both)):
        for value in values:
            histogram.observe(value)
    one.add(two)
    assert one.counts == both.counts
    result = both.as_dict()
    assert result["count"] == len(first) + len(second)
    for bound in BOUNDS:
        assert result["buckets"][f"{bound:g}"] == sum(value <= bound for value in first + second)
    assert result["buckets"]["+Inf"] == result["count"]


def test_tallies_add_up() -> None:
    one, two = Tally(), Tally()
    for number, name in enumerate(("submitted", "completed", "failed", "cancelled", "timed_out", "rejected"), 1):
        setattr(one, name, number)
        setattr(two, name, 10 * number)
    two.ran.observe(0.5)
    one.add(two)
    result = one.as_dict()
    assert [result[name] for name in ("submitted", "completed", "failed", "cancelled", "timed_out", "rejected")] == [
        11, 22, 33, 44, 55, 66,
    ]  # fmt: skip
    assert result["avg_duration_ms"] == 500


def test_names_of_functions_in_texts() -> None:
    assert describe(jobs.add) == "offload_jobs.add"
    assert describe(3) == "3"
    script = type("script", (), {"__module__": "__mp_main__"})
    assert describe(script) == "__main__.script"


def test_an_exception_that_cannot_be_rebuilt() -> None:
    error = remote_error(b"garbage", jobs.add)
    assert isinstance(error, ExecutorError)
    assert str(error).startswith("offload_jobs.add raised an exception that cannot be rebuilt on this side: ")


@pytest.mark.parametrize("name", ["Picky", "Wordy", "Keyed", "Missing", "Travels", "Slotted"])
def test_exceptions_survive_the_journey(name: str) -> None:
    try:
        jobs.raise_special(name)
    except Exception as exc:
        sent = exc
    error = remote_error(failure(sent, jobs.raise_special, __file__), jobs.raise_special)
    assert (type(error), str(error), error.args) == (type(sent), str(sent), sent.args)
    assert error.__dict__ == sent.__dict__
    assert isinstance(error.__cause__, RemoteTraceback)
    assert error.__cause__.text.splitlines()[1].endswith("in raise_special")


def test_a_remote_traceback_shows_its_text() -> None:
    assert str(RemoteTraceback("Traceback\n")) == '\n"""\nTraceback\n"""'


def test_arguments_of_a_function_without_a_signature() -> None:
    with pytest.raises(ExecutorError, match=r"argument 1 \(function\) of builtins.dict cannot be sent"):
        reference.parcel("builtins:dict", dict, (lambda: 1,), {})


@pytest.mark.parametrize(
    ("spec", "path", "expected"),
    [
        (None, __file__, ("path", __file__)),
        (None, "/x/<stdin>", None),
        (None, None, None),
        (SimpleNamespace(name="pack.mod"), "/x/mod.py", ("module", "pack.mod")),
        (SimpleNamespace(name="pack.__main__"), "/x/__main__.py", None),
        (SimpleNamespace(name="__main__"), "/x/__main__.py", None),
    ],
)
def test_how_a_worker_loads_the_script(
    spec: Any, path: str | None, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = SimpleNamespace(__spec__=spec, **({} if path is None else {"__file__": path}))
    monkeypatch.setitem(sys.modules, "__main__", cast("Any", main))
    assert reference.main_module() == expected


def test_a_function_of_a_script_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    main = SimpleNamespace(__spec__=None, move=jobs.add)
    monkeypatch.setitem(sys.modules, "__main__", cast("Any", main))
    monkeypatch.setattr(jobs.add, "__module__", "__main__")
    monkeypatch.setattr(jobs.add, "__qualname__", "move")
    with pytest.raises(ExecutorError, match=r"__main__.move is defined where a worker process cannot load it; move it"):
        reference.reference(jobs.add)


class Vanishing(list[WorkerThread]):
    """A list whose entries somebody else takes at once."""

    def append(self, entry: WorkerThread) -> None: ...


def test_a_thread_that_lies_down_looks_again() -> None:
    """The moments between two lines of a thread, which no test can hit from outside."""
    backlog = Backlog()
    crew = Crew("x", "x", 1, backlog, lambda job: None, None, ())
    me = WorkerThread(lambda me: None, "x")
    assert crew.wake() is False  # who was idle has been woken by somebody else
    backlog.push(waiting(0))
    assert crew._lies_down(me) is False  # a job came while it turned round: it does not wait
    assert crew.idle == []
    crew.idle = Vanishing()
    assert crew._lies_down(me) is True  # somebody is about to ring: it hears that ring, and not the next time
    me.bell.ring()
    me.bell.wait()
    crew.threads.add(me)
    assert crew._leave(me, surplus=True) is False  # others have left already
    read = me.bell._read
    os.set_blocking(read, False)
    with pytest.raises(BlockingIOError):
        os.read(read, 8)
    crew._closing = True
    assert crew._leave(me) is True
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.read(read, 8)


# The inside of a worker, here and now: what it answers to what is sent.

Talk = Callable[..., list[tuple[int, Any]]]


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> Talk:
    def run(*sent: tuple[int, Any], raw: bool = False) -> list[tuple[int, Any]]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for kind, value in sent:
                ours.sendall(wire.frame(kind, value if isinstance(value, bytes) else pickle.dumps(value)))
            ours.shutdown(socket.SHUT_WR)
            worker.Worker(wire.Channel(theirs)).serve()
            theirs.close()
            reader, received = wire.Channel(ours), []
            while (frame := reader.receive()) is not None:
                received.append((frame[0], pickle.loads(frame[1]) if frame[1] else None))
        return received

    monkeypatch.setattr(sys, "argv", [*sys.argv])
    yield run  # type: ignore[misc]
    here.reporter = None


def setup(**changes: Any) -> tuple[int, dict[str, Any]]:
    values = {"argv": ["prog", "-x"], "authkey": b"k", "main": None, "max_calls": None, "max_rss": None}
    return wire.SETUP, values | {"initializer": None, "functions": []} | changes


def call(name: str, *args: Any, **kwargs: Any) -> tuple[int, Any]:
    return wire.CALL, (f"offload_jobs:{name}", args, kwargs)


def test_a_worker_answers(talk: Talk) -> None:
    initializer = pickle.dumps(("offload_jobs:preload", (5,), {}))
    answers = talk(
        setup(initializer=initializer), call("preloaded"), call("add", 1, b=2), call("add", 2), (wire.CLOSE, b"")
    )
    assert answers == [(wire.READY, None), (wire.RESULT, 5), (wire.RESULT, 3), (wire.RESULT, 2)]
    assert sys.argv == ["prog", "-x"]
    jobs.preload(None)


def test_a_worker_whose_initializer_fails_leaves(talk: Talk) -> None:
    initializer = pickle.dumps(("offload_jobs:exit_with", (5,), {}))
    ((kind, (error, text)),) = talk(setup(initializer=initializer), call("add", 1))
    assert (kind, type(error), error.code) == (wire.BROKEN, SystemExit, 5)
    assert "exit_with" in text


def test_a_worker_reports_failures(talk: Talk) -> None:
    answers = talk(
        call("fail", "bad"), call("nothing"), (wire.CALL, b"garbage"), call("make_lambda"), call("count_to", 1),
        call("raise_stubborn"), call("echo", jobs.Fickle()),
    )  # fmt: skip
    assert {kind for kind, _ in answers} == {wire.ERROR}
    errors = [str(error) for _, (error, _) in answers]
    assert errors[0] == "bad"
    assert errors[1].startswith("a worker process cannot import offload_jobs.nothing: ")
    assert errors[2].startswith("the arguments of a call cannot be rebuilt in a worker process: ")
    assert errors[3].startswith(
        "the result of offload_jobs.make_lambda cannot be sent from a worker process: value['rows']"
    )
    assert errors[4].endswith("; iterate it with stream()")
    assert errors[5].startswith("offload_jobs.raise_stubborn raised an exception that cannot be sent")
    assert errors[6].startswith("the arguments of offload_jobs.echo cannot be rebuilt in a worker process: LookupError")
    text = answers[0][1][1]
    assert text.splitlines()[1].endswith(", in fail")


def test_a_worker_streams_until_told_otherwise(talk: Talk, tmp_path: Any) -> None:
    stream = (wire.STREAM, ("offload_jobs:count_to", (3,), {}))
    assert talk(stream)[0] == (wire.ITEM, 0)  # the pool has hung up: one item is enough
    listed = (wire.STREAM, ("offload_jobs:items_of", ([],), {}))
    assert talk(listed, call("add", 1)) == [(wire.END, None), (wire.RESULT, 1)]
    marked = (wire.STREAM, ("offload_jobs:count_and_mark", (str(tmp_path / "mark"),), {}))
    assert talk(marked, (wire.CLOSE, b""), call("add", 1)) == [(wire.ITEM, 0), (wire.END, None), (wire.RESULT, 1)]
    assert (tmp_path / "mark").read_text() == "closed"


def test_a_worker_streams_to_the_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = wire.Channel(theirs)
        kind, data = worker.Worker(channel)._stream(jobs.count_to, (3,), {})
        assert (kind, data) == (wire.END, b"")
        reader = wire.Channel(ours)
        assert [reader.receive() for _ in range(3)] == [(wire.ITEM, pickle.dumps(number, 5)) for number in range(3)]
    here.reporter = None


def test_a_worker_reports_progress(talk: Talk) -> None:
    assert talk(call("steps", 1)) == [
        (wire.PROGRESS, (0.0, "step 0")), (wire.PROGRESS, (1.0, "beyond")), (wire.PROGRESS, (None, "")),
        (wire.RESULT, "done"),
    ]  # fmt: skip


def test_a_worker_leaves_after_its_share(talk: Talk) -> None:
    answers = talk(setup(max_calls=2), call("add", 1), call("add", 2), call("add", 3))
    assert answers == [(wire.READY, None), (wire.RESULT, 1), (wire.RESULT | wire.LAST, 2)]
    answers = talk(setup(max_rss=1), call("add", 1), call("add", 2))
    assert answers == [(wire.READY, None), (wire.RESULT | wire.LAST, 1)]
    answers = talk(setup(max_rss=1 << 50), call("add", 1), call("add", 2))
    assert answers == [(wire.READY, None), (wire.RESULT, 1), (wire.RESULT, 2)]


def test_memory_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker.rss() > 1 << 20

    def refuse(*args: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", refuse)
    assert worker.rss() > 1 << 20


def ahead(slot: int, number: int, value: Any) -> tuple[int, bytes]:
    return wire.AHEAD + wire.NUMBERS * slot + number, pickle.dumps(("offload_jobs:echo", (value,), {}))


def test_a_worker_runs_only_the_calls_it_can_claim() -> None:
    """Recalled ones are skipped, also when the claim to a later one is found in their place."""
    ours, theirs = socket.socketpair()
    pipes = [os.pipe(), os.pipe()]
    try:
        with ours, theirs:
            for reading, _ in pipes:
                os.set_blocking(reading, False)
            os.write(pipes[0][1], bytes([2]))
            os.write(pipes[1][1], bytes([5]))
            for kind, payload in (
                ahead(0, 1, "recalled, and the claim of the next one is there"),
                ahead(0, 2, "first"),
                ahead(0, 3, "recalled, and nothing is there"),
                ahead(1, 5, "second"),
            ):
                ours.sendall(wire.frame(kind, payload))
            ours.shutdown(socket.SHUT_WR)
            worker.Worker(wire.Channel(theirs), tuple(reading for reading, _ in pipes)).serve()
            theirs.close()
            reader, answers = wire.Channel(ours), []
            while (frame := reader.receive()) is not None:
                answers.append((frame[0], pickle.loads(frame[1])))
    finally:
        here.reporter = None
        for fd in (fd for pipe in pipes for fd in pipe):
            os.close(fd)
    assert answers == [(wire.RESULT, "first"), (wire.RESULT, "second")]


def test_a_worker_loads_the_script_once(talk: Talk, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import offload_jobs\noffload_jobs.loaded = (offload_jobs.loaded or 0) + 1\ndef fn(): return __name__\n"
    )
    jobs.preload(None)
    for name in ("__main__", "__mp_main__"):
        monkeypatch.setitem(sys.modules, name, sys.modules["__main__"])
    main_call = (wire.CALL, ("__main__:fn", (), {}))
    answers = talk(setup(main=("path", str(script))), main_call, main_call, call("preloaded"))
    assert answers == [(wire.READY, None), (wire.RESULT, "__mp_main__"), (wire.RESULT, "__mp_main__"), (wire.RESULT, 1)]
    jobs.preload(None)
    monkeypatch.undo()
    answers = talk(setup(), call("echo", "__main__"))
    assert answers == [(wire.READY, None), (wire.RESULT, "__main__")]


def test_a_worker_loads_a_module_as_the_script(talk: Talk, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run_as_module.py").write_text("def fn(): return __name__\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("__main__", "__mp_main__"):
        monkeypatch.setitem(sys.modules, name, sys.modules["__main__"])
    answers = talk(setup(main=("module", "run_as_module")), (wire.CALL, ("__main__:fn", (), {})))
    assert answers == [(wire.READY, None), (wire.RESULT, "__mp_main__")]


def test_the_entry_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    lifeline = os.open(os.devnull, os.O_RDONLY)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(worker, "die_with_parent", lambda fd: None)
    monkeypatch.setattr(worker, "_inside", False)
    try:
        with ours:
            ours.sendall(wire.frame(*pickled(call("inside"))))
            ours.shutdown(socket.SHUT_WR)
            fd = theirs.detach()
            os.set_inheritable(fd, True)
            worker.main(fd, lifeline)
            os.kill(os.getpid(), signal.SIGTERM)
            assert wire.Channel(ours).receive() == (wire.RESULT, pickle.dumps(True, 5))
        assert os.get_inheritable(lifeline) is False
    finally:
        os.close(lifeline)
        here.reporter = None
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_a_pool_that_is_gone_when_the_answer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(worker, "die_with_parent", lambda fd: None)
    monkeypatch.setattr(worker, "_inside", False)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(sys, "stdout", None)  # it may be closed
    ours.sendall(wire.frame(*pickled(call("add", 1))))
    ours.close()
    lifeline = os.open(os.devnull, os.O_RDONLY)
    worker.main(theirs.detach(), lifeline)
    os.close(lifeline)
    here.reporter = None


def pickled(message: tuple[int, Any]) -> tuple[int, bytes]:
    return message[0], pickle.dumps(message[1], 5)
