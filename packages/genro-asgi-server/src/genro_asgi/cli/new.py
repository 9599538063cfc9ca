"""`genro-asgi new`: the files of a site that runs, with a test."""

import keyword
import re
from importlib.resources import files
from pathlib import Path

import click

__all__ = ["new"]

#: Template by target, where {name} is the name of the site.
_FILES = {
    "config.yaml": "config.yaml.txt",
    "{name}_app.py": "app.py.txt",
    "tests/test_site.py": "test_site.py.txt",
    "README.md": "README.md.txt",
}
_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


@click.command()
@click.argument("name")
def new(name: str) -> None:
    """Make the directory NAME with a site that runs: config.yaml, an app, a test, a README."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise click.UsageError(
            f"{name!r} is no name for a site; write lower-case letters, digits and _, beginning with a letter."
        )
    directory = Path(name)
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise click.ClickException(f"{directory} is there and not empty; choose another name or empty it.")
        written = _write(directory, name)
    except OSError as error:
        raise click.ClickException(f"Cannot write {error.filename or directory}: {error.strerror}.") from error
    click.echo(f"{directory}: {', '.join(written)}")
    click.echo(f"Serve it:  genro-asgi serve {name}")
    click.echo(f"Test it:   python -m pytest {name}")


def _write(directory: Path, name: str) -> list[str]:
    templates = files("genro_asgi.cli") / "templates"
    written = []
    for target, template in _FILES.items():
        target = target.format(name=name)
        text = (templates / template).read_text(encoding="utf-8")
        path = directory / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("@name@", name), encoding="utf-8")
        written.append(target)
    return written
