"""What stops the boot with one line besides the checks of the file itself, and what is only pointed out."""

import logging
from pathlib import Path

import pytest

from genro_asgi.cli import main
from genro_asgi.routing import route
from genro_asgi.server.server import AsgiServer
from genro_asgi.testing import AsyncClient

APP = """
from genro_asgi.applications.asgi import AsgiApplication
from genro_asgi.routing import RoutingClass, route

FACTOR = 3


def load():
    LOADED.append(1)


LOADED = []


class Shop(AsgiApplication):
    def on_init(self, stock=None, **options):
        super().on_init(**options)
        self.stock = {}[stock] if stock else None


class Plain(RoutingClass):
    @route()
    async def db(self):
        return self.ctx.db


class Strict(RoutingClass):
    @route(auth_rule="a-b")
    def index(self):
        return {}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "shop_app.py").write_text(APP)
    return tmp_path


def write(site: Path, text: str) -> Path:
    path = site / "config.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("main_app: blog", "main_app: no application 'blog' is mounted; there is none."),
        ("plugins: {auth: {rul: a}}", "plugins.auth.rul: Unexpected keyword argument."),
        ("plugins: {env: {requires: [a]}}", "plugins.env.requires: Input should be a valid string."),
        ("executors: {pdf: {initializer: 'nowhere:f'}}", "executors.pdf.initializer: no module 'nowhere' in "),
        (
            "executors: {handlers: {initializer: 'shop_app:nope'}}",
            "executors.handlers.initializer: 'shop_app:nope' names nothing that is there; write module:function.",
        ),
        (
            "executors: {pdf: {initializer: 'shop_app:FACTOR'}}",
            "executors.pdf.initializer: 'shop_app:FACTOR' is no function; name one that takes no arguments.",
        ),
        ("middleware: {logging: {level: loud}}", "middleware.logging: level 'loud' is unknown; use DEBUG, INFO, "),
        ("middleware: {cors: {allow_origin_regex: '('}}", "middleware.cors: missing ), unterminated subpattern at "),
        ("middleware: {cors: {allow_credentials: on}}", "middleware.cors: allow_credentials needs the origins by name"),
        (
            "apps: {shop: {module: 'shop_app:Shop', middleware: {cors: {allow_methods: 5}}}}",
            "apps.shop.middleware.cors: 'int' object is not iterable.",
        ),
        (
            "websocket: {origins: [https://a.example, b.example]}",
            "websocket.origins: 'b.example' is not valid; write origins with their scheme, such as https://www.exam",
        ),
        ("auth: {basic: {ada: {password: 'scrypt$1$2'}}}", "auth.basic.ada: the scrypt hash is malformed; "),
        ("auth: {basic: {'a:b': {password: x}}}", "auth.basic.a:b: a name with a colon cannot be sent (RFC 7617); "),
        ("auth: {bearer: {a: {token: x}, b: {token: x}}}", "auth.bearer.b: its token is that of a, too; "),
        ("apps: {shop: {module: 'shop_app:Shop', color: red}}", "Shop cannot be made: Shop has no option color."),
        ("apps: {shop: {module: 'shop_app:Shop', stock: x}}", "apps.shop: Shop cannot be made: KeyError: 'x' ("),
        ("apps: {plain: {module: 'shop_app:Plain', color: red}}", "apps.plain: Plain cannot be made: "),
    ],
)
def test_one_line_and_exit_code_2(site: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(site, text)
    with pytest.raises(SystemExit, match="2"):
        main(["check", str(site)])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"Error: {path}: ")
    assert said in err
    assert err.count("\n") == 1


def test_a_rule_that_is_none_stops_the_boot(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(site, "apps: {strict: 'shop_app:Strict'}")
    with pytest.raises(SystemExit, match="2"):
        main(["check", str(site)])
    assert capsys.readouterr().err.startswith("Error: Route /strict/index: auth_rule='a-b' is no rule: ")


@pytest.mark.asyncio
async def test_the_start_says_the_line_without_a_traceback(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="main_app: no application 'blog' is mounted"):
        async with AsyncClient(AsgiServer(tmp_path, main_app="blog")):
            pass
    assert caplog.records == []


def test_what_nobody_acts_on_is_pointed_out(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        site,
        "session: {store: file}\nauth: {jwt: {a: {secret: s}}}\nmetrics: on\notel: off\n"
        "logging: {slow_ms: 5}\ndatabases: {default: {genropy_app: x}}\n"
        "apps: {shop: {module: 'shop_app:Shop', docs: swagger}, quiet: {module: 'shop_app:Shop', docs: off}}\n",
    )
    with pytest.raises(SystemExit, match="0"):
        main(["check", str(site)])
    expected = ["databases", "metrics", "session", "auth.jwt", "logging.slow_ms", "apps.shop.docs"]
    assert capsys.readouterr().err.splitlines() == [
        f"{path}: {key}: nothing in this release acts on it." for key in expected
    ]


@pytest.mark.asyncio
async def test_the_start_points_it_out_too(caplog: pytest.LogCaptureFixture) -> None:
    class WithDatabases(AsgiServer):
        config_read = frozenset({"databases"})

    with caplog.at_level(logging.WARNING, "genro_asgi"):
        async with AsyncClient(WithDatabases(databases={"default": {}}, nats={"url": "nats://127.0.0.1"})):
            pass
    assert [record.message for record in caplog.records] == ["AsgiServer(): nats: nothing in this release acts on it."]


@pytest.mark.parametrize(("plugins", "heard"), [({}, []), ({"env": {}}, ["env"]), ("env, channel", ["env", "channel"])])
def test_rules_of_plugins_that_are_not_there_are_pointed_out(plugins: object, heard: list[str]) -> None:
    class Ruled(AsgiServer):
        @route(env_requires="redis", channel_channels="mcp", pydantic_disabled=True)
        async def index(self) -> str:
            return "here"

    server = Ruled(plugins=plugins)
    server.check()
    assert server._notices() == [
        f"Route /index: what it says to the plugin {name} does not hold; write it under plugins."
        for name in ("env", "channel")
        if name not in heard
    ]


@pytest.mark.asyncio
async def test_a_plain_routing_class_may_have_a_database_and_docs(site: Path) -> None:
    write(site, "apps: {plain: {module: 'shop_app:Plain', db_name: stock, docs: off}}")
    server = AsgiServer(site)
    server.register_db("default", "the default one")
    server.register_db("stock", "the stock")
    assert (server.apps["plain"].db_name, server.apps["plain"].docs) == ("stock", "off")
    async with AsyncClient(server) as client:
        assert (await client.get("/plain/db")).text == "the stock"


@pytest.mark.asyncio
async def test_an_initializer_of_the_site_runs_in_the_pool(site: Path) -> None:
    class Threads(AsgiServer):
        @route()
        def index(self) -> list[int]:
            loaded: list[int] = self.app_loader.load_module("shop_app").LOADED
            return loaded

    write(site, "executors: {handlers: {initializer: 'shop_app:load', max_workers: 1}}")
    async with AsyncClient(Threads(site)) as client:
        assert (await client.get("/")).json() == [1]
