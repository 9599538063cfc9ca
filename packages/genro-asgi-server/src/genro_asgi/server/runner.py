"""Serving with uvicorn: one process, several workers, or reloading ones."""

import asyncio
import json
import math
import os
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.supervisors import ChangeReload, Multiprocess, multiprocess

from genro_asgi.exceptions import ConfigError
from genro_asgi.middleware.logging import LoggingMiddleware
from genro_asgi.server.http_protocol import GenroConfig, GenroHttpProtocol
from genro_asgi.server.log_setup import setup_logging
from genro_asgi.server.orphans import end_with_parent
from genro_asgi.server.ws_protocol import GenroWebSocketProtocol
from genro_asgi.server.wsx_handler import HEARTBEAT

if TYPE_CHECKING:
    from genro_asgi.server.server import AsgiServer

__all__ = ["GenroUvicorn", "create_app", "run"]

_SPEC = "GENRO_ASGI_RUN"

# The server of this process when uvicorn made it through `create_app`.
_created: "list[AsgiServer]" = []


class GenroUvicorn(uvicorn.Server):
    """uvicorn's server, which lets the application drain before it closes sockets, and ends with exit code 0."""

    def __init__(self, config: uvicorn.Config, app: "AsgiServer | None" = None) -> None:
        super().__init__(config)
        self.genro_app = app

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super()._serve(sockets)
        # uvicorn would raise the signal again, and a clean end would look like a killed process.
        self._captured_signals.clear()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, drain, then let uvicorn close what is left."""
        for server in self.servers:
            server.close()
        app = self.genro_app or (_created[-1] if _created else None)
        if app is not None and not self.force_exit:
            await app.drain()
            await self._let_connections_go()
        await super().shutdown(sockets)

    async def _let_connections_go(self) -> None:
        # A request may be on its way over an idle connection: it still gets its answer, and `connection: close`.
        for _ in range(10):
            if not self.server_state.connections or self.force_exit:
                return
            await asyncio.sleep(0.05)


class _Worker(multiprocess.Process):
    """uvicorn's worker process, with our server in it."""

    @property
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = GenroUvicorn(self.config)
        return self._server


def run(server: "AsgiServer", host: str | None, port: int | None, **options: Any) -> None:
    """Serve until a signal comes. ConfigError for an address that cannot be bound."""
    in_worker_process()
    server._check()  # a mistake is told before the port is taken
    settings = server.config.server
    setup_logging(server.config.logging.level, server.config.logging.format)
    options = {**(settings.uvicorn or {}), **options}
    config = make_config(server, host or settings.host, settings.port if port is None else port, options)
    if not (config.should_reload or config.workers > 1):
        serve_here(server, config)
        return
    describe(server)  # what cannot be passed on is told before the port is taken
    sock = bind(config)
    server.url = url_of(config, sock)
    os.environ[_SPEC] = describe(server)
    uvicorn_server = GenroUvicorn(config)
    try:
        if config.should_reload:
            ChangeReload(config, target=uvicorn_server.run, sockets=[sock]).run()
        else:
            multiprocess.Process = _Worker  # type: ignore[misc]  # uvicorn asks nobody what a worker runs
            Multiprocess(config, sockets=[sock]).run()
    finally:
        sock.close()


def in_worker_process() -> None:
    """RuntimeError inside a worker of a process pool, where a module-level run() would start a second server."""
    from genro_asgi.executors.local import in_worker

    if in_worker():
        raise RuntimeError('run() was called in a worker process; put it under `if __name__ == "__main__":`.')


def make_config(server: "AsgiServer", host: str, port: int, options: dict[str, Any]) -> GenroConfig:
    """The uvicorn configuration of a server: ours first, what the caller says last."""
    settings = server.config.server
    reload = bool(options.pop("reload", settings.reload))
    workers = int(options.pop("workers", None) or settings.workers or 1)
    if options.pop("access_log", True):
        server.enable_access_log()
    several = reload or workers > 1
    websocket = server.config.websocket
    heartbeat = HEARTBEAT if websocket.heartbeat is None else websocket.heartbeat
    defaults: dict[str, Any] = {
        "http": GenroHttpProtocol,
        "ws": GenroWebSocketProtocol,
        # Messages somewhat too long are answered; what is beyond this ends the connection (1009).
        "ws_max_size": 4 * server.limits.ws_message,
        "ws_ping_interval": heartbeat or None,
        "ws_ping_timeout": heartbeat or None,
        "ws_per_message_deflate": bool(websocket.compression),
        "access_log": False,
        "log_level": "warning",
        "server_header": False,
        "lifespan": "on",
        "timeout_graceful_shutdown": math.ceil(server._grace),
        # uvicorn would believe any process of this machine; who wants a proxy believed says so.
        "proxy_headers": bool(settings.proxy or options.get("forwarded_allow_ips")),
    }
    if settings.proxy:
        defaults["forwarded_allow_ips"] = list(settings.proxy)
    if reload:
        defaults["reload_dirs"] = [str(server.base_dir)]
        defaults["reload_includes"] = ["*.py", "*.yaml", "*.yml"]
    config = GenroConfig(
        "genro_asgi.server.runner:create_app" if several else server,
        host=host, port=port, reload=reload, workers=workers, factory=several, **(defaults | options),
    )  # fmt: skip
    config.limits = server.limits
    return config


