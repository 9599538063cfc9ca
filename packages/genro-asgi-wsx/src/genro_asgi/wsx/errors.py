"""The errors of this package: one for values and documents, one for messages."""

from typing import Any

from genro_asgi.exceptions import problem

__all__ = ["TytxError", "WsxError", "missing_extra"]


class TytxError(ValueError):
    """A TYTX document or value that cannot be read or written.

    `pointer` is the JSON pointer (RFC 6901) of the bad value, empty when the document itself is broken;
    `code` is MALFORMED for a broken document and BAD_VALUE for a bad value inside a good one.
    """

    def __init__(self, text: str, pointer: str = "", code: str = "BAD_VALUE") -> None:
        super().__init__(text)
        self.text = text
        self.pointer = pointer
        self.code = code

    def __str__(self) -> str:
        return f"{self.text} (at {self.pointer})" if self.pointer else self.text

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.text, self.pointer, self.code)


class WsxError(ValueError):
    """A WSX message that is answered with an error instead of being served.

    `status` and `code` are those of WSX/1 section 12, `pointer` is the JSON pointer of a bad value, and `id` is
    the id of the message where one could be read.
    """

    def __init__(
        self, text: str, *, status: int = 400, code: str = "MALFORMED", pointer: str = "", id: str | None = None
    ) -> None:
        super().__init__(text)
        self.text = text
        self.status = status
        self.code = code
        self.pointer = pointer
        self.id = id

    def __str__(self) -> str:
        return f"{self.text} (at {self.pointer})" if self.pointer else self.text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.text, self.status, self.code, self.pointer, self.id)

    def data(self) -> dict[str, Any]:
        """The `data` of the response that reports this error."""
        return problem(self.status, str(self), self.code)


def _rebuild(cls: type[WsxError], text: str, status: int, code: str, pointer: str, id: str | None) -> WsxError:
    return cls(text, status=status, code=code, pointer=pointer, id=id)


def missing_extra(what: str, extra: str) -> ImportError:
    """The error for an optional dependency that is not installed."""
    return ImportError(f'{what} is not installed; run: pip install "genro-asgi-wsx[{extra}]".')
