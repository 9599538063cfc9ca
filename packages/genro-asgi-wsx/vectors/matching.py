"""How the steps of a vector are compared with what came: see README.md."""

import re
from typing import Any

__all__ = ["Names"]

_NAME = re.compile(r"\$(\w+)")
_TOKEN = re.compile(r"\$token:(\w+)")
_MISSING: Any = object()


class Names:
    """The texts that were given names so far; `tokens` are the credentials of users."""

    def __init__(self, tokens: dict[str, str] | None = None) -> None:
        self.known: dict[str, Any] = {}
        self.tokens = tokens or {}

    def fill(self, value: Any) -> Any:
        """A value of a step with what the names in it stand for."""
        if isinstance(value, dict):
            return {self.fill(key): self.fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if not isinstance(value, str):
            return value
        name = _NAME.fullmatch(value)
        return self.known[name[1]] if name else _TOKEN.sub(lambda match: self.tokens[match[1]], value)

    def check(self, expected: Any, came: Any, where: str = "") -> None:
        """AssertionError when something is not as a step says; objects may hold more than it says."""
        if isinstance(expected, dict) and len(expected) == 1:
            (how, of), *_ = expected.items()
            if how in ("$as", "$new", "$is", "$has", "$absent"):
                self._check_how(how, of, came, where)
                return
        if isinstance(expected, dict):
            assert isinstance(came, dict), f"{where}: {came!r} is no object"
            for name, value in expected.items():
                self.check(value, came.get(name, _MISSING), f"{where}/{name}")
        elif expected != "*":
            assert came == self.fill(expected), f"{where}: {came!r} is not {self.fill(expected)!r}"

    def _check_how(self, how: str, of: Any, came: Any, where: str) -> None:
        if how in ("$as", "$new"):
            assert isinstance(came, str), f"{where}: {came!r} is no text"
            assert how == "$as" or came not in self.known.values(), f"{where}: {came!r} has a name already"
            self.known[of] = came
        elif how == "$is":
            assert came == self.fill(of), f"{where}: {came!r} is not {self.fill(of)!r}"
        elif how == "$has":
            assert set(of) <= set(came), f"{where}: {came!r} does not hold all of {of!r}"
        else:
            assert came is _MISSING, f"{where}: {came!r} should not be there"
