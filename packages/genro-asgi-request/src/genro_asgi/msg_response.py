"""The answer to a WSX message: a value that goes out as it is, with the status and headers of a response."""

from collections.abc import Mapping
from typing import Any

from genro_asgi.base_response import Response
from genro_asgi.rendering import content_type_pair, encode, encoder_for

__all__ = ["MsgResponse"]


class MsgResponse(Response):
    """`request.response` of a message; its bytes are made only when somebody asks for `body`."""

    #: What the handler returned.
    value: Any = None
    _body: bytes | None = None

    @property
    def body(self) -> bytes:
        """The value as HTTP would send it."""
        if self._body is None:
            self._body = encode(self.value)
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        self._body = body
        if body:
            self.value = body

    def set_result(self, result: Any, metadata: Mapping[str, Any] | None = None) -> None:
        """Take a handler's value; `metadata` may name a media type, which goes out as content-type.

        TypeError for what is sent piece by piece: paths, iterators, responses.
        """
        if encoder_for(result) is None:
            raise TypeError(f"A {type(result).__name__} is not sent at once; return it from the handler instead.")
        self.value, self._body = result, None
        override = (metadata or {}).get("media_type") or (metadata or {}).get("mime_type")
        if override and self._find(b"content-type") is None:
            self.raw_headers.append(content_type_pair(override, self.charset))
