"""A suite's cells: which steps there are, in which order, and which of them `--only` means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import product
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from ..common.errors import InputError
from ..results.records import Engine
from .recipe import Suite, TaskEntry, UpstreamEntry


class Cell(BaseModel):
    """One step, as data: it crosses to the process, or to the machine, that does it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["upstream", "score", "time"]
    upstream: str
    """Name of the suite's entry."""
    task: int | None = None
    """Place in the suite's tasks, for scores."""
    task_name: str | None = None
    engine: Engine | None = None
    seed: int | None = None

    @property
    def title(self) -> str:
        """What it is called in lists and in `--only`."""
        if self.kind != "score":
            return f"{self.kind} {self.upstream}"
        return f"{self.task_name} {self.upstream} {self.engine} seed {self.seed}"

    @property
    def stem(self) -> str:
        """Of its log: the title without blanks, and the task's place, which tells two apart."""
        place = "" if self.task is None else f"{self.task + 1}."
        return place + re.sub(r"[^\w.+-]+", "-", self.title)


CELLS = TypeAdapter(tuple[Cell, ...])
"""Cells to and from JSON."""


def cells_of(suite: Suite) -> list[Cell]:
    """Return all cells, each after those that it needs: its upstreams, then one-pass scores.

    A score on s3prl's engine may take its learning rate from a one-pass one; see `rate_needs`.
    """
    cells = [Cell(kind="upstream", upstream=entry.name) for entry in suite.upstreams]
    seeded = [
        (place, task, seed)
        for place, task in enumerate(suite.tasks)
        for seed in task.seeds or suite.seeds
    ]
    scores = [
        Cell(
            kind="score",
            upstream=entry.name,
            task=place,
            task_name=task.task,
            engine=engine,
            seed=seed,
        )
        for place, task, seed in seeded
        for engine, entry in product(task.engines, suite.upstreams)
        if not task.upstreams or entry.name in task.upstreams
    ]
    cells += sorted(scores, key=lambda cell: cell.engine != "onepass")
    if suite.time is not None:
        timed = [entry for entry in suite.upstreams if entry.name != suite.time.against]
        cells += [Cell(kind="time", upstream=entry.name) for entry in timed or suite.upstreams]
    return cells


def select(suite: Suite, cells: Sequence[Cell], only: str | None) -> list[Cell]:
    """Return the cells that `only` means, and the upstreams that they need.

    Args:
        suite: whose cells they are.
        cells: all of them.
        only: patterns as of a shell, with commas between. Each is held against a cell's title,
            upstream, task, engine and kind.

    Raises:
        InputError: a pattern that fits nothing.
    """
    if only is None:
        return list(cells)
    chosen: set[Cell] = set()
    for pattern in filter(None, (part.strip() for part in only.split(","))):
        fitting = {cell for cell in cells if any(fnmatchcase(n, pattern) for n in _names(cell))}
        if not fitting:
            known = ", ".join(cell.title for cell in cells[:3])
            raise InputError(f"--only {pattern}: fits no cell; the first are: {known}")
        chosen |= fitting
    needed = {name for cell in chosen for name in needs(suite, cell)}
    return [c for c in cells if c in chosen or (c.kind == "upstream" and c.upstream in needed)]


def needs(suite: Suite, cell: Cell) -> list[str]:
    """Return the upstreams that must have been made before a cell, bases first.

    What an upstream is made from is needed with it: whether it is still the same decides whether
    a kept one is good.
    """
    entries = {entry.name: entry for entry in suite.upstreams}
    names = [entry.name for entry in reversed(list(_line(entries, cell.upstream)))]
    if cell.kind == "upstream":
        names = names[:-1]
    if cell.kind == "time" and suite.time is not None and suite.time.against is not None:
        against = reversed(list(_line(entries, suite.time.against)))
        names += [entry.name for entry in against if entry.name not in names]
    return names


def rate_needs(suite: Suite, cell: Cell, cells: Sequence[Cell]) -> list[Cell]:
    """Return the one-pass cells that choose the learning rate of a cell of s3prl's engine.

    Those of the same upstream and conditions, of its own seed where there is one: else any. None
    where the recipe has rates of its own, or no such cell is among `cells`: then `score` runs the
    one-pass engine first.
    """
    if cell.engine != "s3prl" or cell.task is None or not takes_rate(suite, cell):
        return []
    alike = [
        other
        for other in cells
        if (other.engine, other.upstream) == ("onepass", cell.upstream)
        and other.task is not None
        and _conditions(suite.tasks[other.task]) == _conditions(suite.tasks[cell.task])
    ]
    return [other for other in alike if other.seed == cell.seed] or alike


def takes_rate(suite: Suite, cell: Cell) -> bool:
    """Tell whether a score's learning rate is the one that the one-pass engine chooses."""
    from ..evaluation import load_settings
    from ..evaluation.rates import onepass_scores
    from ..tasks.registry import find_task

    assert cell.task is not None
    assert cell.engine is not None
    task = suite.tasks[cell.task]
    entry = next(entry for entry in suite.upstreams if entry.name == cell.upstream)
    if not onepass_scores(find_task(task.task), third_party=entry.s3prl is not None):
        return False
    settings, _ = load_settings(task.task, task.recipe, cell.engine)
    return settings.rate_from is not None


def _conditions(task: TaskEntry) -> tuple[str | None, ...]:
    return task.task, task.data, task.recipe, task.padding


def _line(entries: dict[str, UpstreamEntry], name: str) -> Iterator[UpstreamEntry]:
    """Yield an upstream, what it is made from, and so on."""
    entry: UpstreamEntry | None = entries[name]
    while entry is not None:
        yield entry
        entry = None if entry.base is None else entries[entry.base]


def _names(cell: Cell) -> list[str]:
    parts = (cell.title, cell.upstream, cell.task_name, cell.engine, cell.kind)
    return [part for part in parts if part is not None]
