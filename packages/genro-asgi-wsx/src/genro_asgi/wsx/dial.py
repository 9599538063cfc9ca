"""The opening of WebSockets, by the websockets library where it is installed (the extra `client`)."""

from typing import TYPE_CHECKING, Any

from genro_asgi.wsx.errors import WsxCallError, missing_extra

if TYPE_CHECKING:
    from websockets.asyncio.connection import Connection as Socket

__all__ = ["dial"]


async def dial(url: str, options: dict[str, Any]) -> "Socket":
    """A socket that offers wsx.1.

    OSError when nobody is there, WsxCallError when the server refuses or speaks something else, ValueError for an
    address that is none.
    """
    try:
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
        from websockets.typing import Subprotocol
    except ImportError as error:
        raise missing_extra("websockets", "client") from error
    try:
        return await connect(url, subprotocols=[Subprotocol("wsx.1")], **options)
    except InvalidURI as error:
        raise ValueError(f"{url!r} is no address of a server; write ws://host:port or wss://host.") from error
    except InvalidStatus as error:
        status = error.response.status_code
        raise WsxCallError(status, f"the server refused the connection with {status}") from error
    except InvalidHandshake as error:
        raise WsxCallError(502, f"{url} does not speak WebSocket: {error}") from error
