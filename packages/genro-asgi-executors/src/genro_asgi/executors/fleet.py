"""The worker processes of a pool: how they are hired, retired, killed, replaced and buried."""

import asyncio
import multiprocessing.process
import pickle
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol

from genro_asgi.executors import wire
from genro_asgi.executors.errors import ExecutorError, WorkerDiedError, cannot_start, describe
from genro_asgi.executors.failures import remote_error
from genro_asgi.executors.job import Job
from genro_asgi.executors.located import Located
from genro_asgi.executors.process import WorkerProcess
from genro_asgi.executors.reference import main_module, parcel, reference

# Calls that may lie recalled in the socket of a worker.
MAX_RECALLED = 4
# Seconds a worker gets to leave by itself (atexit, threads of its own) before it is killed.
GRACE = 2.0


class FleetOwner(Protocol):
    """What a fleet tells the pool it works for."""

    def on_free(self) -> None:
        """A worker has nothing to do."""

    def on_frame(self, worker: WorkerProcess, kind: int, payload: bytes) -> None:
        """A worker that runs a job has sent something."""

    def on_death(self, job: Job[Any], error: ExecutorError) -> None:
        """A worker died with this job in hand."""

    def on_return(self, job: Job[Any]) -> None:
        """A job that was given to a worker has not begun, and needs another one."""

    def on_despair(self, error: ExecutorError) -> None:
        """There is no worker, and no other is tried before the next call."""


