"""The opening of WebSockets, by the websockets library where it is installed (the extra `client`)."""

from socket import gaierror
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

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
    where = _where(url)
    try:
        return await connect(url, subprotocols=[Subprotocol("wsx.1")], **options)
    except (InvalidURI, UnicodeError) as error:
        raise _no_address(url) from error
    except InvalidStatus as error:
        status = error.response.status_code
        raise WsxCallError(status, f"the server refused the connection with {status}") from error
    except InvalidHandshake as error:
        raise WsxCallError(502, f"{where} does not speak WebSocket: {error}") from error
    except TimeoutError as error:
        raise TimeoutError(f"{where} does not answer in time; is it a server, and is it well?") from error
    except OSError as error:
        # Others, such as those of TLS, say more than their text, and say it well.
        if type(error) not in (OSError, ConnectionRefusedError, gaierror):
            raise
        text = f"{where} cannot be reached ({error.strerror or error}); start the server, or correct the address"
        raise type(error)(error.errno or 0, text) from error


def _where(url: str) -> str:
    """The address as it may be told: without a user and a password; ValueError when it is none."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.fragment:
            raise ValueError
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return f"{parts.scheme}://{host}" + ("" if parts.port is None else f":{parts.port}")
    except ValueError:
        raise _no_address(url) from None


def _no_address(url: str) -> ValueError:
    return ValueError(f"{url!r} is no address of a server; write ws://host:port or wss://host.")
