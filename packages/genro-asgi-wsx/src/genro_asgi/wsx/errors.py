"""The errors of this package: for values and documents, for messages, and for calls that were answered with one."""

from typing import Any, Self

from genro_asgi.exceptions import default_code, problem, status_phrase

__all__ = ["TytxError", "WsxCallError", "WsxError", "missing_extra"]


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


class WsxCallError(Exception):
    """A call that ended with an error: the peer's answer, or what went wrong on the way to it.

    `status` and `code` are those of WSX/1 section 12, `retry` says that the call has not run and may be sent again,
    `details` is what the peer added, and `data` the whole of its answer.
    """

    def __init__(
        self,
        status: int,
        text: str,
        *,
        code: str | None = None,
        retry: bool = False,
        details: Any = None,
        data: Any = None,
    ) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.code = code or default_code(status)
        self.retry = retry
        self.details = details
        self.data = data

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.text}"

    @classmethod
    def from_answer(cls, status: int, data: Any) -> Self:
        """The error that an answer of this status and this `data` tells."""
        told = data if type(data) is dict else {}
        text, code = told.get("error"), told.get("code")
        return cls(
            status,
            text if isinstance(text, str) else status_phrase(status),
            code=code if isinstance(code, str) else None,
            retry=told.get("retry") is True,
            details=told.get("details"),
            data=data,
        )


def missing_extra(what: str, extra: str) -> ImportError:
    """The error for an optional dependency that is not installed."""
    return ImportError(f'{what} is not installed; run: pip install "genro-asgi-wsx[{extra}]".')
