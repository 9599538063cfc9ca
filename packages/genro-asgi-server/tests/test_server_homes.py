"""The places names of the server may be imported from besides their home modules."""

import importlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("place", "name", "home"),
    [
        ("server", "AsgiServer", "server.server"),
        ("server", "ServerConfig", "server.server_config"),
        ("server", "Dispatcher", "server.dispatcher"),
        ("routers", "StaticRouter", "routers.static_router"),
        ("applications", "AsgiApplication", "applications.asgi"),
        ("authentication", "BasicAuthMixin", "authentication.basic"),
        ("middleware.limits", "RequestBodyLimitMiddleware", "middleware.body_limit"),
        ("middleware.base", "BaseHTTPMiddleware", "middleware.base_http"),
        ("middleware.errors", "ServerErrorMiddleware", "middleware.exceptions"),
    ],
)
def test_a_name_is_the_same_from_both(place: str, name: str, home: str) -> None:
    found = getattr(importlib.import_module(f"genro_asgi.{place}"), name)
    assert found is getattr(importlib.import_module(f"genro_asgi.{home}"), name)


@pytest.mark.parametrize("place", ["server", "middleware.limits"])
def test_other_names_are_not_there(place: str) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = importlib.import_module(f"genro_asgi.{place}").Nonsense


def test_the_package_of_the_server_costs_nothing_before_a_name_is_asked_for() -> None:
    code = "import sys, genro_asgi.server; print([m for m in sys.modules if m.startswith(('genro_routes', 'asyncio'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
