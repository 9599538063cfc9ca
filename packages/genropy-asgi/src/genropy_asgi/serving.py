"""How gnrasgiserve serves: the socket, GenroPy's async server, the site, and uvicorn in place of werkzeug."""

import atexit
import gc
import os
import socket
import subprocess
import sys
import time
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Any

from genro_asgi.exceptions import ConfigError
from genro_asgi.server.log_setup import setup_logging
from genro_asgi.server.orphans import end_with_parent
from genro_asgi.server.runner import GenroUvicorn, make_config
from genropy_asgi import local_register
from genropy_asgi.debugger import LocalDebugger
from genropy_asgi.found import found, make_site, said_in_one_line
from genropy_asgi.run_gnr import OWNED
from genropy_asgi.server import GenropyAsgiServer
from genropy_asgi.websocket_proxy import WebSocketProxy

__all__ = ["REGISTERS", "SiteServing"]

REGISTERS = ("daemon", "local")

# GenroPy's client sends long queries, and its cookies have no end: what werkzeug takes, we take.
_LIMITS = {"url_bytes": 64 * 1024, "header_bytes": 256 * 1024}
# Seconds the async server of a site is given to come up.
_SOCKET_WAIT = 15.0
# The socket passes from the process that watches to the one that serves in werkzeug's own variable.
_FD = "WERKZEUG_SERVER_FD"


