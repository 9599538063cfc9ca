"""How a running function tells the side that awaits it how far it is."""

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call is: `fraction` between 0 and 1, or None when nobody can know, and a text for people."""

    fraction: float | None
    text: str = ""


class _Here(threading.local):
    reporter: Callable[[Progress], None] | None = None


# Each worker thread, and the main thread of each worker process, says here where its reports go.
here = _Here()


def report(fraction: float | None, text: str = "") -> None:
    """Tell whoever awaits this call how far it is; outside of a pool nobody listens, and nothing happens.

    A fraction below 0 or above 1 is taken for 0 or 1.
    """
    if here.reporter is not None:
        here.reporter(Progress(None if fraction is None else min(max(float(fraction), 0.0), 1.0), text))
