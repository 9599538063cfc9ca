"""The compiled route table: from a path to an endpoint in one dictionary lookup.

genro-routes stays the place where handlers are declared; this table answers like `router.node(path)` at a
hundredth of its price, and a property test holds the two together.
"""

import dis
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from genro_routes import Router
from genro_routes.plugins._base_plugin import BasePlugin, MethodEntry
from genro_toolbox import RuleError, tags_match

from genro_asgi.exceptions import ConfigError
from genro_asgi.rendering import HeaderPair, content_type_pair
from genro_asgi.server.binding import Binder, Call
from genro_asgi.server.route_watch import watch
from genro_asgi.wsx.tytx.registry import TypeTable

__all__ = ["ANY_METHOD", "Endpoint", "RouteTable"]

#: What a route that declares no methods answers to (BEHAVIOUR, Requests); HEAD runs GET.
ANY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE")
_KNOWN_METHODS = frozenset({*ANY_METHOD, "HEAD", "OPTIONS", "SUBSCRIBE", "EXEC"})
_REFUSING = frozenset({"channel", "env"})
_ON_DISCONNECT = ("cancel", "finish")
#: What may become of an event whose subscriber is too slow (WSX/1, section 10).
POLICIES = ("block", "drop_oldest", "latest", "close")


class Endpoint:
    """One handler, ready to be called: everything about it that a request needs, worked out once."""

    __slots__ = (
        "allow", "app", "async_generator", "bare", "binder", "body_stream", "calls", "deny", "direct", "entry",
        "finish_on_disconnect", "generator", "guarded", "handler_name", "inline", "instant", "is_async", "max_args",
        "max_body", "media_type", "media_type_pair", "message_auth", "metadata", "methods", "name", "path", "plain",
        "policy", "presence", "quick", "quick_body", "router", "rule", "subscribe", "threaded", "timeout", "types",
        "websocket",
    )  # fmt: skip

    calls: list[Call]

    def __init__(self, path: str, name: str, entry: MethodEntry, app: Any, default_deny: bool = False) -> None:
        self.path, self.name, self.entry, self.app = path, name, entry, app
        self.router: Router = entry.router
        func = inspect.unwrap(entry.func) if not inspect.ismethod(entry.func) else entry.func
        self.handler_name = f"{func.__module__}.{getattr(func, '__qualname__', func.__name__)}"
        self._read_options(entry.metadata)
        self._read_kind(entry)
        self._read_auth(default_deny)
        self.binder = Binder(entry.func, _callable_of(entry), websocket=self.websocket, types=self.types)
        self._check_kind()
        self.body_stream = self.binder.body_stream
        self.max_args = self.binder.max_path_args
        few = len(self.binder.path_names) + (2 if self.binder.takes_rest else 1)
        self.calls = [self.binder.call_for(count) for count in range(few)]
        #: Nothing stands between the request and the handler but its arguments.
        special = self.timeout is not None or self.max_body is not None or self.types is not None
        self.plain = not (self.guarded or self.threaded or special or self.websocket or self.message_auth)
        #: Calling it gives the coroutine of an ordinary value at once, which a task may run.
        self.direct = self.plain and self.is_async and self.media_type is None and not self.subscribe
        #: And that coroutine ends in its first step.
        self.instant = self.direct and never_waits(self.binder.func)
        #: A GET without anything special may call it on the spot; `bare` when it takes no argument at all.
        self.quick = self.plain and "GET" in self.methods
        #: The methods whose body may be taken and decoded on the spot.
        whole_body = self.plain and not (self.body_stream or self.binder.body_raw)
        self.quick_body = self.methods - {"HEAD"} if whole_body else frozenset[str]()
        self.bare = self.binder.func if not self.binder.parameters else None

    def _read_options(self, options: dict[str, Any]) -> None:
        self.metadata: dict[str, Any] = dict(options.get("meta", {}))
        self.media_type = self.metadata.get("media_type") or self.metadata.get("mime_type")
        self.media_type_pair: HeaderPair | None = content_type_pair(self.media_type) if self.media_type else None
        declared = parse_methods(options.get("methods") or options.get("openapi_method"), self.path)
        self._read_topic(options)
        methods = (*declared, "SUBSCRIBE") if self.subscribe else declared or ANY_METHOD
        self.methods = frozenset((*methods, "HEAD") if "GET" in methods else methods)
        self.allow = ", ".join([*(m for m in ANY_METHOD if m in methods), *(["HEAD"] if "GET" in methods else []),
                                "OPTIONS"])  # fmt: skip
        self.timeout = _number(options, "timeout", self.path)
        max_body = _number(options, "max_body", self.path)
        self.max_body = None if max_body is None else int(max_body)
        on_disconnect = options.get("on_disconnect", "cancel")
        if on_disconnect not in _ON_DISCONNECT:
            raise ConfigError(f"Route {self.path}: on_disconnect={on_disconnect!r} is unknown; use cancel or finish.")
        self.finish_on_disconnect = on_disconnect == "finish"
        self.inline = bool(options.get("inline", False))
        self.websocket = bool(options.get("websocket", False))
        #: What the values of its calls and answers may be; None for what they may be everywhere.
        self.types: TypeTable | None = options.get("types")
        if self.types is not None and not isinstance(self.types, TypeTable):
            raise ConfigError(f"Route {self.path}: types={self.types!r} is no table of types; use a TypeTable.")

    def _read_topic(self, options: dict[str, Any]) -> None:
        policy = options.get("subscribe", False)
        if policy not in (False, None, True, *POLICIES):
            raise ConfigError(f"Route {self.path}: subscribe={policy!r} is unknown; use True or {', '.join(POLICIES)}.")
        #: Whether it is a topic, what becomes of events its subscribers do not take in time, and whether they are
        #: told of each other.
        self.subscribe = bool(policy)
        self.policy: Any = "drop_oldest" if policy is True else policy or "drop_oldest"
        self.presence = bool(options.get("presence", False))

    def _check_kind(self) -> None:
        if self.websocket and not (self.is_async and self.binder.takes_websocket):
            raise ConfigError(f"Route {self.path}: websocket=True needs an async handler with a parameter websocket.")
        if self.subscribe and (self.async_generator or self.generator or self.websocket):
            raise ConfigError(f"Route {self.path}: subscribe= is for a plain function; a generator streams without it.")

    def _read_kind(self, entry: MethodEntry) -> None:
        func = entry.func
        self.async_generator = inspect.isasyncgenfunction(func)
        self.generator = inspect.isgeneratorfunction(func)
        self.is_async = inspect.iscoroutinefunction(func)
        # A generator function runs nothing when it is called: its items are fetched in a thread later.
        self.threaded = not (self.is_async or self.async_generator or self.generator or self.inline)

    def _read_auth(self, default_deny: bool) -> None:
        plugins = [p for p in self.router.iter_plugins() if type(p).deny_reason is not BasePlugin.deny_reason]
        auth = next((p for p in plugins if p.plugin_code == "auth"), None)
        rule = auth.configuration(self.entry.name).get("rule", "") if auth is not None else ""
        self.rule: str = rule or ("" if not default_deny or self.entry.metadata.get("open") else "*")
        #: Plugins besides auth that may refuse the entry: they are asked at each request.
        self.deny = any(p.plugin_code != "auth" for p in plugins)
        self.guarded = bool(self.rule) or self.deny
        #: Whether a message may bring credentials of its own, which count instead of those of its connection.
        self.message_auth = bool(getattr(self.app, "message_auth", False))

    def check_rule(self) -> None:
        """ConfigError for an auth_rule that no request could be held to."""
        if self.rule in ("", "*"):
            return
        try:
            tags_match(self.rule, set())
        except RuleError as error:
            raise ConfigError(f"Route {self.path}: auth_rule={self.rule!r} is no rule: {error}.") from error

    def unheard(self) -> list[str]:
        """The plugins that could refuse requests, which the route has options for and its router does not have."""
        plugged = {plugin.plugin_code for plugin in self.router.iter_plugins()}
        return [name for name in self.entry.metadata.get("plugin_config", ()) if name in _REFUSING - plugged]

    def call(self, request: Any, args: tuple[str, ...]) -> Any:
        """Call the handler with `args` from the path and the rest from the request."""
        count = len(args)
        return (self.calls[count] if count < len(self.calls) else self.calls[-1])(request, args)


