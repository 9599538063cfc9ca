"""Sessions that live in a signed cookie, as Starlette has them."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from time import time
from typing import Any, Literal

from genro_asgi import jsoncodec
from genro_asgi.datastructures.cookies import parse_cookies
from genro_asgi.datastructures.headers import Headers, MutableHeaders
from genro_asgi.set_cookie import cookie_text
from genro_asgi.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Session", "SessionMiddleware"]

# A browser keeps no cookie of more than some 4 KiB: writing one would lose the session without a word.
_MAX_COOKIE = 4000


class Session(dict[str, Any]):
    """The session of one request; it knows whether somebody has looked at it, and whether it was changed."""

    accessed = False
    modified = False

    def mark_accessed(self) -> None:
        """Somebody looks at it."""
        self.accessed = True

    def mark_modified(self) -> None:
        """Somebody changes it."""
        self.accessed = self.modified = True

    def __setitem__(self, key: str, value: Any) -> None:
        self.mark_modified()
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self.mark_modified()
        super().__delitem__(key)

    def clear(self) -> None:
        self.mark_modified()
        super().clear()

    def pop(self, key: str, *default: Any) -> Any:
        if key in self.keys():
            self.mark_modified()
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, Any]:
        self.mark_modified()
        return super().popitem()

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self.keys():
            self.mark_modified()
        return super().setdefault(key, default)

    def update(self, *args: Any, **kwargs: Any) -> None:
        self.mark_modified()
        super().update(*args, **kwargs)

    def __getitem__(self, key: str) -> Any:
        self.mark_accessed()
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.mark_accessed()
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.mark_accessed()
        return super().__contains__(key)


class SessionMiddleware:
    """Puts a Session into `scope["session"]`; what the application changes in it goes back signed, and readable.

    `max_age` is in seconds from the last change, None lasts as long as the browser. A cookie that was tampered with,
    or is too old, is as none. ValueError for a session too large for a cookie, and for bad attributes of the cookie.
    """

    def __init__(
        self,
        app: ASGIApp,
        secret_key: Any,
        session_cookie: str = "session",
        max_age: int | None = 14 * 24 * 60 * 60,
        path: str = "/",
        same_site: Literal["lax", "strict", "none"] = "lax",
        https_only: bool = False,
        domain: str | None = None,
        partitioned: bool = False,
    ) -> None:
        self.app = app
        # A derived key: the same secret used elsewhere signs nothing that passes here.
        self._key = hmac.digest(str(secret_key).encode(), b"genro_asgi.session", "sha256")
        self.session_cookie, self.max_age, self.path = session_cookie, max_age, path
        cookie_text(session_cookie, path=path, domain=domain, samesite=same_site)  # whether they can be written
        # Browsers take SameSite=None and Partitioned from secure cookies only.
        secure = https_only or same_site == "none" or partitioned
        self.security_flags = "".join((
            "httponly; samesite=", same_site, "; secure" if secure else "",
            "" if domain is None else f"; domain={domain}", "; partitioned" if partitioned else "",
        ))  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        cookies = parse_cookies("; ".join(Headers(scope=scope).getlist("cookie")))
        had = self.session_cookie in cookies
        session = scope["session"] = Session(self.unsign(cookies.get(self.session_cookie, "")))
        before = jsoncodec.dumps(session)

        async def with_cookie(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                now: Any = scope["session"]
                own = isinstance(now, Session)
                # Also what was changed deeper inside, or put in its place.
                after = jsoncodec.dumps(now) if not own or now.accessed else before
                if not own or now.accessed:
                    message = {**message, "headers": list(message.get("headers", ()))}
                    headers = MutableHeaders(raw=message["headers"])
                    headers.add_vary_header("Cookie")
                    if after != before or (own and now.modified):
                        self._write(headers, now, had)
            await send(message)

        await self.app(scope, receive, with_cookie)

    def _write(self, headers: MutableHeaders, session: dict[str, Any], had: bool) -> None:
        if session:
            value = self.sign(session)
            if len(value) > _MAX_COOKIE:
                raise ValueError(
                    f"The session needs {len(value)} bytes, a cookie holds {_MAX_COOKIE}; keep less in it."
                )
            age = "" if self.max_age is None else f"Max-Age={self.max_age}; "
            text = f"{self.session_cookie}={value}; path={self.path}; {age}{self.security_flags}"
            headers.append("set-cookie", text)
        elif had:
            past = "expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0"
            headers.append("set-cookie", f"{self.session_cookie}=null; path={self.path}; {past}; {self.security_flags}")

    def sign(self, session: dict[str, Any]) -> str:
        """The session, the time and the signature of both as the value of a cookie."""
        payload = urlsafe_b64encode(jsoncodec.dumps(session)) + b".%d" % time()
        return f"{payload.decode()}.{self._signature(payload)}"

    def unsign(self, value: str) -> dict[str, Any]:
        """The session of a cookie's value; an empty one when it is not ours, or too old."""
        payload, _, signature = value.rpartition(".")
        data, _, written = payload.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(payload.encode()).encode()):
            return {}
        if self.max_age is not None and not -60 <= time() - int(written) <= self.max_age:
            return {}
        try:
            session = jsoncodec.loads(urlsafe_b64decode(data))
        except (jsoncodec.JsonError, Base64Error):
            return {}
        return session if isinstance(session, dict) else {}

    def _signature(self, payload: bytes) -> str:
        return urlsafe_b64encode(hmac.digest(self._key, payload, "sha256")).decode().rstrip("=")
