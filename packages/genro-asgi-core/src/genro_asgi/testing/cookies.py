"""The cookies a client keeps."""

import time
from collections.abc import Iterator, Mapping, MutableMapping
from email.utils import parsedate_to_datetime

__all__ = ["Cookies"]


class Cookies(MutableMapping[str, str]):
    """Cookies by name, each with the path it is sent to; there is one host, so domains do not matter."""

    def __init__(self, cookies: Mapping[str, str] | None = None) -> None:
        self._cookies: dict[tuple[str, str], tuple[str, bool]] = {}
        self.update(cookies or {})

    def __getitem__(self, name: str) -> str:
        for (known, _), (value, _) in self._cookies.items():
            if known == name:
                return value
        raise KeyError(name)

    def __setitem__(self, name: str, value: str) -> None:
        self._cookies[name, "/"] = value, False

    def __delitem__(self, name: str) -> None:
        found = [key for key in self._cookies if key[0] == name]
        if not found:
            raise KeyError(name)
        for key in found:
            del self._cookies[key]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self._cookies))

    def __len__(self) -> int:
        return len(dict.fromkeys(name for name, _ in self._cookies))

    def __repr__(self) -> str:
        return f"Cookies({dict(self)!r})"

    def extract(self, header: str, request_path: str) -> None:
        """Take a Set-Cookie header (RFC 6265, 5.3); one that has expired removes the cookie."""
        pair, *attributes = header.split(";")
        name, _, value = pair.partition("=")
        options = {}
        for attribute in attributes:
            option, _, text = attribute.partition("=")
            options[option.strip().lower()] = text.strip()
        path = options.get("path", "")
        if not path.startswith("/"):
            path = request_path.rpartition("/")[0] or "/"
        key = name.strip(), path
        if _expired(options):
            self._cookies.pop(key, None)
        else:
            self._cookies[key] = value.strip(), "secure" in options

    def header(self, path: str, secure: bool) -> str:
        """The Cookie header for a path; empty when no cookie goes there."""
        sent = [
            f"{name}={value}"
            for (name, scope), (value, only_secure) in self._cookies.items()
            if (secure or not only_secure) and _path_matches(path, scope)
        ]
        return "; ".join(sent)


def _expired(options: dict[str, str]) -> bool:
    try:
        if "max-age" in options:
            return int(options["max-age"]) <= 0
        return "expires" in options and parsedate_to_datetime(options["expires"]).timestamp() <= time.time()
    except ValueError:  # like a browser: an attribute nobody understands is not there
        return False


def _path_matches(path: str, scope: str) -> bool:
    return path == scope or path.startswith(scope if scope.endswith("/") else scope + "/")
