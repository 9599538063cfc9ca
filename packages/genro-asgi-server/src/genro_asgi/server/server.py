"""AsgiServer: the ASGI application at the root, which puts all the parts together."""

import asyncio
import logging
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from genro_routes import Router, RoutingClass, RoutingContext, Section

from genro_asgi.authentication.basic import BasicAuthMixin
from genro_asgi.binder import AsgiServerEnabler, ServerBinder
from genro_asgi.context import AsgiContext
from genro_asgi.datastructures.state import State
from genro_asgi.exceptions import ConfigError, HTTPException, Redirect
from genro_asgi.executors.base import BaseExecutor
from genro_asgi.lifespan import ServerLifespan
from genro_asgi.middleware.base import ForApp, Middleware
from genro_asgi.middleware.logging import LoggingMiddleware
from genro_asgi.middleware.registry import known_middleware, make_middleware
from genro_asgi.middleware.wsgi_gateway import WsgiGatewayMiddleware, prefixes_of
from genro_asgi.request import (
    BaseRequest,
    RequestRegistry,
    current_request,
    route_path,
)
from genro_asgi.response import Response, error_response
from genro_asgi.server.app_making import make_app
from genro_asgi.server.config_apps import AppSpec
from genro_asgi.server.config_checks import plugin_error
from genro_asgi.server.dispatcher import Dispatcher
from genro_asgi.server.draining import drain
from genro_asgi.server.http_endpoint import HttpEndpoint
from genro_asgi.server.loader import AppLoader
from genro_asgi.server.mounts import Below, Mounts
from genro_asgi.server.passage import pass_on
from genro_asgi.server.pools import ServerPools
from genro_asgi.server.route_list import RouteInfo, list_routes
from genro_asgi.server.route_watch import watch
from genro_asgi.server.routes import RouteTable
from genro_asgi.server.server_app import TRANSPORTS, ServerApplication, framework_version, site_name
from genro_asgi.server.server_config import ServerConfig
from genro_asgi.server.sweeper import Sweeper
from genro_asgi.server.topics import ServerTopics
from genro_asgi.server.websocket_endpoint import WebSocketEndpoint
from genro_asgi.server.wsx_handler import WsxHandler
from genro_asgi.server.wsx_registry import WsxRegistry
from genro_asgi.types import ASGIApp, Receive, Scope, Send

__all__ = ["AsgiServer"]

# Marks a scope that has passed the classic middleware around the server.
_INSIDE = "genro_asgi.inside"