def _callable_of(entry: MethodEntry) -> Callable[..., Any]:
    """The handler itself where no plugin wraps it: each wrapper genro-routes adds costs a microsecond.

    What pydantic's would check the binder has checked already, and it knows *args and **kwargs.
    """
    plugins = [plugin for plugin in entry.router.iter_plugins() if plugin.plugin_code != "pydantic"]
    wraps = any(type(plugin).wrap_handler is not BasePlugin.wrap_handler for plugin in plugins)
    chosen: Callable[..., Any] = entry.handler if wraps else entry.func
    return chosen


def never_waits(func: Callable[..., Any]) -> bool:
    """Whether a function makes coroutines that end in their first step: there is no await in its code."""
    code = getattr(func, "__code__", None)
    if code is None or not code.co_flags & inspect.CO_COROUTINE:
        return False
    # Whatever waits (await, async for, async with, async comprehensions) sends into what it waits for.
    return all(instruction.opname != "SEND" for instruction in dis.get_instructions(code))


def parse_methods(declared: Any, path: str) -> tuple[str, ...]:
    """Methods from `"GET,POST"` or a list; ConfigError names the one that is no method."""
    if not declared:
        return ()
    items = declared.split(",") if isinstance(declared, str) else list(declared)
    methods = tuple(str(item).strip().upper() for item in items if str(item).strip())
    for method in methods:
        if method not in _KNOWN_METHODS:
            raise ConfigError(f"Route {path}: {method!r} is no method; use {', '.join(ANY_METHOD)}.")
    return methods


