"""What the README and the docs show is true: every code block runs, and a shown answer is the answer.

A page is one story, told in a directory of its own, from top to bottom:

- a block that opens with a comment naming a file (`# shop/config.yaml`) is that file;
- other Python runs in one namespace per page, `pycon` as a doctest, other YAML is checked as a configuration;
- a `console` block is typed: `$ genro-asgi serve` and `$ python x.py` start a server on a free port, which the curl
  calls below it ask; what stands under a command is what it prints, with `...` for anything;
- the `javascript` blocks of a page are one module, run by Node in the end; what `console.log` is shown to print, in a
  comment behind it, is what it prints.
"""

import argparse
import doctest
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

import genro_asgi
import genro_asgi.wsx
from genro_asgi.exceptions import ConfigError
from genro_asgi.server.server_config import ServerConfig

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "packages/*/README.md", "scripts/*.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
    if "_build" not in path.parts
)
FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)(?P=fence)$", re.M | re.S
)
FILE_NAME = re.compile(r"# (?P<name>[\w./-]+\.\w+)\n")
UNCHECKED = {"text", ""}
CURL = argparse.ArgumentParser("curl", exit_on_error=False)
CURL.add_argument("url")
CURL.add_argument("-X", dest="method")
CURL.add_argument("-H", dest="headers", action="append", default=[])
CURL.add_argument("-d", dest="data")
CURL.add_argument("--json")
CURL.add_argument("-u", dest="user")


class Block(NamedTuple):
    """One fenced block: its language, its text and the line its text begins on."""

    language: str
    text: str
    line: int

    @property
    def file_name(self) -> str | None:
        match = FILE_NAME.match(self.text)
        return match["name"] if match else None


