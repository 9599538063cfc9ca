"""How the steps of a vector are played, and compared with what came: see README.md."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any, ClassVar

__all__ = ["Names", "Steps"]

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


class Steps:
    """What a play of a vector does whichever side it plays: its connections by name, and a clock turned by hand.

    Its sockets have `sent`, the messages that came out, and `say(text)` and `end(code)` for what goes in.
    """

    def __init__(self, names: Names) -> None:
        self.names = names
        self.sockets: dict[str, Any] = {}
        self.socket: Any = None
        self.now = asyncio.get_running_loop().time()

    async def play(self, steps: list[dict[str, Any]]) -> None:
        """Run all of them; AssertionError for what is not as one says, and for what came unasked."""
        for at, step in enumerate(steps):
            try:
                await self.run(step)
            except AssertionError as error:
                raise AssertionError(f"step {at + 1}, {json.dumps(step)}: {error}") from None
        left = {name: socket.sent for name, socket in self.sockets.items() if socket.sent}
        assert left == {}, left

    async def run(self, step: dict[str, Any]) -> None:
        if "on" in step:
            self.socket = self.sockets[step["on"]]
        action = next(action for name, action in self.ACTIONS.items() if name in step)
        action(self, step)
        await self.settle()

    async def settle(self) -> None:
        """Let everything that waits for nothing but its turn go on."""
        for _ in range(50):
            await asyncio.sleep(0)

    def say(self, step: dict[str, Any]) -> None:
        self.socket.say("WSX://" + json.dumps(self.names.fill(step["in"])))

    def expect(self, step: dict[str, Any]) -> None:
        expected, came = step.get("out", []), self.socket.sent[:]
        self.socket.sent.clear()
        assert len(came) == len(expected), came
        for one, frame in zip(expected, came, strict=True):
            # A stream's last frame may say so, or leave it out.
            shown = frame | {"stream": frame.get("stream", False)} if "stream" in one else frame
            self.names.check(one, shown)

    def pass_time(self, step: dict[str, Any]) -> None:
        self.now += step["after"] / 1000 + 1e-6

    def lose(self, step: dict[str, Any]) -> None:
        self.socket.end(1006)

    def close(self, step: dict[str, Any]) -> None:
        self.socket.end(step["close"])

    ACTIONS: ClassVar[dict[str, Callable[[Any, dict[str, Any]], None]]] = {
        "in": say,
        "out": expect,
        "quiet": expect,
        "after": pass_time,
        "lost": lose,
        "close": close,
    }
