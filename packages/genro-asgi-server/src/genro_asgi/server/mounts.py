"""Foreign ASGI applications under a prefix of the server."""

from collections.abc import ItemsView
from typing import Any

from genro_asgi.exceptions import ClientDisconnect, HTTPException
from genro_asgi.request import route_path
from genro_asgi.response import error_response
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Below", "Mount", "Mounts", "wants_whole_path"]

#: Frameworks that take the prefix off themselves (ASGI, HTTP: PATH_INFO is what `path` has beyond `root_path`).
_WHOLE_PATH = frozenset({"django", "litestar", "quart", "starlette"})


class Mount:
    """One application and the prefix it answers under."""

    def __init__(self, prefix: str, app: ASGIApp) -> None:
        self.prefix = prefix
        self.app = app
        self.whole_path = wants_whole_path(app)
        #: What its lifespan left for its requests.
        self.state: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noticing(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        below = self.scope_below(scope)
        try:
            await self.app(below, receive, noticing)
        except HTTPException as error:
            # Applications made for a framework around them raise what that framework answers.
            if started or scope["type"] != "http":
                raise
            await error_response(error).respond(below, send)
        except ClientDisconnect:
            return  # nobody is there to be answered, and nothing went wrong

    def scope_below(self, scope: Scope) -> Scope:
        """A copy of the scope as the application sees it: the prefix moved from `path` to `root_path`.

        `raw_path` stays what the client sent (ASGI, HTTP 2.3), and some frameworks keep the prefix in `path`.
        """
        root = scope.get("root_path", "").rstrip("/")
        start = root + self.prefix if scope["path"].startswith(root + self.prefix) else self.prefix
        below = dict(scope)
        below["root_path"] = root + self.prefix
        path = scope["path"][len(start) :] or "/"
        below["path"] = below["root_path"] + path if self.whole_path else path
        below["state"] = {**scope.get("state", {}), **self.state}
        return below


def wants_whole_path(app: Any) -> bool:
    """Whether an application, or what it is wrapped around, is of a framework that looks for `root_path` in `path`.

    Its URLs and redirects need both there; without it Quart finds nothing, and where a path repeats the prefix it
    would be taken off twice.
    """
    for _ in range(32):
        if any(cls.__module__.partition(".")[0] in _WHOLE_PATH for cls in type(app).__mro__):
            return True
        app = getattr(app, "app", None)
        if app is None:
            break
    return False


class Mounts:
    """The mounts of a server, found by the beginning of a path, on segment boundaries."""

    def __init__(self) -> None:
        self._by_prefix: dict[str, Mount] = {}

    def add(self, name: str, app: ASGIApp) -> None:
        """Mount `app` at `/name`."""
        prefix = "/" + name.strip("/")
        self._by_prefix[prefix] = Mount(prefix, app)

    def find(self, path: str) -> Mount | None:
        """The mount with the longest prefix of `path`."""
        found = None
        for prefix, mount in self._by_prefix.items():
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                found = mount if found is None or len(prefix) > len(found.prefix) else found
        return found

    def items(self) -> ItemsView[str, Mount]:
        """Mounts by their name."""
        return {prefix[1:]: mount for prefix, mount in self._by_prefix.items()}.items()

    def __contains__(self, name: str) -> bool:
        return "/" + name.strip("/") in self._by_prefix

    def __len__(self) -> int:
        return len(self._by_prefix)


class Below:
    """Sends what is asked below one mount by way of `around`, and all else to `inner`."""

    def __init__(self, name: str, around: ASGIApp, inner: ASGIApp) -> None:
        self._prefix = f"/{name}/"
        self._around, self._inner = around, inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        below = f"{route_path(scope)}/".startswith(self._prefix)
        await (self._around if below else self._inner)(scope, receive, send)
