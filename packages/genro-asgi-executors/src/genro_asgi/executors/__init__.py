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
    from genro_asgi.executors.job import Job, Progress
    from genro_asgi.executors.local import LocalExecutor
    from genro_asgi.executors.progress import report
    from genro_asgi.executors.registry import ExecutorRegistry
    from genro_asgi.executors.thread import ThreadExecutor
    from genro_asgi.executors.threadpool import iterate_in_threadpool, run_in_threadpool
    from genro_asgi.executors.worker import in_worker

# Names come when they are asked for: a worker process imports this package too, and must not pay for asyncio.
_HOMES = {
    "BaseExecutor": "base",
    "ExecutorClosedError": "errors",
    "ExecutorError": "errors",
    "ExecutorOverloadError": "errors",
    "ExecutorRegistry": "registry",
    "ExecutorTimeoutError": "errors",
    "Job": "job",
    "LocalExecutor": "local",
    "Progress": "job",
    "RemoteTraceback": "errors",
    "ThreadExecutor": "thread",
    "WorkerDiedError": "errors",
    "in_worker": "worker",
    "iterate_in_threadpool": "threadpool",
    "report": "progress",
    "run_in_threadpool": "threadpool",
}

__all__ = [
    "BaseExecutor",
    "ExecutorClosedError",
    "ExecutorError",
    "ExecutorOverloadError",
    "ExecutorRegistry",
    "ExecutorTimeoutError",
    "Job",
    "LocalExecutor",
    "Progress",
    "RemoteTraceback",
    "ThreadExecutor",
    "WorkerDiedError",
    "in_worker",
    "iterate_in_threadpool",
    "report",
    "run_in_threadpool",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
