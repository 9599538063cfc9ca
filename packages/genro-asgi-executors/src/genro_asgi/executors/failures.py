"""Exceptions on their way from a worker process to the caller."""

import io
import pickle
import traceback
from collections.abc import Callable
from types import FunctionType
from typing import Any

from genro_asgi.executors import wire
from genro_asgi.executors.errors import ExecutorError, RemoteTraceback, describe, shown

# Past the class's own: that of a frozen dataclass refuses whatever it is to set.
_PLAIN = BaseException.__setattr__


def failure(exc: BaseException, fn: Callable[..., Any] | None, own_file: str) -> bytes:
    """An exception and its traceback, without the frames of `own_file` it begins with, as bytes.

    One that does not survive the journey is replaced.
    """
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename == own_file:
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(exc), exc, trace))
    try:
        data = _packed(exc, text)
    except BaseException:  # what pickles has its own code, which may even exit
        raised = traceback.format_exception_only(type(exc), exc)[-1].strip()
        error = ExecutorError(f"{describe(fn)} raised an exception that cannot be sent from a worker process: {raised}")
        data = pickle.dumps((error, text), wire.PROTOCOL)
    return data


def _packed(exc: BaseException, text: str) -> bytes:
    out = io.BytesIO()
    _Pickler(out, wire.PROTOCOL).dump((exc, text))
    data = out.getvalue()
    _unpacked(data)
    return data


def _unpacked(data: bytes) -> BaseException:
    error, text = pickle.loads(data)
    if not isinstance(error, BaseException):
        raise TypeError(f"its __reduce__ makes {shown(error)} of it")
    _PLAIN(error, "__cause__", RemoteTraceback(text))
    return error


def remote_error(data: bytes, fn: object) -> BaseException:
    """The exception a worker has sent, its traceback there as the cause."""
    try:
        return _unpacked(data)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:
        return ExecutorError(f"{describe(fn)} raised an exception that cannot be rebuilt on this side: {shown(exc)}")


class _Pickler(pickle.Pickler):
    """Exceptions whose `__init__` does not take `args`, or makes other ones of them, travel without it.

    So do those that do not let their attributes be set.
    """

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, BaseException) or not isinstance(type(obj).__init__, FunctionType):
            return NotImplemented
        reduced = obj.__reduce_ex__(wire.PROTOCOL)
        if isinstance(reduced, str) or reduced[0] is not type(obj):
            return NotImplemented  # it knows how to travel
        try:
            again = type(obj)(*reduced[1])
            if again.args == obj.args and str(again) == str(obj) and type(obj).__setattr__ is _PLAIN:
                return NotImplemented
        except Exception:
            pass
        return remake, reduced


def remake(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any] | None = None) -> BaseException:
    """The exception with these `args` and attributes, made without an `__init__` written in Python."""
    exc = cls.__new__(cls, *args)
    inits = [vars(base).get("__init__") for base in cls.__mro__]
    next(init for init in inits if init is not None and not isinstance(init, FunctionType))(exc, *args)
    for name, value in (state or {}).items():
        _PLAIN(exc, name, value)
    return exc
