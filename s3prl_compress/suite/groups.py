"""Which cells are done together: by one process at a time, and on a cluster as one job.

- An upstream is a job; what needs it waits for that job.
- The one-pass cells of an upstream on a task are one job: their seeds share the features and are
  trained at the same time, see `scoring.score_seeds`.
- A cell of s3prl's engine is a job: it takes hours to days, and shares nothing with another. One
  that takes its learning rate from one-pass cells waits for their job.
- A time is a job, so that it can have a node to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .cells import Cell, needs, rate_needs
from .recipe import Suite


@dataclass(frozen=True)
class Group:
    """One job."""

    name: str
    """Of its files, and in the queue."""
    cells: tuple[Cell, ...]
    needs: tuple[str, ...]
    """Names of the groups that must have ended before it starts."""

    @property
    def times(self) -> bool:
        """Whether speed is measured in it."""
        return any(cell.kind == "time" for cell in self.cells)


def groups_of(suite: Suite, cells: Sequence[Cell]) -> list[Group]:
    """Return the jobs for some of a suite's cells, in an order in which they can be done."""
    members = {group_name(part[0]): part for part in batches_of(cells)}
    made = {cell.upstream: name for name, part in members.items() for cell in part[:1]
            if cell.kind == "upstream"}  # fmt: skip
    return [
        Group(
            name=name,
            cells=part,
            needs=(
                *(
                    made[needed]
                    for needed in dict.fromkeys(n for cell in part for n in needs(suite, cell))
                    if needed in made
                ),
                *dict.fromkeys(
                    group_name(other) for cell in part for other in rate_needs(suite, cell, cells)
                ),
            ),
        )
        for name, part in members.items()
    ]


def batches_of(cells: Sequence[Cell]) -> list[tuple[Cell, ...]]:
    """Return the cells that are done together, in the order of the first cell of each batch."""
    members: dict[str, list[Cell]] = {}
    for cell in cells:
        members.setdefault(group_name(cell), []).append(cell)
    return [tuple(part) for part in members.values()]


def group_name(cell: Cell) -> str:
    """Return the name of a cell's group; it is fit for a file's stem."""
    if cell.engine == "onepass" and cell.task is not None:
        return f"{cell.task + 1}.{cell.task_name}-{cell.upstream}-onepass"
    return cell.stem
