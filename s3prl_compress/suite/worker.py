"""The parent's handle of a worker process that runs cells.

A crash, or the kernel's out-of-memory killer, costs the cell that was running and nothing else. The
process is reused, because starting it takes seconds. It is replaced after a crash, and after a long
cell if it holds much memory, so that memory that libraries do not release cannot accumulate.
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

import psutil

from ..common.files import writing
from .cells import CELLS, SuiteCell
from .groups import group_name
from .plan import RESULTS, CellResult, SuitePlan

_LONG = 60.0
"""Seconds after which a cell is long: the time to restart the worker is negligible then."""
_MUCH_MEMORY = 2 * 2**30
"""Bytes that a process may keep after a long cell."""
_GRACE = 10.0
"""Seconds that the process has to clean up after Ctrl-C or SIGTERM."""
LAST_LINES = 15
"""Number of log lines that describe a failure."""


class Worker:
    """Runs cells one by one in a child process, which is started and replaced as needed.

    Args:
        plan: the suite and where its output goes.
        quiet: do not copy the output of the process to this process's standard error.
    """

    def __init__(self, plan: SuitePlan, *, quiet: bool = False) -> None:
        self._plan = plan
        self._quiet = quiet
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        """Start the process, which imports its libraries while this one continues."""
        self._start()
        return self

    def __exit__(self, *error: object) -> None:
        """End the process; one that is running a cell may clean up first."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self._end(grace=_GRACE)

    def run(self, cell: SuiteCell) -> CellResult:
        """Run a cell and return its result; if the process dies, the cell has failed."""
        return self.run_together([cell])[0]

    def run_together(self, cells: Sequence[SuiteCell]) -> list[CellResult]:
        """Run a batch of cells (see `groups`); if one fails, all of them have failed."""
        log = self._plan.logs / f"{cells[0].stem if len(cells) == 1 else group_name(cells[0])}.log"
        with writing(log):
            log.parent.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        if self._process is None or self._process.poll() is not None:
            self._start()
        self._log_to(log)
        line = b""
        with suppress(BrokenPipeError):
            self._send(CELLS.dump_json(tuple(cells)).decode())
            line = self._receive()
        if not line:
            status = self._end(grace=1.0)
            message = f"the worker process ended with {_describe_exit(status)}"
            seconds = time.perf_counter() - started
            return [
                CellResult(
                    title=cell.title,
                    state="failed",
                    message=message,
                    details="\n".join(last_lines(log)),
                    seconds=seconds / len(cells),
                    restart_worker=True,
                )
                for cell in cells
            ]
        results = RESULTS.validate_json(line)
        long = time.perf_counter() - started > _LONG
        if results[0].restart_worker or (long and self._memory() > _MUCH_MEMORY):
            self._end()
        return list(results)

    def _start(self) -> None:
        self._end()
        reading, writing = os.pipe()
        try:
            # A session of its own: signals to this process group (Ctrl-C, a scheduler's warning)
            # reach the worker through this process only, and everything that a cell has started
            # can be killed with it.
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
        self._results = os.fdopen(reading, "rb")
        self._log: BinaryIO | None = None
        self._lock = threading.Lock()
        assert self._process.stdout is not None
        self._copier = threading.Thread(target=self._copy, args=(self._process.stdout,))
        self._copier.start()
        with suppress(BrokenPipeError):
            self._send(self._plan.model_dump_json(by_alias=True))

    def _send(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _receive(self) -> bytes:
        """Return the next line of results; empty if the process has ended."""
        assert self._process is not None
        while True:
            # Poll instead of blocking: a grandchild that outlives the worker may hold the other
            # end of the pipe open, so that it is never closed.
            ended = self._process.poll() is not None
            if select.select([self._results], [], [], 0 if ended else 0.5)[0]:
                return self._results.readline()
            if ended:
                return b""

    def _memory(self) -> int:
        """Return the bytes of memory that the process holds; 0 if it has ended."""
        assert self._process is not None
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def _end(self, *, grace: float = 0.0) -> int:
        """End the process and everything that it has started; return its exit status.

        `grace` is the number of seconds in which it may end by itself.
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
        self._results.close()
        self._log_to(None)
        return status

    def _log_to(self, path: Path | None) -> None:
        with self._lock:
            log, self._log = self._log, None
            with suppress(OSError):  # of a full disk: what is lost is a log
                if log is not None:
                    log.close()
            with suppress(OSError):
                self._log = None if path is None else path.open("wb")

    def _copy(self, output: BinaryIO) -> None:
        """Copy the output of the process: to the screen at once, to the log in whole lines."""
        line = b""
        while chunk := os.read(output.fileno(), 65536):
            if not self._quiet:
                sys.stderr.write(chunk.decode("utf-8", "replace"))
                sys.stderr.flush()
            *whole, line = (line + chunk).split(b"\n")
            line = line.rpartition(b"\r")[2]  # keep only the last state of a progress bar
            with self._lock:
                if self._log is not None:
                    # On a full disk, too, the pipe must be read, or the process waits forever.
                    with suppress(OSError):
                        for text in whole:
                            self._log.write(text.rstrip(b"\r").rpartition(b"\r")[2] + b"\n")
                        self._log.flush()
        output.close()


def retry_alone(
    worker: Worker, cells: Sequence[SuiteCell], results: Sequence[CellResult]
) -> Iterator[CellResult]:
    """Yield the results of a batch, after running the cells of a failed batch again one by one.

    This shows which cells are at fault. Work that the batch saved before it failed is not lost, and
    a single cell needs less memory.
    """
    for cell, result in zip(cells, results, strict=True):
        retry = len(cells) > 1 and result.state == "failed"
        yield worker.run(cell) if retry else result


def last_lines(log: Path, count: int = LAST_LINES) -> list[str]:
    """Return the last non-empty lines of a log; none if it cannot be read."""
    try:
        text = log.read_text("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]


def _describe_exit(status: int) -> str:
    if status == -signal.SIGKILL:
        return "signal 9 (SIGKILL): most likely out of memory, unless a user killed it"
    if status < 0:
        return f"signal {-status} ({signal.Signals(-status).name})"
    return f"status {status}"
