"""How a running function tells the side that awaits it how far it is."""

import threading
from collections.abc import Callable


class _Here(threading.local):
    reporter: Callable[[float | None, str], None] | None = None


# Each worker thread, and the main thread of each worker process, says here where its reports go.
here = _Here()


def report(fraction: float | None, text: str = "") -> None:
    """Tell whoever awaits this call how far it is; outside of a pool nobody listens, and nothing happens.

    `fraction` is between 0 and 1 (what is outside counts as 0 or 1), or None when nobody can know.
    """
    if here.reporter is not None:
        here.reporter(None if fraction is None else min(max(float(fraction), 0.0), 1.0), str(text))
