from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.exceptions import ConfigError
from genro_asgi.limits import Limits
from genro_asgi.server.config_checks import Where, integer, number, switch
from genro_asgi.server.config_schema import SECTIONS

FILE = Where("site.yaml")


def check(section: str, value: Any) -> Any:
    return SECTIONS[section](FILE.at(section), value)


@pytest.mark.parametrize("value", [True, 1, "on", "On", "yes", "TRUE", "1", " true "])
def test_what_is_on(value: Any) -> None:
    assert switch(FILE, value) is True


@pytest.mark.parametrize("value", [False, 0, "off", "OFF", "no", "False", "0"])
def test_what_is_off(value: Any) -> None:
    assert switch(FILE, value) is False


@pytest.mark.parametrize("value", [2, -1, 1.0, "", "perhaps", None, [], {}])
def test_what_is_neither(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"is not valid; write on or off\.$"):
        switch(FILE.at("metrics"), value)


@settings(derandomize=True, deadline=None)
@given(st.integers())
def test_whole_numbers_come_as_numbers_and_as_texts(value: int) -> None:
    bounded = integer(0, 65535)
    if 0 <= value <= 65535:
        assert bounded(FILE, value) == bounded(FILE, f" {value} ") == value
    else:
        for written in (value, str(value)):
            with pytest.raises(ConfigError, match="write a whole number from 0 to 65535"):
                bounded(FILE, written)


@settings(derandomize=True, deadline=None)
@given(st.floats() | st.text(max_size=5) | st.integers() | st.none() | st.booleans())
def test_a_number_is_finite_or_refused(value: Any) -> None:
    try:
        found = number(0, "seconds")(FILE, value)
    except ConfigError:
        return
    assert found == float(value)
    assert 0 <= found < float("inf")


@pytest.mark.parametrize(
    ("section", "value", "expected"),
    [
        ("server", None, {}),
        ("server", {"port": "0", "host": None}, {"port": 0}),
        (
            "server",
            {"reload": "on", "workers": 2, "timeout_graceful": "1.5", "proxy": "10.0.0.1, ::1"},
            {"reload": True, "workers": 2, "timeout_graceful": 1.5, "proxy": ["10.0.0.1", "::1"]},
        ),
        ("server", {"proxy": False, "uvicorn": {}}, {"proxy": [], "uvicorn": {}}),
        (
            "server",
            {"uvicorn": {"log_level": "info", "backlog": 5}},
            {"uvicorn": {"log_level": "info", "backlog": 5}},
        ),
        ("plugins", {"auth": None, "logging": {"before": False}, "env": True, "pydantic": False}, {
            "auth": {}, "logging": {"before": False}, "env": {},
        }),
        ("plugins", "auth, env", {"auth": {}, "env": {}}),
        ("plugins", ["auth"], {"auth": {}}),
        ("openapi", {"title": "Shop", "version": "1.10", "license": {"name": "MIT"}}, {
            "title": "Shop", "version": "1.10", "license": {"name": "MIT"},
        }),
        ("databases", {"default": {"genropy_app": "sourcerer"}}, {"default": {"genropy_app": "sourcerer"}}),
        ("storage", {"mounts": {"a": "data", "b": {"path": "x"}}, "encrypted": "no"}, {
            "mounts": {"a": {"type": "local", "path": "data"}, "b": {"type": "local", "path": "x"}}, "encrypted": False,
        }),
        ("storage", {"mounts": [{"name": "a", "type": "local", "path": "data"}]}, {
            "mounts": {"a": {"type": "local", "path": "data"}},
        }),
        ("auth", {"default_deny": "on", "basic": {"ada": {"password": "p", "tags": "a, b"}}}, {
            "default_deny": True, "basic": {"ada": {"password": "p", "tags": ["a", "b"]}},
        }),
        ("auth", {"bearer": {"ci": {"token": "t", "tags": ["a"]}}}, {"bearer": {"ci": {"token": "t", "tags": ["a"]}}}),
        ("auth", {"jwt": {"main": {"public_key": "k", "exp": 60}}}, {"jwt": {"main": {"public_key": "k", "exp": 60}}}),
        ("auth", {"api_keys": {"x": 1}, "users": "users.yaml"}, {"api_keys": {"x": 1}, "users": "users.yaml"}),
        ("session", {"store": "SQLite", "ttl": 60, "secure": 1, "samesite": "Lax"}, {
            "store": "sqlite", "ttl": 60.0, "secure": True, "samesite": "lax",
        }),
        ("limits", {"max_body": "1 MiB", "body_timeout": None}, Limits(max_body=1024 * 1024, body_timeout=None)),
        ("limits", None, Limits()),
        ("executors", {"pdf": {"max_workers": 2, "on_overload": "wait", "timeout": 3, "initializer": "m:f"}}, {
            "pdf": {"kind": "process", "max_workers": 2, "on_overload": "wait", "timeout": 3.0, "initializer": "m:f"},
        }),
        ("executors", {"a": {"on_cancel": "kill", "max_tasks_per_worker": 9, "max_rss_per_worker": 1 << 30}}, {
            "a": {"kind": "process", "on_cancel": "kill", "max_tasks_per_worker": 9, "max_rss_per_worker": 1 << 30},
        }),
        ("executors", {"handlers": {"max_workers": "4"}, "a": {"kind": "local"}, "b": None}, {
            "handlers": {"kind": "thread", "max_workers": 4}, "a": {"kind": "process"}, "b": {"kind": "process"},
        }),
        ("nats", {"url": "nats://a, nats://b", "queue": "q"}, {"url": ["nats://a", "nats://b"], "queue": "q"}),
        ("websocket", {"origins": "*", "max_in_flight": 8, "heartbeat": 20, "compression": False}, {
            "origins": ["*"], "max_in_flight": 8, "heartbeat": 20.0, "compression": False,
        }),
        ("logging", {"level": "INFO", "format": "json", "slow_ms": 250}, {
            "level": "info", "format": "json", "slow_ms": 250.0,
        }),
        ("metrics", "on", True),
        ("otel", 0, False),
    ],
)  # fmt: skip
def test_what_each_section_takes(section: str, value: Any, expected: Any) -> None:
    assert check(section, value) == expected


