"""The command gnrasgiserve: its options, and what it says when something is wrong."""

import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from genropy_sites import SITE, Home, Served, free_port
from test_same_answers import ask

NOISE = re.compile(r".*(Warning:|_bootstrap|debugpy|missing dep|DeprecationWarning).*|  .*")


def last_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not NOISE.fullmatch(line)]


def fails(home: Home, *arguments: str, **variables: str) -> str:
    """The one line a command that cannot serve ends with; its exit code is 1."""
    done = home.run("gnrasgiserve", *arguments, **variables)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return last_lines(done.stderr)[-1]


def test_no_name(home: Home) -> None:
    done = home.run("gnrasgiserve")  # GenroPy's own words, which go to its log
    assert (done.returncode, last_lines(done.stdout)) == (1, [last_lines(done.stdout)[0]])
    assert done.stdout.rstrip().endswith("site name is required")


def test_no_configuration(home: Home, tmp_path: Path) -> None:
    assert fails(home, SITE, HOME=str(tmp_path)).startswith("gnrasgiserve: no ~/.gnr/ found: ")
    line = fails(home, SITE, VIRTUAL_ENV=str(tmp_path))
    assert f"{tmp_path}/etc/gnr; VIRTUAL_ENV makes GenroPy look there" in line


def test_no_root_py(home: Home) -> None:
    folder = home.instance("rootless")
    (folder / "config").mkdir(parents=True, exist_ok=True)
    assert fails(home, "rootless") == (
        f"gnrasgiserve: no root.py in site 'rootless': put one into {folder} or the folder above."
    )


def test_no_such_site(home: Home) -> None:
    assert fails(home, "nothing") == "gnrasgiserve: site 'nothing' not found: no project of environment.xml has it."


