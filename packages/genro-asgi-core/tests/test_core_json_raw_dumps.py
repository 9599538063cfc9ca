"""raw_dumps: the fast way for codecs that have types of their own."""

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pytest

fast = pytest.importorskip("genro_asgi.jsoncodec.fast", reason="orjson is not installed", exc_type=ImportError)


@pytest.mark.parametrize("value", [Decimal("9.90"), date(2025, 1, 1), datetime(2025, 1, 1), time(1, 2), {1}, b"x"])
def test_whatever_json_has_nothing_for_is_asked_for(value: Any) -> None:
    asked: list[Any] = []

    def default(item: Any) -> str:
        asked.append(item)
        return "said"

    assert fast.raw_dumps({"a": [value]}, default, fast.DATES_TO_DEFAULT) == b'{"a":["said"]}'
    assert asked == [value]


def refuse(item: Any) -> Any:
    raise KeyError(item)


@pytest.mark.parametrize("value", [{1: 2}, 2**64, "\ud800", Decimal(1), [[]] * 2 + [{"a": date(2025, 1, 1)}]])
def test_what_is_out_of_the_ordinary_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        fast.raw_dumps(value, refuse, fast.DATES_TO_DEFAULT)


def test_depth_is_bounded() -> None:
    value: Any = []
    for _ in range(300):
        value = [value]
    with pytest.raises(TypeError):
        fast.raw_dumps(value, refuse, fast.DATES_TO_DEFAULT)
