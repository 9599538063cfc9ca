"""What ends a process when the one that started it is gone: killed, nobody can stop its children any more."""

import multiprocessing
import os
import signal
import threading
import time

__all__ = ["end_with_parent"]

#: Seconds between two looks at the parent, where nothing announces its end.
LOOK = 0.5


def end_with_parent(grace: float) -> None:
    """Watch the parent from a thread: when it ends, this process gets SIGTERM, and `grace` seconds later is ended hard.

    Called again, it does nothing.
    """
    if not any(thread.name == _NAME for thread in threading.enumerate()):
        threading.Thread(target=_follow, args=(os.getppid(), grace), name=_NAME, daemon=True).start()


_NAME = "end-with-parent"


def _follow(pid: int, grace: float) -> None:
    _wait_for_end(pid)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    os._exit(1)


def _wait_for_end(pid: int) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # a pipe, whose other end closes with the parent
        return
    while os.getppid() == pid:
        time.sleep(LOOK)
