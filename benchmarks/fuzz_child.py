"""The child process in which the fuzzer reads inputs, within bounds of time and memory."""

from __future__ import annotations

import multiprocessing
import os
import resource
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

SECONDS = 10.0
"""Longest time that an input may take."""
MEMORY = 2 << 30
"""Bytes that an input may take, in addition to those of the libraries."""
START_SECONDS = 120.0
"""Longest time in which a child process imports the package."""


@dataclass
class Outcome:
    """What an input led to."""

    kind: str
    """accepted, refused, or the kind of failure: a class of exceptions, "hang", "crash"."""
    message: str = ""
    seconds: float = 0.0
    memory: int = 0
    """Resident bytes of the child process at the highest, above those at its start."""

    @property
    def failed(self) -> bool:
        """Whether a user would have seen something else than a result or one line."""
        return self.kind not in ("accepted", "refused")


Reader = Callable[[str, Path, Path, str], Outcome]


def serve(connection: Connection, originals: Path, read: Reader) -> None:
    """Read inputs in a child process, until the connection is closed."""
    # libsndfile and tqdm write to it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    warnings.simplefilter("ignore")
    # Not RLIMIT_AS, since torch maps far more than it uses.
    limit = psutil.Process().memory_info().data + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    before = _peak()
    connection.send(None)
    while True:
        try:
            target, folder, seed = connection.recv()
        except EOFError:
            return
        Path("/proc/self/clear_refs").write_text("5")  # starts a new peak; see proc(5)
        outcome = read(target, originals, folder, seed)
        outcome.memory = max(0, _peak() - before)
        connection.send(outcome)


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return 1024 * int(peak)


class Child:
    """A child process that reads inputs, replaced whenever one of them fails."""

    def __init__(self, originals: Path, read: Reader) -> None:
        self._originals, self._read = originals, read
        self._process: Any = None
        self._connection: Any = None

    def read(self, target: str, folder: Path, seed: str) -> Outcome:
        """Let the child write an input to `folder` and read it."""
        if self._process is None:
            self._start()
        self._connection.send((target, folder, seed))
        outcome = Outcome("hang", seconds=SECONDS)
        # Twice the time, since writing an input is not counted.
        if self._connection.poll(2 * SECONDS):
            try:
                outcome = self._connection.recv()
            except EOFError:
                self._process.join()
                outcome = Outcome("crash", f"exit code {self._process.exitcode}")
        if outcome.failed:
            self.stop()
        return outcome

    def stop(self) -> None:
        """Kill the process; the next input starts another one."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, self._originals, self._read))
        self._process.start()
        theirs.close()
        if not self._connection.poll(START_SECONDS):
            raise SystemExit("the child process does not start")
        self._connection.recv()
