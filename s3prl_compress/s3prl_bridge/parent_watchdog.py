"""Ending a child process together with its parent."""

from __future__ import annotations

import os
import threading
import time

_SECONDS = 0.5


def end_with_parent(parent: int) -> None:
    """Watch, in a thread, the process that started this one; end at once when it is gone.

    `parent` is its id as it knows it: this process may come too late to ask.

    Whatever is half-written then is a temporary file: checkpoints and results are renamed into
    their places when they are whole.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS)
    os._exit(3)