def serve_here(server: "AsgiServer", config: GenroConfig) -> None:
    """Serve in this process."""
    uvicorn_server = GenroUvicorn(config, server)
    sockets = None
    if config.uds is None and config.fd is None:
        sockets = [bind(config)]
        server.url = url_of(config, sockets[0])
    else:
        announce(f"unix:{config.uds}" if config.uds is not None else f"file descriptor {config.fd}")
    try:
        uvicorn_server.run(sockets=sockets)
    except KeyboardInterrupt:  # a second Ctrl-C while the first was being obeyed
        pass
    finally:
        for sock in sockets or []:
            sock.close()
    if not uvicorn_server.started:
        raise SystemExit(3)


def bind(config: uvicorn.Config) -> socket.socket:
    """A listening socket on the configured address, announced; ConfigError says why not."""
    family = socket.AF_INET6 if config.host and ":" in config.host else socket.AF_INET
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((config.host, config.port))
        sock.listen(config.backlog)  # from here on a client may connect, whatever is said below
    except OSError as error:
        sock.close()
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise ConfigError(
            f"Cannot listen on {config.host}:{config.port}: {reason}; choose another --host or --port."
        ) from error
    sock.set_inheritable(True)
    announce(url_of(config, sock))
    return sock


def announce(place: str) -> None:
    """Say where the server is reached."""
    print(f"Serving on {place} (Ctrl-C stops it)", flush=True)


def url_of(config: uvicorn.Config, sock: socket.socket) -> str:
    """Where a listening socket is reached, with the port it really has."""
    name = f"[{config.host}]" if sock.family == socket.AF_INET6 else config.host
    scheme = "https" if config.is_ssl else "http"
    return f"{scheme}://{name}:{sock.getsockname()[1]}"


def describe(server: "AsgiServer") -> str:
    """What another process needs to make the same server: its class, and its arguments where they are the base's."""
    cls = type(server)
    if "<locals>" in cls.__qualname__:
        raise ConfigError(f"{cls.__qualname__} is made inside a function: workers and reload cannot import it.")
    try:
        return json.dumps({
            "class": f"{cls.__module__}:{cls.__qualname__}",
            "file": getattr(sys.modules.get(cls.__module__), "__file__", None),
            "arguments": server.constructor_arguments,
            "url": server.url,
            "access_log": any(isinstance(one, LoggingMiddleware) for one in server.middleware),
        })  # fmt: skip
    except TypeError as error:
        raise ConfigError(f"workers and reload pass the server's options between processes: {error}.") from error


def create_app() -> "AsgiServer":
    """The server that `run` described, made in a worker process."""
    spec = json.loads(os.environ[_SPEC])
    module_name, _, qualname = spec["class"].partition(":")
    if module_name == "__main__":
        module_name = "__mp_main__"  # how multiprocessing names the parent's script
    found: Any = sys.modules.get(module_name) or import_module(module_name)
    for part in qualname.split("."):
        found = getattr(found, part)
    arguments = dict(spec["arguments"])
    if arguments.get("server_dir"):
        arguments["server_dir"] = Path(arguments["server_dir"])
    try:
        app: AsgiServer = found(**arguments)
    except ConfigError as error:
        # The process that watches the files goes on, and makes another one when the mistake is corrected.
        print(f"Error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(2) from error
    end_with_parent(app._grace + 5.0)
    app.url = spec["url"]
    setup_logging(app.config.logging.level, app.config.logging.format)
    if spec["access_log"]:
        app.enable_access_log()
    _created.append(app)
    return app
