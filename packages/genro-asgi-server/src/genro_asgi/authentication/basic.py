"""Who is asking: the basic and bearer schemes of the Authorization header (RFC 7617, RFC 6750)."""

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from genro_asgi.exceptions import ConfigError, HTTPUnauthorized

__all__ = ["BasicAuthMixin", "hash_password", "tag_list"]

# scrypt as OWASP advises for interactive logins: 16 MiB and some 50 ms a guess.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 1
_REMEMBERED = 1024

AuthInfo = dict[str, Any]


def tag_list(tags: Any) -> list[str]:
    """Tags from a list or a comma string."""
    items = tags.split(",") if isinstance(tags, str) else list(tags or [])
    return [str(item).strip() for item in items if str(item).strip()]


def hash_password(password: str) -> str:
    """A salted scrypt hash to put in the configuration instead of the password."""
    salt = os.urandom(16)
    digest = _scrypt(password.encode(), salt, _SCRYPT_N, _SCRYPT_R, _SCRYPT_P)
    return f"scrypt${_SCRYPT_N}${_SCRYPT_R}${_SCRYPT_P}${salt.hex()}${digest.hex()}"


def _scrypt(password: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=256 * 1024 * 1024, dklen=32)


class _User:
    """A user of the basic scheme; neither their password nor an unsalted hash of it is kept."""

    def __init__(self, name: str, options: Mapping[str, Any], key: bytes) -> None:
        password = options.get("password")
        if not isinstance(password, str) or not password:
            raise ConfigError(f"auth.basic.{name}: password is missing; give a password or its scrypt$ hash.")
        if ":" in name:
            raise ConfigError(f"auth.basic.{name}: a name with a colon cannot be sent (RFC 7617); choose another.")
        self.name, self.tags, self._key = name, tag_list(options.get("tags")), key
        self._parameters = _parse_hash(name, password) if password.startswith("scrypt$") else None
        self._digest = b"" if self._parameters else hmac.digest(key, password.encode(), "sha256")

    @property
    def slow(self) -> bool:
        """Whether a check takes the time of a scrypt."""
        return self._parameters is not None

    def check(self, password: bytes) -> bool:
        if self._parameters is None:
            return hmac.compare_digest(self._digest, hmac.digest(self._key, password, "sha256"))
        n, r, p, salt, digest = self._parameters
        return hmac.compare_digest(digest, _scrypt(password, salt, n, r, p))


def _parse_hash(name: str, text: str) -> tuple[int, int, int, bytes, bytes]:
    try:
        _, n, r, p, salt, digest = text.split("$")
        parameters = int(n), int(r), int(p), bytes.fromhex(salt), bytes.fromhex(digest)
        _scrypt(b"", b"", parameters[0], parameters[1], parameters[2])
    except (ValueError, MemoryError) as error:
        raise ConfigError(f"auth.basic.{name}: the scrypt hash is malformed; make it with hash_password().") from error
    return parameters


