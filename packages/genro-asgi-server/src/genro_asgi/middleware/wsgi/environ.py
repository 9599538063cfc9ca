"""An ASGI http scope as a WSGI environ (PEP 3333, RFC 3875)."""

import sys
from typing import Any
from urllib.parse import unquote_to_bytes

from genro_asgi.types import Scope

__all__ = ["BadRequest", "Environ", "body_of", "build_environ"]

Environ = dict[str, Any]

# Header names repeat, so each is translated once. Clients choose names: the table has an end.
_MAX_KEYS = 512
_keys: dict[bytes, str] = {}
_DROPPED = ""


class BadRequest(ValueError):
    """The request cannot be told as a WSGI environ; the text is for the client."""


def build_environ(scope: Scope) -> Environ:
    """The environ of a request, all but `wsgi.input`.

    Raises BadRequest when the length of the body is unreadable or said twice in different ways.
    """
    # One display, one loop and no helper on the usual way: each request pays for this.
    get = scope.get
    script, path, root_path = "", scope["path"], get("root_path")
    if root_path or not path.isascii() or path[:1] != "/":
        script, path = _split_path(scope, root_path or "", path)
    query = get("query_string")
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": script,
        "PATH_INFO": path,
        "QUERY_STRING": query.decode("latin-1") if query else "",
        "SERVER_PROTOCOL": "HTTP/" + get("http_version", "1.1"),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": get("scheme", "http"),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        # The input ends where the body ends, so a body without a length can be read to its end as well.
        "wsgi.input_terminated": True,
        "asgi.scope": scope,
    }
    client = get("client")
    if client:
        environ["REMOTE_ADDR"], port = client
        environ["REMOTE_PORT"] = str(port)
    repeated: dict[str, list[str]] | None = None
    for name, value in scope["headers"]:
        key = _keys.get(name)
        if key is None:
            key = _key_of(name)
        if key not in environ:
            environ[key] = value.decode("latin-1")
        else:
            if repeated is None:
                repeated = {}
            repeated.setdefault(key, [environ[key]]).append(value.decode("latin-1"))
    environ.pop(_DROPPED, None)
    if repeated is not None:
        _join(environ, repeated)
    server = get("server")
    if server and server[1]:
        environ["SERVER_NAME"], port = server
        environ["SERVER_PORT"] = str(port)
    else:
        environ["SERVER_NAME"], environ["SERVER_PORT"] = _name_and_port(environ)
    return environ


def body_of(environ: Environ) -> tuple[bool, int | None]:
    """Whether a body may follow, and how many bytes it has; None when only its end will tell.

    Raises BadRequest when Content-Length is no number, or stands beside Transfer-Encoding (RFC 9112, 6.3).
    """
    text = environ.get("CONTENT_LENGTH")
    chunked = "HTTP_TRANSFER_ENCODING" in environ
    if text is None:
        return chunked or environ["REQUEST_METHOD"] not in _BODILESS or environ["SERVER_PROTOCOL"][:6] != "HTTP/1", None
    if chunked:
        raise BadRequest("Content-Length and Transfer-Encoding exclude each other; send one of them.")
    # 18 digits are an exabyte; more would only make int() work.
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequest("Content-Length is not a number of bytes.")
    length = int(text)
    return length > 0, length


_BODILESS = frozenset({"GET", "HEAD"})


def _join(environ: Environ, repeated: dict[str, list[str]]) -> None:
    for key, values in repeated.items():
        if key != "CONTENT_LENGTH":
            environ[key] = ("; " if key == "HTTP_COOKIE" else ",").join(values)
        elif len(set(values)) > 1:
            raise BadRequest("Content-Length is given more than once with different values.")
    environ.pop(_DROPPED, None)


def _key_of(name: bytes) -> str:
    """The environ key of a header; empty for what is dropped.

    `x_y` would overwrite what a proxy says in `x-y`, and `Proxy` would become the HTTP_PROXY that clients obey.
    """
    key = name.decode("latin-1").upper()
    if "_" in key or key == "PROXY":
        key = _DROPPED
    else:
        key = key.replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
    if len(_keys) < _MAX_KEYS:
        _keys[name] = key
    return key


def _split_path(scope: Scope, root_path: str, path: str) -> tuple[str, str]:
    """SCRIPT_NAME and PATH_INFO: the bytes that were asked for, as latin-1.

    ASGI puts root_path in front of path, and frameworks that mount often take it off: raw_path tells who did what.
    """
    root = root_path.rstrip("/").encode("utf-8", "surrogateescape")
    asked = unquote_to_bytes((scope.get("raw_path") or b"").partition(b"?")[0])
    plain = path.encode("utf-8", "surrogateescape")
    text = asked.decode("utf-8", "replace")
    stripped = bool(root) and text == root_path.rstrip("/") + path
    if stripped:
        rest = asked[len(root) :]
    else:
        # A path that came as broken UTF-8 holds U+FFFD now; its bytes are in raw_path, unless somebody rewrote path.
        rest = asked if asked and text == path else plain
        if root and (rest == root or rest.startswith(root + b"/")):
            rest = rest[len(root) :]
    if rest[:1] != b"/" and (rest or not root):
        rest = b"/" + rest
    return root.decode("latin-1"), rest.decode("latin-1")


def _name_and_port(environ: Environ) -> tuple[str, str]:
    """Both are mandatory, and a server on a Unix socket has neither: what the client asked for stands in."""
    default = "443" if environ["wsgi.url_scheme"] == "https" else "80"
    host: str = environ.get("HTTP_HOST", "")
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host, default
    return name or "localhost", port if port.isascii() and port.isdigit() else default
