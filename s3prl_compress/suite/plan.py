"""The data that processes working on a suite exchange: the plan and the results of cells."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from .cells import SuiteCell, required_upstreams
from .suite_file import Suite


class SuitePlan(BaseModel):
    """A suite with the settings that the command line adds to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: Suite
    output: Path
    device: str | None
    """None: the worker uses CUDA if it is available, otherwise the CPU."""
    threads: int | None
    command: tuple[str, ...]
    """The command line of the run, which every record stores."""

    @property
    def upstreams(self) -> Path:
        """Folder of the checkpoints that the suite makes."""
        return self.output / "upstreams"

    @property
    def records(self) -> Path:
        """Folder of the result records; the report reads nothing else."""
        return self.output / "records"

    @property
    def corpora(self) -> Path:
        """Folder of the corpora that the suite prepares from tables."""
        return self.output / "corpora"

    @property
    def logs(self) -> Path:
        """Folder with one log for each cell, from the last time that the cell ran."""
        return self.output / "logs"


class CellResult(BaseModel):
    """The outcome of a cell."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    state: Literal["done", "skipped", "failed"]
    """skipped: the cell was complete already and did not run again."""
    message: str
    """The outcome, or the reason of the failure, in one line."""
    details: str = ""
    """For a failure: the traceback, or the last lines of the log."""
    seconds: float = Field(default=0.0, ge=0)
    """Wall time; cells that ran together have equal shares of theirs."""
    random_weights: bool = False
    restart_worker: bool = False
    """Whether the worker process must be replaced before the next cell."""


RESULTS = TypeAdapter(tuple[CellResult, ...])
"""Serializes results to and from JSON."""


def failures_without_upstream(
    suite: Suite, cells: Sequence[SuiteCell], missing: Container[str]
) -> list[CellResult] | None:
    """Return failures for cells of one upstream if one that they require could not be made.

    None means that the cells can run.
    """
    for name in required_upstreams(suite, cells[0]):
        if name in missing:
            message = f"upstream {name} could not be made"
            return [CellResult(title=cell.title, state="failed", message=message) for cell in cells]
    return None
