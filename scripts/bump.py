"""Gives the whole workspace one new version: `hatch run bump 1.0.1`."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FACADE = Path("packages/genro-asgi/src/genro_asgi/__init__.py")
SIBLING = r'"genro(?:py)?-asgi[\w-]*(?:\[[\w,-]+\])?(?:==|~=)(?P<old>[^"]+)"'
RULES = {
    "pyproject.toml": (r'^version = "(?P<old>[^"]+)"', SIBLING),
    "__init__.py": (r'^__version__ = "(?P<old>[^"]+)"',),
}


def versioned_files(root: Path) -> list[Path]:
    """Every file that states the version: the pyproject of each package, and the facade."""
    return [*sorted(root.glob("packages/*/pyproject.toml")), root / FACADE]


def rewrite(text: str, patterns: tuple[str, ...], version: str) -> tuple[str, int]:
    """The text with `version` wherever a pattern finds one, and how many it found."""
    found = 0
    for pattern in patterns:
        text, count = re.subn(pattern, lambda match: match[0].replace(match["old"], version), text, flags=re.MULTILINE)
        found += count
    return text, found


def bump(root: Path, version: str) -> int:
    """Write `version` everywhere below `root`; how many places were rewritten."""
    total = 0
    for path in versioned_files(root):
        text, count = rewrite(path.read_text(encoding="utf-8"), RULES[path.name], version)
        path.write_text(text, encoding="utf-8")
        total += count
    return total


def main(argv: list[str]) -> int:
    """The command: one argument, the version as MAJOR.MINOR.PATCH."""
    if len(argv) != 1 or not re.fullmatch(r"\d+\.\d+\.\d+", argv[0]):
        print("usage: hatch run bump MAJOR.MINOR.PATCH", file=sys.stderr)
        return 2
    print(f"{bump(ROOT, argv[0])} places now say {argv[0]}; add its section to CHANGELOG.md,")
    print("then run `hatch env remove default` so that the development environment notices.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
