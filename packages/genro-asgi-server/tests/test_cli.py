import errno
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from genro_asgi.cli import main
from genro_asgi.exceptions import ConfigError
from genro_asgi.server.loader import ROOT_PACKAGE

Run = Callable[..., tuple[int, str, str]]

APP = """
from genro_asgi.applications import AsgiApplication
from genro_asgi.routing import route

class Application(AsgiApplication):
    @route(methods="GET")
    def hello(self, name: str = "world") -> str:
        return name

    @route(methods="GET,POST", auth_rule="admin")
    def item(self, key: str) -> str:
        return key
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory, home and environment; the modules of its sites are forgotten."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in list(os.environ):
        if name.startswith("GENRO_ASGI_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(ROOT_PACKAGE)]:
        del sys.modules[name]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line; gives its exit code and what it printed to stdout and stderr."""

    def run(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(args)
        printed = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, printed.out, printed.err

    return run


@pytest.fixture
def shop(place: Path) -> Path:
    directory = place / "shop"
    directory.mkdir()
    (directory / "config.yaml").write_text("apps: {shop: shop_app}\n", encoding="utf-8")
    (directory / "shop_app.py").write_text(APP, encoding="utf-8")
    return directory


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """The servers that were run, with their uvicorn options, in place of running them."""
    from genro_asgi.server.server import AsgiServer

    found: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(AsgiServer, "run", lambda self, **options: found.append((self, options)))
    return found


def test_without_a_command_it_says_what_there_is(run: Run) -> None:
    code, out, _ = run()
    assert code == 0
    for name in ("serve", "check", "routes", "new", "--version"):
        assert name in out
    assert run("--help")[:2] == run("-h")[:2] == (0, out)


@pytest.mark.parametrize("flag", ["--version", "-v"])
def test_the_version(run: Run, flag: str) -> None:
    assert run(flag) == (0, f"genro-asgi {version('genro-asgi-server')}\n", "")


def test_the_arguments_of_the_process_are_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["genro-asgi", "nonsense"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err.startswith("Error: No such command 'nonsense'.")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["serv"], "Error: No such command 'serv'. Did you mean 'serve'?"),
        (["serve", "--prot", "1"], "Error: No such option '--prot'."),
        (["serve", "--port"], "Error: Option '--port' requires an argument."),
        (["serve", "a", "b"], "Error: Got unexpected extra argument (b)"),
        (["serve", "--port", "x"], "Error: command line: --port: 'x' is not valid; write a whole number from 0 to"),
        (["serve", "--port="], "Error: command line: --port: needs a value."),
        (["serve", "--fd", "x"], "Error: Invalid value for '--fd': 'x' is not a valid integer."),
        (
            ["serve", "--fd", "99"],
            "Error: --fd 99: not an open socket; the parent process must open it and pass it on.",
        ),
        (["serve", "--fd", "-1"], "Error: --fd -1: not an open socket; "),
        (["serve", "--uds", "none/x"], "Error: --uds none/x: there is no directory none; make it first."),
        (["serve", "nowhere"], "Error: command line: server.server_dir: "),
        (["serve", "--config", "none.yaml"], "Error: command line: config: no file 'none.yaml' in "),
        (
            ["serve", "--ssl-certfile", "none.pem"],
            "Error: Invalid value for '--ssl-certfile': File 'none.pem' does not",
        ),
        (["check", "nowhere"], "Error: command line: server.server_dir: "),
        (["routes", "nowhere"], "Error: command line: server.server_dir: "),
        (["new"], "Error: Missing argument 'NAME'."),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(run: Run, args: list[str], said: str) -> None:
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert err.startswith(said)
    assert err.count("\n") == 1
    assert err.endswith("\n")


@pytest.mark.parametrize("command", ["serve", "check", "routes"])
@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("server: {prot: 1}", "config.yaml: server.prot: unknown key, did you mean 'port'; allowed are "),
        ("apps: [", "config.yaml: line 1, column 8: "),
        ("apps: {shop: shp_app}", "config.yaml: apps.shop: no module 'shp_app' in "),
        ("apps: {shop: 'shop_app:Shop'}", "config.yaml: apps.shop: no class 'Shop' in "),
        ("apps: {shop: broken}", "config.yaml: apps.shop: module 'broken' cannot be imported: ZeroDivisionError: "),
        ("plugins: {nonsense: }", "config.yaml: plugins.nonsense: unknown plugin; allowed are "),
    ],
)
def test_a_bad_site_is_one_line_for_every_command(
    run: Run, shop: Path, served: list[Any], command: str, config: str, said: str
) -> None:
    (shop / "config.yaml").write_text(config, encoding="utf-8")
    (shop / "broken.py").write_text("1 / 0", encoding="utf-8")
    code, out, err = run(command, "shop")
    assert (code, out, served) == (2, "", [])
    assert err.startswith(f"Error: {shop}/{said}")
    assert err.count("\n") == 1