class AsgiServer(HttpEndpoint, BasicAuthMixin, RoutingClass):
    """A server: configuration, applications, routing and life cycle behind one ASGI callable.

    Subclass it and mark methods with `@route()`, or name applications in config.yaml. Options are the keys of the
    configuration (`limits=`, `middleware=`, `auth=`...). ConfigError tells in one line what is wrong with them.
    """

    #: Whether a message to a handler of the server itself may bring credentials of its own; see AsgiApplication.
    message_auth: ClassVar[bool] = False

    #: Sections of the configuration that a subclass acts on and this class does not.
    config_read: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        server_dir: str | Path | None = None,
        host: str | None = None,
        port: int | None = None,
        reload: bool | None = None,
        argv: Sequence[str] | None = None,
        parent: Any = None,
        *,
        use_router: bool = True,
        **options: Any,
    ) -> None:
        self.config = ServerConfig(server_dir, host, port, reload, argv, **options)
        #: What makes the same server again in another process.
        self.constructor_arguments = (
            {"server_dir": str(self.config.server_dir), "host": host, "port": port, "argv": argv, **options}
            if type(self).__init__ is AsgiServer.__init__
            else {}
        )
        self.base_dir = self.config.server_dir
        self.parent = parent
        self.limits = self.config.limits
        self.logger = logging.getLogger("genro_asgi")
        self.state = State()
        #: Where `run` serves, such as http://127.0.0.1:8000; None before that, and under another server.
        self.url: str | None = None
        self.openapi_info = self.config.openapi
        self.db_registry: dict[str, Any] = {}
        self._wsgi_app: Any = None
        self._prefixes: frozenset[str] | None = None
        self._straight = "http"
        self._loop: asyncio.AbstractEventLoop | None = None
        self.apps: dict[str, Any] = {}
        self.sys_apps: dict[str, Any] = {}
        #: The hooks around single applications by the name of the application.
        self.app_middleware_chains: dict[str, list[Middleware]] = {}
        self.mounts = Mounts()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stack: ASGIApp | None = None
        self.app_loader = AppLoader(self.base_dir)
        self.pools = ServerPools(self.config.executors, self.app_loader, self.config.where("executors"))
        self._open_pools()
        self._configure_auth()
        self.request_registry = RequestRegistry(server=self)
        self.request_registry.on_change = self._prepare
        self.sweeper = Sweeper(self.request_registry, self.limits)
        self.lifespan = ServerLifespan(self)
        self._plug()
        self.table = RouteTable(self.route, self._app_of, lambda router: self.default_deny)
        self.topics = ServerTopics(self)
        chosen = {name: {} for name, cls in known_middleware().items() if cls.default} | self.config.middleware
        self._set_middleware(make_middleware(self, "middleware", chosen))
        self.websockets = WebSocketEndpoint(self)
        self._mount_configured()

    # -- assembly

    def _configure_auth(self) -> None:
        auth = self.config.auth
        self.default_deny = bool(auth.default_deny)
        try:
            self.configure_auth(basic=auth.basic, bearer=auth.bearer)
        except ConfigError as error:
            raise ConfigError(f"{self.config.where('auth').removesuffix('auth')}{error}") from error
        # An authenticate() of one's own may look anywhere for credentials; ours looks at one header.
        self.always_authenticate = type(self).authenticate is not BasicAuthMixin.authenticate

    def _plug(self) -> None:
        specs = self.config.get_plugin_specs(Router.available_plugins())
        for name, settings in specs.items():
            try:
                self.route.plug(name, **settings)
            except (ValueError, TypeError) as error:
                raise ConfigError(f"{self.config.where(f'plugins.{name}')}{plugin_error(error)}.") from error
        if "auth" not in specs:
            self.route.plug("auth")  # without it genro-routes ignores every auth_rule

    def _add_app_middleware(self, name: str, chosen: Mapping[str, Any] | None) -> None:
        """Put the middleware an application's section names around that application alone."""
        chain = make_middleware(self, f"apps.{name}.middleware", chosen or {})
        own = [ForApp(one, name) for one in chain]
        if own:
            self.app_middleware_chains[name] = chain
            self._set_middleware([*self.middleware, *own])

    def _mount_configured(self) -> None:
        for name in ("_server", "_sys"):
            if name in self.route._entries:
                raise ConfigError(f"{type(self).__name__}: a route of its own is named {name}; /{name} is taken.")
        self.server_application = ServerApplication()
        self._attach("_server", self.server_application)
        sys_specs = self.config.get_sys_app_specs_raw()
        if sys_specs:
            section = Section("System applications")
            self.add_branches({"name": "_sys", "instance": section})
            for name, spec in sys_specs.items():
                self.sys_apps[name] = app = self._make_app(f"sys_apps.{name}", spec)
                section.add_branches({"name": name, "instance": app})
                app.mount_name = name
        for name, spec in self.config.get_app_specs_raw().items():
            try:
                self.mount(name, self._make_app(f"apps.{name}", spec))
                self._add_app_middleware(name, spec[2])
            except (ValueError, TypeError) as error:
                raise ConfigError(f"{self.config.where(f'apps.{name}')}: {error}.") from error

    def _make_app(self, key: str, spec: AppSpec) -> Any:
        return make_app(self.app_loader, self.config.where(key), spec)

    def _attach(self, name: str, app: Any) -> None:
        self.add_branches({"name": name, "instance": app})
        app.mount_name = name

    def mount(self, name: str, app: Any) -> None:
        """Put an application at `/name`: a RoutingClass joins the routes, any other ASGI app gets all below the prefix.

        ValueError when something already answers there.
        """
        name = name.strip("/")
        if not name:
            raise ValueError("mount() needs a name; to answer at / give the server an index.")
        if name in self.apps or name in self.mounts or name in self.route._entries or name in self.route._children:
            raise ValueError(f"mount {name!r} is already taken")
        if isinstance(app, type) and issubclass(app, RoutingClass):
            raise TypeError(f"mount {name!r}: {app.__name__} is a class; mount an instance of it.")
        if isinstance(app, RoutingClass):
            for taken, mounted in self.apps.items():
                if mounted is app:
                    raise ValueError(f"mount {name!r}: {app!r} is mounted at {taken!r} already; make another one.")
            if "/" in name:
                raise ValueError(f"mount {name!r}: a routing class is mounted on one segment; use a Section for more.")
            self._attach(name, app)
            self.apps[name] = app
        elif callable(app):
            foreign: Any = app
            self.mounts.add(name, foreign)
            self._straight = self._prefixes = None
        else:
            raise TypeError(f"mount {name!r}: {app!r} is neither a RoutingClass nor an ASGI application.")
        if isinstance(app, AsgiServerEnabler):
            app.binder = ServerBinder(self)

    def enable_access_log(self) -> None:
        """Log one line for each answer, unless the configuration has said so or otherwise."""
        if "logging" not in self.config.middleware:
            self._set_middleware([*self.middleware, LoggingMiddleware(self)])

    def _set_middleware(self, middleware: list[Middleware]) -> None:
        self.middleware = sorted(middleware, key=lambda one: one.order)
        #: The way to `wsgi_app`; None when the configuration has switched it off.
        self.wsgi_gateway = next((one for one in self.middleware if isinstance(one, WsgiGatewayMiddleware)), None)
        self.dispatcher = Dispatcher(self, self.table, self.middleware, "http")
        self.ws_dispatcher = Dispatcher(self, self.table, self.middleware, "websocket")
        self._prepare()

    def _prepare(self) -> None:
        """Work out what all requests have in common, after the hooks or the classes of requests have changed."""
        self._prepare_http()
        if hasattr(self, "websockets"):
            self.websockets.wsx.prepare()

    def add_middleware(self, middleware: Any, app: str | None = None, **options: Any) -> None:
        """Put a classic ASGI middleware, `middleware(app, **options)`, around the server; the last is outermost.

        app: the mount it is for, when it is not for all; ValueError when nothing is mounted there
        """
        inner: ASGIApp = self._stack or self._inside
        around: ASGIApp = middleware(inner, **options)
        if app is not None:
            name = app.strip("/")
            if name not in self.apps and name not in self.mounts:
                raise ValueError(f"add_middleware: no application {app!r} is mounted; mount it first.")
            around = Below(name, around, inner)
        self._stack = around
        self._straight = None

    # -- the ASGI application

    async def _detour(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Lifespan, WebSocket, classic middleware and mounted applications: what does not go through the routes."""
        kind = scope["type"]
        if self._stack is not None and _INSIDE not in scope and kind in ("http", "websocket"):
            await self._stack(scope, receive, send)
            return True
        if kind == "lifespan":
            await self.lifespan(scope, receive, send)
            return True
        if kind not in ("http", "websocket"):
            raise RuntimeError(f"Scope type {kind!r} is unknown; this application serves http, websocket and lifespan.")
        path = route_path(scope)
        taker: ASGIApp | None = self.mounts.find(path) if self.mounts else None
        if taker is None and kind == "websocket":
            taker = self.websockets
        if taker is None:
            if self._wsgi_app is None or self.wsgi_gateway is None:
                return False
            gateway = self.wsgi_gateway.owner(path)
            if gateway is not None:
                await pass_on(self, gateway, scope, receive, send)
            return gateway is not None
        if kind == "http" and self.dispatcher.head is not None:
            try:
                self.dispatcher.head.check(scope)
            except HTTPException as refusal:
                taker = error_response(refusal)
        log = next((one for one in self.middleware if isinstance(one, LoggingMiddleware)), None)
        if log is None or kind != "http":
            await taker(scope, receive, send)
        else:
            await log.around(taker, scope, receive, send)
        return True

    @property
    def wsgi_app(self) -> Any:
        """The WSGI application that answers whatever no application of this server does; None for none."""
        return self._wsgi_app

    @wsgi_app.setter
    def wsgi_app(self, app: Any) -> None:
        if app is not None:
            if self.wsgi_gateway is None:
                where = self.config.where("middleware.wsgi_gateway")
                raise ConfigError(f"{where} is off, and the server has a wsgi_app; switch it on.")
            if not callable(app):
                raise TypeError(f"wsgi_app is {app!r}; give it a WSGI application, a callable.")
            self._straight = None
        self._wsgi_app = app

    def asgi_prefixes(self) -> frozenset[str]:
        """The first segments that stay here while there is a WSGI application; worked out anew after each change."""
        if self._prefixes is None:
            watch(self)
            mounted = (name for name, _ in self.mounts.items() if "/" not in name)
            self._prefixes = prefixes_of(self).union(mounted)
        return self._prefixes

    def tree_changed(self) -> None:
        """Hear of a change of the routes."""
        self._prefixes = None

    async def _inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The server as its classic middleware sees it."""
        await self({**scope, _INSIDE: True}, receive, send)

    def front_page(self, request: BaseRequest) -> Any:
        """What `/` gives where the server has no index: the main application, else the welcome page."""
        main = self.config.main_app
        if main and (main in self.apps or main in self.mounts):
            root = getattr(request, "scope", None) or {}
            return error_response(Redirect(f"{root.get('root_path', '').rstrip('/')}/{main}/"))
        return self.server_application.index()

    # -- what handlers and applications ask

    @property
    def router(self) -> Router:
        """The router of the server's own handlers."""
        return self.route

    @property
    def request(self) -> BaseRequest | None:
        """The request being answered."""
        return current_request.get()

    @property
    def response(self) -> Response | None:
        """The answer under construction."""
        request = current_request.get()
        return None if request is None else request.response

    @property
    def name(self) -> str:
        """The name of the site."""
        return site_name(self)

    @property
    def version(self) -> str:
        """The version of the framework."""
        return framework_version()

    @property
    def transports(self) -> tuple[str, ...]:
        """What this server can be reached by."""
        return TRANSPORTS

    @property
    def wsx(self) -> WsxRegistry:
        """The WSX connections: `broadcast`, `send_to`, `find_by_identity`."""
        return self.websockets.wsx.registry

    @property
    def wsx_handler(self) -> WsxHandler:
        """What answers the WSX messages of WebSockets."""
        return self.websockets.wsx

    def publish(self, topic: str, data: Any = None, event: str = "message") -> "asyncio.Future[int]":
        """Tell those who subscribed to a topic; LookupError when no route with `subscribe=` answers it.

        The future is done when every subscriber has taken the event, and holds their number; only those of policy
        "block" make it wait. May be called from any thread while the server runs.
        """
        return self.topics.publish(topic, event, data)

    @property
    def db(self) -> Any:
        """The default database."""
        return self.get_db("default")

    def register_db(self, name: str, db: Any) -> None:
        """Make a database known by a logical name."""
        self.db_registry[name] = db

    def get_db(self, name: str) -> Any:
        """A registered database; KeyError names the unknown one and those there are."""
        if name not in self.db_registry:
            raise KeyError(f"no database {name!r}; registered: {', '.join(self.db_registry) or 'none'}")
        return self.db_registry[name]

    def make_context(self, request: BaseRequest) -> AsgiContext:
        """The execution context of a request."""
        return AsgiContext(request)

    @property
    def ctx(self) -> RoutingContext | None:
        """What the running handler may reach for; `self.ctx` of an application or a router below leads here too."""
        request = current_request.get()
        context: RoutingContext | None = vars(self).get("_ctx") if request is None else request.ctx
        return context

    @ctx.setter
    def ctx(self, value: RoutingContext | None) -> None:
        self._ctx = value

    def executor(self, name: str, executor_type: str | None = None, **options: Any) -> BaseExecutor:
        """A named pool, made on first use and used as a decorator: `pdf = server.executor("pdf", max_workers=2)`.

        `kind` is "process" (the default) or "thread"; the other options are those of the executor, over those of
        the section `executors` of the configuration.
        """
        return self.pools.executor(name, executor_type, **options)

    def spawn(self, work: Any, request: BaseRequest | None = None) -> asyncio.Task[Any]:
        """Run a coroutine in the server's own tasks: it outlives the client, and the server waits for it at the end."""
        task = asyncio.ensure_future(self._logged(work, request.log_id if request is not None else "-"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _logged(self, work: Awaitable[Any], request_id: str) -> Any:
        try:
            return await work
        except Exception:
            self.logger.exception("A background task failed (request %s)", request_id)

    def iter_routes(self) -> Iterator[RouteInfo]:
        """All routes, for people: own entries, applications, mounts."""
        return list_routes(self)

    def _app_of(self, router: Router) -> Any:
        """The application a router belongs to: the nearest above it that is one, or was mounted."""
        instance: Any = router.instance
        while instance is not None and not hasattr(instance, "mount_name") and instance is not self:
            instance = getattr(instance, "_routing_parent", None)
        return instance

    # -- life cycle

    def on_startup(self) -> Any:
        """Called before the applications start, sync or async."""

    def on_shutdown(self) -> Any:
        """Called after the applications have stopped, sync or async."""

    @property
    def _grace(self) -> float:
        """Seconds that work in flight is given when the server stops (`server.timeout_graceful`)."""
        seconds = self.config.server.timeout_graceful
        return 30.0 if seconds is None else float(seconds)

    def check(self) -> None:
        """Compile the routes and check what the configuration says of them; ConfigError for a mistake."""
        self._check()

    def _check(self) -> None:
        self.table.refresh()
        for endpoint in self.table.endpoints():
            endpoint.check_rule()
        main = self.config.main_app
        if main and main not in self.apps and main not in self.mounts:
            names = ", ".join([*self.apps, *(name for name, _ in self.mounts.items())]) or "none"
            raise ConfigError(f"{self.config.where('main_app')}: no application {main!r} is mounted; there is {names}.")

    def _notices(self) -> list[str]:
        """What a reader of the configuration may be wrong about."""
        found = [f"{place}: nothing in this release acts on it." for place in self.config.unread(self.config_read)]
        for endpoint in self.table.endpoints():
            found += [
                f"Route {endpoint.path}: what it says to the plugin {name} does not hold; write it under plugins."
                for name in endpoint.unheard()
            ]
        return found

    async def drain(self, seconds: float | None = None) -> None:
        """Take no more work, wait for what is in flight up to `seconds`, then cancel it.

        By default as long as the grace time allows, whose last part is for ending: a quarter, at most two seconds.
        """
        grace = self._grace
        await drain(self, grace - min(2.0, grace / 4) if seconds is None else seconds)

    def _open_pools(self) -> None:
        # Their threads start with the first call, so that pools of a server that never serves cost nothing.
        self.handlers, self.files = self.pools.thread("handlers"), self.pools.thread("files")
        self.background = self.pools.thread("background")

    async def close(self) -> None:
        """Let go of threads and timers; the server can be started again."""
        self.sweeper.stop()
        if self.wsgi_gateway is not None:
            await self.wsgi_gateway.shutdown()
        await self.pools.shutdown()
        self._open_pools()
        self._set_draining(False)

    def run(self, host: str | None = None, port: int | None = None, **uvicorn_options: Any) -> None:
        """Serve with uvicorn until a signal ends it; options of uvicorn.Config are passed on."""
        from genro_asgi.server.runner import run

        run(self, host, port, **uvicorn_options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(apps={list(self.apps)})"
