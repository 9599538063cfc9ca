"""What is left of the time of what runs."""

import pytest

from genro_asgi import budget


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> list[budget.Source]:
    found: list[budget.Source] = []
    monkeypatch.setattr(budget, "_sources", found)
    return found


@pytest.mark.parametrize(
    ("told", "left"), [([], None), ([None], None), ([None, 3.0], 3.0), ([5.0, 2.0, None], 2.0), ([1.0, -2.0], 0.0)]
)
def test_the_least_counts(sources: list[budget.Source], told: list[float | None], left: float | None) -> None:
    for one in told:
        budget.add_source(lambda one=one: one)  # type: ignore[misc]
    assert budget.time_left() == left


def test_a_source_counts_once(sources: list[budget.Source]) -> None:
    def source() -> float:
        return 1.0

    budget.add_source(source)
    budget.add_source(source)
    assert sources == [source]
