"""The reference pages name every key and every option there is."""

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from genro_asgi.cli import _group
from genro_asgi.limits import Limits
from genro_asgi.server.config_layers import _FLAT
from genro_asgi.server.config_schema import BUILTIN_POOLS, DEFAULTS, SECTIONS, SERVER_FIELDS

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"


def section_of(page: str, heading: str) -> str:
    """A section of a page, without those after it."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    match = re.search(rf"^##+ {re.escape(heading)}.*?(?=^## |\Z)", text, re.M | re.S)
    assert match, f"{page} has no section {heading}"
    return match[0]


@pytest.mark.parametrize("name", sorted({*SECTIONS, "apps", "sys_apps", "middleware"}))
def test_every_section_is_in_a_heading(name: str) -> None:
    headings = re.findall(r"^##+ (.*)$", (REFERENCE / "configuration.md").read_text(encoding="utf-8"), re.M)
    assert [heading for heading in headings if f"`{name}`" in heading]


def test_every_field_of_server_has_its_row() -> None:
    section = section_of("configuration.md", "`server`")
    defaults = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \|", section, re.M))
    assert set(defaults) == set(SERVER_FIELDS)
    shown = {"reload": "off", "proxy": "none", "timeout_graceful": "`30`"}
    for name, value in DEFAULTS["server"].items():
        assert defaults[name] == shown.get(name, f"`{value}`")


def test_every_limit_has_its_row() -> None:
    section = section_of("configuration.md", "`limits`")
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section, re.M))
    assert list(rows) == [field.name for field in fields(Limits)]
    for name, default in rows.items():
        assert getattr(Limits.from_mapping({name: default}), name) == getattr(Limits(), name)


def test_every_variable_of_the_environment_has_its_row() -> None:
    section = section_of("configuration.md", "Where values come from")
    assert set(re.findall(r"^\| `GENRO_ASGI_(\w+)`", section, re.M)) == {name.upper() for name in _FLAT}


def test_every_pool_is_named_with_its_size() -> None:
    section = section_of("configuration.md", "`executors`")
    for name, pool in BUILTIN_POOLS.items():
        assert re.search(rf"`{name}` \([\w ]*, {pool['max_workers']}( threads)?\)", section)


@pytest.mark.parametrize("name", sorted(_group.commands))
def test_every_option_of_a_command_is_there(name: str) -> None:
    section = section_of("command-line.md", f"`genro-asgi {name}")
    for parameter in _group.commands[name].params:
        if isinstance(parameter, click.Option):
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert re.search(rf"`{option}[ `]", section), option
        else:
            assert parameter.human_readable_name.strip("[]") in section
