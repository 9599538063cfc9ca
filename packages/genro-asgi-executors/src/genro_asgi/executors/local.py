"""Processes: CPU-bound work beside the loop, in workers that may die without taking the pool along."""

import asyncio
import math
import os
import pickle
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, cast

from genro_asgi.executors import wire
from genro_asgi.executors.base import BaseExecutor, Overload
from genro_asgi.executors.errors import ExecutorError, describe, shown
from genro_asgi.executors.failures import remote_error
from genro_asgi.executors.fleet import Fleet
from genro_asgi.executors.inflow import Inflow
from genro_asgi.executors.job import CallOptions, Job, OnCancel
from genro_asgi.executors.process import WorkerProcess
from genro_asgi.executors.reference import call_as_sent, items_as_sent, parcel, reference, refuse_nameless, unfold
from genro_asgi.executors.worker import in_worker

if TYPE_CHECKING:
    from genro_asgi.executors.located import Located

__all__ = ["LocalExecutor", "in_worker"]

R = TypeVar("R")
T = TypeVar("T")


# Bytes of a call that may be sent while another one runs; more would be much to send in vain.
MAX_AHEAD = 1 << 14
# Seconds a call runs before the one that was sent ahead behind it counts as stuck, and goes to another worker.
STUCK = 0.01


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
            initializer=initializer,
            initargs=initargs,
            bypass=bypass,
        )
        self._check_count("max_tasks_per_worker", max_tasks_per_worker, or_none=True)
        self._check_count("max_rss_per_worker", max_rss_per_worker, or_none=True)
        if initializer is not None:
            refuse_nameless(initializer)
        self._references: dict[Callable[..., Any], str | Located] = {}
        self._fleet = Fleet(
            name, self, self._references, initializer, self.initargs, max_tasks_per_worker, max_rss_per_worker
        )

    @property
    def workers(self) -> int:
        return len(self._fleet.workers)

    @property
    def busy(self) -> int:
        return sum(worker.job is not None for worker in self._fleet.workers)

    @property
    def pending(self) -> int:
        loop = self._fleet.loop
        return 0 if loop is not None and loop.is_closed() else len(self._live)

    def prepare(self, fn: Callable[..., Any]) -> None:
        super().prepare(fn)
        refuse_nameless(fn.func if isinstance(fn, partial) else fn)

    def metrics(self) -> dict[str, Any]:
        metrics = super().metrics()
        return metrics | {"queued": metrics["queued"] + self._fleet.ahead, "replaced": self._fleet.replaced}

    def launch(
        self, fn: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Job[R]:
        fn, payload = self._packed(fn, args, kwargs)
        if self.bypass:
            return self._inline(fn, partial(call_as_sent, fn, payload), options)
        return self._enqueue(fn, payload, options, None)

    async def launch_stream(
        self, fn: Callable[..., Iterable[T]], args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> AsyncGenerator[T, None]:
        """The generator keeps its worker to its end; it waits when its reader is `AHEAD` items or a megabyte behind."""
        fn, payload = self._packed(fn, args, kwargs)
        if self.bypass:
            async with aclosing(self._inline_stream(fn, partial(items_as_sent, fn, payload), options)) as items:
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

    def forget(self) -> None:
        super().forget()
        self._fleet.forget()

    async def warm_up(self) -> None:
        if self.closed:
            self._refuse(self._tally)
        if self.bypass:
            self._initialize_inline()
            return
        self._bind(asyncio.get_running_loop())
        while self.workers < self.max_workers:
            self._fleet.hire()
        await self._fleet.all_ready()

    async def shutdown(self, wait: bool = True, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self.closed, self._ceiling = True, -1
        if self._fleet.loop is None:
            return
        self._bind(asyncio.get_running_loop())
        if wait:
            await self._drain(math.inf if timeout is None else monotonic() + timeout)
        for job in list(self._live):
            self._backlog.remove(job)
            self._cut_short(job, self._tally)
            job.wake()
        await self._fleet.close()

    def abandon(self, job: Job[Any]) -> None:
        self._live.discard(job)
        self._tally.cancelled += 1
        if self._backlog.remove(job):
            return
        worker: WorkerProcess = job.lane
        if worker.ahead is job and self._fleet.recall(worker) is job:
            return
        if job.options.on_cancel == "kill":
            self._kill(worker, job)
        elif worker.job is job:
            # A timeout goes on: it frees the worker, whoever waits.
            self._abandoned.add(job)
            if job.inflow is not None:
                with suppress(ConnectionError):
                    worker.send(wire.CLOSE)
                worker.resume()

    def on_free(self) -> None:
        """Give free workers what waits, and the others one call ahead."""
        idle, eager, backlog = self._fleet.idle, self._fleet.eager, self._backlog
        if self._fleet.ahead and backlog and (idle or eager):
            self._unstick()
        while idle and (job := backlog.pop() or self._recall_any()) is not None:
            if idle:
                self._give(idle.pop(), job)
            else:  # looking for it, others have been found
                backlog.push_back(job)
        while eager and (job := backlog.pop()) is not None:
            if job.inflow is not None or len(job.payload) > MAX_AHEAD:
                backlog.push_back(job)
                break
            try:
                self._fleet.send_ahead(eager.pop(), job)
            except ConnectionError:
                backlog.push_back(job)

    def _give(self, worker: WorkerProcess, job: Job[Any]) -> None:
        try:
            worker.send(wire.CALL if job.inflow is None else wire.STREAM, job.payload)
        except ConnectionError:
            self._backlog.push_back(job)  # it died in its sleep; its end will bring another worker
        else:
            job.payload = b""
            self._begin(worker, job)

    def _begin(self, worker: WorkerProcess, job: Job[Any]) -> None:
        self._fleet.begin(worker, job)
        job.started = monotonic()
        if job.done():
            self._abandoned.add(job)  # cancelled when the worker had claimed it
        if job.inflow is not None:
            job.inflow.since, job.inflow.pause, job.inflow.resume = job.started, worker.pause, worker.resume
        if job.options.timeout is not None:
            job.timer = job.get_loop().call_later(job.options.timeout, self._expire, job)

    def _recall_any(self, below: float = math.inf) -> Job[Any] | None:
        """A call of a priority below this one that was sent ahead, and that its worker has not come to."""
        if self._fleet.ahead:
            for worker in list(self._fleet.workers):
                if worker.ahead is not None and worker.ahead.options.priority < below:
                    job = self._fleet.recall(worker)
                    if job is not None:
                        return job
        return None

    def _unstick(self) -> None:
        """Queue what was sent ahead behind long calls again: what came later must not overtake it for ever."""
        since = monotonic() - STUCK
        waiting = [(worker.ahead.queued, worker.pid, worker) for worker in self._fleet.workers if worker.ahead]
        for queued, _, worker in sorted(waiting, reverse=True):  # the oldest last, and so before the others again
            if worker.job is not None and max(worker.job.started, queued) < since:
                job = self._fleet.recall(worker)
                if job is not None:
                    self._fleet.eager.discard(worker)
                    self._backlog.push_back(job)

    def on_frame(self, worker: WorkerProcess, kind: int, payload: bytes) -> None:
        """Take an item, a report or the outcome of the job a worker has in hand."""
        job = worker.job
        assert job is not None
        outcome = kind & ~wire.LAST
        if outcome in (wire.ITEM, wire.PROGRESS):
            if job.done():
                return
            if outcome == wire.PROGRESS:
                job.advance(*pickle.loads(payload))
            else:
                assert job.inflow is not None
                job.inflow.put(payload)
            return
        job.ended = monotonic()
        worker.job = None
        if job.inflow is not None:
            # Its items may still be read when the worker does something else.
            job.inflow.pause = job.inflow.resume = None
            worker.resume()
        self._fleet.lost = 0
        # The worker goes on first: what the answer says can be read while it works.
        worker.recalled = 0
        if kind & wire.LAST:
            self._fleet.retire(worker)
        elif (following := self._fleet.take_ahead(worker)) is not None:
            worker.go_on()
            self._begin(worker, following)
            self.on_free()
        else:
            self._fleet.eager.discard(worker)
            self._fleet.free(worker)
        if not job.done():
            self._read_outcome(job, outcome, payload)
        self._finish(job)

    def on_death(self, job: Job[Any], error: ExecutorError) -> None:
        """Fail the job a worker died with."""
        job.ended = monotonic()
        job.error = error
        self._finish(job)

    def on_return(self, job: Job[Any]) -> None:
        """Queue a job again, unless nobody awaits it any more."""
        if job.timer is not None:
            job.timer.cancel()
        if job.done():
            self._abandoned.discard(job)
        else:
            self._backlog.push_back(job)

    def on_despair(self, error: ExecutorError) -> None:
        """Fail what waits: nobody will take it."""
        while (job := self._backlog.pop()) is not None:
            job.started = job.ended = monotonic()
            job.error = error
            self._finish(job)

    def _packed(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Callable[..., Any], bytes]:
        """The function that runs, and the call of it as bytes; what cannot be sent counts as a failed call."""
        if len(self._live) >= self._ceiling:
            self._refuse(self._tally)
        if isinstance(fn, partial):
            fn, args, kwargs = unfold(fn, args, kwargs)
        try:
            try:
                name = self._references[fn]
            except (KeyError, TypeError):
                name = reference(fn)
                self._references[fn] = name
            return fn, parcel(name, fn, args, kwargs)
        except ExecutorError:
            self._tally.submitted += 1
            self._tally.failed += 1
            raise

    def _enqueue(self, fn: Callable[..., Any], payload: bytes, options: CallOptions, inflow: Inflow | None) -> Job[Any]:
        loop = asyncio.get_running_loop()
        fleet = self._fleet
        if loop is not fleet.loop:
            self._bind(loop)
        if not fleet.idle and len(fleet.workers) < self.max_workers:
            fleet.hire()
        job: Job[Any] = Job(loop=loop)
        job.owner = self
        job.options = options
        job.fn = fn
        job.payload = payload
        job.inflow = inflow
        job.lane = job.value = job.error = None
        job.queued = monotonic()
        self._backlog.push(job)
        self._live.add(job)
        self._tally.submitted += 1
        if not fleet.idle and (later := self._recall_any(options.priority)) is not None:
            self._backlog.push_back(later)
        self.on_free()
        return job

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve this loop from now on: the one before is closed or stopped, and its calls are nobody's."""
        before = self._fleet.loop
        if before is loop:
            return
        if in_worker():
            raise ExecutorError(
                f"executor {self.name!r} is used inside a worker process; call the function itself there "
                "(a decorated one has it as __wrapped__)"
            )
        if before is not None and before.is_running():
            raise ExecutorError(
                f"executor {self.name!r} serves another event loop that runs; make a pool for each loop"
            )
        for job in list(self._live):
            if job.get_loop().is_closed():
                self._live.discard(job)
                self._backlog.remove(job)
                self._tally.cancelled += 1
            else:
                job.cancel()
        self._abandoned.clear()
        self._fleet.attach(loop)

    def _read_outcome(self, job: Job[Any], outcome: int, payload: bytes) -> None:
        if outcome == wire.ERROR:
            job.error = remote_error(payload, job.fn)
        elif outcome == wire.RESULT:
            try:
                job.value = _unpack(payload, job.fn, "the result")
            except ExecutorError as exc:
                job.error = exc

    def _finish(self, job: Job[Any]) -> None:
        self._abandoned.discard(job)
        if job.timer is not None:
            job.timer.cancel()
        self._settle(job, self._tally)
        job.wake()

    def _kill(self, worker: WorkerProcess, job: Job[Any]) -> None:
        """Kill the worker for the job in hand, unless that turns out to have ended."""
        if (later := self._fleet.recall(worker)) is not None:
            self._backlog.push_back(later)
        if worker.job is job:
            self._tally.waited.observe(job.started - job.queued)
            self._tally.ran.observe(monotonic() - job.started)
            self._abandoned.discard(job)
            self._fleet.dispose(worker)

    def _expire(self, job: Job[Any]) -> None:
        worker: WorkerProcess = job.lane
        timeout = job.options.timeout or 0.0
        if worker.job is not job:
            return  # it was taken from it when the pool went on with another loop
        left = 0.0
        if job.inflow is not None:
            # Each item has its own time, and the worker is not to blame for a slow reader.
            left = timeout if worker.paused else job.inflow.since + timeout - monotonic()
        if left > 0:
            job.timer = job.get_loop().call_later(left, self._expire, job)
            return
        self._kill(worker, job)
        if not job.done():
            self._time_out(job, self._tally)
            job.wake()


def _unpack(data: bytes, fn: object, what: str) -> Any:
    try:
        return pickle.loads(data)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # what rebuilds itself may even exit, and must not take the loop along
        raise ExecutorError(f"{what} of {describe(fn)} cannot be rebuilt on this side: {shown(exc)}") from exc
