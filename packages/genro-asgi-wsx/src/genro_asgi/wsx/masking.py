"""The masking of WebSocket frames (RFC 6455, 5.3), in C where the websockets library has brought it."""

from collections.abc import Callable

__all__ = ["apply_mask"]


def xor_mask(data: bytes, mask: bytes) -> bytes:
    """The data with the four bytes of the mask applied again and again."""
    size = len(data)
    repeated = mask * (size // 4) + mask[: size % 4]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


apply_mask: Callable[[bytes, bytes], bytes]
try:
    from websockets.speedups import apply_mask
except ImportError:
    apply_mask = xor_mask
