"""What runs on a cluster: one group of cells, with a result file for each.

Only texts cross to the job, and results come back as JSON beside the jobs' logs.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from ..common.files import write_atomically
from .cells import CELLS, Cell
from .groups import batches_of
from .plan import CellResult, Plan, without_upstream
from .worker import Worker, each_alone


class Job:
    """Does the cells of a group; submitit starts it, and starts it again after a requeue.

    Args:
        plan: a `Plan` as JSON.
        cells: the group's cells as JSON.
        folder: of the result files.
    """

    def __init__(self, plan: str, cells: str, folder: str) -> None:
        self.plan = plan
        self.cells = cells
        self.folder = folder

    def __call__(self) -> int:
        """Do the cells and return how many failed."""
        plan, folder = Plan.model_validate_json(self.plan), Path(self.folder)
        cells = CELLS.validate_json(self.cells)
        for cell in cells:  # of a start before a requeue
            result_path(folder, cell).unlink(missing_ok=True)
        failed = 0
        with _Warning() as warning, Worker(plan) as worker:
            for batch in batches_of(cells):
                missing = {
                    entry.name
                    for entry in plan.suite.upstreams
                    if _failed(folder, Cell(kind="upstream", upstream=entry.name))
                }
                results: Iterable[CellResult] | None
                results = without_upstream(plan.suite, batch, missing)
                if results is None:
                    first = worker.do_together(batch)
                    warning.heed(first[0])
                    results = each_alone(worker, batch, first)
                for cell, result in zip(batch, results, strict=True):
                    warning.heed(result)
                    write_atomically(result_path(folder, cell), result.model_dump_json() + "\n")
                    failed += result.state == "failed"
        return failed

    def checkpoint(self) -> Any:
        """Return what is to be done after a requeue: the same; what is complete is skipped."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class _Warning:
    """Notices that the scheduler is about to end the job, by preemption above all.

    It warns all processes at once, and those of a cell end at the warning: such an end is no
    failure of the cell, which will be done again.
    """

    _delay = 2.0
    """Seconds in which the warning may reach us after it has reached them."""
    _patience = 600.0
    """Seconds after which nobody means it any more."""

    def __enter__(self) -> _Warning:
        self._given = False
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._given = True
        if callable(self._before):  # submitit's, which says so in the log
            self._before(number, frame)

    def heed(self, result: CellResult) -> None:
        """Look for a warning where a cell's process came to harm."""
        if result.worn and result.state == "failed":
            self.wait_for_the_end()

    def wait_for_the_end(self) -> None:
        """Return at once where there was no warning; else be killed here."""
        time.sleep(self._delay)
        if self._given:
            time.sleep(self._patience)


def cells_text(cells: tuple[Cell, ...]) -> str:
    """Return cells as a `Job` takes them."""
    return CELLS.dump_json(cells).decode()


def result_path(folder: Path, cell: Cell) -> Path:
    """Return where a job writes how a cell ended."""
    return folder / f"{cell.stem}.json"


def read_result(folder: Path, cell: Cell) -> CellResult | None:
    """Return how a cell ended; None where its job has not written that."""
    try:
        return CellResult.model_validate_json(result_path(folder, cell).read_bytes())
    except (OSError, ValueError):
        return None


def _failed(folder: Path, cell: Cell) -> bool:
    result = read_result(folder, cell)
    return result is not None and result.state == "failed"
