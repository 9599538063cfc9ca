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

__all__ = ["SessionMiddleware"]

# A browser keeps no cookie of more than some 4 KiB: writing one would lose the session without a word.
_MAX_COOKIE = 4000


class SessionMiddleware:
    """Puts a dict into `scope["session"]`; what the application leaves in it goes back signed, and readable.

    `max_age` is in seconds, None lasts as long as the browser. A cookie that was tampered with, or is too old, is as
    none. ValueError for a session too large for a cookie.
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
    ) -> None:
        self.app = app
        # A derived key: the same secret used elsewhere signs nothing that passes here.
        self._key = hmac.digest(str(secret_key).encode(), b"genro_asgi.session", "sha256")
        self.session_cookie, self.max_age, self.path = session_cookie, max_age, path
        self.same_site, self.https_only, self.domain = same_site, https_only, domain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        cookies = parse_cookies("; ".join(Headers(scope=scope).getlist("cookie")))
        had = self.session_cookie in cookies
        session = self.unsign(cookies.get(self.session_cookie, ""))
        before = jsoncodec.dumps(session)
        scope["session"] = session

        async def with_cookie(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                message = {**message, "headers": list(message.get("headers", ()))}
                self._write(MutableHeaders(raw=message["headers"]), scope["session"], before, had)
            await send(message)

        await self.app(scope, receive, with_cookie)

    def _write(self, headers: MutableHeaders, session: dict[str, Any], before: bytes, had: bool) -> None:
        headers.add_vary_header("Cookie")
        secure = self.https_only or self.same_site == "none"
        options: dict[str, Any] = {
            "path": self.path, "domain": self.domain, "secure": secure, "httponly": True, "samesite": self.same_site,
        }  # fmt: skip
        if session:
            value = self.sign(session)
            if len(value) > _MAX_COOKIE:
                raise ValueError(
                    f"The session needs {len(value)} bytes, a cookie holds {_MAX_COOKIE}; keep less in it."
                )
            headers.append("set-cookie", cookie_text(self.session_cookie, value, self.max_age, **options))
        elif had and before != b"{}":
            headers.append("set-cookie", cookie_text(self.session_cookie, "", 0, 0, **options))

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
