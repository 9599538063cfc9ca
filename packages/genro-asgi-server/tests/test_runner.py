"""What run() makes of a server's settings, and what it refuses before a port is taken."""

import json
from pathlib import Path
from typing import Any

import pytest

from genro_asgi.exceptions import ConfigError
from genro_asgi.server.runner import describe, make_config, run
from genro_asgi.server.server import AsgiServer


@pytest.mark.parametrize(
    ("proxy", "options", "expected"),
    [
        (None, {}, False),
        ([], {}, False),
        ("10.0.0.1, ::1", {}, True),
        ("10.0.0.1", {"proxy_headers": False}, False),
        (None, {"proxy_headers": True}, True),
        (None, {"forwarded_allow_ips": "10.0.0.1"}, True),
        (None, {"proxy_headers": False, "forwarded_allow_ips": "10.0.0.1"}, False),
    ],
)
def test_forwarded_headers_are_believed_when_somebody_asked_for_it(
    proxy: Any, options: dict[str, Any], expected: bool, tmp_path: Path
) -> None:
    server = AsgiServer(tmp_path, proxy=proxy)
    assert make_config(server, "127.0.0.1", 0, options).proxy_headers is expected


def test_the_proxies_are_those_of_the_configuration(tmp_path: Path) -> None:
    config = make_config(AsgiServer(tmp_path, proxy="10.0.0.1, ::1"), "127.0.0.1", 0, {})
    assert config.forwarded_allow_ips == ["10.0.0.1", "::1"]


def test_an_unknown_main_app_is_told_before_the_port_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=r"main_app: no application 'blog' is mounted; there is none\."):
        run(AsgiServer(tmp_path, main_app="blog"), "127.0.0.1", 0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("wanted", [True, False])
def test_workers_are_told_whether_there_is_an_access_log(wanted: bool, tmp_path: Path) -> None:
    server = AsgiServer(tmp_path)
    make_config(server, "127.0.0.1", 0, {"access_log": wanted})
    assert json.loads(describe(server))["access_log"] is wanted
