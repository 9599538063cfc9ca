"""WSX: typed RPC messages over WebSocket, NATS or memory.

`wsx.tytx` holds typed values, `wsx.messages` and `wsx.codec` the messages, `wsx.kinds` what they are, `wsx.errors` what
can be wrong with them. The plain text helpers can be imported from here.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genro_asgi.wsx.messages import (
        WSX_PREFIX,
        build_wsx_message,
        build_wsx_response,
        is_wsx_message,
        parse_wsx_message,
    )

__all__ = ["WSX_PREFIX", "build_wsx_message", "build_wsx_response", "is_wsx_message", "parse_wsx_message"]


def __getattr__(name: str) -> Any:
    # Late, because most of what is in this package needs no messages.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from genro_asgi.wsx import messages

    return getattr(messages, name)
