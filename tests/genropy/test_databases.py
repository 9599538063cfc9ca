"""GenropyAsgiServer with databases of GenroPy, and GenropyProxy on a prefix, in a process of their own."""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from genropy_sites import SITE, Home, Served, browser_tab
from test_same_answers import Page, ask

MODULE = """
import sys

from genro_asgi.applications.asgi import AsgiApplication
from genro_asgi.request import BaseRequest
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genropy_asgi import GenropyAsgiServer
from genropy_asgi.genropy_proxy import GenropyProxy


class Notes(AsgiApplication):
    def titles(self, db):
        return [row["title"] for row in db.table("testpkg.note").query(columns="$title").fetch()]

    @route()
    def all(self, request: BaseRequest) -> list:
        return self.titles(request.db)

    @route()
    def add(self, request: BaseRequest, title: str, commit: bool = True) -> int:
        table = request.db.table("testpkg.note")
        table.insert(table.newrecord(title=title))
        if commit:
            request.db.commit()
        return len(self.titles(request.db))

    @route()
    async def on_the_loop(self, request: BaseRequest) -> list:
        return self.titles(request.db)

    @route()
    async def in_a_thread(self, request: BaseRequest) -> list:
        return await self.server.handlers.run(lambda: self.titles(request.db))

    @route()
    def open_connections(self) -> list:
        return [len(app.db._connections and [c for d in app.db._connections.values() for c in d]) for app
                in self.server.gnr_apps.values()]


if __name__ == "__main__":
    if sys.argv[1] == "databases":
        server = GenropyAsgiServer(server_dir=".")
    else:
        server = AsgiServer(server_dir="empty")
        server.mount("legacy", GenropyProxy(site_name="SITE", debug=True))
        server.mount("notes", Notes())
    server.run(port=int(sys.argv[2]))
"""
CONFIG = """
databases:
  default: {genropy_app: testsite}
  other: {genropy_app: other}
apps:
  notes: run:Notes
  others: {module: "run:Notes", db_name: other}
"""


def served(home: Home, what: str) -> Served:
    folder = home.path / "own"
    home.write("own/run.py", MODULE.replace("SITE", SITE))
    home.write("own/config.yaml", CONFIG)
    (folder / "empty").mkdir(exist_ok=True)
    return home.serve(sys.executable, "run.py", what, "{port}", cwd=folder)


@pytest.fixture(scope="module")
def databases(home: Home) -> Iterator[Served]:
    home.add_site("other")
    running = served(home, "databases")
    yield running
    assert running.stop() == 0, running.printed


def fetch(server: Served, target: str) -> object:
    answer = ask(server, "GET", target)
    assert answer.status == 200, (answer, server.printed)
    return json.loads(answer.body)


def test_each_application_has_its_database(databases: Served) -> None:
    assert fetch(databases, "/notes/add?title=one") == len(fetch(databases, "/notes/all"))  # type: ignore[arg-type]
    assert fetch(databases, "/others/add?title=two") == 1
    assert "one" in fetch(databases, "/notes/all")  # type: ignore[operator]
    assert fetch(databases, "/others/all") == ["two"]


def test_what_is_not_committed_is_gone(databases: Served) -> None:
    before = fetch(databases, "/notes/all")
    assert fetch(databases, "/notes/add?title=lost&commit=false") == len(before) + 1  # type: ignore[arg-type]
    assert fetch(databases, "/notes/all") == before


def test_no_connection_stays_open(databases: Served) -> None:
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: fetch(databases, "/notes/all"), range(60)))
    assert all(answer == answers[0] for answer in answers)
    assert fetch(databases, "/notes/open_connections") == [0, 0]


def test_the_event_loop_is_no_place_for_them(databases: Served) -> None:
    assert ask(databases, "GET", "/notes/on_the_loop").status == 500
    assert "a GenroPy database was used on the event loop" in databases.printed
    assert fetch(databases, "/notes/in_a_thread") == fetch(databases, "/notes/all")
    assert fetch(databases, "/notes/open_connections") == [0, 0]


@pytest.mark.parametrize(
    ("section", "text"),
    [
        (
            "{genropy_app: nothing}",
            "databases.default: instance 'nothing' not found: no project of environment.xml has it.",
        ),
        ("{db_class: x}", "databases.default: no genropy_app; write the name of a GenroPy instance."),
    ],
)
def test_a_database_that_cannot_be_opened(section: str, text: str, home: Home) -> None:
    folder = home.write("wrong/config.yaml", f"databases:\n  default: {section}\n").parent
    code = "from genropy_asgi import GenropyAsgiServer; GenropyAsgiServer('.')"
    done = home.run(sys.executable, "-c", code, cwd=folder)
    assert done.stderr.splitlines()[-1] == f"genro_asgi.exceptions.ConfigError: {folder}/config.yaml: {text}"


def test_a_site_below_a_prefix(home: Home, stock: Served) -> None:
    running = served(home, "proxy")
    assert ask(running, "GET", "/legacy/_site/small.css").body == b"body{color:#123}\n"
    assert ask(running, "GET", "/legacy/_site/../config/instanceconfig.xml").status == 404
    assert ask(running, "GET", "/legacy/testpkg/probe/x").body == ask(stock, "GET", "/testpkg/probe/x").body
    page = Page(running, "/legacy/")
    assert "'/legacy/_gnr/11/'" in page.text
    assert [link for link in page.links if link.startswith("/") and not link.startswith("/legacy/")] == []
    assert b"42" in page.call("add", a="40::L", b="2::L").body
    assert ask(running, "GET", "/notes/").status == 200
    assert ask(running, "GET", "/nothing").status == 404
    with browser_tab() as tab:
        bad: list[str] = []
        tab.on("response", lambda answer: bad.append(answer.url) if answer.status > 399 else None)
        tab.goto(f"http://127.0.0.1:{running.port}/legacy/", timeout=40_000)
        tab.wait_for_function("document.getElementById('answer')?.textContent == '42'", timeout=30_000)
        assert bad == []
    assert running.stop() == 0
