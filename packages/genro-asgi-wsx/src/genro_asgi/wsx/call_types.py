"""Which types the values of a message may have, where that depends on the call it belongs to."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, final

from genro_asgi.wsx.kinds import Form
from genro_asgi.wsx.tytx.registry import TypeTable

if TYPE_CHECKING:
    from genro_asgi.wsx.incoming import Incoming
    from genro_asgi.wsx.outgoing import Outgoing

__all__ = ["CallTypes", "PathTypes", "typed_form"]

#: The types that calls of a path are read with, and those that its answers are written with.
PathTypes = Callable[[str], tuple[TypeTable, TypeTable]]


class Types(NamedTuple):
    """What a message is read with, and its answer is written with; None where the connection knows."""

    read: TypeTable
    write: TypeTable | None


@final
class CallTypes:
    """The types of a connection on which some calls have tables of their own.

    Requests of the peer are told by their path, its chunks and answers by the call they belong to; everything else has
    the `default`.
    """

    __slots__ = ("_calls", "_of_path", "_outgoing", "default")

    def __init__(
        self,
        default: TypeTable,
        calls: "Mapping[str | int, Incoming]",
        outgoing: "Mapping[str, Outgoing]",
        of_path: PathTypes | None = None,
    ) -> None:
        self.default = default
        self._calls, self._outgoing = calls, outgoing
        self._of_path = of_path

    def of(self, fields: Mapping[str, Any]) -> Types:
        """The types of a message, whose fields nobody need have checked."""
        if fields.get("method") is not None:
            return self._of_call(fields.get("path"))
        id = fields.get("id")
        if type(id) is str:
            if fields.get("status") is not None:
                outgoing = self._outgoing.get(id)
                return Types(self.default if outgoing is None else outgoing.form.types or self.default, None)
            call = self._calls.get(id)
            if call is not None:
                return self._of_call(call.path)
        return Types(self.default, None)

    def _of_call(self, path: Any) -> Types:
        if self._of_path is None or type(path) is not str or path.startswith("/_wsx/"):
            return Types(self.default, None)
        return Types(*self._of_path(path if path[:1] == "/" else f"/{path}"))


@lru_cache(maxsize=256)
def typed_form(form: Form, types: TypeTable | None) -> Form:
    """A typed form whose values have these types; the same object for the same arguments."""
    return form if types is None else form._replace(types=types)
