from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from genro_asgi.exceptions import ConfigError
from genro_asgi.server.config_checks import Where
from genro_asgi.server.config_sources import expand, read_arguments, read_environment, read_yaml

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)
texts = st.text(st.characters(exclude_characters="${}", exclude_categories=["Cs"]), max_size=8)


def yaml_file(directory: Path, content: str | bytes) -> Path:
    path = directory / "config.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def yaml_error(directory: Path, content: str | bytes) -> str:
    path = yaml_file(directory, content)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", {}),
        ("# nothing\n", {}),
        ("a: 1\nb: [x, {c: off}]", {"a": 1, "b": ["x", {"c": False}]}),
        ("\ufeffa: 1", {"a": 1}),
        ("base: &b {x: 1, y: 2}\nmore: {<<: *b, y: 3}", {"base": {"x": 1, "y": 2}, "more": {"x": 1, "y": 3}}),
        ("a: &a [1]\nb: [*a, *a]", {"a": [1], "b": [[1], [1]]}),
    ],
)
def test_what_yaml_says(tmp_path: Path, content: str, expected: dict[str, Any]) -> None:
    assert read_yaml(yaml_file(tmp_path, content)) == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1\nb: [", "line 2, column 5: "),
        ("a: 1\n\tb: 2", "line 2, column 1: found character '\\t' that cannot start any token."),
        ("- a\n- b", "the file holds a list; write a mapping (key: value)."),
        ("just text", "the file holds a str; write a mapping (key: value)."),
        ("a: 1\n---\nb: 2", "line 2, column 1: but found another document."),
        ("a: !!python/object/apply:os.system [ls]", "line 1, column 4: could not determine a constructor"),
        ("a: *nobody", "line 1, column 4: found undefined alias 'nobody'."),
        ("? [a]\n: b", "line 1, column 3: found unhashable key."),
        (b"a: \xff", "byte 3 is not UTF-8; save the file as UTF-8."),
        ("a: \x00", "not YAML: unacceptable character #x0000"),
        ("apps:\n  shop: a\n  shop: b", "line 3: apps.shop is written twice; keep one."),
        ("port: 1\nport: 2", "line 2: port is written twice; keep one."),
        ("a: [{b: 1, b: 2}]", "line 1: a[0].b is written twice; keep one."),
        ("a: &a [*a]", "line 1: a[0] contains itself."),
        ("a: &a {b: {<<: *a}}", "line 1: a.b.<< contains itself."),
        ("when: 2024-99-99", "a value cannot be read (month must be in 1..12); put it in quotes."),
        ("a: " + "[" * 70 + "]" * 70, "line 1: a[0]"),
        ("a: " + "[" * 100_000, "nested too deeply; flatten it."),
        ("a: " + "x" * 1024 * 1024, "over 1048576 bytes; a configuration is smaller."),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    assert yaml_error(tmp_path, content).startswith(said)


@pytest.mark.parametrize(
    "line", ["l{n}: &l{n} [{refs}]", "l{n}: &l{n} {{a: [{refs}]}}", "l{n}: &l{n} {{k{n}: 1, <<: [{refs}]}}"]
)
def test_a_billion_laughs_are_refused(tmp_path: Path, line: str) -> None:
    lines = ["l0: &l0 {lol: 1}"]
    lines += [line.format(n=n, refs=", ".join([f"*l{n - 1}"] * 10)) for n in range(1, 30)]
    assert yaml_error(tmp_path, "\n".join(lines)).endswith(
        "has over 50000 values or 64 levels once its aliases are followed."
    )


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config.yaml: not a file; give the path of a YAML file\.$"):
        read_yaml(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"not a file"):
        read_yaml(tmp_path / "config.yaml")


def test_a_file_nobody_lets_us_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = yaml_file(tmp_path, "a: 1")

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert str(caught.value) == f"{path}: cannot be read (Permission denied)."


def expanded(value: Any, **environment: str) -> Any:
    return expand(value, Where("config.yaml"), environment)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${HOST}", "h"),
        ("http://${HOST}:${PORT:-80}/", "http://h:80/"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY}", ""),
        ("${NONE:-}", ""),
        ("${NONE:-a:-b}", "a:-b"),
        ("$${HOST} $HOST $", "${HOST} $HOST $"),
        ("${LOOP}", "${HOST}"),
        ({"a": ["${HOST}", {"b": "${HOST}"}], "n": 1, "none": None}, {"a": ["h", {"b": "h"}], "n": 1, "none": None}),
    ],
)
def test_variables_expand(value: Any, expected: Any) -> None:
    assert expanded(value, HOST="h", EMPTY="", LOOP="${HOST}") == expected


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            {"a": {"b": ["x", "${NONE}"]}},
            "a.b[1]: the environment variable NONE is not set; set it or write ${NONE:-default}.",
        ),
        ({"a": "${1X}"}, "a: a ${ that is not ${NAME} or ${NAME:-default}; write $${ for a plain one."),
        ({"a": "pa${ss"}, "a: a ${ that is not ${NAME} or ${NAME:-default}; write $${ for a plain one."),
    ],
)
def test_a_variable_that_is_not_there(value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expanded(value)
    assert str(caught.value) == f"config.yaml: {said}"


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(texts, names, st.none() | texts)), st.dictionaries(names, texts))
def test_expansion_is_a_replacement_piece_by_piece(
    pieces: list[tuple[str, str, str | None]], environment: dict[str, str]
) -> None:
    template, expected = "", ""
    for before, name, default in pieces:
        if default is None and name not in environment:
            default = "fallback"
        template += f"{before}${{{name}}}" if default is None else f"{before}${{{name}:-{default}}}"
        expected += before + (environment.get(name, "") or default or "")
    assert expanded({"key": [template]}, **environment) == {"key": [expected]}