def blocks_of(page: Path) -> list[Block]:
    """The code blocks of a page; directives such as {toctree} are Sphinx's business."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        language = match["info"].strip()
        if not language.startswith("{"):
            lines = [line.removeprefix(match["indent"]) for line in match["body"].splitlines(keepends=True)]
            found.append(Block(language, "".join(lines), text.count("\n", 0, match.start("body")) + 1))
    return found


class Command(NamedTuple):
    """One typed line of a console block, and what it is shown to print."""

    words: list[str]
    shown: str


def commands_of(block: Block) -> list[Command]:
    """The commands of a console block; a line that ends in a backslash goes on in the next."""
    found: list[Command] = []
    for piece in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, _, shown = piece.replace("\\\n", " ").partition("\n")
        found += [Command(shlex.split(part), "") for part in line.split(" && ")]
        found[-1] = found[-1]._replace(shown=shown.strip("\n"))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Story:
    """One page being told: its directory, its Python namespace, and the server it started last."""

    def __init__(self, page: Path, directory: Path) -> None:
        self.page = page
        self.directory = directory
        self.namespace: dict[str, Any] = {"__name__": "docs"}
        self.port = free_port()
        self.server: subprocess.Popen[str] | None = None
        self.javascript = ""
        scripts = str(Path(sys.executable).parent)
        self.env = os.environ | {
            "PATH": os.pathsep.join([scripts, os.environ["PATH"]]),
            "HOME": str(directory),
            "GENRO_ASGI_PORT": str(self.port),
        }

    def tell(self, block: Block) -> None:
        if block.language in UNCHECKED:
            return
        if block.file_name:
            path = self.directory / block.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.on_port(block.text), encoding="utf-8")
        action = getattr(self, f"tell_{block.language}", None)
        assert action is not None, f"{self.page}:{block.line}: nobody can check a {block.language!r} block"
        action(block)

    def tell_python(self, block: Block) -> None:
        code = compile("\n" * (block.line - 1) + self.on_port(block.text), str(self.page), "exec")
        if not block.file_name:
            exec(code, self.namespace)

    def tell_pycon(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(
            block.text, self.namespace, self.page.name, str(self.page), block.line - 1
        )
        doctest.DebugRunner(optionflags=doctest.ELLIPSIS).run(test, clear_globs=False)
        self.namespace |= test.globs

    def tell_json(self, block: Block) -> None:
        json.loads(block.text)

    def tell_toml(self, block: Block) -> None:
        tomllib.loads(block.text)

    def tell_yaml(self, block: Block) -> None:
        """A named file is checked where it lies, the rest as the configuration of an empty site."""
        name = block.file_name or "fragment/config.yaml"
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.on_port(block.text), encoding="utf-8")
        if path.name == "config.yaml":
            ServerConfig(path.parent)
        else:
            yaml.safe_load(block.text)

    def tell_javascript(self, block: Block) -> None:
        self.javascript += block.text

    def run_javascript(self, node: list[str]) -> None:
        """Run the module of the page; its paths are those of the server it started."""
        client = (Path(genro_asgi.wsx.__file__).parent / "static" / "wsx.js").as_uri()
        code = self.javascript.replace('"/_server/resource/wsx.js"', json.dumps(client))
        code = code.replace('connect("/"', f'connect("http://127.0.0.1:{self.port}/"')
        path = self.directory / "page.mjs"
        path.write_text(code, encoding="utf-8")
        printed = self.run([*node, "--no-warnings", str(path)]).splitlines()
        assert printed == re.findall(r"console\.log\(.*\);? // (.+)$", self.javascript, re.MULTILINE)

    def tell_console(self, block: Block) -> None:
        for command in commands_of(block):
            self.type(command)

    def type(self, command: Command) -> None:
        match command.words:
            case ["curl", *args]:
                self.compare(command, self.curl(args))
            case ["genro-asgi", "serve", *_] | ["python", _] | ["uvicorn" | "hypercorn" | "granian", *_]:
                self.start(command.words)
            case ["genro-asgi", *_] | ["python", "-m", *_]:
                printed = self.run([self.on_port(word) for word in command.words])
                if command.shown:
                    self.compare(command, printed)
            case ["pip", "install", *args]:
                for requirement in args:
                    assert_installable(requirement)
            case ["hatch", *args]:
                assert_is_a_verb(args)
            case ["cd", directory]:
                self.directory = self.directory / directory
                assert self.directory.is_dir()
            case words:
                raise AssertionError(f"{self.page}: nobody can check the command {shlex.join(words)!r}")

    def compare(self, command: Command, printed: str) -> None:
        """What is shown must be what was printed; `...` stands for anything."""
        shown = self.on_port(command.shown)
        if not doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS):
            assert printed == shown, f"{self.page}: {shlex.join(command.words)}"

    def on_port(self, text: str) -> str:
        return text.replace("8000", str(self.port))

    def run(self, words: list[str]) -> str:
        done = subprocess.run(
            words, cwd=self.directory, env=self.env, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip("\n")

    def start(self, words: list[str]) -> None:
        """Start a server and wait until it takes connections."""
        self.stop()
        self.server = subprocess.Popen(
            [self.on_port(word) for word in words],
            cwd=self.directory,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.server.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(f"{self.page}: {shlex.join(words)} does not serve: {self.kill()}")

    def curl(self, args: list[str]) -> str:
        """What curl would print; a new machine may not have it."""
        assert self.server is not None, f"{self.page}: curl before a server was started"
        options = CURL.parse_args(args)
        headers = dict(header.split(": ", 1) for header in options.headers)
        data = options.json or options.data
        if data is not None:
            form = "application/x-www-form-urlencoded"
            headers = {"Content-Type": "application/json" if options.json else form} | headers
        reply = httpx.request(
            options.method or ("GET" if data is None else "POST"),
            self.on_port(options.url),
            headers=headers,
            content=data,
            auth=tuple(options.user.split(":", 1)) if options.user else None,
            timeout=10,
        )
        return reply.text.replace("\r\n", "\n").strip("\n")

    def kill(self) -> str:
        """End the server at once; what it printed."""
        if self.server is None:
            return ""
        server, self.server = self.server, None
        server.kill()
        return server.communicate()[0]

    def stop(self) -> None:
        """End the server this story started; it must leave on SIGTERM, and leave well."""
        if self.server is None:
            return
        server, self.server = self.server, None
        server.terminate()
        try:
            output = server.communicate(timeout=20)[0]
        except subprocess.TimeoutExpired:
            server.kill()
            output = server.communicate()[0]
        assert server.returncode == 0, output
        assert "Traceback" not in output, output


def assert_installable(requirement: str) -> None:
    """A requirement that names one of ours names an extra it has; a path or a pattern is in the checkout."""
    match = re.fullmatch(r"(?P<name>genro(?:py)?-asgi[\w-]*)(?:\[(?P<extras>[\w,-]+)\])?", requirement)
    if match:
        path = ROOT / "packages" / match["name"] / "pyproject.toml"
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        assert set((match["extras"] or "").split(",")) <= {"", *project.get("optional-dependencies", {})}
    elif "/" in requirement and not requirement.startswith("dist/"):
        assert list(ROOT.glob(requirement.removeprefix("./"))), requirement


def assert_is_a_verb(args: list[str]) -> None:
    """A hatch command is one of hatch's own, or runs a script of hatch.toml."""
    if args[0] != "run":
        assert args[0] in ("build", "env", "shell"), args
        return
    env, _, verb = args[1].rpartition(":")
    envs = tomllib.loads((ROOT / "hatch.toml").read_text(encoding="utf-8"))["envs"]
    assert verb in envs[env or "default"]["scripts"], args


