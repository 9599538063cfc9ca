"""Hook middleware: what runs before and after a handler, as flat lists instead of nested callables."""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from genro_asgi.request import BaseRequest
from genro_asgi.response import Response

__all__ = ["ForApp", "Hook", "Middleware", "hooks_of"]

Hook = Callable[..., Any]
HookAnswer = Response | None | Awaitable[Response | None]


class Middleware:
    """The base of hook middleware; override what you need, sync or async.

    All hooks of a request run in its own task, so context variables set in one are seen by the others. Those with a
    lower `order` are outside: they run earlier before the handler, and later after it.
    """

    name: ClassVar[str] = ""
    order: ClassVar[int] = 500
    #: Whether it is on without being configured.
    default: ClassVar[bool] = False
    transports: ClassVar[frozenset[str]] = frozenset({"http", "websocket", "nats"})

    def __init__(self, server: Any = None, **options: Any) -> None:
        if options:
            raise TypeError(f"middleware {self.name!r} has no option {', '.join(sorted(options))}")
        self.server = server

    def before(self, request: BaseRequest) -> HookAnswer:
        """Look at a request before its handler is found; a Response answers it at once."""

    def after(self, request: BaseRequest, response: Response) -> HookAnswer:
        """Look at the answer, change it, or give another one."""

    def on_error(self, request: BaseRequest, exc: Exception) -> HookAnswer:
        """Turn an exception into an answer, or leave it to those outside."""


class ForApp(Middleware):
    """A middleware around one application: it sees only requests below the application's name."""

    def __init__(self, inner: Middleware, app_name: str) -> None:
        super().__init__(inner.server)
        self.inner, self.app_name = inner, app_name
        self.order, self.transports = inner.order, inner.transports  # type: ignore[misc]

    def _concerns(self, request: BaseRequest) -> bool:
        return request.path.strip("/").partition("/")[0] == self.app_name

    def before(self, request: BaseRequest) -> HookAnswer:
        """The inner hook, for requests of the application."""
        return self.inner.before(request) if self._concerns(request) else None

    def after(self, request: BaseRequest, response: Response) -> HookAnswer:
        """The inner hook, for requests of the application."""
        return self.inner.after(request, response) if self._concerns(request) else None

    def on_error(self, request: BaseRequest, exc: Exception) -> HookAnswer:
        """The inner hook, for requests of the application."""
        return self.inner.on_error(request, exc) if self._concerns(request) else None


def hooks_of(middleware: list[Middleware], hook: str, transport: str) -> list[Hook]:
    """The overridden hooks of one kind that apply to a transport, in the order given."""
    return [
        getattr(one, hook)
        for one in middleware
        if transport in one.transports and getattr(type(one), hook) is not getattr(Middleware, hook)
    ]


def __getattr__(name: str) -> Any:
    # Where Starlette's users look for it; imported late, because it stands on what stands on this module.
    if name == "BaseHTTPMiddleware":
        from genro_asgi.middleware.base_http import BaseHTTPMiddleware

        return BaseHTTPMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
