"""A GenroPy site for tests, made from nothing: its own configuration folder, project, package and SQLite database."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

SITE = "testsite"
PAGES = Path(__file__).parent / "pages"

ENVIRONMENT = """<?xml version="1.0" ?>
<GenRoBag>
  <environment><gnrhome value="{gnr}"/></environment>
  <projects><genropy path="{gnr}/projects"/><custom path="{home}/projects"/></projects>
  <packages><genropy path="{gnr}/packages"/></packages>
  <static><js><dojo_11 path="{gnr}/dojo_libs/dojo_11" cdn=""/><gnr_11 path="{gnr}/gnrjs/gnr_d11"/></js></static>
  <resources><genropy path="{gnr}/resources"/></resources>
  <webtools><genropy path="{gnr}/webtools"/></webtools>
  <gnrdaemon host="localhost" port="{port}" hmac_key="test"/>
</GenRoBag>
"""
INSTANCE_DEFAULT = """<?xml version="1.0" ?>
<GenRoBag>
  <packages/>
  <authentication><xml_auth defaultTags="user,xml">
    <admin pwd="secret" tags="superadmin,_DEV_,admin,user"/>
  </xml_auth></authentication>
  <remote_db>
    <far ssh_host="127.0.0.1" ssh_user="nobody" host="127.0.0.1" port="5432" dbname="x" user="x" password="x"/>
  </remote_db>
</GenRoBag>
"""
SITE_DEFAULT = """<?xml version="1.0" ?>
<GenRoBag>
  <wsgi debug="True::B" reload="False::B" port="8080"/>
  <gui css_theme="mimi"/>
  <jslib dojo_version="11" gnr_version="11"/>
  <resources><common/><js_libs/></resources>
  <gnrdaemon host="localhost" port="{port}" hmac_key="test"/>
</GenRoBag>
"""
INSTANCE = """<?xml version="1.0" ?>
<GenRoBag>
  <db implementation="sqlite" dbname="{data}/{name}.db"/>
  <packages>
    <gnrcore_sys pkgcode="gnrcore:sys"/><gnrcore_adm pkgcode="gnrcore:adm"/><testpkg pkgcode="testpkg"/>
  </packages>
  <authentication pkg="adm"><py_auth defaultTags="user" pkg="adm" method="authenticate"/></authentication>
</GenRoBag>
"""
SITE_CONFIG = """<?xml version="1.0" ?>
<GenRoBag>
  <wsgi mainpackage="testpkg" debug="True::B" reload="False::B" websockets="{websockets}"/>
</GenRoBag>
"""
ROOT_PY = """from gnr.web.gnrwsgisite import GnrWsgiSite

application = GnrWsgiSite(__file__)
"""
PACKAGE = """from gnr.app.gnrdbo import GnrDboPackage, GnrDboTable


class Package(GnrDboPackage):
    def config_attributes(self):
        return dict(comment="testpkg", sqlschema="testpkg", sqlprefix=True, name_short="T", name_long="T")


class Table(GnrDboTable):
    pass
"""
MODEL = """class Table(object):
    def config_db(self, pkg):
        table = pkg.table("note", pkey="id", name_long="Note", caption_field="title")
        self.sysFields(table)
        table.column("title", name_long="Title")
