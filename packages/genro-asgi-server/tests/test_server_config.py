import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings, strategies as st

from genro_asgi.exceptions import ConfigError
from genro_asgi.limits import Limits
from genro_asgi.server.server_config import ServerConfig


class Cors:
    def __init__(self, server: Any = None, origins: str = "*", credentials: bool = False, max_age: int = 600) -> None:
        pass


class Errors:
    def __init__(self, server: Any = None, debug: bool = False) -> None:
        pass


class Free:
    def __init__(self, **options: Any) -> None:
        pass


MIDDLEWARE: Mapping[str, type] = {"cors": Cors, "errors": Errors, "free": Free}


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and an environment with nothing in them."""
    directory = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(directory))
    for name in list(os.environ):
        if name.startswith("GENRO_ASGI_"):
            monkeypatch.delenv(name)
    return directory


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "mysite"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def write(directory: Path, content: Any, name: str = "config.yaml") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def config(site: Path | None = None, content: Any = None, **options: Any) -> ServerConfig:
    if site is not None and content is not None:
        write(site, content)
    return ServerConfig(site, known_middleware=MIDDLEWARE, **options)


def error(site: Path | None = None, content: Any = None, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        config(site, content, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_defaults(site: Path) -> None:
    found = ServerConfig()
    assert found.server == {
        "host": "127.0.0.1",
        "port": 8000,
        "reload": False,
        "workers": 1,
        "timeout_graceful": 30.0,
        "proxy": [],
        "server_dir": str(site),
    }
    assert found.server_dir == site.resolve()
    assert found.config_file is None
    assert found.openapi == {"title": "genro-asgi API", "version": "0.1.0"}
    assert found.limits == Limits()
    assert found.executors == {
        "handlers": {"kind": "thread", "max_workers": 40},
        "files": {"kind": "thread", "max_workers": 8},
        "background": {"kind": "thread", "max_workers": 4},
    }
    assert (found.middleware, found.main_app, found.metrics, found.otel) == ({}, None, False, False)
    for name in ("apps", "sys_apps", "plugins", "databases", "storage", "auth", "session", "nats", "websocket"):
        assert found[name] == {}
    assert found.logging == {}
    assert found.sources == ["defaults"]


def test_empty_sections_are_as_if_not_written(site: Path) -> None:
    sections = ["server", "main_app", "apps", "sys_apps", "middleware", "auth", "limits", "metrics", "openapi"]
    found = config(site, "\n".join(f"{name}:" for name in sections) + "\nexecutors: {}\n")
    plain = config(site, "{}")
    for name in [*sections, "executors", "logging"]:
        assert found[name] == plain[name]


def test_later_sources_win(site: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def port(**options: Any) -> int:
        found: int = config(site, **options).server.port
        return found

    assert port() == 8000
    write(home / ".genro-asgi", {"server": {"port": 9000, "host": "0.0.0.0"}})
    assert port() == 9000
    write(site, {"server": {"port": 9001}})
    assert port() == 9001
    monkeypatch.setenv("GENRO_ASGI_PORT", "9002")
    assert port() == 9002
    assert port(argv=["--port", "9003"]) == 9003
    assert port(argv=["--port", "9003"], port=9004) == 9004
    assert config(site).server.host == "0.0.0.0"


def test_switches_can_be_turned_off_again(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(site, {"server": {"reload": True}})
    assert config(site).server.reload is True
    assert config(site, reload=False).server.reload is False
    assert config(site, argv=["--no-reload"]).server.reload is False
    monkeypatch.setenv("GENRO_ASGI_RELOAD", "off")
    assert config(site).server.reload is False


def test_other_sections_are_replaced_as_a_whole(site: Path, home: Path) -> None:
    write(home / ".genro-asgi", {"session": {"ttl": 60, "secure": True}, "logging": {"level": "debug"}})
    found = config(site, {"session": {"store": "file"}})
    assert found.session == {"store": "file"}
    assert found.logging == {"level": "debug"}
    assert config(site, session={"ttl": 5}).session == {"ttl": 5.0}
    assert found.sources == ["defaults", str(home / ".genro-asgi" / "config.yaml"), str(site / "config.yaml"),
                             "AsgiServer()"]  # fmt: skip


server_fields = st.fixed_dictionaries(
    {},
    optional={
        "host": st.sampled_from(["a", "b"]),
        "port": st.integers(0, 65535),
        "workers": st.integers(1, 9),
        "reload": st.booleans(),
    },
)
layers = st.fixed_dictionaries(
    {},
    optional={
        "server": server_fields,
        "session": st.fixed_dictionaries(
            {}, optional={"ttl": st.integers(1, 9), "store": st.sampled_from(["memory", "file"])}
        ),
        "openapi": st.fixed_dictionaries({}, optional={"title": st.sampled_from("xy"), "summary": st.just("s")}),
    },
)


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(layers, layers, server_fields, server_fields, layers)
def test_the_merge_is_field_by_field_for_server_and_whole_for_the_rest(
    site: Path,
    home: Path,
    user: dict[str, Any],
    project: dict[str, Any],
    environment: dict[str, Any],
    arguments: dict[str, Any],
    given_options: dict[str, Any],
) -> None:
    write(home / ".genro-asgi", user)
    write(site, project)
    argv = [f"--{name}={value}" for name, value in arguments.items()]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(f"GENRO_ASGI_{name.upper()}", str(value))
        found = config(site, argv=argv, **given_options)
    expected = {"host": "127.0.0.1", "port": 8000, "reload": False, "workers": 1}
    for fields in (user.get("server", {}), project.get("server", {}), environment, arguments):
        expected |= fields
    expected |= given_options.get("server", {})
    assert {name: found.server[name] for name in expected} == expected
    for section in ("session", "openapi"):
        said = [layer[section] for layer in (user, project, given_options) if section in layer]
        defaults = {"title": "genro-asgi API", "version": "0.1.0"} if section == "openapi" else {}
        assert found[section] == {**defaults, **(said[-1] if said else {})}


def test_variables_in_files(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "t:${TOKEN}")
    found = config(site, "server: {port: '${PORT:-9001}'}\nauth: {bearer: {ci: {token: '${TOKEN}'}}}")
    assert found.server.port == 9001
    assert found.auth.bearer.ci.token == "t:${TOKEN}"
    monkeypatch.delenv("TOKEN")
    assert error(site) == (
        f"{site / 'config.yaml'}: auth.bearer.ci.token: the environment variable TOKEN is not set; "
        "set it or write ${TOKEN:-default}."
    )


def test_the_directory_comes_from_the_strongest_source(
    tmp_path: Path, site: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c", "d"):
        write(tmp_path / name, {"server": {"port": ord(name)}})

    def found(server_dir: Any = None, **options: Any) -> tuple[str, int]:
        made = config(server_dir, **options)
        return made.server_dir.name, made.server.port

    assert found() == ("mysite", 8000)
    write(home / ".genro-asgi", {"server": {"server_dir": str(tmp_path / "a")}})
    assert found() == ("a", ord("a"))
    monkeypatch.setenv("GENRO_ASGI_SERVER_DIR", "../b")
    assert found() == ("b", ord("b"))
    assert found(argv=["../c"]) == ("c", ord("c"))
    assert found("../d", argv=["../c"]) == ("d", ord("d"))


def test_a_file_elsewhere_may_name_the_directory(tmp_path: Path, site: Path) -> None:
    path = write(tmp_path / "etc", {"server": {"server_dir": "../other", "port": 1}}, "shop.yaml")
    (tmp_path / "other").mkdir()
    found = config(argv=["--config", str(path)])
    assert (found.server_dir, found.config_file, found.server.port) == ((tmp_path / "other").resolve(), path, 1)


def test_a_configuration_file_by_name(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(site, {"server": {"port": 1}})
    write(site, {"server": {"port": 2}}, "prod.yaml")
    write(tmp_path, {"server": {"port": 3}}, "here.yaml")
    monkeypatch.chdir(tmp_path)
    assert config(site, argv=["--config=prod.yaml"]).server.port == 2
    assert config(site, argv=["--config", "here.yaml"]).server.port == 3
    assert config(site, config=tmp_path / "here.yaml").server.port == 3
    monkeypatch.setenv("GENRO_ASGI_CONFIG", "prod.yaml")
    assert config(site).server.port == 2
    assert error(site, argv=["--config", "none.yaml"]) == (
        f"command line: config: no file 'none.yaml' in {site} or {tmp_path}."
    )


def test_what_is_not_a_directory(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "nothing"
    assert error(missing) == (
        f"AsgiServer(): server.server_dir: {str(missing)!r} is not a directory; give the directory of a site."
    )
    monkeypatch.setenv("GENRO_ASGI_SERVER_DIR", str(missing))
    assert error().startswith("environment: server.server_dir: ")


def test_a_home_that_cannot_be_read_has_no_file(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_file = Path.is_file

    def refuse(path: Path) -> bool:
        if ".genro-asgi" in path.parts:
            raise PermissionError(13, "Permission denied")
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refuse)
    assert config(site).sources == ["defaults", "AsgiServer()"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"port": "x"}, "AsgiServer(): port: 'x' is not valid; write a whole number from 0 to 65535."),
        ({"argv": ["--port", "x"]}, "command line: --port: 'x' is not valid; "),
        ({"argv": ["--prot", "1"]}, "command line: --prot: unknown option, did you mean '--port'; "),
        ({"prot": 1}, "AsgiServer(): prot: unknown key, did you mean 'port'; allowed are apps, auth, config, "),
        ({"apps": []}, "AsgiServer(): apps: [] is not valid; write a mapping (name: value)."),
        ({"server": {"prot": 1}}, "AsgiServer(): server.prot: unknown key, did you mean 'port'; "),
    ],
)
def test_errors_name_the_source(site: Path, options: dict[str, Any], said: str) -> None:
    assert error(site, **options).startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sever: {}", "sever: unknown key, did you mean 'server'; allowed are apps, auth, databases, executors, "),
        ("server: {prot: 1}", "server.prot: unknown key, did you mean 'port'; allowed are "),
        ("8000: x", "the key 8000 is not a text; put it in quotes."),
        ("apps: [a]", "apps: ['a'] is not valid; write a mapping (name: value)."),
        ("apps: {_sys: 'm:C'}", "apps._sys: not a name for a URL; "),
        ("apps: {a/b: 'm:C'}", "apps.a/b: not a name for a URL; "),
        ("apps: {a: 'm:C', /a: 'm:D'}", "apps./a: 'a' is written twice; keep one."),
        (
            "apps: {a: 'm-x:C'}",
            "apps.a.module: 'm-x:C' is not valid; write module:Class, such as shop_app:Application.",
        ),
        ("apps: {a: 'm:'}", "apps.a.module: 'm:' is not valid; "),
        ("apps: {a: 'x/y.py:C'}", "apps.a.module: 'x/y.py:C' is not valid; "),
        ("apps: {a: [m]}", "apps.a: ['m'] is not valid; write a mapping (name: value)."),
        ("apps: {a: off}", "apps.a: False is not valid; "),
        ("apps: {a: {module: m, docs: swager}}", "apps.a.docs: 'swager' is not valid; write one of swagger, redoc, "),
        ("apps: {a: {module: m, db_name: 3}}", "apps.a.db_name: 3 is not valid; "),
        ("apps: {a: {module: m, middleware: corss}}", "apps.a.middleware.corss: unknown middleware, did you mean "),
        ("middleware: {corss: on}", "middleware.corss: unknown middleware, did you mean 'cors'; allowed are cors, err"),
        ("middleware: {cors: perhaps}", "middleware.cors: 'perhaps' is not valid; write on or off."),
        ("middleware: {cors: {orgins: x}}", "middleware.cors.orgins: unknown option, did you mean 'origins'; allowed "),
        ("middleware: {cors: {credentials: x}}", "middleware.cors.credentials: 'x' is not valid; write on or off."),
        ("middleware: 3", "middleware: 3 is not valid; write a mapping"),
        ("cros_middleware: {}", "cros_middleware: unknown key, did you mean 'cors_middleware'; allowed are "),
        ("middleware: {auth: off}", "middleware.auth: cannot be switched off, as auth_rule is always enforced; take "),
        ("auth: {}\nauth_middleware: {}", "auth: written twice, once as middleware; keep auth."),
        ("middleware: {auth: {basic: {}}}\nauth: {}", "auth: written twice, once as middleware; keep auth."),
        ("main_app: a\nserver: {main_app: b}", "main_app: 'a' here and 'b' in server; keep one."),
    ],
)
def test_errors_name_the_file_and_the_key(site: Path, content: str, said: str) -> None:
    assert error(site, content).startswith(f"{site / 'config.yaml'}: {said}")


def test_the_error_of_a_user_wide_file_names_that_file(site: Path, home: Path) -> None:
    path = write(home / ".genro-asgi", {"apps": {"a": None}})
    assert error(site, {"server": {"port": 1}}) == (
        f"{path}: apps.a.module: not written, and there is no a_app.py in {site}; write module:Class."
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("middleware: {cors: on, errors: off}", {"cors": {}, "errors": False}),
        ("middleware: {cors: 1, errors: no, free: 'yes'}", {"cors": {}, "errors": False, "free": {}}),
        ("middleware: {cors: }", {"cors": {}}),
        ("middleware: [errors, cors]", {"errors": {}, "cors": {}}),
        ("middleware: 'errors, cors'", {"errors": {}, "cors": {}}),
        ("middleware: {cors: {origins: a, max_age: '5'}}", {"cors": {"origins": "a", "max_age": 5}}),
        ("cors_middleware: {origins: a}", {"cors": {"origins": "a"}}),
        ("cors_middleware: off", {"cors": False}),
        ("middleware: {cors: off}\ncors_middleware: {origins: a}", {"cors": False}),
        ("middleware: {cors: on}\ncors_middleware: {origins: a}", {"cors": {"origins": "a"}}),
        (
            "middleware: {cors: {max_age: 1}}\ncors_middleware: {origins: a, max_age: 2}",
            {"cors": {"origins": "a", "max_age": 1}},
        ),
        ("middleware: {free: {anything: [1]}}", {"free": {"anything": [1]}}),
        ("middleware: {errors: {debug: 'off'}}", {"errors": {"debug": False}}),
        ("middleware: {auth: on, cors: on}", {"cors": {}}),
        ("middleware: ", {}),
    ],
)
def test_the_spellings_of_middleware(site: Path, content: str, expected: dict[str, Any]) -> None:
    found = config(site, content).middleware
    assert found == expected
    assert list(found) == list(expected)


def test_middleware_options_of_the_user_wide_file_stay(site: Path, home: Path) -> None:
    write(home / ".genro-asgi", {"cors_middleware": {"origins": "a"}, "middleware": {"errors": True}})
    assert config(site, {"middleware": {"cors": True}}).middleware == {"cors": {"origins": "a"}}


@pytest.mark.parametrize(
    "content",
    [
        "auth: {basic: {ada: {password: p}}}",
        "auth_middleware: {basic: {ada: {password: p}}}",
        "middleware: {auth: {basic: {ada: {password: p}}}}",
    ],
)
def test_the_spellings_of_auth(site: Path, content: str) -> None:
    assert config(site, content).auth == {"basic": {"ada": {"password": "p"}}}
    known = {**MIDDLEWARE, "auth": Free, "session": Free}
    assert ServerConfig(site, known_middleware=known).middleware == {"auth": {}}


def test_the_spellings_of_session(site: Path) -> None:
    known = {**MIDDLEWARE, "session": Free}
    write(site, "session_middleware: {secure: on}")
    found = ServerConfig(site, known_middleware=known)
    assert (found.session, found.middleware) == ({"secure": True}, {"session": {}})
    write(site, "middleware: {session: off}\nsession: {ttl: 1}")
    assert ServerConfig(site, known_middleware=known).middleware == {"session": False}


def test_the_registry_is_asked_when_no_names_are_given(site: Path) -> None:
    write(site, "middleware: {errors: {debug: on}}")
    assert ServerConfig(site).middleware == {"errors": {"debug": True}}
    write(site, "middleware: {erors: on}")
    with pytest.raises(ConfigError, match="did you mean 'errors'"):
        ServerConfig(site)


APPS = """
apps:
  shop: "shop_app:Shop"
  /blog/: blog.views
  api:
    module: pkg.mod:Api
    db_name: default
    docs: off
    middleware: {cors: on, errors: off}
    cors_middleware: {origins: a}
    pages: ["${PAGE:-1}", {1: x}]
    title: null
  docs: {module: m, docs: ReDoc}
