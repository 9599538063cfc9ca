"""The credentials a client shows: what they may be, how they are asked for, and how a header carries them."""

import base64
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["Auth", "AuthSource", "ask", "authorization"]

#: The value of an Authorization header, user and password for Basic, or what the server wants to see in a hello.
Auth = str | tuple[str, str] | dict[str, Any]

#: Credentials, or a function that gives those of now.
AuthSource = Auth | Callable[[], Auth | Awaitable[Auth | None] | None] | None


async def ask(source: AuthSource) -> Auth | None:
    """The credentials of now; TypeError for what cannot be any, ValueError for a header with control characters."""
    auth = source() if callable(source) else source
    if inspect.isawaitable(auth):
        auth = await auth
    if isinstance(auth, str | tuple):
        authorization(auth)
    elif auth is not None and not isinstance(auth, dict):
        # They are no part of the text: it may end in a log.
        raise TypeError(f"auth is {type(auth).__name__}; give a text, a pair of user and password, or a dict.")
    return auth


def authorization(auth: str | tuple[str, str]) -> str:
    """The value of the header that shows them; ValueError and TypeError as of ask()."""
    if isinstance(auth, tuple):
        if len(auth) != 2 or not all(isinstance(part, str) for part in auth):
            raise TypeError("auth is a tuple of something else; give user and password, both as text.")
        return "Basic " + base64.b64encode(":".join(auth).encode()).decode()
    if any(sign < " " or sign == "\x7f" for sign in auth):
        raise ValueError("auth holds a control character, such as a line break; strip it.")
    return auth