"""


_ports = iter(range(21000 + os.getpid() % 4000, 32000))


def free_port() -> int:
    """A port nobody listens on, another one each time, and below those the system gives to clients."""
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


@contextmanager
def browser_tab() -> Iterator[Any]:
    """A page of a headless Chromium that reaches nothing but this machine."""
    from playwright.sync_api import sync_playwright

    # The system's browser: playwright's own would have to be downloaded.
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert binary, "there is no Chromium; Debian has it in the packages chromium and chromium-driver"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        try:
            tab = browser.new_page()
            tab.route(re.compile(r"^https?://(?!127\.0\.0\.1)"), lambda route: route.abort())
            yield tab
        finally:
            browser.close()


class Home:
    """A home directory with GenroPy configured, a project and sites; starts its commands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.daemon_port = free_port()
        self.running: list[Served | Daemon] = []
        spec = find_spec("gnr")
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).parent
        self.write(".gnr/environment.xml", ENVIRONMENT.format(gnr=source, home=path, port=self.daemon_port))
        self.write(".gnr/instanceconfig/default.xml", INSTANCE_DEFAULT)
        self.write(".gnr/siteconfig/default.xml", SITE_DEFAULT.format(port=self.daemon_port))
        package = "projects/testproject/packages/testpkg"
        self.write(f"{package}/main.py", PACKAGE)
        self.write(f"{package}/model/note.py", MODEL)
        for page in PAGES.glob("*.py"):
            self.write(f"{package}/webpages/{page.name}", page.read_text(encoding="utf-8"))

    def write(self, name: str, text: str) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def instance(self, name: str) -> Path:
        return self.path / "projects/testproject/instances" / name

    def add_site(self, name: str = SITE, websockets: str = "False") -> None:
        """Make an instance that is a site, with its database."""
        folder = self.instance(name)
        (folder / "data").mkdir(parents=True)
        self.write(f"{folder}/config/instanceconfig.xml", INSTANCE.format(data=folder / "data", name=name))
        self.write(f"{folder}/config/siteconfig.xml", SITE_CONFIG.format(websockets=websockets))
        self.write(f"{folder}/root.py", ROOT_PY)
        self.write(f"{folder}/site/small.css", "body{color:#123}\n")
        self.write(f"{folder}/site/è à/ü.txt", "not ASCII\n")
        self.write(f"{folder}/site/empty.txt", "")
        (folder / "site/big.bin").write_bytes(bytes(range(256)) * 8192)
        self.gnr("db", "setup", name)

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("GNR_", "GENRO", "WERKZEUG")) and k != "VIRTUAL_ENV"
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        return kept | {"HOME": str(self.path), "PATH": path, "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}

    def run(self, *command: str, cwd: Path | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
        """A command that ends by itself."""
        return subprocess.run(
            command,
            env=self.environment | variables,
            cwd=cwd or self.path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def gnr(self, *arguments: str) -> None:
        done = self.run(sys.executable, "-m", "genropy_asgi.run_gnr", *arguments)
        assert done.returncode == 0, done.stderr

    def start_daemon(self) -> "Daemon":
        daemon = Daemon(self)
        self.running.append(daemon)
        return daemon

    def serve(self, *command: str, port: int | None = None, cwd: Path | None = None, **variables: str) -> "Served":
        """A server; `{port}` in the command is replaced."""
        served = Served(self, port or free_port(), command, variables, cwd)
        self.running.append(served)
        return served

    def stop(self) -> None:
        for process in reversed(self.running):
            process.stop()


class _Process:
    """A process with children, all of which end with it."""

    def __init__(
        self, home: Home, command: list[str], name: str, variables: dict[str, str], cwd: Path | None = None
    ) -> None:
        self.log = home.path / f"{name}.log"
        self.output: IO[str] = self.log.open("w", encoding="utf-8")
        self.process = subprocess.Popen(
            command, env=home.environment | variables, cwd=cwd or home.path, stdout=self.output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def wait_for_port(self, port: int) -> None:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"nothing listens on {port}:\n{self.printed}")

    @property
    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def children(self) -> list[int]:
        """Processes of the session that are still there."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid and fields[0] != "Z":
                found.append(int(entry.parent.name))
        return found

    def interrupt(self) -> None:
        """Ctrl-C, as a terminal sends it: to all of them."""
        os.killpg(self.process.pid, signal.SIGINT)

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            return -1
        finally:
            if self.children:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.output.close()


class Daemon(_Process):
    """GenroPy's register daemon."""

    def __init__(self, home: Home) -> None:
        super().__init__(home, [sys.executable, "-m", "genropy_asgi.run_gnr", "web", "daemon"], "daemon", {})
        self.wait_for_port(home.daemon_port)


class Served(_Process):
    """A server of a site on 127.0.0.1."""

    def __init__(
        self, home: Home, port: int, command: tuple[str, ...], variables: dict[str, str], cwd: Path | None
    ) -> None:
        self.port = port
        words = [word.replace("{port}", str(port)) for word in command]
        super().__init__(home, words, f"{Path(words[0]).name}-{port}", variables, cwd)
        self.wait_for_port(port)
