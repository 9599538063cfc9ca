"""What pydantic has to know of classes whose instances no client can send."""

from typing import Any

__all__ = ["TakenAsItIs"]


class TakenAsItIs:
    """Tells pydantic to let an instance through: a handler that is validated by it may ask for its request, too."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> dict[str, Any]:
        return {"type": "is-instance", "cls": cls}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {}
