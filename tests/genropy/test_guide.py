"""Each command of the guide does what the guide says."""

import re
import shlex
from pathlib import Path

import pytest
from genropy_sites import Home, free_port
from test_same_answers import ask

GUIDE = Path(__file__).parents[2] / "docs/how-to/genropy.md"
README = Path(__file__).parents[2] / "packages/genropy-asgi/README.md"
SITE = "mysite"


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"^```text\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


COMMANDS = list(dict.fromkeys(commands(GUIDE) + commands(README)))
SERVING = [line for line in COMMANDS if "gnrasgiserve" in line]
OTHERS = [line for line in COMMANDS if "gnrasgiserve" not in line]


@pytest.fixture(scope="module")
def site(home: Home) -> Path:
    home.add_site(SITE)
    return home.instance(SITE)


@pytest.mark.parametrize("line", SERVING)
def test_a_command_that_serves(line: str, home: Home, site: Path) -> None:
    words = shlex.split(line)
    variables = dict(word.split("=", 1) for word in words[: words.index("gnrasgiserve")])
    port = free_port()
    words = [word.replace("9000", str(port)) for word in words[words.index("gnrasgiserve") :]]
    variables = {"GNR_WSGI_OPT_port": str(port)} | {k: v.replace("9000", str(port)) for k, v in variables.items()}
    served = home.serve(*words, port=port, **variables)
    try:
        targets = [match[1] for other in OTHERS if (match := re.fullmatch(r"curl http://localhost:8080(\S+)", other))]
        assert targets == ["/index", "/_server/info"]
        assert [ask(served, "GET", target).status for target in targets] == [200, 200]
    finally:
        served.interrupt() if "--reload" in words else None
        served.stop()


def test_there_is_no_other_command() -> None:
    known = ["python -m genropy_asgi.run_gnr web daemon", "curl http://localhost:8080/index"]
    assert [*known, "curl http://localhost:8080/_server/info"] == OTHERS


def test_the_examples(home: Home, site: Path) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    files = re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", text, re.M | re.S)
    for name, content in files:
        folder, _, file = name.partition("/")
        target = site if folder == SITE else home.path / "guide" / folder
        home.write(f"{target}/{file}", content.replace("8082", "{0}").replace("8083", "{1}"))
    assert [name for name, _ in files][-1] == "legacy/run.py"
    served = home.serve("gnrasgiserve", SITE, "-p", "{port}", "-H", "127.0.0.1")
    assert ask(served, "GET", "/shop/price?amount=21").body == b'{"price":42}'
    served.stop()
    for folder, target, body in (
        ("data", "/notes/users", b"[]"),
        ("legacy", "/legacy/_site/small.css", b"body{color:#123}\n"),
    ):
        port = free_port()
        script = home.path / "guide" / folder / "run.py"
        script.write_text(script.read_text().replace("{0}", str(port)).replace("{1}", str(port)))
        served = home.serve("python", "run.py", port=port, cwd=script.parent)
        assert ask(served, "GET", target).body == body, served.printed
        assert served.stop() == 0


def test_the_options_of_the_guide_are_those_of_the_command(home: Home) -> None:
    table = GUIDE.read_text(encoding="utf-8").partition("## Options")[2].partition("An option comes")[0]
    told = set(re.findall(r"--[a-z][\w-]*|-[a-zA-Z]\b(?=`)", table))
    shown = set(re.findall(r"--[a-z][\w-]*|(?<![\w-])-[a-zA-Z]\b", home.run("gnrasgiserve", "--help").stdout))
    assert told - shown == set()
    # Those every command of GenroPy has.
    assert shown - told == {"-h", "--help", "--version", "--timeit", "--loglevel", "--debug"}
