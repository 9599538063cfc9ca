"""The OpenAPI document of a server's routes, with what WSX adds to it (WSX/1, section 18)."""

import hashlib
import inspect
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from genro_asgi.jsoncodec import dumps, loads
from genro_asgi.server.json_schema import Schemas, Wanted, with_formats
from genro_asgi.server.routes import ANY_METHOD, Endpoint

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["ApiDocument"]

#: What a server says of itself is no part of a site's interface.
_BUILT_IN = ("/_server/", "/_sys/")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_IDEMPOTENT = frozenset({"GET", "PUT", "DELETE", "SUBSCRIBE"})
_STREAMS = (AsyncIterator, AsyncIterable, AsyncGenerator, Iterator, Iterable, Generator)
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "error", "code", "retry"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "error": {"type": "string"},
        "code": {"type": "string"},
        "retry": {"type": "boolean"},
        "details": {},
    },
}


class ApiDocument:
    """The document, made when somebody asks for it and again after the routes have changed."""

    def __init__(self, server: "AsgiServer") -> None:
        self._server = server
        self._of: Any = None
        self._made: tuple[dict[str, Any], str] = ({}, "")

    async def get(self) -> tuple[dict[str, Any], str]:
        """The document and its ETag."""
        table = self._server.table
        table.refresh()
        routes = table.entries
        if routes is not self._of:
            # Schemas of many classes take their time, which is not that of the loop.
            self._made = await self._server.handlers.run(_make, self._server, list(table.endpoints()))
            self._of = routes
        return self._made


def _make(server: "AsgiServer", endpoints: list[Endpoint]) -> tuple[dict[str, Any], str]:
    listed = [_Operation(one) for one in endpoints if _is_listed(one)]
    schemas = Schemas({key: annotation for one in listed for key, annotation in one.wanted.items()})
    paths: dict[str, Any] = {}
    for operation in listed:
        paths[operation.path] = operation.described(schemas, server)
    guards = _security_schemes(server) if any(one.endpoint.guarded for one in listed) else {}
    components = {"schemas": {**schemas.definitions, "Problem": _PROBLEM}, "securitySchemes": guards}
    document = {
        "openapi": "3.1.0",
        "info": dict(server.openapi_info),
        "paths": paths,
        "components": {name: part for name, part in components.items() if part},
    }
    text = dumps(document)
    return loads(text), f'"{hashlib.sha256(text).hexdigest()[:32]}"'


def _is_listed(endpoint: Endpoint) -> bool:
    return not (endpoint.websocket or f"{endpoint.path}/".startswith(_BUILT_IN))


def _security_schemes(server: "AsgiServer") -> dict[str, Any]:
    names = [name for name, known in (("basic", server._users), ("bearer", server._tokens)) if known]
    return {name: {"type": "http", "scheme": name} for name in names or ["bearer"]}


