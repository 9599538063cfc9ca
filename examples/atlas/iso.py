"""The records the atlas begins with: the tables of ISO 3166, ISO 639-3 and ISO 4217 that pycountry brings."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pycountry

KINDS = {"L": "living", "E": "extinct", "H": "historical", "C": "constructed", "S": "special"}


def iso_tables() -> Mapping[str, Iterable[dict[str, Any]]]:
    """The records of each table."""
    return {"countries": countries(), "languages": languages(), "currencies": currencies()}


def countries() -> Iterator[dict[str, Any]]:
    """ISO 3166-1, by the code of two letters."""
    for country in pycountry.countries:
        yield {
            "code": country.alpha_2,
            "alpha_3": country.alpha_3,
            "numeric": country.numeric,
            "name": getattr(country, "common_name", country.name),
            "official_name": getattr(country, "official_name", country.name),
            "flag": country.flag,
        }


def languages() -> Iterator[dict[str, Any]]:
    """ISO 639-3, by the code of three letters; few have one of two."""
    for language in pycountry.languages:
        yield {
            "code": language.alpha_3,
            "alpha_2": getattr(language, "alpha_2", None),
            "name": language.name,
            "kind": KINDS[language.type],
        }


def currencies() -> Iterator[dict[str, Any]]:
    """ISO 4217, by the code of three letters."""
    for currency in pycountry.currencies:
        yield {"code": currency.alpha_3, "numeric": currency.numeric, "name": currency.name}
