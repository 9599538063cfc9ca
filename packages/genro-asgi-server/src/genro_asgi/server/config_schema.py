"""The sections of a configuration: which keys each one has and what may stand there."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from genro_asgi.limits import Limits
from genro_asgi.server.config_checks import (
    Check,
    Where,
    anything,
    choice,
    entries,
    integer,
    known,
    named,
    number,
    record,
    switch,
    text,
    texts,
)

__all__ = [
    "BUILTIN_POOLS",
    "DEFAULTS",
    "SECTIONS",
    "SERVER_FIELDS",
    "SERVER_SWITCHES",
    "UNREAD_KEYS",
    "UNREAD_SECTIONS",
]

DEFAULTS: dict[str, Any] = {
    "server": {"host": "127.0.0.1", "port": 8000, "reload": False, "workers": 1, "timeout_graceful": 30.0, "proxy": []},
    "openapi": {"title": "genro-asgi API", "version": "0.1.0"},
}

#: The pools every server has: sync handlers, file reads, background tasks.
BUILTIN_POOLS: dict[str, dict[str, Any]] = {
    "handlers": {"kind": "thread", "max_workers": 40},
    "files": {"kind": "thread", "max_workers": 8},
    "background": {"kind": "thread", "max_workers": 4},
}


def _uvicorn(where: Where, value: Any) -> dict[str, Any]:
    found = entries(where, value)
    if found:
        import inspect

        import uvicorn

        # These have a place of their own, or would take the server out of its own process.
        ours = {"self", "app", "factory", "host", "port", "reload", "workers", "timeout_graceful_shutdown"}
        names = set(inspect.signature(uvicorn.Config.__init__).parameters) - ours
        for name in found:
            if name in {"host", "port", "reload", "workers"}:
                raise where.at(name).wrong(f"has its own key; write it as server.{name}")
            if name == "timeout_graceful_shutdown":
                raise where.at(name).wrong("has its own key; write it as server.timeout_graceful")
            known(where, name, names)
    return found


SERVER_FIELDS: dict[str, Check] = {
    "host": text,
    "port": integer(0, 65535),
    "reload": switch,
    "server_dir": text,
    "workers": integer(1),
    "timeout_graceful": number(0, "seconds"),
    "proxy": texts,
    "uvicorn": _uvicorn,
    "main_app": text,
}
SERVER_SWITCHES = frozenset({"reload"})


def _plugins(where: Where, value: Any) -> dict[str, dict[str, Any]]:
    if isinstance(value, str | list | tuple):
        return {name: {} for name in texts(where, value)}
    found: dict[str, dict[str, Any]] = {}
    for name, options in entries(where, value).items():
        if options is None or isinstance(options, Mapping):
            found[name] = entries(where.at(name), options)
        elif switch(where.at(name), options):
            found[name] = {}
    return found


def _limits(where: Where, value: Any) -> Limits:
    if isinstance(value, Limits):
        return value
    found = entries(where, value)
    for name in found:
        known(where, name, [field.name for field in fields(Limits)])
    return Limits.from_mapping(found, f"{where.source}: {where.key}")


_MOUNT = record({"name": text, "type": choice("local"), "path": text, "encrypted": switch}, required=("path",))


def _mounts(where: Where, value: Any) -> dict[str, dict[str, Any]]:
    """`{name: path}`, `{name: {path, type}}` or a list of `{name, path, type}`."""
    found: dict[str, dict[str, Any]] = {}
    if isinstance(value, list | tuple):
        for place, item in enumerate(value):
            here = Where(where.source, f"{where.key}[{place}]")
            mount = _MOUNT(here, item)
            name = mount.pop("name", None)
            if name is None or name in found:
                raise here.wrong("its name is missing; write it" if name is None else f"name {name!r} is taken")
            found[name] = {"type": "local", **mount}
        return found
    as_mapping = {
        name: {"path": item} if isinstance(item, str) else item for name, item in entries(where, value).items()
    }
    return {name: {"type": "local", **_MOUNT(where.at(name), item)} for name, item in as_mapping.items()}


def _credentials(*one_of: str, **more: Check) -> Check:
    """A mapping of credentials: each entry has tags and one of these texts."""
    check_fields = record({**dict.fromkeys(one_of, text), "tags": texts, **more})

    def check(where: Where, value: Any) -> dict[str, Any]:
        found: dict[str, Any] = check_fields(where, value)
        if not any(name in found for name in one_of):
            raise where.wrong(f"{' or '.join(one_of)} is missing; write it")
        return found

    return named(check)


_AUTH = record(
    {
        "default_deny": switch,
        "basic": _credentials("password"),
        "bearer": _credentials("token"),
        "jwt": _credentials("secret", "public_key", algorithm=text, exp=integer(1), audience=text, issuer=text),
        "api_keys": anything,
        "users": anything,
    }
)


_POOL_FIELDS: dict[str, Check] = {
    "kind": choice("thread", "process", "local"),
    "max_workers": integer(1),
    "max_pending": integer(1),
    "on_overload": choice("raise", "wait"),
    "timeout": number(0.001, "seconds"),
    "initializer": text,
    "bypass": switch,
    "on_cancel": choice("finish", "kill"),
    "max_tasks_per_worker": integer(1),
    "max_rss_per_worker": integer(1),
}
# What only a process can be told: threads cannot be ended from outside.
_OF_PROCESSES = ("on_cancel", "max_tasks_per_worker", "max_rss_per_worker")


def _executors(where: Where, value: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, item in entries(where, value).items():
        pool = record(_POOL_FIELDS)(where.at(name), item)
        # "local" is the older word for a pool of processes on this machine.
        if pool.get("kind") == "local":
            pool["kind"] = "process"
        builtin = BUILTIN_POOLS.get(name)
        if builtin and pool.get("kind", "thread") != "thread":
            raise where.at(name).at("kind").wrong(f"the {name} pool is made of threads; name another pool")
        if builtin and pool.get("bypass"):
            raise where.at(name).at("bypass").wrong(f"the {name} pool is there to keep the loop free; leave it out")
        found[name] = {**(builtin or {"kind": "process"}), **pool}
        for key in _OF_PROCESSES:
            if pool.get(key) is not None and found[name]["kind"] != "process":
                raise where.at(name).at(key).wrong("threads cannot be replaced; leave it out, or write kind: process")
    return found


#: What is checked for the parts that are built on it, and acted on by nobody yet.
UNREAD_SECTIONS = ("databases", "metrics", "nats", "otel", "session", "storage")
UNREAD_KEYS = ("auth.jwt", "auth.api_keys", "auth.users", "logging.slow_ms")


def _origins(where: Where, value: Any) -> list[str]:
    """Origins as browsers send them; one without its scheme would never be met."""
    found = texts(where, value)
    for origin in found:
        if origin not in ("*", "null") and "://" not in origin:
            raise where.error(origin, "origins with their scheme, such as https://www.example.com, or *")
    return found


_CONTACT = record({"name": text, "url": text, "email": text})
_LICENSE = record({"name": text, "identifier": text, "url": text})

#: What may stand at the top level; `apps`, `sys_apps` and `middleware` need more than themselves to be checked.
SECTIONS: dict[str, Check] = {
    "server": record(SERVER_FIELDS),
    "main_app": text,
    "plugins": _plugins,
    "openapi": record(
        {
            "title": text,
            "version": text,
            "summary": text,
            "description": text,
            "terms_of_service": text,
            "contact": _CONTACT,
            "license": _LICENSE,
        }
    ),
    "databases": named(record({"genropy_app": text, "db_class": text, "db_handler_class": text, "params": entries})),
    "storage": record({"mounts": _mounts, "encrypted": switch}),
    "auth": _AUTH,
    "session": record(
        {
            "store": choice("memory", "file", "sqlite", "nats"),
            "ttl": number(1, "seconds"),
            "cookie_name": text,
            "secure": switch,
            "samesite": choice("lax", "strict", "none"),
        }
    ),
    "limits": _limits,
    "executors": _executors,
    "nats": record(
        {
            "url": texts,
            "subject": text,
            "queue": text,
            "creds": text,
            "user": text,
            "password": text,
            "token": text,
            "tls_ca": text,
        }
    ),
    "websocket": record(
        {"origins": _origins, "max_in_flight": integer(1), "heartbeat": number(0, "seconds"), "compression": switch}
    ),
    "logging": record(
        {
            "level": choice("debug", "info", "warning", "error", "critical"),
            "format": choice("text", "json"),
            "slow_ms": number(0, "milliseconds"),
        }
    ),
    "metrics": switch,
    "otel": switch,
}
