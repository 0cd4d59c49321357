from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from s3prl_compress.suite.cell_runner import run_cells
from s3prl_compress.suite.cells import CELLS, SuiteCell
from s3prl_compress.suite.groups import CellGroup
from s3prl_compress.suite.plan import RESULTS, CellResult, SuitePlan
from s3prl_compress.suite.slurm_job import GroupJob
from s3prl_compress.suite.suite_file import ClusterEntry


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


class ImmediateQueue:
    """In the place of Slurm's queue: a job runs in this process when it is submitted."""

    killed: ClassVar[set[str]] = set()
    """Names of jobs that end without having done anything."""
    submitted: ClassVar[dict[str, tuple[str, ...]]] = {}
    """What each job waited for, by name."""

    def __init__(self, folder: Path, entry: ClusterEntry) -> None:
        self.folder = folder
        self.ended: list[str] = []

    def submit(self, group: CellGroup, job: GroupJob, after: Sequence[str]) -> str:
        assert set(after) <= set(self.ended)
        if group.name not in self.killed:
            job()
        self.submitted[group.name] = tuple(after)
        self.ended.append(group.name)
        return group.name

    def unfinished(self, job_ids: Sequence[str]) -> set[str]:
        return set()

    def log(self, job_id: str) -> Path:
        return self.folder / f"{job_id}.err"


@pytest.fixture
def immediate_queue(monkeypatch: pytest.MonkeyPatch) -> type[ImmediateQueue]:
    monkeypatch.setattr("s3prl_compress.suite.cluster.SlurmQueue", ImmediateQueue)
    monkeypatch.setattr(ImmediateQueue, "killed", set())
    monkeypatch.setattr(ImmediateQueue, "submitted", {})
    return ImmediateQueue