@settings(derandomize=True, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_every_text_can_be_written(text: str) -> None:
    assert expanded(text.replace("${", "$${")) == text


@settings(derandomize=True, deadline=None)
@given(st.text(st.sampled_from("${}:-AB "), max_size=20))
def test_expansion_ends_in_a_text_or_a_config_error(text: str) -> None:
    try:
        found = expanded(text, A="x")
    except ConfigError as error:
        found = str(error)
    assert isinstance(found, str)
    assert "\n" not in found


NAMES = ["host", "port", "reload", "server_dir", "config"]


def test_the_environment() -> None:
    environment = {"GENRO_ASGI_PORT": "9001", "GENRO_ASGI_SERVER_DIR": "/x", "GENRO_ASGI_HOST": " ", "PORT": "1"}
    environment["GENRO_ASGI_RUN"] = "{}"  # the server's own, between its processes
    assert read_environment(NAMES, environment) == {"port": "9001", "server_dir": "/x"}


def test_an_unknown_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        read_environment(NAMES, {"GENRO_ASGI_PROT": "1"})
    assert str(caught.value) == (
        "environment: GENRO_ASGI_PROT: unknown variable, did you mean 'GENRO_ASGI_PORT'; allowed are "
        "GENRO_ASGI_CONFIG, GENRO_ASGI_HOST, GENRO_ASGI_PORT, GENRO_ASGI_RELOAD, GENRO_ASGI_SERVER_DIR."
    )


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], {}),
        (["site"], {"server_dir": "site"}),
        (["--port", "1", "site", "--host=h"], {"port": "1", "server_dir": "site", "host": "h"}),
        (["--reload", "--port=1"], {"reload": "on", "port": "1"}),
        (["--no-reload"], {"reload": "off"}),
        (["--reload=yes"], {"reload": "yes"}),
        (["--port", "1", "--port", "2"], {"port": "2"}),
        (["--port", "-1"], {"port": "-1"}),
        (["--server-dir", "x"], {"server_dir": "x"}),
        (["--server-dir=--x=y"], {"server_dir": "--x=y"}),
    ],
)
def test_arguments(argv: list[str], expected: dict[str, str]) -> None:
    assert read_arguments(argv, NAMES, {"reload"}) == expected


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["a", "b"], "'b' is one directory too many; give one."),
        (["--prot", "1"], "--prot: unknown option, did you mean '--port'; allowed are "),
        (["-p", "1"], "-p: unknown option"),
        (["--port"], "--port: needs a value."),
        (["--port="], "--port: needs a value."),
        (["--host", "--port", "1"], "--host: needs a value."),
        (["--no-reload=1"], "--no-reload: takes no value."),
        (["--no-port"], "--no-port: unknown option"),
    ],
)
def test_bad_arguments(argv: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_arguments(argv, NAMES, {"reload"})
    assert str(caught.value).startswith(f"command line: {said}")