@pytest.mark.parametrize(
    ("section", "value", "said"),
    [
        ("server", [], "server: [] is not valid; write a mapping (name: value)."),
        ("server", {"prot": 1}, "server.prot: unknown key, did you mean 'port'; allowed are host, main_app, port, "),
        ("server", {8000: 1}, "server: the key 8000 is not a text; put it in quotes."),
        ("server", {"port": "abc"}, "server.port: 'abc' is not valid; write a whole number from 0 to 65535."),
        ("server", {"port": True}, "server.port: True is not valid; "),
        ("server", {"port": 8000.0}, "server.port: 8000.0 is not valid; "),
        ("server", {"port": "80_00"}, "server.port: '80_00' is not valid; "),
        ("server", {"port": "9" * 5000}, "server.port: '999"),
        ("server", {"workers": 0}, "server.workers: 0 is not valid; write a whole number of 1 or more."),
        ("server", {"reload": "maybe"}, "server.reload: 'maybe' is not valid; write on or off."),
        ("server", {"host": ""}, "server.host: '' is not valid; write a text."),
        ("server", {"host": 127}, "server.host: 127 is not valid; write a text, in quotes if it looks like something"),
        ("server", {"timeout_graceful": float("nan")}, "server.timeout_graceful: nan is not valid; write seconds, "),
        ("server", {"proxy": [1]}, "server.proxy: 1 is not valid; write a text"),
        ("server", {"proxy": 1}, "server.proxy: 1 is not valid; write a list of texts"),
        ("server", {"uvicorn": {"port": 1}}, "server.uvicorn.port: has its own key; write it as server.port."),
        ("server", {"uvicorn": {"log_levl": 1}}, "server.uvicorn.log_levl: unknown key, did you mean 'log_level'; "),
        (
            "server",
            {"uvicorn": {"timeout_graceful_shutdown": 1}},
            "server.uvicorn.timeout_graceful_shutdown: has its own key; write it as server.timeout_graceful.",
        ),
        ("main_app", 5, "main_app: 5 is not valid; "),
        ("plugins", {"auth": "perhaps"}, "plugins.auth: 'perhaps' is not valid; write on or off."),
        ("plugins", 3, "plugins: 3 is not valid; write a mapping"),
        ("openapi", {"version": 1.1}, "openapi.version: 1.1 is not valid; write a text, in quotes if"),
        ("openapi", {"contact": {"mail": "x"}}, "openapi.contact.mail: unknown key, did you mean 'email'; "),
        ("databases", {"default": {"genropy": "x"}}, "databases.default.genropy: unknown key, did you mean "),
        ("storage", {"mounts": {"a": {}}}, "storage.mounts.a: path is missing; write it."),
        ("storage", {"mounts": {"a": {"path": "x", "type": "s3"}}}, "storage.mounts.a.type: 's3' is not valid; "),
        ("storage", {"mounts": [{"path": "x"}]}, "storage.mounts[0]: its name is missing; write it."),
        (
            "storage",
            {"mounts": [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]},
            "storage.mounts[1]: name 'a' is taken.",
        ),
        ("auth", {"basic": {"ada": {"tags": "a"}}}, "auth.basic.ada: password is missing; write it."),
        ("auth", {"jwt": {"main": {}}}, "auth.jwt.main: secret or public_key is missing; write it."),
        ("session", {"store": "redis"}, "session.store: 'redis' is not valid; write one of memory, file, sqlite, "),
        ("limits", {"max_bdy": 1}, "limits.max_bdy: unknown key, did you mean 'max_body'; allowed are body_timeout, "),
        ("limits", {"max_body": "lots"}, "limits.max_body: 'lots' is not a size; "),
        ("executors", {"pdf": {"workers": 1}}, "executors.pdf.workers: unknown key, did you mean 'max_workers'; "),
        (
            "executors",
            {"files": {"kind": "process"}},
            "executors.files.kind: the files pool is made of threads; name another pool.",
        ),
        (
            "executors",
            {"files": {"bypass": True}},
            "executors.files.bypass: the files pool is there to keep the loop free; leave it out.",
        ),
        (
            "executors",
            {"files": {"max_tasks_per_worker": 9}},
            "executors.files.max_tasks_per_worker: threads cannot be replaced; leave it out, or write kind: process.",
        ),
        (
            "executors",
            {"a": {"kind": "thread", "on_cancel": "kill"}},
            "executors.a.on_cancel: threads cannot be replaced; leave it out, or write kind: process.",
        ),
        ("executors", {"a": {"timeout": 0}}, "executors.a.timeout: 0 is not valid; write seconds, a number of 0.001"),
        ("websocket", {"max_in_flight": 0}, "websocket.max_in_flight: 0 is not valid; "),
        ("logging", {"level": "loud"}, "logging.level: 'loud' is not valid; write one of debug, info, warning, "),
        ("metrics", {}, "metrics: {} is not valid; write on or off."),
    ],
)
def test_what_is_wrong_is_said_in_one_line(section: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(section, value)
    assert str(caught.value).startswith(f"site.yaml: {said}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("auth", {"basic": {"ada": "hunter2"}}),
        ("auth", {"basic": {"ada": {"password": ["hunter2"]}}}),
        ("auth", {"bearer": "hunter2"}),
        ("auth", {"jwt": {"main": {"secret": ["hunter2"]}}}),
        ("nats", {"password": ["hunter2"]}),
        ("nats", {"url": {"nats": "hunter2"}}),
        ("databases", {"default": {"params": "hunter2"}}),
    ],
)
def test_an_error_shows_no_secret(section: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        check(section, value)
    assert "hunter2" not in str(caught.value)
    assert (
        " a str is not valid" in str(caught.value)
        or " a list is not valid" in str(caught.value)
        or (" a dict is not valid" in str(caught.value))
    )


def test_a_long_value_is_shown_short() -> None:
    with pytest.raises(ConfigError) as caught:
        check("server", {"port": "x\n" * 10_000})
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)
