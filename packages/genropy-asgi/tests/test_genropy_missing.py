"""What a machine without GenroPy is told, and the parts that need none of it."""

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

from genro_asgi.exceptions import ConfigError
from genropy_asgi.databases import GenropyDatabase, RequestDatabase
from genropy_asgi.found import found, no_root_py
from genropy_asgi.genropy_proxy import GenropyProxy
from genropy_asgi.local_register import LocalProxy
from genropy_asgi.server import GenropyAsgiServer
from genropy_asgi.serving import listen, port_of
from genropy_asgi.websocket_proxy import WebSocketProxy

HAS_GENROPY = subprocess.run([sys.executable, "-c", "import gnr"], capture_output=True, check=False).returncode == 0
without_genropy = pytest.mark.skipif(HAS_GENROPY, reason="GenroPy is installed")


@without_genropy
@pytest.mark.parametrize(
    ("command", "start"),
    [("genropy_asgi.cli", "gnrasgiserve: "), ("genropy_asgi.run_gnr", "gnr: ")],
)
def test_a_command_without_genropy(command: str, start: str) -> None:
    code = f"import sys; sys.argv[1:] = ['mysite']; from {command} import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(start)
    assert done.stderr.endswith("is not installed in " + sys.prefix + ': pip install "genropy-asgi[genropy]"\n')


def test_a_module_that_misses_another() -> None:
    with pytest.raises(ConfigError, match=r"no_such_thing\.x is not installed in .*: pip install no_such_thing"):
        found("no_such_thing.x")


@without_genropy
def test_a_proxy_and_a_database_without_genropy(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="is not installed"):
        GenropyProxy(site_name="x")
    (tmp_path / "config.yaml").write_text("databases:\n  default:\n    genropy_app: x\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: databases\.default: .* is not installed"):
        GenropyAsgiServer(tmp_path)


def test_a_proxy_for_nothing() -> None:
    with pytest.raises(TypeError, match="wants a site_name or a gnr_site, one of them"):
        GenropyProxy()


def test_a_server_without_databases_is_a_server(tmp_path: Any) -> None:
    server = GenropyAsgiServer(tmp_path)
    assert (server.gnr_apps, server.site, server.wsgi_app) == ({}, None, None)
    server.register_db("default", "plain")
    assert server.db == "plain"


def test_a_site_without_its_script() -> None:
    assert str(no_root_py("x", "/y")) == "no root.py in site 'x': put one into /y or the folder above."


@pytest.mark.parametrize(("value", "port"), [("8080", 8080), (80, 80), ("0", 0)])
def test_ports(value: object, port: int) -> None:
    assert port_of(value) == port


@pytest.mark.parametrize("value", ["", "http", "-1", "65536", "\uff18", None])
def test_what_is_no_port(value: object) -> None:
    with pytest.raises(ConfigError, match="is not a number from 0 to 65535"):
        port_of(value)


def test_a_busy_port() -> None:
    with listen("127.0.0.1", 0) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            listen("127.0.0.1", port)


class Connection:
    """A database connection that notes what is done to it."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def rollback(self) -> None:
        self.log.append("rollback")

    def close(self) -> None:
        self.log.append("close")


class Database:
    """Connections by thread, as GenroPy keeps them."""

    def __init__(self) -> None:
        self._connections: dict[int, dict[str, Connection]] = {}
        self.log: list[str] = []

    def query(self) -> int:
        mine = self._connections.setdefault(threading.get_ident(), {})
        mine.setdefault("main", Connection(self.log))
        return len(self._connections)

    def closeConnection(self) -> None:
        for connection in self._connections.pop(threading.get_ident(), {}).values():
            connection.rollback()
            connection.close()


def test_a_request_closes_what_it_opened() -> None:
    shared = GenropyDatabase(Database())
    one: Any = RequestDatabase(shared, object())  # type: ignore[arg-type]
    two: Any = RequestDatabase(shared, object())  # type: ignore[arg-type]
    # The names are looked up in the threads: that is what lends them the database.
    threads = [threading.Thread(target=lambda handle=handle: handle.query()) for handle in (one, one, two)]
    for thread in threads:
        thread.start()
        thread.join()
    assert one.closeConnection == one.closeConnection
    assert one.closeConnection != two.closeConnection
    one.closeConnection()
    two.closeConnection()
    assert shared.db._connections == {}
    assert set(shared.db.log) == {"rollback", "close"}


def test_a_thread_comes_clean_to_the_next_request() -> None:
    shared = GenropyDatabase(Database())
    first: Any = RequestDatabase(shared, object())  # type: ignore[arg-type]
    second: Any = RequestDatabase(shared, object())  # type: ignore[arg-type]
    first.query()
    assert shared.db.log == []
    second.query()
    assert shared.db.log == ["rollback", "close"]
    first.closeConnection()  # it has nothing any more, and must not take what the second has
    assert len(shared.db._connections) == 1
    second.closeConnection()
    assert shared.db._connections == {}


@pytest.mark.asyncio
async def test_the_event_loop_is_refused() -> None:
    handle: Any = RequestDatabase(GenropyDatabase(Database()), object())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="was used on the event loop"):
        handle.query()
    assert await asyncio.get_running_loop().run_in_executor(None, lambda: handle.query()) == 1


def test_the_register_keeps_what_is_its_own() -> None:
    class Register:
        def __init__(self) -> None:
            self.items = {"a": [1]}

        def get(self, name: str) -> list[int]:
            return self.items[name]

        def put(self, name: str, value: list[int]) -> None:
            self.items[name] = value

    register = Register()
    proxy = LocalProxy(register, threading.RLock())
    with proxy as same:
        same.get("a").append(2)
    given = [3]
    proxy.put("b", given)
    given.append(4)
    assert register.items == {"a": [1], "b": [3]}
    with pytest.raises(AttributeError):
        proxy.nothing()


@pytest.mark.asyncio
async def test_a_plain_request_for_a_websocket() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/websocket", "headers": []}
    await WebSocketProxy("/nowhere")(scope, None, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 426
    with pytest.raises(ValueError, match="does not answer ASGI scopes of type 'lifespan'"):
        await WebSocketProxy("/nowhere")({"type": "lifespan"}, None, send)  # type: ignore[arg-type]