def _number(options: dict[str, Any], name: str, path: str) -> float | None:
    value = options.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise ConfigError(f"Route {path}: {name}={value!r} must be a number above 0.")
    return value


class _Branch:
    """A router in the table: where its unmatched paths go, and what is not built yet under it."""

    __slots__ = ("aliases", "default", "lazy", "router")

    def __init__(self, router: Router) -> None:
        self.router = router
        self.default: Endpoint | None = None
        self.lazy: set[str] = set()
        self.aliases: dict[str, str] = {}


class RouteTable:
    """All paths of a router tree; `resolve` agrees with genro-routes, and `refresh` follows its changes."""

    def __init__(self, root: Router, app_of: Callable[[Router], Any], default_deny: Callable[[Router], bool]) -> None:
        self.root = root
        self._app_of = app_of
        self._default_deny = default_deny
        self.stale = True
        #: Endpoints by the exact path of a request that leaves nothing over.
        self.exact: dict[str, Endpoint] = {}
        #: Of these, the ones a GET may be handed to with nothing else to see to.
        self.gets: dict[str, Endpoint] = {}
        #: Entries that take what follows them, by the exact path before it.
        self.heads: dict[str, Endpoint] = {}
        #: Entries and routers by their path without slashes at the ends.
        self.entries: dict[str, Endpoint] = {}
        self.branches: dict[str, _Branch] = {}
        #: The suffixes of all routes with types of their own.
        self.suffixes: frozenset[str] = frozenset()
        #: Called with them when they are others than they were.
        self.on_suffixes: Callable[[frozenset[str]], None] | None = None
        #: Whether the types of a call may depend on its path.
        self.typed = True

        watch(self)

    def tree_changed(self) -> None:
        """Forget everything: the next request finds nothing in `exact` and has the table compiled again."""
        self.stale = self.typed = True
        self.exact, self.gets, self.heads = {}, {}, {}

    def refresh(self) -> None:
        """Compile the tree again if it has changed since the last time."""
        while self.stale:
            self.exact, self.gets, self.heads = {}, {}, {}
            self.entries, self.branches = {}, {}
            # Binding a router for the first time registers its entries, which is a change itself.
            self.stale = False
            self._add_router("", self.root, ())
            self._gather_types()

    def _gather_types(self) -> None:
        """Let every route mark as text what any of them reads: a client has one table for all of them at most."""
        declared = {endpoint.types for endpoint in self.entries.values() if endpoint.types is not None}
        before, self.suffixes = self.suffixes, frozenset().union(*(table.own_suffixes for table in declared))
        views = {table: table.escaping(self.suffixes) for table in declared}
        for endpoint in self.entries.values():
            if endpoint.types is not None:
                endpoint.types = views[endpoint.types]
        self.typed = bool(declared) or any(branch.lazy for branch in self.branches.values())
        if self.suffixes != before and self.on_suffixes is not None:
            self.on_suffixes(self.suffixes)

    def types_of(self, path: str) -> TypeTable | None:
        """What the values of calls of a path may be, where its route says so."""
        endpoint = self.exact.get(path)
        if endpoint is not None:
            return endpoint.types
        try:
            if self.stale:
                self.refresh()
            found = self.resolve(path)
        except Exception:
            # Routes that cannot be compiled: the call itself is told so when it is dispatched.
            return None
        return None if found is None else found[0].types

    def _add_router(self, prefix: str, router: Any, above: tuple[int, ...]) -> None:
        if id(router) in above:
            return  # a router included below itself: the paths repeat without end, the first round is enough
        branch = self.branches[prefix] = _Branch(router)
        branch.aliases = {n: spec["alias"].strip("/") for n, spec in router._branches.items() if "alias" in spec}
        join = f"{prefix}/" if prefix else ""
        entries = router._entries
        for name, entry in entries.items():
            if "/" in name or name in branch.aliases:
                continue  # genro-routes never reaches these either
            endpoint = Endpoint(f"/{join}{name}", name, entry, self._app_of(router), self._default_deny(router))
            self._add_entry(join + name, endpoint)
            if name == router.default_entry:
                branch.default = endpoint
                self._add_exact(prefix, endpoint)
        for name, child in router._children.items():
            if name not in entries and name not in branch.aliases:  # an entry hides the branch of the same name
                self._add_router(join + name, child, (*above, id(router)))
        branch.lazy = {name for name in router._branches if name not in entries and name not in branch.aliases}

    def _add_entry(self, path: str, endpoint: Endpoint) -> None:
        self.entries[path] = endpoint
        self._add_exact(path, endpoint)
        if endpoint.max_args:
            self.heads[f"/{path}"] = endpoint

    def _add_exact(self, path: str, endpoint: Endpoint) -> None:
        if "@" not in path:
            self.exact[f"/{path}"] = endpoint
            if endpoint.quick:
                self.gets[f"/{path}"] = endpoint

    def resolve(self, path: str) -> tuple[Endpoint, tuple[str, ...]] | None:
        """The endpoint of a path and the segments left over for it; None where genro-routes says not_found."""
        stripped = path.strip("/")
        if "@" in stripped and any(part.startswith("@") for part in stripped.split("/")):
            return None  # genro-routes' reverse lookup is not for clients
        return self._walk(stripped, 0)

    def _walk(self, path: str, followed: int) -> tuple[Endpoint, tuple[str, ...]] | None:
        branch = self.branches[""]
        parts = path.split("/") if path else []
        prefix = ""
        for number, part in enumerate(parts):
            if part in branch.aliases:
                return self._alias(branch.aliases[part], parts[number + 1 :], followed)
            prefix = f"{prefix}/{part}" if prefix else part
            endpoint = self.entries.get(prefix)
            if endpoint is not None:
                return _fitting(endpoint, tuple(parts[number + 1 :]))
            if part in branch.lazy:
                branch.router._materialize_branch(part)
                self.refresh()
                return self._walk(path, followed)
            below = self.branches.get(prefix)
            if below is None:
                return _fitting(branch.default, tuple(parts[number:]))
            branch = below
        return _fitting(branch.default, ())

    def _alias(self, target: str, rest: list[str], followed: int) -> tuple[Endpoint, tuple[str, ...]] | None:
        # A circle of aliases leads nowhere; genro-routes raises there, a client gets a 404.
        if followed > 32:
            return None
        return self._walk("/".join([target, *rest]), followed + 1)

    def endpoints(self) -> Iterator[Endpoint]:
        """Every endpoint once, in the order of declaration."""
        return iter(self.entries.values())


def _fitting(endpoint: Endpoint | None, args: tuple[str, ...]) -> tuple[Endpoint, tuple[str, ...]] | None:
    return None if endpoint is None or len(args) > endpoint.max_args else (endpoint, args)
