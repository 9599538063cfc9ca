import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from genro_asgi.cli import main


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs `genro-asgi new` in an empty directory; gives its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def new(name: str) -> str:
        with pytest.raises(SystemExit) as left:
            main(["new", name])
        printed = capsys.readouterr()
        return f"{left.value.code} {printed.out or printed.err}"

    return new


def test_the_files_of_a_new_site(new: Callable[..., str], tmp_path: Path) -> None:
    assert new("my_shop2") == (
        "0 my_shop2: config.yaml, my_shop2_app.py, tests/test_site.py, README.md\n"
        "Serve it:  genro-asgi serve my_shop2\n"
        "Test it:   python -m pytest my_shop2\n"
    )
    site = tmp_path / "my_shop2"
    files = sorted(str(path.relative_to(site)) for path in site.rglob("*") if path.is_file())
    assert files == ["README.md", "config.yaml", "my_shop2_app.py", "tests/test_site.py"]
    for path in files:
        text = (site / path).read_text(encoding="utf-8")
        assert "@name@" not in text
        assert "my_shop2" in text
        if path.endswith(".py"):
            ast.parse(text)
    assert list(yaml.safe_load((site / "config.yaml").read_text(encoding="utf-8"))["apps"]) == ["my_shop2"]


@pytest.mark.parametrize("name", ["Shop", "1shop", "my-shop", "a/b", "../a", "", "class", "é", "_x", "."])
def test_a_name_that_is_none(new: Callable[..., str], tmp_path: Path, name: str) -> None:
    assert new(name) == (
        f"2 Error: {name!r} is no name for a site; write lower-case letters, digits and _, beginning with a letter.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(new: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for name in ("shop", "file"):
        assert new(name) == f"2 Error: {name} is there and not empty; choose another name or empty it.\n"
    assert [path.name for path in (tmp_path / "shop").iterdir()] == ["notes.txt"]


def test_an_empty_directory_is_filled(new: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    assert new("shop").startswith("0 shop: config.yaml, ")


def test_a_place_nobody_may_write(new: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert new("shop") == "2 Error: Cannot write shop: Permission denied.\n"
