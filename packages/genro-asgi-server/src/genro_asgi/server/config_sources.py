"""Where configuration is written: YAML files, the environment and command-line arguments, read as plain values."""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genro_asgi.exceptions import ConfigError
from genro_asgi.server.config_checks import Where, known

if TYPE_CHECKING:
    from yaml.nodes import Node

__all__ = ["ENVIRONMENT_PREFIX", "expand", "read_arguments", "read_environment", "read_yaml"]

ENVIRONMENT_PREFIX = "GENRO_ASGI_"
# Set by run() for the processes it starts.
_NOT_CONFIGURATION = frozenset({"GENRO_ASGI_RUN"})

MAX_BYTES = 1024 * 1024
MAX_VALUES = 50_000
MAX_LEVELS = 64

# `$${` stands for `${` itself; a default runs to the first closing brace.
_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds, not expanded yet; ConfigError for whatever is wrong with the file.

    At most 1 MiB of text and 50,000 values, with every alias counted as what it stands for.
    """
    import yaml

    content = _file_text(path)
    try:
        data = _load(path, content)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{path}: {_marked(error)}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}.") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply; flatten it.") from None
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{path}: a value cannot be read ({error}); put it in quotes.") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: the file holds a {type(data).__name__}; write a mapping (key: value).")
    return data


def _load(path: Path, content: str) -> Any:
    import yaml

    loader = yaml.SafeLoader(content)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        _Survey(path).measure(node, "")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _file_text(path: Path) -> str:
    try:
        if not path.is_file():
            raise ConfigError(f"{path}: not a file; give the path of a YAML file.")
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ConfigError(f"{path}: over {MAX_BYTES} bytes; a configuration is smaller.")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8.") from None


def _marked(error: Any) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return place + " ".join(str(error.problem or error.context).split())


class _Survey:
    """Measures a YAML node graph before any value is built from it, so that aliases cannot blow it up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.measured: dict[int, tuple[int, int]] = {}

    def measure(self, node: "Node", key: str) -> tuple[int, int]:
        """How many values the node stands for, and how many levels; too much of either raises a ConfigError."""
        found = self.measured.get(id(node))
        if found is None:
            # A node in work counts 0: meeting one again means an alias inside what it names.
            self.measured[id(node)] = (0, 0)
            inside = [self.measure(inner, below) for inner, below in self.inner(node, key)]
            found = 1 + sum(size for size, _ in inside), 1 + max((levels for _, levels in inside), default=0)
            self.measured[id(node)] = found
        size, levels = found
        if size == 0:
            raise self.error(node, f"{key or 'the file'} contains itself")
        if size > MAX_VALUES or levels > MAX_LEVELS:
            limits = f"{MAX_VALUES} values or {MAX_LEVELS} levels"
            raise self.error(node, f"{key or 'the file'} has over {limits} once its aliases are followed")
        return found

    def inner(self, node: "Node", key: str) -> Iterator[tuple["Node", str]]:
        """The nodes of a mapping or a list with their dotted keys; a key written twice raises."""
        from yaml.nodes import MappingNode, ScalarNode, SequenceNode

        if isinstance(node, SequenceNode):
            yield from ((item, f"{key}[{place}]") for place, item in enumerate(node.value))
        seen = set()
        for name, item in node.value if isinstance(node, MappingNode) else ():
            label = name.value if isinstance(name, ScalarNode) else "?"
            below = f"{key}.{label}" if key else label
            if isinstance(name, ScalarNode) and label != "<<":
                if (name.tag, label) in seen:
                    raise self.error(name, f"{below} is written twice; keep one")
                seen.add((name.tag, label))
            yield name, below
            yield item, below

    def error(self, node: "Node", text: str) -> ConfigError:
        """A ConfigError with the line of the node."""
        return ConfigError(f"{self.path}: line {node.start_mark.line + 1}: {text}.")


def expand(value: Any, where: Where, environment: Mapping[str, str]) -> Any:
    """A copy of the value with `${VAR}` and `${VAR:-default}` replaced in all its texts.

    A default is used when the variable is not set or empty; `$${` writes a plain `${`. What a variable holds is
    not looked into again.
    """
    if isinstance(value, str):
        return _VARIABLE.sub(_replacer(where, environment), value)
    if isinstance(value, dict):
        return {key: expand(inner, where.at(str(key)), environment) for key, inner in value.items()}
    if isinstance(value, list):
        return [expand(inner, Where(where.source, f"{where.key}[{n}]"), environment) for n, inner in enumerate(value)]
    return value


def _replacer(where: Where, environment: Mapping[str, str]) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, default = match[1], match[2]
        if name is None:
            raise where.wrong("a ${ that is not ${NAME} or ${NAME:-default}; write $${ for a plain one")
        found = environment.get(name)
        if found is None or (not found and default is not None):
            if default is None:
                raise where.wrong(f"the environment variable {name} is not set; set it or write ${{{name}:-default}}")
            return default
        return found

    return replace


def read_environment(names: Collection[str], environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The GENRO_ASGI_* variables by their lower-case name without the prefix; empty ones count as not set."""
    allowed = {ENVIRONMENT_PREFIX + name.upper(): name for name in names}
    found: dict[str, str] = {}
    for variable, value in (os.environ if environment is None else environment).items():
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in _NOT_CONFIGURATION:
            known(Where("environment"), variable, allowed, "variable")
            if value.strip():
                found[allowed[variable]] = value
    return found


def read_arguments(argv: Sequence[str], names: Collection[str], switches: Collection[str]) -> dict[str, str]:
    """The values in command-line arguments by name; the one positional argument is `server_dir`.

    `--name value`, `--name=value`; a switch stands alone, and `--no-name` turns it off.
    """
    found: dict[str, str] = {}
    allowed = {_flag(name): name for name in names}
    negative = {f"--no-{name.replace('_', '-')}": name for name in switches}
    arguments = iter(argv)
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if not argument.startswith("-"):
            if "server_dir" in found:
                raise ConfigError(f"command line: {argument!r} is one directory too many; give one.")
            found["server_dir"] = argument
            continue
        known(Where("command line"), flag, [*allowed, *negative], "option")
        name = negative.get(flag) or allowed[flag]
        if name in switches and not equals:
            value = "off" if flag in negative else "on"
        elif not equals:
            value = next(arguments, "")
            value = "" if value.startswith("--") else value
        if not value or (flag in negative and equals):
            raise ConfigError(f"command line: {flag}: {'takes no' if flag in negative else 'needs a'} value.")
        found[name] = value
    return found


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
