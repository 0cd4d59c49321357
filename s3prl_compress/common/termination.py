"""SIGTERM ends a process as Ctrl-C does, so that temporary files are removed.

Schedulers, containers and `kill` send it. Python's own reaction is to die at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """The process has received SIGTERM."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` in the block when SIGTERM arrives.

    A handler that is already there stays, and so does everything outside of the main thread, in
    which alone Python handles signals.
    """
    alone = threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def stop_once() -> None:
    """Let this process raise `Terminated` at the first SIGTERM or SIGINT, and ignore further ones.

    For child processes: whoever stops a whole tree of processes signals them too, and so does their
    parent, while they are cleaning up already.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop_for_good)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _stop_for_good(number: int, frame: FrameType | None) -> NoReturn:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    raise Terminated
