"""Which types the values of a message may have, where that depends on the call it belongs to."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, final

from genro_asgi.wsx.envelope import RESERVED
from genro_asgi.wsx.tytx.registry import TypeTable

if TYPE_CHECKING:
    from genro_asgi.wsx.incoming import Incoming
    from genro_asgi.wsx.outgoing import Outgoing

__all__ = ["CallTypes", "PathTypes"]

#: The types that calls of a path have, which may lack its leading slash; None where they have those of everybody.
PathTypes = Callable[[str], TypeTable | None]


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

    def of(self, fields: Mapping[str, Any]) -> TypeTable | None:
        """The table of the call that a message belongs to, if it has one; nobody need have checked the fields."""
        if fields.get("method") is not None:
            path = fields.get("path") or "/"
            # Every typed call of a server passes here, if only one of its routes has a table.
            own = self._of_path(path) if self._of_path is not None and type(path) is str else None
            return None if own is None or path.startswith(RESERVED) else own
        id = fields.get("id")
        if type(id) is not str:
            return None
        if fields.get("status") is not None:
            outgoing = self._outgoing.get(id)
            return None if outgoing is None else outgoing.form.types
        call = self._calls.get(id)
        return None if call is None else self.of({"method": call.method, "path": call.path})
