"""Everything a pool raises.

ExecutorError
├── ExecutorOverloadError     too many calls are pending
├── ExecutorClosedError       the pool was shut down
├── ExecutorTimeoutError      the call ran too long (also a TimeoutError)
└── WorkerDiedError           the process that ran the call is gone
"""


class ExecutorError(RuntimeError):
    """A call could not be made, finished or brought back; the text says which call and why."""


class ExecutorOverloadError(ExecutorError):
    """The pool already holds `max_pending` calls."""


class ExecutorClosedError(ExecutorError):
    """The pool was shut down before or while it held the call."""


class ExecutorTimeoutError(ExecutorError, TimeoutError):
    """The call ran longer than its `timeout`."""


class WorkerDiedError(ExecutorError):
    """The worker process died while it ran the call: a signal, the OOM killer, a segfault."""


class RemoteTraceback(Exception):
    """The traceback text of an exception that was raised in another process; it is that exception's cause."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def describe(fn: object) -> str:
    """The name of a callable as error texts write it: `module.qualname`, or its repr."""
    name = getattr(fn, "__qualname__", None)
    module = getattr(fn, "__module__", None)
    if module == "__mp_main__":
        module = "__main__"  # as a worker process calls the script
    return f"{module}.{name}" if name and module else shown(fn)


def cannot_start(name: str, cause: BaseException) -> ExecutorError:
    """What calls of a pool end with whose initializer failed."""
    error = ExecutorError(f"executor {name!r} cannot start a worker: its initializer raised {shown(cause)}")
    error.__cause__ = cause
    return error


def shown(value: object) -> str:
    """Its repr, for error texts: also where that fails."""
    try:
        return repr(value)
    except Exception as exc:
        return f"<{type(value).__qualname__}, whose repr fails: {type(exc).__qualname__}>"


def presentable(exc: BaseException, fn: object) -> BaseException:
    """The exception a future may carry in place of `exc`, which it keeps as its cause.

    StopIteration would never reach the awaiting side, CancelledError would look like a cancellation of the awaiting
    task, and SystemExit or KeyboardInterrupt would stop the event loop.
    """
    if isinstance(exc, Exception) and not isinstance(exc, StopIteration):
        return exc
    wrapped = ExecutorError(f"{describe(fn)} raised {shown(exc)}; raise an ordinary exception instead")
    wrapped.__cause__ = exc
    return wrapped
