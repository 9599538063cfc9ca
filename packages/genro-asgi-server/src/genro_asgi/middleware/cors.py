"""Cross-origin requests (Fetch, CORS protocol): one policy, as a hook of the server and as a classic middleware."""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from genro_asgi.datastructures.headers import Headers, MutableHeaders
from genro_asgi.exceptions import ConfigError
from genro_asgi.middleware.base import Middleware
from genro_asgi.request import BaseRequest, HttpRequest
from genro_asgi.response import PlainTextResponse, Response
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["CORSMiddleware", "CorsHook", "CorsPolicy"]

ALL_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY")
#: What a page may send without asking.
SAFELISTED_HEADERS = ("Accept", "Accept-Language", "Content-Language", "Content-Type")
#: What the answer to a preflight depends on.
PREFLIGHT_VARY = (
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network"
)


class CorsPolicy:
    """Who may ask across origins, and how. The arguments are those of CORSMiddleware.

    `*` and credentials do not go together (Fetch, 3.2.5): with both, any origin may ask, and none with credentials.
    """

    def __init__(
        self,
        allow_origins: Sequence[str] = (),
        allow_methods: Sequence[str] = ("GET",),
        allow_headers: Sequence[str] = (),
        allow_credentials: bool = False,
        allow_origin_regex: str | None = None,
        allow_private_network: bool = False,
        expose_headers: Sequence[str] = (),
        max_age: int = 600,
    ) -> None:
        self.all_origins = "*" in allow_origins
        self.origins = frozenset(allow_origins)
        self.origin_regex = None if allow_origin_regex is None else re.compile(allow_origin_regex)
        self.methods = ALL_METHODS if "*" in allow_methods else tuple(allow_methods)
        self.all_headers = "*" in allow_headers
        self.headers = sorted({*SAFELISTED_HEADERS, *(h for h in allow_headers if h != "*")})
        self.lower_headers = frozenset(header.lower() for header in self.headers)
        self.credentials = allow_credentials and not self.all_origins
        self.private_network = allow_private_network
        self.exposed = ", ".join(expose_headers)
        self.max_age = max_age

    def is_allowed_origin(self, origin: str) -> bool:
        """Whether pages of this origin may ask."""
        if self.all_origins or origin in self.origins:
            return True
        return self.origin_regex is not None and self.origin_regex.fullmatch(origin) is not None

    def is_preflight(self, method: str, headers: Headers) -> bool:
        """Whether a browser asks before it sends the real request."""
        return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers

    def mark(self, headers: MutableHeaders, origin: str) -> None:
        """Say in the headers of an answer that its origin may read it."""
        if not self.is_allowed_origin(origin):
            return
        headers["access-control-allow-origin"] = "*" if self.all_origins else origin
        if self.credentials:
            headers["access-control-allow-credentials"] = "true"
        if self.exposed:
            headers["access-control-expose-headers"] = self.exposed

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a preflight: 200 with what is allowed, or 400 with what is not."""
        response = PlainTextResponse("OK")
        headers = response.headers
        refused = self._refused(request_headers)
        headers["vary"] = PREFLIGHT_VARY
        if self.is_allowed_origin(request_headers["origin"]):
            self.mark(headers, request_headers["origin"])
        headers["access-control-allow-methods"] = ", ".join(self.methods)
        headers["access-control-max-age"] = str(self.max_age)
        wanted = request_headers.get("access-control-request-headers")
        if self.all_headers and wanted is not None:
            headers["access-control-allow-headers"] = wanted
        elif not self.all_headers:
            headers["access-control-allow-headers"] = ", ".join(self.headers)
        if self.private_network and request_headers.get("access-control-request-private-network") == "true":
            headers["access-control-allow-private-network"] = "true"
        if refused:
            text = "Disallowed CORS " + ", ".join(refused)
            return PlainTextResponse(text, 400, {k: v for k, v in headers.items() if not k.startswith("content-")})
        return response

    def _refused(self, asked: Headers) -> list[str]:
        refused = [] if self.is_allowed_origin(asked["origin"]) else ["origin"]
        if asked["access-control-request-method"] not in self.methods:
            refused.append("method")
        wanted = asked.get("access-control-request-headers")
        if wanted is not None and not self.all_headers:
            names = [name.strip().lower() for name in wanted.split(",")]
            refused += ["headers"] if any(name not in self.lower_headers for name in names if name) else []
        if asked.get("access-control-request-private-network") == "true" and not self.private_network:
            refused.append("private-network")
        return refused


class CORSMiddleware(CorsPolicy):
    """The policy as a classic ASGI middleware, with Starlette's arguments.

    A subclass may decide by `is_allowed_origin`, and write its own `preflight_response`.
    """

    def __init__(
        self,
        app: ASGIApp,
        allow_origins: Sequence[str] = (),
        allow_methods: Sequence[str] = ("GET",),
        allow_headers: Sequence[str] = (),
        allow_credentials: bool = False,
        allow_origin_regex: str | None = None,
        allow_private_network: bool = False,
        expose_headers: Sequence[str] = (),
        max_age: int = 600,
    ) -> None:
        super().__init__(
            allow_origins, allow_methods, allow_headers, allow_credentials, allow_origin_regex, allow_private_network,
            expose_headers, max_age,
        )  # fmt: skip
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        if self.is_preflight(scope["method"], asked):
            await self.preflight_response(asked)(scope, receive, send)
            return
        origin = asked.get("origin")

        async def marking(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": list(message.get("headers", ()))}
                headers = MutableHeaders(raw=message["headers"])
                # Also of answers to the same origin: kept by a cache, they would be given to another one.
                headers.add_vary_header("Origin")
                if origin is not None:
                    self.mark(headers, origin)
            await send(message)

        await self.app(scope, receive, marking)


def _listed(value: Any) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else list(value)


class CorsHook(Middleware):
    """The policy as a hook of the server; by default any origin may ask, without credentials. Lists or comma texts."""

    name: ClassVar[str] = "cors"
    order: ClassVar[int] = 300
    transports: ClassVar[frozenset[str]] = frozenset({"http"})

    def __init__(
        self,
        server: Any = None,
        allow_origins: Any = ("*",),
        allow_methods: Any = ("*",),
        allow_headers: Any = ("*",),
        allow_credentials: bool = False,
        allow_origin_regex: str | None = None,
        expose_headers: Any = (),
        max_age: int = 600,
    ) -> None:
        super().__init__(server)
        origins = _listed(allow_origins)
        if allow_credentials and "*" in origins:
            raise ConfigError(
                "middleware cors: allow_credentials needs the origins by name; '*' would let any page act as the user."
            )
        self.policy = CorsPolicy(
            allow_origins=origins,
            allow_methods=_listed(allow_methods),
            allow_headers=_listed(allow_headers),
            allow_credentials=allow_credentials,
            allow_origin_regex=allow_origin_regex,
            expose_headers=_listed(expose_headers),
            max_age=max_age,
        )

    def before(self, request: BaseRequest) -> Response | None:
        """Answer a preflight."""
        assert isinstance(request, HttpRequest)
        if request.method != "OPTIONS" or b"origin" not in request.header_map:
            return None
        headers = request.headers_obj
        return self.policy.preflight_response(headers) if self.policy.is_preflight("OPTIONS", headers) else None

    def after(self, request: BaseRequest, response: Response) -> None:
        """Mark the answer."""
        assert isinstance(request, HttpRequest)
        headers = response.headers
        if headers.get("access-control-allow-methods") is not None:
            return
        headers.add_vary_header("Origin")
        origin = request.header_map.get(b"origin")
        if origin is not None:
            self.policy.mark(headers, origin.decode("latin-1"))