sys_apps:
  swagger: {module: "genro_asgi.sys:Application", docs: no}
"""


def test_the_forms_of_apps(site: Path) -> None:
    found = config(site, APPS)
    assert found.get_app_specs_raw() == {
        "shop": ("shop_app", "Shop", None, {}),
        "blog": ("blog.views", "Application", None, {}),
        "api": (
            "pkg.mod",
            "Api",
            {"cors": {"origins": "a"}, "errors": False},
            {"db_name": "default", "docs": "off", "pages": ["1", {1: "x"}], "title": None},
        ),
        "docs": ("m", "Application", None, {"docs": "redoc"}),
    }
    assert found.get_sys_app_specs_raw() == {"swagger": ("genro_asgi.sys", "Application", None, {"docs": "off"})}
    assert found.apps.shop == {"module": "shop_app:Shop"}
    assert found.apps.api.middleware == {"cors": {"origins": "a"}, "errors": False}
    assert found["apps.docs.docs"] == "redoc"
    assert found.sys_apps.swagger.module == "genro_asgi.sys:Application"
    assert found.main_app is None


def test_specs_are_copies(site: Path) -> None:
    found = config(site, APPS)
    found.get_app_specs_raw()["api"][3]["pages"].append("2")
    found.middleware["x"] = {}
    assert found.get_app_specs_raw()["api"][3]["pages"] == ["1", {1: "x"}]
    assert found.middleware == {}


@pytest.mark.parametrize("value", ["off", "no", "", "null", "'off'", "False", "None"])
def test_docs_off_in_every_spelling(site: Path, value: str) -> None:
    assert config(site, f"apps: {{a: {{module: m, docs: {value}}}}}").apps.a.docs == "off"


@pytest.mark.parametrize("content", ["apps: {a: }", "apps: {a: {}}", "apps: {a: {pages: 1}}"])
def test_an_app_without_a_module_is_found_by_its_name(site: Path, content: str) -> None:
    assert error(site, content).endswith(
        f"a.module: not written, and there is no a_app.py in {site}; write module:Class."
    )
    (site / "a_app.py").touch()
    assert config(site, content).get_app_specs_raw()["a"][:2] == ("a_app", "Application")
    (site / "a_app.py").unlink()
    (site / "a_app").mkdir()
    (site / "a_app" / "__init__.py").touch()
    assert config(site, content).get_app_specs_raw()["a"][:2] == ("a_app", "Application")


@pytest.mark.parametrize(
    "text",
    [
        "class Application: pass",
        "from shop import Shop as Application",
        "class Shop: pass\nApplication = Shop",
        "oops (",
    ],
)
def test_the_app_a_directory_has_by_its_name(site: Path, text: str) -> None:
    (site / "mysite_app.py").write_text(text, encoding="utf-8")
    found = config(site, "apps: {blog: m, shop: m2}")
    assert list(found.get_app_specs_raw()) == ["blog", "shop", "mysite"]
    assert found.get_app_specs_raw()["mysite"] == ("mysite_app", "Application", None, {})
    assert found.main_app == "mysite"
    assert config(site, "main_app: blog\napps: {blog: m}").main_app == "blog"


@pytest.mark.parametrize("text", ["class Shop: pass", "import Application_x", "x = {}\nx[0] = 1", "if 1: pass"])
def test_a_file_without_application_is_no_app(site: Path, text: str) -> None:
    (site / "mysite_app.py").write_text(text, encoding="utf-8")
    assert config(site).get_app_specs_raw() == {}


def test_the_convention_app_is_there_once(site: Path) -> None:
    (site / "mysite_app.py").write_text("class Application: pass", encoding="utf-8")
    found = config(site, "apps: {other: mysite_app}")
    assert list(found.get_app_specs_raw()) == ["other"]
    found = config(site, "apps: {mysite: {pages: 2}, blog: m}")
    assert found.get_app_specs_raw()["mysite"] == ("mysite_app", "Application", None, {"pages": 2})
    assert found.main_app == "mysite"
    found = config(site, "apps: {mysite: m, blog: m}")
    assert (list(found.get_app_specs_raw()), found.main_app) == (["mysite", "blog"], None)


def test_the_main_app(site: Path) -> None:
    assert config(site, "apps: {shop: m}").main_app == "shop"
    assert config(site, "apps: {shop: m, blog: m}").main_app is None
    assert config(site, "server: {main_app: blog}\napps: {shop: m, blog: m}").main_app == "blog"
    assert config(site, argv=["--main-app", "shop"]).main_app == "shop"
    assert config(site, main_app="x").main_app == "x"


def test_plugins(site: Path) -> None:
    found = config(site, "plugins: {auth: , logging: {before: off}}")
    assert found.get_plugin_specs() == {"auth": {}, "logging": {"before": False}}
    assert found.get_plugin_specs(["auth", "logging"]) == found.get_plugin_specs()
    with pytest.raises(ConfigError) as caught:
        found.get_plugin_specs(["auth", "loging"])
    assert str(caught.value) == (
        f"{site / 'config.yaml'}: plugins.logging: unknown plugin, did you mean 'loging'; allowed are auth, loging."
    )


def test_values_by_key(site: Path) -> None:
    found = config(site, "apps: {shop: m}\nlimits: {max_body: 5}\nmetrics: on")
    assert found["server.port"] == 8000
    assert found["server"]["host"] == "127.0.0.1"
    assert found["apps.shop.module"] == "m:Application"
    assert found["limits.max_body"] == 5
    assert found["metrics"] is True
    assert found["main_app"] == "shop"
    for missing in ("nothing", "nothing.deep", "server.nothing", "limits.nothing", "metrics.x", "where", "_merged"):
        assert found[missing] is None


def test_options_of_the_constructor(site: Path) -> None:
    limits = Limits(max_body=3)
    found = config(site, limits=limits, apps={"shop": "m:C"}, workers="2", uvicorn={"backlog": 3}, session=None)
    assert found.limits is limits
    assert (found.server.workers, found.server.uvicorn) == (2, {"backlog": 3})
    assert found.get_app_specs_raw() == {"shop": ("m", "C", None, {})}
    assert found.where("apps.shop") == "AsgiServer(): apps.shop"
    assert repr(found) == f"ServerConfig(server_dir={str(site)!r}, sources=['defaults', 'AsgiServer()'])"


def test_reading_the_module_stays_cheap() -> None:
    heavy = {"yaml", "click", "uvicorn", "pydantic"}
    text = f"import sys, genro_asgi.server.server_config; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
