"""Where one end of a connection is."""

from typing import NamedTuple

__all__ = ["Address"]


class Address(NamedTuple):
    """The host and port of a client or a server; equal to the plain pair."""

    host: str
    port: int
