"""Group cells that run together: in one process one after the other, or as one cluster job.

- An upstream is one job. Jobs that need the upstream wait for it.
- The one-pass cells of an upstream on a task are one job: their seeds share the features and are
  trained at the same time (see `evaluation.score_seeds`).
- A cell on s3prl's engine is one job, because it takes hours to days and shares nothing with other
  cells. If it uses the learning rate that one-pass cells select, it waits for their job.
- A timing is one job, so that it can have a node to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .cells import SuiteCell, rate_cells, required_upstreams
from .suite_file import Suite


@dataclass(frozen=True)
class CellGroup:
    """The cells of one job."""

    name: str
    """Name of the job in the queue; unique in a suite and usable as a file stem."""
    cells: tuple[SuiteCell, ...]
    depends_on: tuple[str, ...]
    """Names of the groups that must have ended before this one starts."""

    @property
    def measures_time(self) -> bool:
        """Whether the group contains a timing."""
        return any(cell.kind == "time" for cell in self.cells)

    @property
    def is_shard(self) -> bool:
        """Whether the group computes a shard of features; see `shards`."""
        return self.cells[0].kind == "features"


def groups_of(suite: Suite, cells: Sequence[SuiteCell]) -> list[CellGroup]:
    """Return the jobs for some of a suite's cells, in an order that respects their dependencies."""
    batches = {group_name(batch[0]): batch for batch in batches_of(cells)}
    made_by = {
        batch[0].upstream: name for name, batch in batches.items() if batch[0].kind == "upstream"
    }
    groups = []
    for name, batch in batches.items():
        upstreams = [required for cell in batch for required in required_upstreams(suite, cell)]
        rates = [other for cell in batch for other in rate_cells(suite, cell, cells)]
        # An upstream that is complete already is in no group, so there is nothing to wait for.
        before = [made_by[upstream] for upstream in upstreams if upstream in made_by]
        before += [group_name(other) for other in rates]
        groups.append(CellGroup(name, batch, depends_on=tuple(dict.fromkeys(before))))
    return groups


def batches_of(cells: Sequence[SuiteCell]) -> list[tuple[SuiteCell, ...]]:
    """Return the cells that run together, ordered by the first cell of each batch."""
    batches: dict[str, list[SuiteCell]] = {}
    for cell in cells:
        batches.setdefault(group_name(cell), []).append(cell)
    return [tuple(batch) for batch in batches.values()]


def group_name(cell: SuiteCell) -> str:
    """Return the name of a cell's group; it is usable as a file stem."""
    if cell.engine == "onepass" and cell.task is not None:
        return f"{cell.task + 1}.{cell.task_name}-{cell.upstream}-onepass"
    return cell.stem
