"""Which cells go to a cluster together, as one job.

- An upstream is a job; what needs it waits for that job.
- The one-pass cells of an upstream on a task are one job: they share the features, which take
  nearly all of their time, and jobs side by side would each make them.
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
    members: dict[str, list[Cell]] = {}
    for cell in cells:
        members.setdefault(_name(cell), []).append(cell)
    made = {cell.upstream: name for name, part in members.items() for cell in part[:1]
            if cell.kind == "upstream"}  # fmt: skip
    return [
        Group(
            name=name,
            cells=tuple(part),
            needs=(
                *(
                    made[needed]
                    for needed in dict.fromkeys(n for cell in part for n in needs(suite, cell))
                    if needed in made
                ),
                *dict.fromkeys(
                    _name(other) for cell in part for other in rate_needs(suite, cell, cells)
                ),
            ),
        )
        for name, part in members.items()
    ]


def _name(cell: Cell) -> str:
    if cell.engine == "onepass" and cell.task is not None:
        return f"{cell.task + 1}.{cell.task_name}-{cell.upstream}-onepass"
    return cell.stem
