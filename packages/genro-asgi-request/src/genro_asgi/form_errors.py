"""What can be wrong with a form: malformed, or over a limit."""

from genro_asgi.exceptions import HTTPBadRequest, HTTPContentTooLarge, HTTPException, HTTPHeaderFieldsTooLarge
from genro_asgi.limits import Limits

__all__ = [
    "FormHeadersTooLarge",
    "FormTooLarge",
    "MalformedForm",
    "MultiPartException",
    "field_too_large",
    "part_too_large",
    "too_many_fields",
    "too_many_files",
]


class MultiPartException(HTTPException):
    """A form that cannot be taken, as Starlette calls it; its status is 400, 413 or 431."""

    @property
    def message(self) -> str:
        """What is wrong."""
        return self.detail


class MalformedForm(HTTPBadRequest, MultiPartException):
    """400: the body is not the form it says it is."""


class FormTooLarge(HTTPContentTooLarge, MultiPartException):
    """413: too many fields or files, or one that is too long."""


class FormHeadersTooLarge(HTTPHeaderFieldsTooLarge, MultiPartException):
    """431: too many headers of a part, or too long ones."""


def too_many_fields(limits: Limits) -> FormTooLarge:
    """The 413 for a form with too many fields."""
    return FormTooLarge(f"Too many fields. Maximum number of fields is {limits.form_fields}.")


def too_many_files(limits: Limits) -> FormTooLarge:
    """The 413 for a form with too many files."""
    return FormTooLarge(f"Too many files. Maximum number of files is {limits.form_files}.")


def field_too_large(limits: Limits) -> FormTooLarge:
    """The 413 for a urlencoded field that is too long."""
    return FormTooLarge(f"Field exceeded maximum size of {_size(limits.field_bytes)}.")


def part_too_large(size: int) -> FormTooLarge:
    """The 413 for a part of a multipart form with more than `size` bytes."""
    return FormTooLarge(f"Part exceeded maximum size of {_size(size)}.")


def _size(size: int) -> str:
    return f"{size // 1024}KB" if size and size % 1024 == 0 else f"{size} bytes"
