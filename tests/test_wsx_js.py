"""wsx.js in Node: the vectors of the protocol, its declarations, and everything it does against a real server."""

import json
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
WSX = ROOT / "packages" / "genro-asgi-wsx"
MODULE = WSX / "src" / "genro_asgi" / "wsx" / "static" / "wsx.js"
CHECKS = ROOT / "tests" / "js" / "checks.mjs"

CASES = CHECKS.with_name("client.mjs")
RESUME = CHECKS.with_name("resume.mjs")


def names_in(path: Path) -> list[str]:
    return re.findall(r'^  async "(.+)"\(', path.read_text(encoding="utf-8"), re.MULTILINE)


NAMES = names_in(CHECKS)


def run(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=50, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_vectors(node: list[str]) -> None:
    passed, skipped, failed = map(int, re.findall(r"\d+", run([*node, str(WSX / "vectors" / "run.mjs")])))
    assert (passed >= 233, skipped <= 90, failed) == (True, True, 0)


def test_the_vectors_can_fail(node: list[str], tmp_path: Path) -> None:
    home = tmp_path / "vectors"
    home.mkdir()
    script = (WSX / "vectors" / "run.mjs").read_text(encoding="utf-8")
    (home / "run.mjs").write_text(script.replace("../src/genro_asgi/wsx/static/wsx.js", MODULE.as_uri()))
    (home / "values.json").write_text('[{"name": "wrong", "value": {"$N": "1.0"}, "text": "1::N"}]')
    (home / "session.json").write_text('[{"name": "silent", "steps": [{"out": [{"id": "1"}]}]}]')
    result = subprocess.run(
        [*node, str(home / "run.mjs"), "values.json", "session.json"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "0 passed, 0 skipped, 2 failed"


@pytest.fixture(scope="module")
def in_node(node: list[str], wsx_site: Any) -> dict[str, str | None]:
    """What became of each check in one process of Node."""
    results: dict[str, str | None] = json.loads(
        run([*node, str(CHECKS.with_name("node.mjs")), MODULE.as_uri(), CHECKS.as_uri(), wsx_site.url])
    )
    return results


@pytest.mark.parametrize("name", NAMES)
def test_in_node(in_node: dict[str, str | None], name: str) -> None:
    assert in_node[name] is None


def test_every_check_is_seen(in_node: dict[str, str | None]) -> None:
    assert list(in_node) == NAMES
    assert len(NAMES) >= 24


@pytest.fixture(scope="module")
def cut_in_node(node: list[str], wsx_site: Any, cut_site: tuple[str, str]) -> dict[str, str | None]:
    script = str(CHECKS.with_name("node.mjs"))
    url, cut_url = cut_site
    urls = [url, wsx_site.url, cut_url]
    results: dict[str, str | None] = json.loads(run([*node, script, MODULE.as_uri(), RESUME.as_uri(), *urls]))
    return results


@pytest.mark.parametrize("name", names_in(RESUME))
def test_sessions_go_on_in_node(cut_in_node: dict[str, str | None], name: str) -> None:
    assert cut_in_node[name] is None


def test_the_declarations_name_what_there_is(node: list[str]) -> None:
    script = """
      const module = await import(process.argv[1]);
      const methods = (name) => Object.getOwnPropertyNames(module[name].prototype);
      console.log(JSON.stringify([Object.keys(module).sort(), methods("WsxClient"), methods("Session")]));
    """
    exports, client, session = json.loads(run([*node, "--input-type=module", "-e", script, MODULE.as_uri()]))
    declared = MODULE.with_suffix(".d.ts").read_text(encoding="utf-8")
    assert exports == sorted(re.findall(r"^export (?:class|function) (\w+)", declared, re.MULTILINE))
    for name, methods in {"WsxClient": client, "Session": session}.items():
        body = declared.partition(f"export class {name} ")[2].partition("\n}")[0]
        assert set(methods) <= set(re.findall(r"^  (?:readonly )?(\w+)", body, re.MULTILINE))


@pytest.fixture(scope="module")
def on_fake_sockets(node: list[str]) -> dict[str, str | None]:
    results: dict[str, str | None] = json.loads(run([*node, "--no-warnings", str(CASES), MODULE.as_uri()]))
    return results


@pytest.mark.parametrize("name", names_in(CASES))
def test_the_client(on_fake_sockets: dict[str, str | None], name: str) -> None:
    assert on_fake_sockets[name] is None


def test_the_wheel_holds_it(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["genro-asgi-wsx"]) as wheel:
        assert wheel.read("genro_asgi/wsx/static/wsx.js") == MODULE.read_bytes()
        assert wheel.read("genro_asgi/wsx/static/wsx.d.ts") == MODULE.with_suffix(".d.ts").read_bytes()
