"""The job that runs on a cluster: one group of cells, with a result file for each cell.

submitit pickles the job, so that it holds only strings; results come back as JSON files.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from ..common.files import write_atomically
from .cells import CELLS, SuiteCell
from .groups import batches_of
from .plan import CellResult, SuitePlan, failures_without_upstream
from .worker import Worker, retry_alone


class GroupJob:
    """Runs the cells of a group; submitit calls it, and calls it again after a requeue.

    Args:
        plan: a `SuitePlan` as JSON.
        cells: the group's cells as JSON.
        folder: folder of the result files.
    """

    def __init__(self, plan: str, cells: str, folder: str) -> None:
        self.plan = plan
        self.cells = cells
        self.folder = folder

    def __call__(self) -> int:
        """Run the cells and return the number of failures."""
        plan, folder = SuitePlan.model_validate_json(self.plan), Path(self.folder)
        cells = CELLS.validate_json(self.cells)
        for cell in cells:  # results from before a requeue
            result_path(folder, cell).unlink(missing_ok=True)
        failed = 0
        with _TerminationWarning() as warning, Worker(plan) as worker:
            for batch in batches_of(cells):
                missing = {
                    entry.name
                    for entry in plan.suite.upstreams
                    if _failed(folder, SuiteCell(kind="upstream", upstream=entry.name))
                }
                results: Iterable[CellResult] | None
                results = failures_without_upstream(plan.suite, batch, missing)
                if results is None:
                    first = worker.run_together(batch)
                    warning.wait_if_terminating(first[0])
                    results = retry_alone(worker, batch, first)
                for cell, result in zip(batch, results, strict=True):
                    warning.wait_if_terminating(result)
                    write_atomically(result_path(folder, cell), result.model_dump_json() + "\n")
                    failed += result.state == "failed"
        return failed

    def checkpoint(self) -> Any:
        """Return the job to requeue: the same one, which skips cells that are complete."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class _TerminationWarning:
    """Notices that the scheduler is about to terminate the job, most often by preemption.

    The scheduler warns all processes of the job at once, and the worker dies of the warning. This
    is not a failure of its cell, which runs again after the requeue, so it must not be recorded.
    """

    _delay = 2.0
    """Seconds within which the warning reaches this process after it has reached the worker."""
    _patience = 600.0
    """Seconds to wait for the termination; if it does not come by then, it was cancelled."""

    def __enter__(self) -> _TerminationWarning:
        self._received = False
        self._previous_handler = signal.signal(signal.SIGTERM, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGTERM, self._previous_handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._received = True
        if callable(self._previous_handler):  # submitit's handler, which logs the signal
            self._previous_handler(number, frame)

    def wait_if_terminating(self, result: CellResult) -> None:
        """After a failure that may be the scheduler's doing, wait for the job's termination."""
        if result.restart_worker and result.state == "failed":
            self.wait_for_termination()

    def wait_for_termination(self) -> None:
        """Wait to be killed if a warning was received; otherwise return after a short delay."""
        time.sleep(self._delay)
        if self._received:
            time.sleep(self._patience)


def cells_text(cells: tuple[SuiteCell, ...]) -> str:
    """Return cells in the form that a `GroupJob` takes."""
    return CELLS.dump_json(cells).decode()


def result_path(folder: Path, cell: SuiteCell) -> Path:
    """Return the file that a job writes the result of a cell to."""
    return folder / f"{cell.stem}.json"


def read_result(folder: Path, cell: SuiteCell) -> CellResult | None:
    """Return the result of a cell; None if its job has not written a readable one."""
    try:
        return CellResult.model_validate_json(result_path(folder, cell).read_bytes())
    except (OSError, ValueError):
        return None


def _failed(folder: Path, cell: SuiteCell) -> bool:
    result = read_result(folder, cell)
    return result is not None and result.state == "failed"
