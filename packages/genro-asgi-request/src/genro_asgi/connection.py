"""What HTTP requests and WebSockets have in common: a lazy view over an ASGI scope."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from genro_asgi.datastructures.address import Address
from genro_asgi.datastructures.cookies import parse_cookies
from genro_asgi.datastructures.headers import Headers
from genro_asgi.datastructures.instances import TakenAsItIs
from genro_asgi.datastructures.query_params import QueryParams
from genro_asgi.datastructures.state import State
from genro_asgi.datastructures.url import URL
from genro_asgi.types import Receive, Scope

__all__ = ["HTTPConnection", "WrongScope"]


class WrongScope(ValueError, AssertionError):
    """A scope of another type: genro's users expect a ValueError, Starlette's an AssertionError."""


class HTTPConnection(TakenAsItIs, Mapping[str, Any]):
    """A lazy view over an HTTP or WebSocket scope, with the names Starlette gives to its parts."""

    scope_types: ClassVar[tuple[str, ...]] = ("http", "websocket")

    def __init__(self, scope: Scope, receive: Receive | None = None) -> None:
        if scope["type"] not in self.scope_types:
            wanted = " or ".join(self.scope_types)
            raise WrongScope(f"{type(self).__name__} wants a scope of type {wanted}, not {scope['type']!r}.")
        self.scope = scope
        self._parts: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        return self.scope[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scope)

    def __len__(self) -> int:
        return len(self.scope)

    # Two views of equal scopes are still two exchanges.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def _part(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._parts:
            self._parts[name] = make()
        return self._parts[name]

    def _installed(self, key: str, who: str) -> Any:
        if key not in self.scope:
            raise AssertionError(f"{who} must be installed to access request.{key}")
        return self.scope[key]

    @property
    def app(self) -> Any:
        """The application that put itself in the scope."""
        return self.scope["app"]

    @property
    def url(self) -> URL:
        """The full URL."""
        url: URL = self._part("url", lambda: URL(scope=self.scope))
        return url

    @property
    def base_url(self) -> URL:
        """The URL of the application's root, with a trailing slash."""

        def make() -> URL:
            root = self.scope.get("app_root_path", self.scope.get("root_path", ""))
            path = root if root.endswith("/") else root + "/"
            return URL(scope=dict(self.scope) | {"path": path, "raw_path": b"", "query_string": b"", "root_path": root})

        base: URL = self._part("base_url", make)
        return base

    @property
    def headers(self) -> Headers:
        """The headers, case-insensitive."""
        headers: Headers = self._part("headers", lambda: Headers(scope=self.scope))
        return headers

    @property
    def query_params(self) -> QueryParams:
        """The query as a multidict."""
        params: QueryParams = self._part("query", lambda: QueryParams(self.scope.get("query_string", b"")))
        return params

    @property
    def path_params(self) -> dict[str, Any]:
        """What the router took from the path."""
        params: dict[str, Any] = self.scope.get("path_params", {})
        return params

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies of all Cookie headers."""
        cookies: dict[str, str] = self._part(
            "cookies", lambda: parse_cookies("; ".join(self.headers.getlist("cookie")))
        )
        return cookies

    @property
    def client(self) -> Address | None:
        """The peer's address."""
        client = self.scope.get("client")
        return None if client is None else Address(*client)

    @property
    def session(self) -> Any:
        """The session of the session middleware."""
        session = self._installed("session", "SessionMiddleware")
        if hasattr(session, "mark_accessed"):  # the answer depends on the cookie then
            session.mark_accessed()
        return session

    @property
    def auth(self) -> Any:
        """The credentials of the authentication middleware."""
        return self._installed("auth", "AuthenticationMiddleware")

    @property
    def user(self) -> Any:
        """The user of the authentication middleware."""
        return self._installed("user", "AuthenticationMiddleware")

    @property
    def state(self) -> State:
        """A bag for this exchange, filled with what the lifespan left."""
        state: State = self._part("state", lambda: State(self.scope.setdefault("state", {})))
        return state