def test_a_busy_port(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        assert fails(home, SITE, "-H", "127.0.0.1", "-p", str(port)) == (
            f"gnrasgiserve: cannot listen on 127.0.0.1:{port}: Address already in use; choose another -p, "
            f"or find who has it: lsof -i :{port}"
        )


@pytest.mark.parametrize("port", ["http", "70000", "-1"])
def test_a_port_that_is_none(port: str, home: Home) -> None:
    assert f"port {port!r} is not a number from 0 to 65535" in fails(home, SITE, f"--port={port}")


def test_a_remote_database_that_is_not_configured(home: Home) -> None:
    expected = "gnrasgiserve: --remotedb {0}: <remote_db> has no <{0}>; write it into instanceconfig/default.xml."
    assert fails(home, SITE, "--remotedb") == expected.format(SITE)
    assert fails(home, SITE, "--remotedb", "nowhere") == expected.format("nowhere")
    assert fails(home, f"{SITE}:nowhere") == expected.format("nowhere")


def test_a_remote_database_that_cannot_be_reached(home: Home) -> None:
    line = fails(home, SITE, "--remotedb", "far", "-p", str(free_port()))
    assert line.startswith("gnrasgiserve: --remotedb far cannot be reached: ")


def test_no_daemon(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.add_site("alone")
    line = fails(home, "alone", "-p", str(free_port()))
    assert line.startswith("gnrasgiserve: the register daemon does not answer for 'alone'")
    assert line.endswith("start it with `gnr web daemon`, or serve with --register=local.")


def test_ssl_without_its_files(home: Home) -> None:
    assert fails(home, SITE, "--ssl") == (
        f"gnrasgiserve: SSL needs the file {home.path}/.gnr/localhost.pem, which is not there."
    )
    assert fails(home, SITE, "--ssl_key", "x") == ("gnrasgiserve: --ssl_cert and --ssl_key belong together; give both.")


def test_help_has_every_option(home: Home) -> None:
    done = home.run("gnrasgiserve", "--help")
    assert done.returncode == 0
    assert "DEPRECATION" not in done.stdout
    options = """site_name -s --site -p --port -H --host --reload --noreload --nodebug -o --open -c --config -n
        --noclean --restore --source_instance --remote_edit --remotedb --ssl --ssl_cert --ssl_key --register
        -a --async-port --debugpy --loglevel --version"""
    assert [option for option in options.split() if option not in done.stdout] == []


def test_an_option_that_is_none(home: Home) -> None:
    done = home.run("gnrasgiserve", SITE, "--bogus")
    assert (done.returncode, last_lines(done.stderr)[-1]) == (2, "gnrasgiserve: error: unrecognized arguments: --bogus")


def status(served: Served) -> int:
    return ask(served, "GET", "/testpkg/probe").status


def test_where_an_option_may_come_from(home: Home) -> None:
    """The order of GenroPy: its command line, GNR_WSGI_OPT_, the configuration of the site."""
    port = free_port()
    served = home.serve("gnrasgiserve", "-n", port=port, GNR_CURRENT_SITE=SITE, GNR_WSGI_OPT_port=str(port))
    assert status(served) == 200
    assert served.stop() == 0
    assert f"Started server on 0.0.0.0:{port}" in served.printed
    served = home.serve("gnrasgiserve", "-s", SITE, "-p", "{port}", "-H", "localhost", "nothing", GNR_WSGI_OPT_port="1")
    assert status(served) == 200
    assert served.stop() == 0


def test_the_other_options_reach_the_site(home: Home) -> None:
    port = free_port()
    folder = str(home.path / ".gnr")
    served = home.serve(
        "gnrasgiserve", SITE, "-p", "{port}", "-H", "127.0.0.1", "-a", str(port), "--remote_edit", "--noreload",
        "--debugpy", "-c", folder, GNR_WSGI_OPT_register="local",
    )  # fmt: skip
    expected = b'{"register": "LocalRegisterClient", "remote_edit": true}'
    assert ask(served, "GET", "/testpkg/probe?rpc=options").body == expected
    served.wait_for_port(port)  # of `gnr web async`
    assert "Failed to import debugpy" in served.printed  # it is not installed here, and that is all
    assert (served.stop(), served.children) == (0, [])
    assert fails(home, SITE, "-p", str(free_port()), "--source_instance", "nowhere") == (
        "gnrasgiserve: instance 'nowhere' not found: no project of environment.xml has it."
    )
    done = home.run("gnrasgiserve", SITE, "-p", str(free_port()), "--restore", "/nowhere.zip")
    assert (done.returncode, "Restore archive /nowhere.zip does not exist" in done.stderr) == (1, True)
    assert "register 'here' is neither daemon nor local" in fails(home, SITE, GNR_WSGI_OPT_register="here")


def test_the_browser_is_opened(home: Home, tmp_path: Path) -> None:
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    script.chmod(0o755)
    served = home.serve("gnrasgiserve", SITE, "-p", "{port}", "-o", "--nodebug", BROWSER=str(script))
    assert status(served) == 200
    served.stop()
    assert (tmp_path / "opened").read_text() == f"http://127.0.0.1:{served.port}\n"
    assert "Debug mode: Off" in served.printed


@pytest.mark.parametrize("given", [False, True])
def test_ssl(given: bool, home: Home) -> None:
    folder = home.path / ".gnr"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", folder / "localhost-key.pem", "-out", folder / "localhost.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    try:
        files = "--ssl_cert", str(folder / "localhost.pem"), "--ssl_key", str(folder / "localhost-key.pem")
        served = home.serve("gnrasgiserve", SITE, "-p", "{port}", "-H", "127.0.0.1", *(files if given else ["--ssl"]))
        trusting = ssl.create_default_context(cafile=str(folder / "localhost.pem"))
        url = f"https://127.0.0.1:{served.port}/testpkg/probe?rpc=environ"
        with urllib.request.urlopen(url, context=trusting, timeout=20) as answer:
            assert b'"wsgi.url_scheme": "https"' in answer.read()
        assert served.stop() == 0
    finally:
        for file in folder.glob("localhost*.pem"):
            file.unlink()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nobody_behind(how: signal.Signals, home: Home) -> None:
    served = home.serve("gnrasgiserve", SITE, "-p", "{port}", "-H", "127.0.0.1", "--register=local")
    assert status(served) == 200
    assert (served.stop(how), served.children) == (0, [])
    assert not (home.instance(SITE) / "site/sitedaemon.xml").exists()


@pytest.mark.parametrize("register", ["daemon", "local"])
def test_reload(register: str, home: Home) -> None:
    page = home.path / "projects/testproject/packages/testpkg/webpages/changing.py"
    text = (
        "class GnrCustomWebPage:\n    skip_connection = True\n    def rootPage(self, **kwargs):\n        return 'ONE'\n"
    )
    page.write_text(text)
    served = home.serve("gnrasgiserve", SITE, "-p", "{port}", "-H", "127.0.0.1", "--reload", f"--register={register}")
    try:
        assert ask(served, "GET", "/testpkg/changing").body == b"ONE"
        deadline = time.monotonic() + 40
        body = b""
        while body != b"TWO" and time.monotonic() < deadline:
            # The watcher looks once a second, and what has changed before its first look is new to it.
            page.write_text(text.replace("ONE", "TWO"))
            time.sleep(2.5)
            try:
                body = ask(served, "GET", "/testpkg/changing").body
            except OSError:
                continue  # it was asked just when the old process ended
        assert body == b"TWO"
        # Ctrl-C in a terminal goes to both.
        served.interrupt()
        assert (served.process.wait(timeout=15), served.children) == (0, [])
    finally:
        served.stop()
        page.unlink()


def test_the_register_of_one_process_is_not_shared(home: Home) -> None:
    folder = home.instance(SITE)
    (folder / "config.yaml").write_text("server:\n  workers: 2\n")
    try:
        assert fails(home, SITE, "-p", str(free_port()), "--register=local").endswith(
            "gnrasgiserve is one process; write 1."
        )
    finally:
        (folder / "config.yaml").unlink()
    first = home.serve("gnrasgiserve", SITE, "-p", "{port}", "-H", "127.0.0.1", "--register=local")
    assert status(first) == 200
    line = fails(home, SITE, "-p", str(free_port()), "--register=local")
    assert f"--register=local: process {first.process.pid} is the register of this site" in line
    assert first.stop() == 0


def test_applications_beside_the_site(home: Home) -> None:
    folder = home.instance(SITE)
    (folder / "shop.py").write_text(
        "from genro_asgi.applications.asgi import AsgiApplication\nfrom genro_asgi.routing import route\n\n\n"
        "class Shop(AsgiApplication):\n    @route()\n    def price(self, amount: int) -> dict:\n"
        "        return {'price': amount * 2}\n"
    )
    (folder / "config.yaml").write_text("apps:\n  shop: shop:Shop\nmiddleware:\n  logging: on\n")
    try:
        served = home.serve("gnrasgiserve", SITE, "-p", "{port}", "-H", "127.0.0.1")
        assert ask(served, "GET", "/shop/price?amount=21").body == b'{"price":42}'
        assert ask(served, "GET", "/testpkg/probe").body.startswith(b"<!DOCTYPE html>")
        assert b'"mounts":{"shop":"asgi"}' in ask(served, "GET", "/_server/info").body
        assert served.stop() == 0
        assert re.findall(r"access: GET (\S+ 200)", served.printed) == [
            "/shop/price?amount=21 200", "/testpkg/probe 200", "/_server/info 200",
        ]  # fmt: skip
    finally:
        (folder / "config.yaml").unlink()
        (folder / "shop.py").unlink()


@pytest.mark.parametrize("options", [["--reload"], ["-a", "{async}"]], ids=["reload", "async"])
def test_nobody_outlives_a_server_that_was_killed(options: list[str], home: Home) -> None:
    options = [option.replace("{async}", str(free_port())) for option in options]
    served = home.serve("gnrasgiserve", SITE, "-p", "{port}", "-H", "127.0.0.1", *options)
    try:
        assert status(served) == 200
        assert len(served.children) == 2
        served.process.kill()
        deadline = time.monotonic() + 15
        while served.children and time.monotonic() < deadline:
            time.sleep(0.1)
        assert served.children == []
    finally:
        served.stop()
