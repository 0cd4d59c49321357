"""A process that does cells, seen from the one that asks for them.

A crash, or the kernel's out-of-memory killer, takes the cell that was being done and no more. The
process is used again, since its start takes seconds; it is replaced after a failure, and after a
long cell, so that what a library holds on to does not pile up.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from .cells import CELLS, Cell
from .groups import group_name
from .plan import RESULTS, CellResult, Plan

_LONG = 60.0
"""Seconds of a cell after which a fresh start costs nothing worth mentioning."""
_PATIENCE = 10.0
"""Seconds that a process has to put its things away after Ctrl-C."""
LAST_LINES = 15


class Worker:
    """Does cells one by one in a process of its own, which it starts when there is need.

    Args:
        plan: of the suite.
        quiet: do not copy what the process prints to this one's standard error.
    """

    def __init__(self, plan: Plan, *, quiet: bool = False) -> None:
        self._plan = plan
        self._quiet = quiet
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        """Start at once: the process gets ready while this one does other things."""
        self._start()
        return self

    def __exit__(self, *error: object) -> None:
        """End the process; one that is in the middle of a cell may tidy up first."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self._end(grace=_PATIENCE)

    def do(self, cell: Cell) -> CellResult:
        """Return how a cell ended; a process that dies over it is a failure as any other."""
        return self.do_together([cell])[0]

    def do_together(self, cells: Sequence[Cell]) -> list[CellResult]:
        """Return how each of the cells of a batch (see `groups`) ended; a failure is one of all."""
        log = self._plan.logs / f"{cells[0].stem if len(cells) == 1 else group_name(cells[0])}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        if self._process is None or self._process.poll() is not None:
            self._start()
        self._log_to(log)
        line = b""
        with suppress(BrokenPipeError):
            self._say(CELLS.dump_json(tuple(cells)).decode())
            line = self._answer()
        if not line:
            status = self._end(grace=1.0)
            words = f"the process ended with {_ending(status)}"
            seconds = time.perf_counter() - started
            return [
                CellResult(
                    title=cell.title,
                    state="failed",
                    words=words,
                    details="\n".join(last_lines(log)),
                    seconds=seconds / len(cells),
                    worn=True,
                )
                for cell in cells
            ]
        results = RESULTS.validate_json(line)
        if results[0].worn or time.perf_counter() - started > _LONG:
            self._end()
        return list(results)

    def _start(self) -> None:
        self._end()
        reading, writing = os.pipe()
        try:
            # A session of its own: signals to this one's group (Ctrl-C, a scheduler's warning)
            # reach the cell by way of us only, and all that a cell started can be ended with it.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "s3prl_compress.suite.worker_main", str(writing)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                start_new_session=True,
            )
        finally:
            os.close(writing)
        self._answers = os.fdopen(reading, "rb")
        self._log: BinaryIO | None = None
        self._lock = threading.Lock()
        assert self._process.stdout is not None
        self._copier = threading.Thread(target=self._copy, args=(self._process.stdout,))
        self._copier.start()
        with suppress(BrokenPipeError):
            self._say(self._plan.model_dump_json(by_alias=True))

    def _say(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _answer(self) -> bytes:
        """Return the next line of answers; nothing where the process is gone."""
        assert self._process is not None
        while True:
            # Not for ever: a process that outlives the one that it was started by may hold the
            # other end open.
            gone = self._process.poll() is not None
            if select.select([self._answers], [], [], 0 if gone else 0.5)[0]:
                return self._answers.readline()
            if gone:
                return b""

    def _end(self, *, grace: float = 0.0) -> int:
        """End the process and all that it started; return its exit status.

        grace: seconds in which it may end by itself.
        """
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=grace)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        self._copier.join()
        self._answers.close()
        self._log_to(None)
        return status

    def _log_to(self, path: Path | None) -> None:
        with self._lock:
            if self._log is not None:
                self._log.close()
            self._log = None if path is None else path.open("wb")

    def _copy(self, output: BinaryIO) -> None:
        """Copy what the process prints: as it comes to the screen, whole lines to the log."""
        line = b""
        while chunk := os.read(output.fileno(), 65536):
            if not self._quiet:
                sys.stderr.write(chunk.decode("utf-8", "replace"))
                sys.stderr.flush()
            *whole, line = (line + chunk).split(b"\n")
            line = line.rpartition(b"\r")[2]  # a progress bar is drawn over itself
            with self._lock:
                if self._log is not None:
                    for text in whole:
                        self._log.write(text.rstrip(b"\r").rpartition(b"\r")[2] + b"\n")
                    self._log.flush()
        output.close()


def each_alone(
    worker: Worker, cells: Sequence[Cell], results: Sequence[CellResult]
) -> Iterator[CellResult]:
    """Yield the results of a batch; what failed is done again, each cell by itself.

    A failure is then a cell's own. What the batch wrote before it failed is not lost, and a single
    cell needs less memory.
    """
    for cell, result in zip(cells, results, strict=True):
        alone = len(cells) > 1 and result.state == "failed"
        yield worker.do(cell) if alone else result


def last_lines(log: Path, count: int = LAST_LINES) -> list[str]:
    """Return the last lines of a log that say anything; none where it cannot be read."""
    try:
        text = log.read_text("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]


def _ending(status: int) -> str:
    if status == -signal.SIGKILL:
        return "signal 9 (SIGKILL): out of memory, most likely; or somebody killed it"
    if status < 0:
        return f"signal {-status} ({signal.Signals(-status).name})"
    return f"status {status}"
