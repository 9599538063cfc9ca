"""Sphinx settings: prose in MyST Markdown, the reference from the docstrings."""

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

project = "genro-asgi"
author = "Softwell S.r.l."
project_copyright = "2025-2026, Softwell S.r.l."
release = tomllib.loads((ROOT / "packages/genro-asgi/pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"genro-asgi {release}"
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
suppress_warnings = [
    "ref.python"
]  # an annotation names a class by its last name, and there is a Response in two packages


def as_rst(lines: list[str]) -> list[str]:
    """Our docstrings as reStructuredText: they are plain text, with `code` in single backticks and drawings."""
    found: list[str] = []
    for paragraph in "\n".join(lines).strip("\n").split("\n\n"):
        if re.search(r"^[ │├└]", paragraph, re.MULTILINE):
            found += [".. code-block:: text", "", *(f"   {line}" for line in paragraph.splitlines()), ""]
        else:
            pieces = re.split(r"(`+[^`]+`+)", paragraph)
            text = "".join(f"``{p.strip('`')}``" if p[:1] == "`" else re.sub(r"([*|_\\])", r"\\\1", p) for p in pieces)
            found += [*text.splitlines(), ""]
    return found


def process_docstring(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Rewrite one docstring in place, as autodoc asks."""
    lines[:] = as_rst(lines)


def setup(app: Any) -> None:
    """Plug the docstring reader into autodoc."""
    app.connect("autodoc-process-docstring", process_docstring)
