from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch

from s3prl_compress.suite.cell_runner import run_cells
from s3prl_compress.suite.cells import CELLS, SuiteCell
from s3prl_compress.suite.plan import RESULTS, CellResult, SuitePlan


class InProcessWorker:
    """In the place of `Worker`, whose own tests start processes: it runs cells in this one.

    Plan, cells and results still pass through JSON.
    """

    def __init__(self, plan: SuitePlan) -> None:
        self._plan = SuitePlan.model_validate_json(plan.model_dump_json(by_alias=True))

    def __enter__(self) -> InProcessWorker:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def run(self, cell: SuiteCell) -> CellResult:
        return self.run_together([cell])[0]

    def run_together(self, cells: Sequence[SuiteCell]) -> list[CellResult]:
        sent = CELLS.validate_json(CELLS.dump_json(tuple(cells)))
        return list(RESULTS.validate_json(RESULTS.dump_json(run_cells(self._plan, sent))))


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run suites without a worker process, whose imports take most of a small suite's time."""
    threads = torch.get_num_threads()
    for module in ("run", "slurm_job"):
        monkeypatch.setattr(f"s3prl_compress.suite.{module}.Worker", InProcessWorker)
    yield
    torch.set_num_threads(threads)
