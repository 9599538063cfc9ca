"""URLs: of a request, or to be built."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlencode, urlsplit

from genro_asgi.datastructures.multidict import MultiDict
from genro_asgi.datastructures.query_params import parse_query
from genro_asgi.types import Scope

__all__ = ["URL", "URLPath", "is_cut", "is_host"]

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

# RFC 3986, 3.2: a name or an IP literal, and a port.
_HOST = re.compile(
    r"(?:\[(?:(?P<ip6>[0-9A-Fa-f:.]+)|v[0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+)\]"
    r"|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)(?::0*(?P<port>[0-9]{0,5})(?<=[0-9]))?",
)

# Inside a decoded path these would end it, or be dropped or taken for a slash; all else stays readable.
_PATH_ESCAPES = {code: quote(chr(code)) for code in (*range(32), 127, *b"?#%\\")}


def is_host(text: str) -> bool:
    """Whether a text can be a Host header: a name or an address with an optional port (RFC 3986)."""
    match = _HOST.fullmatch(text)
    if match is None or int(match["port"] or 0) > 65535:
        return False
    return match["ip6"] is None or _is_ip6(match["ip6"])


def _is_ip6(text: str) -> bool:
    from ipaddress import IPv6Address  # slow to import, and hardly ever needed

    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def is_cut(scope: Mapping[str, Any], root_path: str) -> bool:
    """Whether `path` lacks `root_path` though it begins with the same: `raw_path` says what the client wrote."""
    return unquote_to_bytes(scope.get("raw_path") or b"") == f"{root_path}{scope['path']}".encode("utf-8", "replace")


def _scope_url(scope: Scope) -> str:
    scheme = scope.get("scheme") or ("ws" if scope.get("type") == "websocket" else "http")
    path, root_path = scope["path"], scope.get("root_path", "")
    if root_path:
        has_root = path == root_path or path.startswith(root_path + "/")
        path = path if has_root and not is_cut(scope, root_path) else root_path + path
    query = scope.get("query_string") or b""
    url: str = path.translate(_PATH_ESCAPES) + ("?" + query.decode("utf-8", "replace") if query else "")
    # What a client writes as its path must not be read as a host, whether there is one before it or not.
    if path and not path.startswith("/"):
        url = "/" + url
    netloc = _scope_netloc(scope, scheme)
    if netloc:
        return f"{scheme}://{netloc}{url}"
    return "/%2F" + url[2:] if url.startswith("//") else url


def _scope_netloc(scope: Scope, scheme: str) -> str:
    for name, value in scope.get("headers") or ():
        if name == b"host":
            host: str = value.decode("latin-1")
            if is_host(host):
                return host
            break
    host, port = scope.get("server") or ("", None)
    if not host or port is None:  # no server, or a unix socket
        return ""
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return host if port == _DEFAULT_PORTS.get(scheme) else f"{host}:{port}"


class URL:
    """A URL, made of its text, of a scope, or of components (scheme, netloc, path, hostname, port, ...).

    The text is kept as it is; `path` and `query` are its parts, still encoded. Of a scope the Host header counts
    when it is one (`is_host`), else the server's address.
    """

    __slots__ = ("_components", "_url")

    _components: SplitResult

    def __init__(self, url: str = "", scope: Scope | None = None, **components: Any) -> None:
        if bool(url) + (scope is not None) + bool(components) > 1:
            raise TypeError("URL takes one of a text, a scope and components.")
        if scope is not None:
            url = _scope_url(scope)
        elif components:
            url = URL("").replace(**components).components.geturl()
        self._url = url

    @property
    def components(self) -> SplitResult:
        """The parts as urllib.parse splits them."""
        try:
            return self._components
        except AttributeError:
            self._components = urlsplit(self._url)
            return self._components

    @property
    def scheme(self) -> str:
        return self.components.scheme

    @property
    def netloc(self) -> str:
        return self.components.netloc

    @property
    def path(self) -> str:
        return self.components.path

    @property
    def query(self) -> str:
        return self.components.query

    @property
    def fragment(self) -> str:
        return self.components.fragment

    @property
    def username(self) -> str | None:
        return self.components.username

    @property
    def password(self) -> str | None:
        return self.components.password

    @property
    def hostname(self) -> str | None:
        return self.components.hostname

    @property
    def port(self) -> int | None:
        """The port when the URL names one; ValueError when that is not a number up to 65535."""
        return self.components.port

    @property
    def is_secure(self) -> bool:
        return self.scheme in ("https", "wss")

    def replace(self, **components: Any) -> "URL":
        """The same URL with some components changed; a hostname, port, username or password of None goes."""
        if not components.keys().isdisjoint(("username", "password", "hostname", "port")):
            components["netloc"] = self._netloc(components)
        return type(self)(self.components._replace(**components).geturl())

    def _netloc(self, components: dict[str, Any]) -> str:
        hostname = components.pop("hostname", None)
        port = components.pop("port", self.port)
        username = components.pop("username", self.username)
        password = components.pop("password", self.password)
        if hostname is None:
            hostname = self.netloc.rpartition("@")[2]
            if not hostname.endswith("]"):
                hostname = hostname.rsplit(":", 1)[0]
        elif ":" in hostname and _is_ip6(hostname):
            hostname = f"[{hostname}]"
        netloc: str = hostname if port is None else f"{hostname}:{port}"
        if username is None:
            return netloc
        return f"{username}@{netloc}" if password is None else f"{username}:{password}@{netloc}"

    def include_query_params(self, **params: Any) -> "URL":
        """The same URL with query parameters added, or replaced where they are present."""
        query = MultiDict(parse_query(self.query, max_pairs=len(self.query) + 1))
        query.update({name: str(value) for name, value in params.items()})
        return self.replace(query=urlencode(query.multi_items()))

    def replace_query_params(self, **params: Any) -> "URL":
        """The same URL with these query parameters only."""
        return self.replace(query=urlencode([(name, str(value)) for name, value in params.items()]))

    def remove_query_params(self, keys: str | Sequence[str]) -> "URL":
        """The same URL without these query parameters."""
        query = MultiDict(parse_query(self.query, max_pairs=len(self.query) + 1))
        for key in [keys] if isinstance(keys, str) else keys:
            query.pop(key)
        return self.replace(query=urlencode(query.multi_items()))

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        shown = str(self.replace(password="********")) if self.password else self._url
        return f"{type(self).__name__}({shown!r})"


class URLPath(str):
    """A path of an application, which may know its protocol ("http", "websocket") and host."""

    protocol: str
    host: str

    def __new__(cls, path: str, protocol: str = "", host: str = "") -> "URLPath":
        if protocol not in ("", "http", "websocket"):
            raise ValueError(f'Unknown protocol {protocol!r}; use "http", "websocket" or "".')
        path = path.replace("\\", "%5C")
        if path.startswith("//"):
            # As the beginning of a URL these would be followed by a host.
            path = "/%2F" + path[2:]
        self = super().__new__(cls, path)
        self.protocol = protocol
        self.host = host
        return self

    def make_absolute_url(self, base_url: str | URL) -> URL:
        """The path as a URL under a base, whose scheme says only whether it is secure when a protocol is known."""
        base = URL(base_url) if isinstance(base_url, str) else base_url
        secure = "s" if base.is_secure else ""
        scheme = {"http": "http" + secure, "websocket": "ws" + secure, "": base.scheme}[self.protocol]
        return URL(scheme=scheme, netloc=self.host or base.netloc, path=base.path.rstrip("/") + str(self))
