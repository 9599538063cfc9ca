"""The way to GenroPy: its modules are found at run time, never when ours are imported."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from genro_asgi.exceptions import ConfigError

__all__ = ["found", "make_site", "no_root_py", "said_in_one_line", "spare_api_dispatcher"]

_API_DISPATCHER = "gnr.web.gnrwsgisite_proxy.gnrapidispatcher"


def found(name: str) -> Any:
    """A module of GenroPy, or of what GenroPy brings; ConfigError tells how to get it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # it is there, and misses something itself
        top = name.partition(".")[0]
        wanted = '"genropy-asgi[genropy]"' if top == "gnr" else top
        raise ConfigError(f"{name} is not installed in {sys.prefix}: pip install {wanted}") from None


def spare_api_dispatcher() -> None:
    """Let sites be made beside a genro-routes that GenroPy's dispatcher of `/_api` cannot use.

    While a site is made it calls genro-routes as before 0.23. Switched off, `/_api` answers 501, as it does where
    genro-routes is not installed.
    """
    try:
        dispatcher: Any = import_module(_API_DISPATCHER)
    except ModuleNotFoundError:
        return  # only some releases have it
    if getattr(dispatcher, "HAS_GENRO_ROUTES", False):
        try:
            dispatcher._ApiRouterOwner()
        except TypeError:
            dispatcher.HAS_GENRO_ROUTES = False


@contextmanager
def said_in_one_line(site_name: str) -> Iterator[None]:
    """Turn what GenroPy raises for a site it cannot find or serve into a ConfigError of one line."""
    pathresolver = found("gnr.app.pathresolver")
    try:
        yield
    except pathresolver.EntityNotFoundException as error:
        raise _no_site(pathresolver, str(error)) from error
    except found("Pyro4.errors").PyroError as error:
        raise ConfigError(
            f"the register daemon does not answer for {site_name!r} ({error}): start it with `gnr web daemon`, "
            "or serve with --register=local."
        ) from error
    except Exception as error:
        # The first call that needs a configuration folder raises this, and its text is all that tells it apart.
        if str(error) == "Missing genro configuration":
            raise no_configuration() from error
        raise


def no_root_py(name: str, folder: str) -> ConfigError:
    """The error of a site without the script that makes it one."""
    return ConfigError(f"no root.py in site {name!r}: put one into {folder} or the folder above.")


def _no_site(pathresolver: Any, text: str) -> ConfigError:
    match = re.search(r"(\w+) (\S+) not found", text)
    if match is None:
        return ConfigError(text)
    kind, name = match[1], match[2]
    if kind == "site":
        # Without root.py GenroPy does not see that an instance is a site.
        with suppress(pathresolver.EntityNotFoundException):
            return no_root_py(name, pathresolver.PathResolver().instance_name_to_path(name))
    return ConfigError(f"{kind} {name!r} not found: no project of environment.xml has it.")


def no_configuration() -> ConfigError:
    """The error of a machine where GenroPy finds no configuration folder."""
    folder = found("gnr.core.gnrconfig").gnrConfigPath() or "~/.gnr or /etc/gnr"
    hint = ""
    if "VIRTUAL_ENV" in os.environ and "GENRO_GNRFOLDER" not in os.environ:
        hint = "; VIRTUAL_ENV makes GenroPy look there, GENRO_GNRFOLDER names another folder"
    return ConfigError(f"no ~/.gnr/ found: create environment.xml with the paths of GenroPy in {folder}{hint}.")


def make_site(script_or_name: str, site_name: str, **options: Any) -> Any:
    """A GnrWsgiSite. GenroPy keeps the site in a global of its own: ConfigError when this process has another one."""
    with said_in_one_line(site_name):
        wsgisite = found("gnr.web.gnrwsgisite")
        spare_api_dispatcher()
        there = getattr(wsgisite, "GNRSITE", None)
        name = site_name.partition(":")[0]
        if there is not None and there.site_name != name:
            raise ConfigError(f"site {name!r}: this process serves {there.site_name!r}, and one process has one site.")
        return wsgisite.GnrWsgiSite(script_or_name, site_name=site_name, **options)
