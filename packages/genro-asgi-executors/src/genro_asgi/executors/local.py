"""Processes: CPU-bound work beside the loop, in workers that may die without taking the pool along."""

import asyncio
import math
import os
import pickle
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from functools import partial
from time import monotonic
from typing import Any, TypeVar, cast

from genro_asgi.executors import wire
from genro_asgi.executors.base import BaseExecutor, Overload
from genro_asgi.executors.errors import (
    ExecutorError,
    RemoteTraceback,
    WorkerDiedError,
    describe,
)
from genro_asgi.executors.inflow import Inflow
from genro_asgi.executors.job import CallOptions, Job, OnCancel
from genro_asgi.executors.process import WorkerProcess
from genro_asgi.executors.reference import main_module, parcel, reference, refuse_nameless
from genro_asgi.executors.worker import in_worker, parcel as pack

__all__ = ["LocalExecutor", "in_worker"]

R = TypeVar("R")
T = TypeVar("T")

# Seconds a worker gets to leave by itself (atexit, threads of its own) before it is killed.
GRACE = 2.0


class LocalExecutor(BaseExecutor):
    """A pool of worker processes, one call at a time each, started as they are needed and kept.

    Functions go by module and name, arguments and results by pickle over a socket of each worker, without helper
    threads. A worker that dies fails the call it ran and is replaced. The pool serves one event loop at a time.
    """

    kind = "process"
    can_kill = True

    def __init__(
        self,
        name: str = "default",
        max_workers: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_pending: int | None = 100,
        on_overload: Overload = "raise",
        timeout: float | None = None,
        on_cancel: OnCancel = "finish",
        max_tasks_per_worker: int | None = None,
        max_rss_per_worker: int | None = None,
        bypass: bool = False,
    ) -> None:
        super().__init__(
            name,
            max_workers=os.cpu_count() or 1 if max_workers is None else max_workers,
            max_pending=max_pending,
            on_overload=on_overload,
            timeout=timeout,
            on_cancel=on_cancel,
            bypass=bypass,
        )
        for option, number in (
            ("max_tasks_per_worker", max_tasks_per_worker),
            ("max_rss_per_worker", max_rss_per_worker),
        ):
            self._check(option, number, number is None or number >= 1, "at least 1, or None")
        if initializer is not None:
            refuse_nameless(initializer)
        self.initializer = initializer
        self.initargs = initargs
        self.max_tasks_per_worker = max_tasks_per_worker
        self.max_rss_per_worker = max_rss_per_worker
        self._loop: asyncio.AbstractEventLoop | None = None
        self._references: dict[Callable[..., Any], str] = {}
        self._setup: bytes | None = None
        # Workers that serve, those of them that are free, and those that are on their way out.
        self._workers: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []
        self._leaving: set[WorkerProcess] = set()
        # Workers that ended without a call in hand since the last answer: too many of them, and the pool stops trying.
        self._lost = 0
        self._warming: list[asyncio.Future[None]] = []
        self.replaced = 0

    @property
    def workers(self) -> int:
        return len(self._workers)

    @property
    def busy(self) -> int:
        return sum(worker.job is not None for worker in self._workers)

    def prepare(self, fn: Callable[..., Any]) -> None:
        super().prepare(fn)
        refuse_nameless(fn)

    def metrics(self) -> dict[str, Any]:
        return super().metrics() | {"replaced": self.replaced}

    def launch(
        self, fn: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Job[R]:
        if len(self._live) >= self._ceiling:
            self._refuse(self._tally)
        payload = self._parcel(fn, args, kwargs)
        if self.bypass:
            return self._inline(fn, partial(_as_sent, fn, payload), options)
        return self._enqueue(fn, payload, options, None)

    async def launch_stream(
        self, fn: Callable[..., Iterable[T]], args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> AsyncGenerator[T, None]:
        """The generator keeps its worker until it ends, and waits when its reader is `AHEAD` items behind."""
        if len(self._live) >= self._ceiling:
            self._refuse(self._tally)
        payload = self._parcel(fn, args, kwargs)
        if self.bypass:
            async with aclosing(self._inline_stream(fn, partial(_items_as_sent, fn, payload), options)) as items:
                async for item in items:
                    yield item
            return
        inflow = Inflow()
        job = self._enqueue(fn, payload, options, inflow)
        try:
            while inflow.items or not job.done():
                if inflow.items:
                    yield cast("T", _unpack(inflow.take(), fn, "an item"))
                else:
                    await inflow.more()
            await job
        finally:
            if not job.cancel() and not job.cancelled():
                job.exception()  # a reader who left early does not want to hear of it

    async def warm_up(self) -> None:
        if self.bypass:
            return
        self._bind(asyncio.get_running_loop())
        while len(self._workers) < self.max_workers:
            self._hire()
        if not all(worker.ready for worker in self._workers):
            self._warming.append(asyncio.get_running_loop().create_future())
            await self._warming[-1]

    def abandon(self, job: Job[Any]) -> None:
        self._live.discard(job)
        self._tally.cancelled += 1
        if self._backlog.remove(job):
            return
        worker: WorkerProcess = job.lane
        if job.options.on_cancel == "kill":
            self._dispose(worker)
            return
        # A timeout goes on: it frees the worker, whoever is waiting.
        self._abandoned.add(job)
        if job.inflow is not None:
            with suppress(ConnectionError):
                worker.send(wire.CLOSE)
            worker.resume()

    async def shutdown(self, wait: bool = True, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self.closed, self._ceiling = True, -1
        if self._loop is None:
            return
        self._bind(asyncio.get_running_loop())
        if wait:
            await self._drain(math.inf if timeout is None else monotonic() + timeout)
        for job in list(self._live):
            self._cut_short(job, self._tally)
            self._backlog.remove(job)
            if job.inflow is not None:
                job.inflow.wake()
        for worker in list(self._workers):
            self._part_with(worker)
            if worker.ready and worker.job is None:
                worker.hang_up()
            else:
                worker.kill()
        deadline = monotonic() + GRACE
        while self._leaving:
            if monotonic() > deadline:
                for worker in self._leaving:
                    worker.kill()
            await asyncio.sleep(0.002)

    def _parcel(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """The call as bytes; what cannot be sent counts as a failed call."""
        try:
            try:
                name = self._references[fn]
            except (KeyError, TypeError):
                name = reference(fn)
                self._references[fn] = name
            return parcel(name, fn, args, kwargs)
        except ExecutorError:
            self._tally.submitted += 1
            self._tally.failed += 1
            raise

    def _enqueue(self, fn: Callable[..., Any], payload: bytes, options: CallOptions, inflow: Inflow | None) -> Job[Any]:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        if not self._idle and len(self._workers) < self.max_workers:
            self._hire()
        job: Job[Any] = Job(loop=loop)
        job.owner = self
        job.options = options
        job.fn = fn
        job.payload = payload
        job.inflow = inflow
        job.lane = job.value = job.error = None
        job.queued = monotonic()
        self._live.add(job)
        self._tally.submitted += 1
        self._backlog.push(job)
        self._feed()
        return job

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve this loop from now on: the one before is closed or stopped, and its calls are nobody's."""
        if loop is self._loop:
            return
        if in_worker():
            raise ExecutorError(
                f"executor {self.name!r} is used inside a worker process; call the function itself there "
                "(a decorated one has it as __wrapped__)"
            )
        if self._loop is not None and self._loop.is_running():
            raise ExecutorError(
                f"executor {self.name!r} serves another event loop that runs; make a pool for each loop"
            )
        for job in list(self._live):
            if job.get_loop().is_closed():
                self.abandon(job)
            else:
                job.cancel()
        self._loop = loop
        for worker in [*self._workers, *self._leaving]:
            worker.detach()
            worker.attach(loop)
        for worker in [worker for worker in self._workers if worker.job is not None]:
            self._dispose(worker)

    def _feed(self) -> None:
        """Give free workers what waits."""
        while self._idle and (job := self._backlog.pop()) is not None:
            worker = self._idle.pop()
            job.started = monotonic()
            try:
                worker.send(wire.CALL if job.inflow is None else wire.STREAM, job.payload)
            except ConnectionError:
                self._backlog.push_back(job)  # it died in its sleep; its end will bring another worker
                continue
            job.payload = b""
            job.lane, worker.job = worker, job
            if job.inflow is not None:
                job.inflow.since, job.inflow.pause, job.inflow.resume = job.started, worker.pause, worker.resume
            if job.options.timeout is not None:
                job.timer = job.get_loop().call_later(job.options.timeout, self._expire, job)

    def _on_frame(self, worker: WorkerProcess, kind: int, payload: bytes) -> None:
        job = worker.job
        outcome = kind & ~wire.LAST
        if outcome in (wire.RESULT, wire.ERROR, wire.END):
            if job is not None:
                self._on_answer(worker, job, kind, payload)
        elif outcome == wire.READY:
            worker.ready = True
            self._free(worker)
            self._tell_warming()
        elif outcome == wire.BROKEN:
            self._on_broken(worker, payload)
        elif job is not None and not job.done():
            if outcome == wire.PROGRESS:
                job.advance(*pickle.loads(payload))
            elif job.inflow is not None:
                job.inflow.put(payload)

    def _on_answer(self, worker: WorkerProcess, job: Job[Any], kind: int, payload: bytes) -> None:
        job.ended = monotonic()
        worker.job = None
        self._lost = 0
        # The worker goes on first: what the answer says can be read while it works.
        if kind & wire.LAST:
            self._retire(worker)
        else:
            self._free(worker)
        self._abandoned.discard(job)
        if not job.done():
            self._read_answer(job, kind & ~wire.LAST, payload)
        self._settle(job, self._tally)
        if job.inflow is not None:
            job.inflow.wake()

    def _read_answer(self, job: Job[Any], outcome: int, payload: bytes) -> None:
        try:
            if outcome == wire.RESULT:
                job.value = _unpack(payload, job.fn, "the result")
            elif outcome == wire.ERROR:
                job.error = _remote_error(payload, job.fn)
        except ExecutorError as exc:
            job.error = exc

    def _on_broken(self, worker: WorkerProcess, payload: bytes) -> None:
        """Its initializer failed. It leaves by itself; another one would fail too, so the next call has to try."""
        cause = _remote_error(payload, self.initializer)
        error = ExecutorError(f"executor {self.name!r} cannot start a worker: its initializer raised {cause!r}")
        error.__cause__ = cause
        self._part_with(worker)
        self._give_up(error)

    def _on_end(self, worker: WorkerProcess) -> None:
        self._leaving.discard(worker)
        if worker not in self._workers:
            return
        self._workers.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        self.replaced += 1
        job, worker.job = worker.job, None
        text = f"worker process {worker.pid} of executor {self.name!r} {worker.fate}"
        if job is None:
            self._lost += 1
        else:
            self._abandoned.discard(job)
            job.ended = monotonic()
            job.error = WorkerDiedError(f"{text} while it ran {describe(job.fn)}")
            self._settle(job, self._tally)
            if job.inflow is not None:
                job.inflow.wake()
        if self._lost <= 2 * self.max_workers + 3:
            self._refill()
        else:
            self._lost = 0
            self._give_up(WorkerDiedError(f"{text}, like those before it, with no call in hand; its log may say why"))

    def _expire(self, job: Job[Any]) -> None:
        worker: WorkerProcess = job.lane
        timeout = job.options.timeout
        if worker.job is not job or timeout is None:
            return
        left = 0.0
        if job.inflow is not None:
            # Each item has its own time, and the worker is not to blame for a slow reader.
            left = timeout if worker.paused else job.inflow.since + timeout - monotonic()
        if left > 0:
            job.timer = job.get_loop().call_later(left, self._expire, job)
            return
        self._abandoned.discard(job)
        self._dispose(worker)
        if not job.done():
            self._time_out(job, self._tally)
            if job.inflow is not None:
                job.inflow.wake()

    def _hire(self) -> None:
        """Start a worker. Raises ExecutorError when there is none at all."""
        if self._setup is None:
            self._setup = self._make_setup()
        try:
            worker = WorkerProcess(self._on_frame, self._on_end)
        except ExecutorError:
            if self._workers:
                return
            raise
        assert self._loop is not None
        self._workers.add(worker)
        worker.attach(self._loop)
        with suppress(ConnectionError):  # it is dead already, and its end will tell
            worker.send(wire.SETUP, self._setup)

    def _make_setup(self) -> bytes:
        initializer = None
        if self.initializer is not None:
            initializer = parcel(reference(self.initializer), self.initializer, self.initargs, {})
        # What the script defines is named after the module a worker loads it as.
        sys.modules.setdefault("__mp_main__", sys.modules["__main__"])
        return pickle.dumps(
            {
                "argv": sys.argv,
                "main": main_module(),
                "max_calls": self.max_tasks_per_worker,
                "max_rss": self.max_rss_per_worker,
                "initializer": initializer,
            },
            wire.PROTOCOL,
        )

    def _refill(self) -> None:
        """Bring the pool back to the size it had."""
        if not self.closed:
            try:
                self._hire()
            except ExecutorError as exc:
                self._give_up(exc)

    def _free(self, worker: WorkerProcess) -> None:
        self._idle.append(worker)
        self._feed()

    def _part_with(self, worker: WorkerProcess) -> None:
        self._workers.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        self._leaving.add(worker)

    def _retire(self, worker: WorkerProcess) -> None:
        """It has announced that it leaves."""
        self._part_with(worker)
        worker.leaving = True
        self.replaced += 1
        assert self._loop is not None
        self._loop.call_later(GRACE, self._hurry, worker)
        self._refill()

    def _hurry(self, worker: WorkerProcess) -> None:
        if worker in self._leaving:
            worker.kill()

    def _dispose(self, worker: WorkerProcess) -> None:
        """Kill a worker for the call it runs, and replace it."""
        job, worker.job = worker.job, None
        if job is not None:
            self._tally.waited.observe(job.started - job.queued)
            self._tally.ran.observe(monotonic() - job.started)
        self._part_with(worker)
        self.replaced += 1
        worker.kill()
        self._refill()

    def _give_up(self, error: ExecutorError) -> None:
        """There may be no worker to wait for: tell those who wait."""
        for waiter in self._warming:
            if not waiter.done():
                waiter.set_exception(error)
        self._warming.clear()
        while not self._workers and (job := self._backlog.pop()) is not None:
            job.started = job.ended = monotonic()
            job.error = error
            self._settle(job, self._tally)
            if job.inflow is not None:
                job.inflow.wake()

    def _tell_warming(self) -> None:
        if all(worker.ready for worker in self._workers):
            for waiter in self._warming:
                if not waiter.done():
                    waiter.set_result(None)
            self._warming.clear()


def _unpack(data: bytes, fn: object, what: str) -> Any:
    try:
        return pickle.loads(data)
    except Exception as exc:
        raise ExecutorError(f"{what} of {describe(fn)} cannot be rebuilt on this side: {exc!r}") from exc


def _remote_error(data: bytes, fn: object) -> BaseException:
    error: BaseException
    error, text = _unpack(data, fn, "the exception")
    error.__cause__ = RemoteTraceback(text)
    return error


def _as_sent(fn: Callable[..., Any], payload: bytes) -> Any:
    """A call as a worker would make it: with copies of the arguments, and of the result."""
    _, args, kwargs = pickle.loads(payload)
    return pickle.loads(pack(fn(*args, **kwargs), fn, "the result"))


def _items_as_sent(fn: Callable[..., Any], payload: bytes) -> Iterator[Any]:
    _, args, kwargs = pickle.loads(payload)
    for item in fn(*args, **kwargs):
        yield pickle.loads(pack(item, fn, "an item"))