class SiteServing:
    """One run of gnrasgiserve; `command` is GenroPy's gnr.web.serverwsgi.Server with everything read and merged."""

    def __init__(self, command: Any) -> None:
        self.command = command
        self.options = command.options
        self.name = f"{command.site_name}:{command.remote_db}" if command.remote_db else command.site_name
        self.logger = found("gnr.web").logger
        self.watched = found("werkzeug.serving").is_running_from_reloader()
        self.host = str(self.options.host)
        self.port = port_of(self.options.port)
        if self.options.register not in (None, *REGISTERS):
            raise ConfigError(
                f"register {self.options.register!r} is neither daemon nor local; see --register, "
                "GNR_WSGI_OPT_register and wsgi?register."
            )
        self.ssl = self._ssl_files()

    def run(self) -> None:
        """Serve until a signal comes; with --reload in a process that is started anew after each change."""
        self._check_remote_db()
        sock = self._socket()
        try:
            if not self.command.reloader:
                self._serve(sock)
            elif self.watched:
                self._watch(lambda: self._serve_watched(sock))
            else:
                sock.set_inheritable(True)
                os.environ[_FD] = str(sock.fileno())
                if not self._is_local and self._wants_sockets:
                    self._start_async_server()
                self._open_browser()
                self._watch(lambda: None)
        finally:
            sock.close()

    def _watch(self, work: Any) -> None:
        found("werkzeug._reloader").run_with_reloader(work, interval=1, reloader_type="auto")

    def _socket(self) -> socket.socket:
        if self.watched and _FD in os.environ:
            return socket.socket(fileno=os.dup(int(os.environ[_FD])))
        return listen(self.host, self.port)

    def _check_remote_db(self) -> None:
        name = self.command.remote_db
        if not name:
            return
        config = found("gnr.app.pathresolver").PathResolver().get_instanceconfig(self.command.site_name)
        if config.getNode(f"remote_db.{name}") is None:
            raise ConfigError(
                f"--remotedb {name}: <remote_db> has no <{name}>; write it into instanceconfig/default.xml."
            )

    def _ssl_files(self) -> tuple[str, str] | None:
        options = self.options
        if options.ssl_cert and options.ssl_key:
            files = options.ssl_cert, options.ssl_key
        elif options.ssl_cert or options.ssl_key:
            raise ConfigError("--ssl_cert and --ssl_key belong together; give both.")
        elif options.ssl:
            folder = Path(self.command.config_path)
            files = str(folder / "localhost.pem"), str(folder / "localhost-key.pem")
        else:
            return None
        for file in files:
            if not os.path.isfile(file):
                raise ConfigError(f"SSL needs the file {file}, which is not there.")
        return files

    # -- what GenroPy's command starts beside the site

    @property
    def _is_local(self) -> bool:
        return bool(self.options.register == "local")

    @property
    def _wants_sockets(self) -> bool:
        enabled = found("gnr.core.gnrstring").boolean(self.command.siteconfig["wsgi?websockets"])
        return bool(self.options.async_port or enabled)

    def _start_async_server(self) -> "subprocess.Popen[bytes]":
        """Start `gnr web async`; without a port its Unix socket is all it has, which is all we need."""
        port = self.options.async_port
        arguments = ["web", "async", self.name, *(("-p", str(port)) if port else ())]
        # GenroPy starts `gnr`, which does not get as far as making a site where genro-routes is installed.
        command = [sys.executable, "-m", "genropy_asgi.run_gnr", *arguments]
        child = subprocess.Popen(command, env={**os.environ, OWNED: "1"})
        self.logger.info("gnr web async started (pid=%s) for instance %s", child.pid, self.name)
        atexit.register(_stop, child)
        return child

    def _serve_sockets(self, server: GenropyAsgiServer, site: Any) -> None:
        """Put the site's WebSocket at /websocket, with the async server behind it started if need be."""
        handler = found("gnr.web.gnrwsgisite_proxy.gnrwebsockethandler").WsgiWebSocketHandler(site)
        server.mount("websocket", WebSocketProxy(handler.socket_path))
        # With --reload it was started beside us; but a register in this process ends with it, and so must what uses it.
        if (self._is_local or not self.watched) and not answers(handler.socket_path):
            child = self._start_async_server()
            # GenroPy gives WebSockets up for good when the first page finds none.
            deadline = time.monotonic() + _SOCKET_WAIT
            while time.monotonic() < deadline and child.poll() is None and not answers(handler.socket_path):
                time.sleep(0.05)

    def _open_browser(self) -> None:
        if self.options.open_browser and "WERKZEUG_RUN_MAIN" not in os.environ:
            self.logger.info("Opening browser to application on %s", self.url)
            webbrowser.open(self.url)

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the site; certificates are for the name their file has."""
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host
        if self.options.ssl_cert and self.ssl:
            host = Path(self.options.ssl_cert).name.removesuffix(".pem")
        return f"{'https' if self.ssl else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"

    # -- the site and its server

    def _make_site(self) -> Any:
        command = self.command
        if self._is_local:
            local_register.install()
        try:
            with said_in_one_line(self.name):
                site = make_site(
                    command.site_script, self.name, _config=command.siteconfig, _gnrconfig=command.gnr_config,
                    options=self.options, debugpy=command.debugpy,
                )  # fmt: skip
        except Exception as error:
            if not command.remote_db:
                raise
            raise ConfigError(f"--remotedb {command.remote_db} cannot be reached: {error}") from error
        site._local_mode = True
        atexit.register(site.on_site_stop)
        return site

    def _debugged(self, site: Any) -> Any:
        if self.command.debugpy or not self.command.debug:
            return site
        debugged = found("gnr.web.serverwsgi").GnrDebuggedApplication(site, evalex=True, pin_security=False)
        return LocalDebugger(site, debugged)

    def _make_server(self) -> GenropyAsgiServer:
        """The server; a config.yaml beside root.py may put applications next to the site."""
        folder = os.path.dirname(os.path.realpath(self.command.site_script))
        server = GenropyAsgiServer(server_dir=folder, limits=_LIMITS)
        if (server.config.server.workers or 1) > 1:
            raise ConfigError(f"{server.config.where('server.workers')}: gnrasgiserve is one process; write 1.")
        return server

    def _serve(self, sock: socket.socket) -> None:
        setup_logging()
        server = self._make_server()
        site = self._make_site()
        server.serve_site(site, self._debugged(site))
        _spare_collector()
        if self._wants_sockets:
            self._serve_sockets(server, site)
        options: dict[str, Any] = {"proxy_headers": False, "access_log": False}
        if self.ssl:
            options["ssl_certfile"], options["ssl_keyfile"] = self.ssl
        config = make_config(server, self.host, self.port, options)
        server.url = self.url
        self._announce()
        if not self.command.reloader:
            self._open_browser()
        with suppress(KeyboardInterrupt):  # a second Ctrl-C while the first was being obeyed
            GenroUvicorn(config, server).run(sockets=[sock])
        self.logger.info("Shutting down")

    def _serve_watched(self, sock: socket.socket) -> None:
        # A thread of its own: nobody above would hear the error, and the watcher goes on until the mistake is mended.
        end_with_parent(10.0)
        try:
            self._serve(sock)
        except ConfigError as error:
            self.logger.error("%s", error)

    def _announce(self) -> None:
        command = self.command
        extra = f"Debugpy on port {command.debugpy_port} on loopback interface" if command.debugpy else ""
        extra = extra or f"Debug mode: {'On' if command.debug else 'Off'}"
        extra += ",SSL mode: On" if self.ssl else ""
        self.logger.info("Started server on %s:%s\t%s", self.host, self.port, extra)
        self.logger.info("Connect at %s", self.url)


def _spare_collector() -> None:
    """Have the garbage collector leave the site alone, and look at what requests make less often.

    A tenth of the time of a page was spent walking over what stays.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def port_of(value: object) -> int:
    """A TCP port from wherever it was configured."""
    text = str(value)
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise ConfigError(f"port {text!r} is not a number from 0 to 65535; see -p, GNR_WSGI_OPT_port and wsgi?port.")
    return int(text)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; ConfigError says why there is none."""
    try:
        wanted = socket.AF_INET6 if ":" in host else socket.AF_INET
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, wanted, socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another -H.") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(2048)
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; choose another -p, "
            f"or find who has it: lsof -i :{port}"
        ) from error
    return sock


def answers(socket_path: str) -> bool:
    """Whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(socket_path) == 0


def _stop(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=3)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