class _Operation:
    """One route: its parameters, its answer, and how it is called."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        binder = endpoint.binder
        self.parameters = [
            p
            for p in binder.parameters
            if p.name not in binder.injected and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name[:1] != "_"
        ]
        # A topic is a path and nothing else; a handler with *args wants its values in one.
        rest = next((p for p in binder.parameters if p.kind is p.VAR_POSITIONAL), None)
        self.in_path = [p for p in binder.path_names if endpoint.subscribe or rest is not None]
        named = [p.name for p in self.in_path if p.default is p.empty or rest is not None]
        self.path = "/".join([endpoint.path, *(f"{{{name}}}" for name in [*named, *([rest.name] if rest else [])])])
        self.in_path = [p for p in self.in_path if p.name in named] + ([rest] if rest else [])
        self.wanted: Wanted = self._wanted()

    def _hint(self, parameter: inspect.Parameter) -> Any:
        return self.endpoint.binder.hints.get(parameter.name, Any)

    def _wanted(self) -> Wanted:
        path, binder = self.endpoint.path, self.endpoint.binder
        wanted: dict[Any, Any] = {
            (f"{path}:{p.name}", "validation"): self._hint(p) for p in [*self.parameters, *self.in_path]
        }
        for parameter in binder.parameters:
            if parameter.name in binder.injected:
                hint = self._hint(parameter)
                wanted[f"{path}:{parameter.name}", "validation"] = _item(hint) if binder.body_stream else hint
        wanted[path, "serialization"] = _item(binder.hints.get("return", Any))
        return {key: with_formats(annotation, self.endpoint.types) for key, annotation in wanted.items()}

    def described(self, schemas: Schemas, server: "AsgiServer") -> dict[str, Any]:
        """The path item."""
        endpoint = self.endpoint
        methods = [method for method in ANY_METHOD if method in endpoint.methods]
        if self._undeclared:
            # Whoever has an object to send does so in a body.
            methods = ["POST" if self._needs_body(schemas) else "GET"]
        names = methods or ["SUBSCRIBE"]
        item: dict[str, Any] = {}
        for method in names:
            place = "x-subscribe" if method == "SUBSCRIBE" else method.lower()
            item[place] = self._operation(schemas, server, method, several=len(names) > 1)
        return item

    @property
    def _undeclared(self) -> bool:
        """Whether the route says nothing of its methods, and so nothing of what calling it twice does."""
        return self.endpoint.methods.issuperset(ANY_METHOD)

    def _needs_body(self, schemas: Schemas) -> bool:
        binder = self.endpoint.binder
        taken = binder.body_data or binder.body_raw or binder.body_stream
        return taken or any(not _is_scalar(self._schema(schemas, p)) for p in self.parameters)

    def _schema(self, schemas: Schemas, parameter: inspect.Parameter) -> dict[str, Any]:
        schema = schemas.get(f"{self.endpoint.path}:{parameter.name}", "validation")
        default = parameter.default
        if default is not parameter.empty and (default is None or type(default) in (bool, int, float, str)):
            schema["default"] = default
        return schema

    def _operation(self, schemas: Schemas, server: "AsgiServer", method: str, several: bool) -> dict[str, Any]:
        endpoint = self.endpoint
        name = endpoint.path.strip("/").replace("/", ".") or "index"
        summary = (inspect.getdoc(endpoint.binder.func) or "").strip().partition("\n")[0]
        found: dict[str, Any] = {"operationId": f"{name}.{method.lower()}" if several else name}
        if summary:
            found["summary"] = summary
        parameters = [self._parameter(schemas, p, "path") for p in self.in_path]
        elsewhere = [p for p in self.parameters if p not in self.in_path]
        body = self._whole_body(schemas)
        if body is None and method in _WITH_BODY and elsewhere:
            body = self._fields(schemas, elsewhere)
        else:
            parameters += [self._parameter(schemas, p, "query") for p in elsewhere]
        if body is not None:
            found["requestBody"] = body
        if parameters:
            found["parameters"] = parameters
        found["responses"] = self._responses(schemas)
        if endpoint.guarded:
            found["security"] = [{scheme: []} for scheme in _security_schemes(server)]
        found["x-wsx"] = self._wsx(method)
        return found

    def _parameter(self, schemas: Schemas, parameter: inspect.Parameter, place: str) -> dict[str, Any]:
        required = place == "path" or parameter.default is parameter.empty
        return {
            "name": parameter.name,
            "in": place,
            "required": required,
            "schema": self._schema(schemas, parameter),
        }

    def _whole_body(self, schemas: Schemas) -> dict[str, Any] | None:
        binder = self.endpoint.binder
        whole = next((p for p in binder.parameters if binder.injected.get(p.name, "").startswith(_BODIES)), None)
        if whole is None:
            return None
        kind = "application/octet-stream" if binder.body_raw else "application/json"
        schema = {} if binder.body_raw else schemas.get(f"{self.endpoint.path}:{whole.name}", "validation")
        return {"required": True, "content": {kind: {"schema": schema}}}

    def _fields(self, schemas: Schemas, parameters: list[inspect.Parameter]) -> dict[str, Any]:
        required = [p.name for p in parameters if p.default is p.empty]
        schema = {"type": "object", "properties": {p.name: self._schema(schemas, p) for p in parameters}}
        if required:
            schema["required"] = required
        return {"required": bool(required), "content": {"application/json": {"schema": schema}}}

    def _responses(self, schemas: Schemas) -> dict[str, Any]:
        answer = schemas.get(self.endpoint.path, "serialization")
        kind = self.endpoint.media_type or "application/json"
        problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        return {
            "200": {"description": "The answer.", "content": {kind: {"schema": answer}}},
            "default": {"description": "An error.", "content": problem},
        }

    def _wsx(self, method: str) -> dict[str, Any]:
        endpoint = self.endpoint
        serves, receives = endpoint.generator or endpoint.async_generator, endpoint.body_stream
        stream = "bidi" if serves and receives else "server" if serves else "client" if receives else "none"
        idempotent = endpoint.entry.metadata.get("idempotent", method in _IDEMPOTENT and not self._undeclared)
        errors = ["VALIDATION"] if self.parameters or self.in_path else []
        errors += ["UNAUTHENTICATED", "FORBIDDEN"] if endpoint.guarded else []
        errors += ["TOO_LARGE"] if endpoint.max_body is not None else []
        said: dict[str, Any] = {
            "stream": stream,
            "subscribe": endpoint.subscribe,
            "idempotent": bool(idempotent),
            "errors": [*errors, "INTERNAL", "DEADLINE"],
        }
        return said if endpoint.types is None else {**said, "types": sorted(endpoint.types.own_suffixes)}


#: Where a parameter comes from that is all of the body.
_BODIES = ("request.data", "request.body", "request.stream")


def _item(annotation: Any) -> Any:
    """What an iterator of this annotation yields; any other annotation as it is."""
    origin = typing.get_origin(annotation)
    if origin in _STREAMS:
        return typing.get_args(annotation)[0]
    return Any if annotation in _STREAMS else annotation


def _is_scalar(schema: dict[str, Any]) -> bool:
    return schema.get("type") not in ("object", "array") and "$ref" not in schema
