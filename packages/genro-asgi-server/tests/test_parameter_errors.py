"""The words a client reads about a value that is not what the annotation says."""

import re
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, Field

from genro_asgi.exceptions import HTTPException
from genro_asgi.server.binding import bad_value
from genro_asgi.server.coercion import coercion_for


def as_code(value: str) -> str:
    if not re.fullmatch("[A-Z]{2}", value):
        raise ValueError("must be two capital letters, such as IT")
    return value


Code = Annotated[str, AfterValidator(as_code)]


class Country(BaseModel):
    code: Code
    name: str = Field(min_length=1)


def error_of(annotation: Any, value: Any) -> HTTPException:
    coercion = coercion_for(annotation)
    assert coercion.convert is not None
    with pytest.raises((ValueError, TypeError)) as raised:
        coercion.convert(value)
    return bad_value("given", coercion.expected, raised.value)


@pytest.mark.parametrize(
    ("annotation", "value", "detail"),
    [
        (int | None, "x", "Parameter 'given' must be an integer."),
        (Literal["a", "b"] | None, "c", "Parameter 'given' must be one of a, b."),
        (int | bool, "x", "Parameter 'given' must be an integer or true or false."),
        (Code, "it", "Parameter 'given': must be two capital letters, such as IT."),
        (Code | None, "it", "Parameter 'given': must be two capital letters, such as IT."),
        (Annotated[int, Field(ge=1)] | None, "0", "Parameter 'given': Input should be greater than or equal to 1."),
    ],
)
def test_one_value(annotation: Any, value: str, detail: str) -> None:
    assert error_of(annotation, value).detail == detail


@pytest.mark.parametrize("annotation", [Country, Country | None])
def test_every_wrong_field_of_a_model_is_named(annotation: Any) -> None:
    error = error_of(annotation, {"code": "it", "name": ""})
    assert error.detail == "Parameter 'given.code': must be two capital letters, such as IT."
    assert error.details == [
        {"parameter": "given.code", "message": "must be two capital letters, such as IT"},
        {"parameter": "given.name", "message": "String should have at least 1 character"},
    ]
