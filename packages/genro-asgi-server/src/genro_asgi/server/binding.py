"""Compiled binders: from path segments, query and body to the call of a handler, one straight line of code each.

Generic binding (inspect.Signature.bind) costs twenty times what the generated function does, and every request pays it.
"""

import inspect
import sys
import typing
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any

from genro_asgi.body import undecodable
from genro_asgi.exceptions import HTTPBadRequest
from genro_asgi.request import BaseRequest, Request
from genro_asgi.server.coercion import Coercion, FieldErrors, coercion_for, to_int, to_str
from genro_asgi.websocket import WebSocket
from genro_asgi.wsx.tytx.registry import TypeTable

__all__ = ["Binder", "Call"]

#: Calls a handler: `call(request, path_arguments)` gives what the handler gives.
Call = Callable[[Any, tuple[str, ...]], Any]

MISSING: Any = object()

# Parameters that are filled with a part of the request instead of a value of the client.
_BODY_PARTS = {"body_data": "request.data", "body_raw": "request.body", "body_stream": "request.stream()"}
_FORM = "request.form_stream()"
_SOCKET = "request.websocket"
# An async iterator can only be what the client sends piece by piece.
_ITERATORS = (AsyncIterator, AsyncIterable)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Binder:
    """Compiles the calls of one handler: one per number of path arguments."""

    def __init__(
        self,
        func: Callable[..., Any],
        call: Callable[..., Any] | None = None,
        *,
        websocket: bool = False,
        types: TypeTable | None = None,
    ) -> None:
        self._websocket = websocket
        #: What the route knows of classes of its own.
        self.types = types
        self.func = call if call is not None else func
        self.parameters = list(inspect.signature(func).parameters.values())
        self.hints = _hints(func)
        self.injected = {p.name: source for p in self.parameters if (source := self._injection(p)) is not None}
        self.path_names = [p for p in self.parameters if p.kind in _POSITIONAL and p.name not in self.injected]
        self.takes_rest = any(p.kind is p.VAR_POSITIONAL for p in self.parameters)
        self.takes_extra = any(p.kind is p.VAR_KEYWORD for p in self.parameters)
        self.form_stream = _FORM in self.injected.values()
        self.body_stream = self.form_stream or _BODY_PARTS["body_stream"] in self.injected.values()
        self.takes_websocket = _SOCKET in self.injected.values()
        self.body_raw = "body_raw" in self.injected
        self.body_data = "body_data" in self.injected
        self._calls: dict[int, Call] = {}

    @property
    def max_path_args(self) -> int:
        """How many path segments the handler takes at most."""
        return 1 << 30 if self.takes_rest else len(self.path_names)

    def _injection(self, parameter: inspect.Parameter) -> str | None:
        if parameter.name in _BODY_PARTS:
            return _BODY_PARTS[parameter.name]
        annotation = self.hints.get(parameter.name)
        if self._websocket and (parameter.name == "websocket" or annotation is WebSocket):
            return _SOCKET
        if typing.get_origin(annotation) in _ITERATORS or annotation in _ITERATORS:
            return _FORM if _of_form_parts(annotation) else _BODY_PARTS["body_stream"]
        if isinstance(annotation, type):
            if issubclass(annotation, BaseRequest):
                return "request"
            if issubclass(annotation, Request):
                return "request.request"
        return "request" if parameter.name == "request" and annotation in (None, Any) else None

    def call_for(self, path_args: int) -> Call:
        """The call for that many path arguments; KeyError never: `max_path_args` was asked before."""
        # A handler with *args has one line for each count up to its named parameters, the rest goes through them.
        count = min(path_args, len(self.path_names) + 1) if self.takes_rest else path_args
        call = self._calls.get(count)
        if call is None:
            call = self._calls[count] = self._compile(count)
        return call

    def _compile(self, path_args: int) -> Call:
        """Write and compile the function for `path_args` segments; names of the handler become locals `v0`, `v1`..."""
        if not self.parameters:
            func = self.func
            return lambda request, args: func()
        code = _Code(self, path_args)
        source = code.source()
        exec(source, code.names)  # the source holds only names made here, never text of a client
        call: Call = code.names["call"]
        return call


