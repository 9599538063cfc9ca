"""The threads that run WSGI applications: who waits for a slow client does not keep others from being served."""

from genro_asgi.executors.thread import ThreadExecutor

__all__ = ["DEFAULT_WORKERS", "WsgiThreads"]

#: Applications wait for databases more than they compute.
DEFAULT_WORKERS = 32
#: Threads beyond `workers` that may stand in for waiting ones.
MAX_PARKED = 256


class WsgiThreads(ThreadExecutor):
    """A pool of `workers` threads in which a thread can be parked.

    A parked thread waits for its client, to send or to take bytes, and does not count: another one takes its place
    until it goes on. So clients that dawdle, by the dozen, hold memory but no worker.
    """

    def __init__(self, workers: int = DEFAULT_WORKERS, name: str = "wsgi", max_parked: int = MAX_PARKED) -> None:
        # No limit of its own on waiting requests: how many connections are taken is for the server to say.
        super().__init__(name, max_workers=workers, max_pending=None, max_parked=max_parked)
        # In bypass a request would wait on the loop for what only the loop can bring.
        self.bypass = False
