"""How much time is left to what runs here, whoever has given it: calls made on the way get no more."""

from collections.abc import Callable

__all__ = ["add_source", "time_left"]

Source = Callable[[], float | None]

_sources: list[Source] = []


def add_source(source: Source) -> None:
    """Ask this function, too: it gives the seconds that are left to the running task or thread, None for no limit."""
    if source not in _sources:
        _sources.append(source)


def time_left() -> float | None:
    """Seconds until what runs here will be given up, 0.0 when that moment is over; None where there is no limit."""
    told = [left for source in _sources if (left := source()) is not None]
    return max(min(told), 0.0) if told else None