def test_serve_builds_the_server_of_the_site(run: Run, shop: Path, served: list[Any]) -> None:
    assert run("serve", "shop", "--host", "localhost", "--port", "0", "--workers=2", "--reload")[0] == 0
    ((server, options),) = served
    assert list(server.apps) == ["shop"]
    assert server.config.server_dir == shop
    found = server.config.server
    assert (found.host, found.port, found.workers, found.reload) == ("localhost", 0, 2, True)
    assert options == {}


def test_serve_takes_the_current_directory(
    run: Run, shop: Path, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop)
    (shop / "other.yaml").write_text("server: {port: 0, reload: on}\napps: {}\n", encoding="utf-8")
    assert run("serve", "--no-reload", "--config", "other.yaml")[0] == 0
    ((server, _),) = served
    assert (server.config.config_file, server.config.server.reload) == (shop / "other.yaml", False)


def test_serve_hands_on_what_is_for_uvicorn(run: Run, place: Path, served: list[Any]) -> None:
    for name in ("cert.pem", "key.pem"):
        (place / name).touch()
    with socket.socket() as listening:
        fd = listening.fileno()
        args = ["--uds", "s.sock", f"--fd={fd}", "--proxy-headers", "--forwarded-allow-ips", "10.0.0.1"]
        assert run("serve", *args, "--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem")[0] == 0
    assert run("serve", "--no-proxy-headers")[0] == 0
    assert [options for _, options in served] == [
        {
            "uds": "s.sock",
            "fd": fd,
            "proxy_headers": True,
            "forwarded_allow_ips": "10.0.0.1",
            "ssl_certfile": "cert.pem",
            "ssl_keyfile": "key.pem",
        },
        {"proxy_headers": False},
    ]


def test_a_key_needs_a_certificate(run: Run, place: Path, served: list[Any]) -> None:
    (place / "key.pem").touch()
    assert run("serve", "--ssl-keyfile", "key.pem") == (2, "", "Error: --ssl-keyfile needs --ssl-certfile.\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConfigError("Cannot listen on here."), "Cannot listen on here."),
        (OSError(errno.EACCES, "Permission denied"), "Cannot serve: [Errno 13] Permission denied."),
        (ssl.SSLError(1, "no start line"), "Cannot use the certificate in cert.pem: "),
    ],
)
def test_what_only_the_server_finds_out(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    from genro_asgi.server.server import AsgiServer

    def refuse(self: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(AsgiServer, "run", refuse)
    (place / "cert.pem").touch()
    code, out, err = run("serve", "--ssl-certfile", "cert.pem")
    assert (code, out) == (2, "")
    assert err.startswith(f"Error: {said}")
    assert err.count("\n") == 1


def test_an_interrupt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from genro_asgi.server.server import AsgiServer

    def interrupt(self: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(AsgiServer, "run", interrupt)
    assert run("serve", "--port", "0")[0] == 130


def test_check_says_what_it_found(run: Run, shop: Path, place: Path) -> None:
    code, out, err = run("check", "shop")
    assert (code, err) == (0, "")
    assert out.startswith("shop/config.yaml: 1 app, ")
    assert out.endswith(" routes, no errors.\n")
    (place / "etc").mkdir()
    (place / "empty").mkdir()
    (place / "etc" / "site.yaml").write_text("{}", encoding="utf-8")
    assert run("check", "empty")[1].startswith(f"{place / 'empty'} (no config.yaml): 0 apps, ")
    assert run("check", "empty", "--config", str(place / "etc" / "site.yaml"))[1].startswith("etc/site.yaml: 0 apps, ")


def test_routes_is_a_table(run: Run, shop: Path) -> None:
    code, out, err = run("routes", "shop")
    assert (code, err) == (0, "")
    heading, *rows = out.splitlines()
    assert heading.split() == ["METHODS", "PATH", "HANDLER", "AUTH", "TRANSPORTS"]
    table = {row.split()[1]: row.split() for row in rows}
    assert table["/shop/hello"][::3] == ["GET,HEAD", "-"]
    assert table["/shop/hello"][2] == "shop_app.Application.hello"
    assert table["/_server/info"][2].startswith("genro_asgi.server.")
    assert table["/shop/item/{key}"][0] == "GET,POST,HEAD"
    assert table["/shop/item/{key}"][3] == "admin"
    assert "http" in table["/shop/hello"][4].split(",")
    column = heading.index("HANDLER")
    assert all(row[column - 2 : column] == "  " and row[column] != " " for row in rows)
