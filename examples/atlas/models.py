"""The records a client may send; what does not fit is a 400 that names each wrong field."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


def like(pattern: str, expected: str) -> AfterValidator:
    """A check that a text matches, with an error that says what was expected."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {expected}")
        return text

    return AfterValidator(check)


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
TwoCapitals = Annotated[str, like("[A-Z]{2}", "two capital letters")]
ThreeCapitals = Annotated[str, like("[A-Z]{3}", "three capital letters")]
ThreeDigits = Annotated[str, like("[0-9]{3}", "three digits")]
TwoLetters = Annotated[str, like("[a-z]{2}", "two small letters")]
ThreeLetters = Annotated[str, like("[a-z]{3}", "three small letters")]
VisitorId = Annotated[str, like("[0-9a-f-]{8,36}", "8 to 36 hexadecimal digits")]
VisitorName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=30)]
NoteText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=140)]
Place = Annotated[float, Field(ge=0, le=1)]


class Record(BaseModel):
    """What all records have in common: a name, and no field that is not theirs."""

    model_config = ConfigDict(extra="forbid")

    name: Name


class Country(Record):
    """A country as ISO 3166-1 has it."""

    code: TwoCapitals
    alpha_3: ThreeCapitals
    numeric: ThreeDigits
    official_name: Name
    flag: str = Field("", max_length=8)


class Language(Record):
    """A language as ISO 639-3 has it."""

    code: ThreeLetters
    alpha_2: TwoLetters | None = None
    kind: Literal["living", "extinct", "historical", "constructed", "special"] = "living"


class Currency(Record):
    """A currency as ISO 4217 has it."""

    code: ThreeCapitals
    numeric: ThreeDigits