def _of_form_parts(annotation: Any) -> bool:
    # Who names the class has imported its module; a server that has no use for it need not.
    forms = sys.modules.get("genro_asgi.forms")
    return forms is not None and forms.FormPart in typing.get_args(annotation)


def _hints(func: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(func, include_extras=True)
    except (NameError, TypeError, AttributeError):
        # An annotation that cannot be evaluated (a name only type checkers see) says nothing.
        return {k: v for k, v in getattr(func, "__annotations__", {}).items() if not isinstance(v, str)}


class _Code:
    """The source of one call, and the names it uses."""

    def __init__(self, binder: Binder, path_args: int) -> None:
        self.binder = binder
        self.path_args = path_args
        self.names: dict[str, Any] = {
            "func": binder.func, "MISSING": MISSING, "field": body_field, "missing": missing, "bad": bad_value,
            "every": every_value, "extras": extra_values, "decoded": check_decoded,
        }  # fmt: skip
        self.lines: list[str] = []
        self.arguments: list[str] = []
        self.asks_query = False

    def source(self) -> str:
        """The whole function."""
        position = 0
        for number, parameter in enumerate(self.binder.parameters):
            if parameter.kind is parameter.VAR_POSITIONAL:
                self._rest(number, parameter)
            elif parameter.kind is parameter.VAR_KEYWORD:
                self._extra()
            else:
                from_path = parameter in self.binder.path_names and position < self.path_args
                self._one(number, parameter, position if from_path else None)
                position += from_path
        query = ["q = request.query_values()"] if self.asks_query else []
        body = "\n    ".join([*query, *self.lines, f"return func({', '.join(self.arguments)})"])
        return f"def call(request, args):\n    {body}\n"

    def _pass(self, parameter: inspect.Parameter, value: str) -> None:
        keyword = parameter.kind is parameter.KEYWORD_ONLY
        self.arguments.append(f"{parameter.name}={value}" if keyword else value)

    def _one(self, number: int, parameter: inspect.Parameter, position: int | None) -> None:
        local = f"v{number}"
        if parameter.name in self.binder.injected:
            self._inject(number, parameter)
            return
        coercion = coercion_for(self.binder.hints.get(parameter.name, Any), self.binder.types)
        if position is not None:
            self.lines += [f"{local} = args[{position}]", *self._converted(number, parameter.name, coercion)]
        else:
            self._from_query(number, parameter, coercion)
        self._pass(parameter, local)

    def _inject(self, number: int, parameter: inspect.Parameter) -> None:
        source = self.binder.injected[parameter.name]
        if parameter.name != "body_data":
            self._pass(parameter, source)
            return
        annotation = self.binder.hints.get(parameter.name, Any)
        self.lines.append(f"v{number} = {source}")
        if bytes not in (annotation, *typing.get_args(annotation)):
            self.lines += [f"if v{number}.__class__ is bytes:", f"    decoded(request, v{number})"]
        self.lines += self._converted(number, parameter.name, coercion_for(annotation, self.binder.types))
        self._pass(parameter, f"v{number}")

    def _from_query(self, number: int, parameter: inspect.Parameter, coercion: Coercion) -> None:
        self.asks_query = True
        local, name = f"v{number}", parameter.name
        get = f"every(request, q, {name!r})" if coercion.many else f"q.get({name!r}, MISSING)"
        self.lines.append(f"{local} = {get}")
        if name.startswith("_"):  # such names never come from outside
            self.lines[-1] = f"{local} = MISSING"
        self.lines += [f"if {local} is MISSING:", f"    {local} = field(request, {name!r})"]
        if parameter.default is parameter.empty:
            self.lines += [f"    if {local} is MISSING:", f"        raise missing(request, {name!r})"]
            self.lines += self._converted(number, name, coercion)
        else:
            self.names[f"d{number}"] = parameter.default
            self.lines += [f"if {local} is MISSING:", f"    {local} = d{number}"]
            converted = self._converted(number, name, coercion)
            self.lines += ["else:", *(f"    {line}" for line in converted)] if converted else []

    def _converted(self, number: int, name: str, coercion: Coercion) -> list[str]:
        if coercion.convert is None:
            return []
        local = f"v{number}"
        self.names[f"c{number}"], self.names[f"e{number}"] = coercion.convert, coercion.expected
        convert = [
            "try:",
            f"    {local} = c{number}({local})",
            "except (ValueError, TypeError, OverflowError, RecursionError) as error:",
            f"    raise bad({name!r}, e{number}, error) from None",
        ]
        # The two common cases are decided in line: no call for a str, none for plain digits.
        if coercion.convert is to_str:
            return [f"if {local}.__class__ is not str:", *(f"    {line}" for line in convert)]
        if coercion.convert is to_int:
            plain = f"{local}.__class__ is str and len({local}) < 19 and {local}.isascii() and {local}.isdigit()"
            return [f"if {plain}:", f"    {local} = int({local})", "else:", *(f"    {line}" for line in convert)]
        return convert

    def _rest(self, number: int, parameter: inspect.Parameter) -> None:
        start = min(len(self.binder.path_names), self.path_args)
        coercion = coercion_for(self.binder.hints.get(parameter.name, Any), self.binder.types)
        if coercion.convert is None:
            self.arguments.append(f"*args[{start}:]")
            return
        self.names["convert_rest"] = lambda values: [_convert(parameter.name, coercion, value) for value in values]
        self.arguments.append(f"*convert_rest(args[{start}:])")

    def _extra(self) -> None:
        self.asks_query = True
        self.names["known"] = frozenset(p.name for p in self.binder.parameters)
        self.arguments.append("**extras(request, known)")


def _convert(name: str, coercion: Coercion, value: Any) -> Any:
    assert coercion.convert is not None
    try:
        return coercion.convert(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise bad_value(name, coercion.expected, error) from None


def check_decoded(request: Any, data: bytes) -> None:
    """415 for bytes that are the body itself, which is of a type nobody decodes."""
    if data and request.transport == "http" and data is request.body:
        raise undecodable(request.content_type or "")


def body_field(request: Any, name: str) -> Any:
    """A field of the JSON object or form in the body, MISSING when there is none."""
    if name.startswith("_"):
        return MISSING
    data = request.data
    if isinstance(data, dict):
        return data.get(name, MISSING)
    return MISSING


def every_value(request: Any, query: dict[str, Any], name: str) -> Any:
    """All values of a repeated query name."""
    if name not in query:
        return MISSING
    value = request.query[name]
    return value if isinstance(value, list) else [value]


def extra_values(request: Any, known: frozenset[str]) -> dict[str, Any]:
    """What a handler with **kwargs gets: the rest of the query, then the rest of the body's fields."""
    data = request.data if isinstance(request.data, dict) else {}
    merged = {**data, **request.query}
    return {k: v for k, v in merged.items() if isinstance(k, str) and k not in known and not _reserved(k)}


def _reserved(name: str) -> bool:
    return name == "self" or name.startswith("_")


def missing(request: Any, name: str) -> Exception:
    """The error for a parameter nobody gave: 415 when it may be in a body that cannot be decoded, else 400."""
    content_type = getattr(request, "content_type", None)
    if isinstance(request.data, bytes | str) and getattr(request, "body", None):
        return undecodable(content_type or "")
    if request.data is not None and not isinstance(request.data, dict):
        return HTTPBadRequest(f"Parameter {name!r} is missing: the body must be a JSON object.", code="VALIDATION")
    return HTTPBadRequest(
        f"Parameter {name!r} is missing.", code="VALIDATION", details=[{"parameter": name, "message": "is missing"}]
    )


def bad_value(name: str, expected: str, error: Exception) -> HTTPBadRequest:
    """The 400 for a value that is not what the annotation says; it names the parameter and never repeats the value."""
    if isinstance(error, FieldErrors):
        details = [{"parameter": f"{name}.{where}" if where else name, "message": text} for where, text in error.fields]
        first = details[0]
        return HTTPBadRequest(
            f"Parameter {first['parameter']!r}: {first['message']}.", code="VALIDATION", details=details
        )
    text = f"must be {expected}"
    return HTTPBadRequest(
        f"Parameter {name!r} {text}.", code="VALIDATION", details=[{"parameter": name, "message": text}]
    )