class BasicAuthMixin:
    """Authenticates requests against configured users and tokens; servers and applications inherit it."""

    _users: dict[str, _User]
    _tokens: dict[bytes, AuthInfo]
    _auth_key: bytes
    _verified: dict[bytes, None]

    def configure_auth(self, basic: Any = None, bearer: Any = None) -> None:
        """Take users (`{name: {password, tags}}`) and tokens (`{name: {token, tags}}`); ConfigError for wrong ones."""
        # Compared are keyed digests: neither their length nor a shared beginning tells a guesser anything.
        self._auth_key = secrets.token_bytes(32)
        self._users = {str(n): _User(str(n), _options("basic", n, o), self._auth_key) for n, o in (basic or {}).items()}
        self._tokens = {}
        self._verified = {}
        for name, options in (bearer or {}).items():
            token = _options("bearer", name, options).get("token")
            if not isinstance(token, str) or not token:
                raise ConfigError(f"auth.bearer.{name}: token is missing; give a token string.")
            info = {"tags": tag_list(options.get("tags")), "identity": str(name), "backend": f"bearer:{name}"}
            known = self._tokens.setdefault(self._digest(token.encode()), info)
            if known is not info:
                raise ConfigError(
                    f"auth.bearer.{name}: its token is that of {known['identity']}, too; give it another."
                )

    def _digest(self, secret: bytes) -> bytes:
        return hmac.digest(self._auth_key, secret, "sha256")

    def authenticate(self, scope: Mapping[str, Any]) -> AuthInfo | None:
        """`{"tags", "identity", "backend"}` of the credentials in `scope`, None without any.

        HTTPUnauthorized (401, with WWW-Authenticate) when they are wrong or of an unknown scheme.
        """
        header = next((v for k, v in scope["headers"] if k == b"authorization"), None)
        if header is None:
            return None
        scheme, _, credentials = header.decode("latin-1").strip().partition(" ")
        check = _SCHEMES.get(scheme.lower())
        info = check(self, credentials.strip()) if check is not None else None
        if info is None:
            raise self.challenge(scheme)
        return info

    def authentication_is_slow(self, scope: Mapping[str, Any]) -> bool:
        """Whether `authenticate` will compute a scrypt for this scope and belongs in a thread."""
        if not any(user.slow for user in self._users.values()):
            return False
        header = next((v for k, v in scope["headers"] if k == b"authorization"), b"")
        return header[:6].lower() == b"basic " and self._digest(b"basic " + header[6:].strip()) not in self._verified

    def challenge(self, scheme: str = "") -> HTTPUnauthorized:
        """The 401 for credentials that are missing or wrong."""
        basic = scheme.lower() == "basic" or (self._users and not self._tokens)
        name = "Basic" if basic else "Bearer"
        detail = "Invalid or expired credentials" if scheme else "Credentials are needed"
        return HTTPUnauthorized(detail, headers=[("WWW-Authenticate", f'{name} realm="api"')])

    def verify_credentials(self, username: str, password: str) -> AuthInfo | None:
        """The auth info of a user with this password, None when they do not match."""
        user = self._users.get(username)
        if user is None:
            # An unknown name takes as long as a wrong password.
            next(iter(self._users.values()), _NOBODY).check(password.encode())
            return None
        if not user.check(password.encode()):
            return None
        return {"tags": user.tags, "identity": user.name, "backend": f"basic:{user.name}"}

    def _check_basic(self, credentials: str) -> AuthInfo | None:
        try:
            username, separator, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except ValueError:  # no base64, no UTF-8, or text beyond ASCII
            return None
        if not separator:
            return None
        seen = self._digest(b"basic " + credentials.encode())
        user = self._users.get(username)
        if user is not None and seen in self._verified:
            return {"tags": user.tags, "identity": user.name, "backend": f"basic:{user.name}"}
        info = self.verify_credentials(username, password)
        if info is not None:
            self._remember(seen)
        return info

    def _remember(self, seen: bytes) -> None:
        # A scrypt for each request of the same client would be a denial of service on ourselves.
        if len(self._verified) >= _REMEMBERED:
            self._verified.pop(next(iter(self._verified)))
        self._verified[seen] = None

    def _check_bearer(self, token: str) -> AuthInfo | None:
        return self._tokens.get(self._digest(token.encode()))


_SCHEMES: dict[str, Callable[[BasicAuthMixin, str], AuthInfo | None]] = {
    "basic": BasicAuthMixin._check_basic,
    "bearer": BasicAuthMixin._check_bearer,
}
_NOBODY = _User("nobody", {"password": secrets.token_hex(16)}, secrets.token_bytes(32))


def _options(section: str, name: Any, options: Any) -> Mapping[str, Any]:
    if not isinstance(options, Mapping):
        raise ConfigError(f"auth.{section}.{name}: must be a mapping with its secret and tags, not {options!r}.")
    return options
