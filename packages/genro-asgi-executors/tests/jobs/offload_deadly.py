"""A module that ends every worker that imports it."""

import os

from genro_asgi.executors import in_worker

if in_worker():
    os._exit(9)


def never() -> None: ...