def test_the_reference_holds_every_home_of_a_public_name() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in ROOT.glob("docs/reference/*.md"))
    documented = set(re.findall(r"^\.\. automodule:: genro_asgi\.(\S+)$", pages, re.MULTILINE))
    assert set(genro_asgi._HOMES.values()) - documented == set()


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def clean_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The files of a page can be imported by it, and are forgotten with it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.usefixtures("clean_modules")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=page_id)
def test_page(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if page.parent.parent == ROOT / "examples":
        # The commands of an example are typed beside its files.
        shutil.copytree(page.parent, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sqlite*"))
    story = Story(page, tmp_path)
    try:
        for block in blocks_of(page):
            story.tell(block)
        if story.javascript:
            story.run_javascript(request.getfixturevalue("node"))
    except BaseException:
        print(story.kill())
        raise
    story.stop()


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\((?!https?://|mailto:|#)([^)#\s]+)", text)
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_reader_of_pages(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n```python\n# a.py\nx = 1\n```\n\n```{toctree}\nb\n```\n\n```console\n$ a && b \\\n  c\nd\n```\n"
    )
    python, console = blocks_of(page)
    assert python == Block("python", "# a.py\nx = 1\n", 4)
    assert python.file_name == "a.py"
    assert commands_of(console) == [Command(["a"], ""), Command(["b", "c"], "d")]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("```python\nassert 1 == 2\n```\n", AssertionError),
        ("```python\n# a.py\n1 +\n```\n", SyntaxError),
        ("```pycon\n>>> 1 + 1\n3\n```\n", doctest.DocTestFailure),
        ("```yaml\nmiddleware:\n  nonsense: on\n```\n", ConfigError),
        ("```console\n$ genro-asgi nonsense\n```\n", AssertionError),
        ("```console\n$ hatch run nonsense\n```\n", AssertionError),
        ('```console\n$ pip install "genro-asgi-core[nonsense]"\n```\n', AssertionError),
        ("```console\n$ rm -rf x\n```\n", AssertionError),
        ("```rust\nx\n```\n", AssertionError),
    ],
)
@pytest.mark.usefixtures("clean_modules")
def test_a_false_page_is_found_out(text: str, error: type[Exception], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    (block,) = blocks_of(page)
    with pytest.raises(error):
        Story(page, tmp_path).tell(block)
