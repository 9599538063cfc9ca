"""Named pools that make blocking and CPU-bound work happen elsewhere: in threads and in processes."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genro_asgi.executors.base import BaseExecutor
    from genro_asgi.executors.errors import (
        ExecutorClosedError,
        ExecutorError,
        ExecutorOverloadError,
        ExecutorTimeoutError,
        RemoteTraceback,
        WorkerDiedError,
    )
    from genro_asgi.executors.job import Job
    from genro_asgi.executors.progress import Progress, report
    from genro_asgi.executors.thread import ThreadExecutor
    from genro_asgi.executors.threadpool import iterate_in_threadpool, run_in_threadpool

# Names come when they are asked for: a worker process imports this package too, and must not pay for asyncio.
_HOMES = {
    "BaseExecutor": "base",
    "ExecutorClosedError": "errors",
    "ExecutorError": "errors",
    "ExecutorOverloadError": "errors",
    "ExecutorTimeoutError": "errors",
    "Job": "job",
    "Progress": "progress",
    "RemoteTraceback": "errors",
    "ThreadExecutor": "thread",
    "WorkerDiedError": "errors",
    "iterate_in_threadpool": "threadpool",
    "report": "progress",
    "run_in_threadpool": "threadpool",
}

__all__ = [
    "BaseExecutor",
    "ExecutorClosedError",
    "ExecutorError",
    "ExecutorOverloadError",
    "ExecutorTimeoutError",
    "Job",
    "Progress",
    "RemoteTraceback",
    "ThreadExecutor",
    "WorkerDiedError",
    "iterate_in_threadpool",
    "report",
    "run_in_threadpool",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