class Fleet:
    """Workers of one event loop, replaced when they end."""

    def __init__(
        self,
        name: str,
        owner: FleetOwner,
        references: Mapping[Callable[..., Any], str | Located],
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        max_calls: int | None,
        max_rss: int | None,
    ) -> None:
        self.name = name
        self.loop: asyncio.AbstractEventLoop | None = None
        # Workers that serve, those of them that are free, and those that are on their way out.
        self.workers: set[WorkerProcess] = set()
        self.idle: list[WorkerProcess] = []
        # Workers that run a call and could be sent another one ahead, so that they need not wait for the loop.
        self.eager: set[WorkerProcess] = set()
        self.leaving: set[WorkerProcess] = set()
        self.ahead = 0
        self.replaced = 0
        self._owner = owner
        self._references = references
        self._initializer = initializer
        self._initargs = initargs
        self._max_calls = max_calls
        self._max_rss = max_rss
        self._setup = b""
        self._known = -1
        self._importing = True
        # Workers that ended without a call in hand since the last answer: too many, and no other is tried.
        self.lost = 0
        self._waiting: list[asyncio.Future[None]] = []

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve this loop from now on; what ran for another one is killed."""
        self.loop = loop
        for worker in [*self.workers, *self.leaving]:
            worker.detach()
            worker.attach(loop)
        for worker in [worker for worker in self.workers if worker.job is not None]:
            self.take_ahead(worker)
            self.dispose(worker)

    def hire(self) -> None:
        """Start a worker. Raises ExecutorError when that leaves none at all."""
        references = self._references if self._importing else {}
        if not self._setup or self._known != len(references):
            self._known, self._setup = len(references), self._make_setup(references)
        try:
            worker = WorkerProcess(self._on_frame, self._on_end)
        except ExecutorError:
            if self.workers:
                return
            raise
        assert self.loop is not None
        self.workers.add(worker)
        worker.attach(self.loop)
        with suppress(ConnectionError):  # it is dead already, and its end will tell
            worker.send(wire.SETUP, self._setup)

    async def all_ready(self) -> None:
        """Wait until every worker has run its initializer. Raises the ExecutorError of one that could not."""
        if not all(worker.ready for worker in self.workers):
            self._waiting.append(asyncio.get_running_loop().create_future())
            await self._waiting[-1]

    def free(self, worker: WorkerProcess) -> None:
        """A worker has nothing to do any more."""
        self.idle.append(worker)
        self._owner.on_free()

    def begin(self, worker: WorkerProcess, job: Job[Any]) -> None:
        """A worker has a job in hand."""
        job.lane, worker.job = worker, job
        if job.inflow is None and worker.recalled < MAX_RECALLED:
            self.eager.add(worker)

    def send_ahead(self, worker: WorkerProcess, job: Job[Any]) -> None:
        """Send a worker what it runs next. Raises ConnectionError when it is gone."""
        worker.send_ahead(job.payload)
        job.lane, worker.ahead = worker, job
        self.ahead += 1

    def take_ahead(self, worker: WorkerProcess) -> Job[Any] | None:
        """What was sent ahead to a worker is so no more: it begins it, or another one does."""
        job, worker.ahead = worker.ahead, None
        if job is not None:
            self.ahead -= 1
        return job

    def recall(self, worker: WorkerProcess) -> Job[Any] | None:
        """Take back what was sent ahead. None when there is nothing, or the worker has claimed it.

        Then its answer to the call before may have come, and is read at once: who asks has to look again what it runs.
        """
        if worker.ahead is None:
            return None
        if not worker.recall():
            worker.read_all()
            return None
        # Its frame stays where it is until the worker comes to it: there must not be many.
        worker.recalled += 1
        if worker.recalled < MAX_RECALLED:
            self.eager.add(worker)
        return self.take_ahead(worker)

    def retire(self, worker: WorkerProcess) -> None:
        """A worker has said that it leaves: replace it."""
        self._part_with(worker)
        worker.leaving = True
        assert self.loop is not None
        self.loop.call_later(GRACE, self._hurry, worker)
        self._give_back(worker)
        self._replace()

    def dispose(self, worker: WorkerProcess) -> None:
        """Kill a worker, whatever it runs, and replace it."""
        worker.job = None
        self._part_with(worker)
        worker.kill()
        self._give_back(worker)
        self._replace()

    async def close(self) -> None:
        """Let the free workers go, kill the others, and wait until all are buried."""
        for worker in list(self.workers):
            self._part_with(worker)
            if worker.ready and worker.job is None:
                worker.hang_up()
            else:
                worker.job = None
                self.take_ahead(worker)
                worker.kill()
        patience = monotonic() + GRACE
        while self.leaving:
            if monotonic() > patience:
                for worker in self.leaving:
                    worker.kill()
            await asyncio.sleep(0.002)

    def forget(self) -> None:
        """Begin anew without workers, in a process that was forked off theirs."""
        for worker in (*self.workers, *self.leaving):
            worker.disown()
        for group in (self.workers, self.idle, self.eager, self.leaving, self._waiting):
            group.clear()
        self.loop = None
        self.ahead = self.lost = 0

    def _make_setup(self, references: Mapping[Callable[..., Any], str | Located]) -> bytes:
        initializer = None
        if self._initializer is not None:
            initializer = parcel(reference(self._initializer), self._initializer, self._initargs, {})
        # What the script defines is named after the module a worker loads it as.
        sys.modules.setdefault("__mp_main__", sys.modules["__main__"])
        setup = {
            "argv": sys.argv,
            "authkey": bytes(multiprocessing.process.current_process().authkey),
            "main": main_module(),
            "max_calls": self._max_calls,
            "max_rss": self._max_rss,
            "initializer": initializer,
            # What was ever called is imported before the next call: its time is for running.
            "functions": [parcel(name, fn, (), {}) for fn, name in references.items()],
        }
        return pickle.dumps(setup, wire.PROTOCOL)

    def _on_frame(self, worker: WorkerProcess, kind: int, payload: bytes) -> None:
        if kind == wire.READY:
            worker.ready = True
            self._tell(None)
            self.free(worker)
        elif kind == wire.BROKEN:
            self._on_broken(worker, payload)
        elif worker.job is not None:
            self._owner.on_frame(worker, kind, payload)

    def _on_broken(self, worker: WorkerProcess, payload: bytes) -> None:
        """Its initializer failed, and it leaves by itself. Another one would fail too: the next call has to try."""
        self._part_with(worker)
        self._despair(cannot_start(self.name, remote_error(payload, self._initializer)))

    def _on_end(self, worker: WorkerProcess) -> None:
        self.leaving.discard(worker)
        if worker not in self.workers:
            return
        self._part_with(worker)
        self.leaving.discard(worker)
        if not worker.ready:
            self._importing = False  # if it is an import that ends them, let it end with the call that needs it
        text = f"worker process {worker.pid} of executor {self.name!r} {worker.fate}"
        job, worker.job = worker.job, None
        if job is not None and worker.unclaimed:
            self._owner.on_return(job)
            job = None
        self._give_back(worker)
        if job is not None:
            self._owner.on_death(job, WorkerDiedError(f"{text} while it ran {describe(job.fn)}"))
        else:
            self.lost += 1
        if self.lost <= 2 * (len(self.workers) + 1) + 3:
            self._replace()
        else:
            self.lost = 0
            self._despair(WorkerDiedError(f"{text} with no call in hand, like those before it; its output may say why"))
            self._owner.on_free()  # as in _replace

    def _part_with(self, worker: WorkerProcess) -> None:
        self.workers.discard(worker)
        self.eager.discard(worker)
        if worker in self.idle:
            self.idle.remove(worker)
        self.leaving.add(worker)

    def _give_back(self, worker: WorkerProcess) -> None:
        job = self.take_ahead(worker)
        if job is not None:
            self._owner.on_return(job)

    def _replace(self) -> None:
        self.replaced += 1
        try:
            self.hire()
        except ExecutorError as exc:
            self._despair(exc)
        self._owner.on_free()  # others may be free for what it leaves behind

    def _hurry(self, worker: WorkerProcess) -> None:
        if worker in self.leaving:
            worker.kill()

    def _despair(self, error: ExecutorError) -> None:
        self._tell(error)
        if not self.workers:
            self._owner.on_despair(error)

    def _tell(self, error: ExecutorError | None) -> None:
        """Tell those who wait for all workers."""
        if error is None and not all(worker.ready for worker in self.workers):
            return
        for waiter in self._waiting:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
        self._waiting.clear()
