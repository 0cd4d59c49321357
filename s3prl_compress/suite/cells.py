"""The cells of a suite: how they are enumerated, what they depend on, and how `--only` selects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from ..common.errors import InputError
from ..results.records import Engine
from .suite_file import Suite, TaskEntry, UpstreamEntry


class SuiteCell(BaseModel):
    """One step of a suite: make an upstream, score it, or time it.

    On a cluster there are also cells that compute a shard of the features of scores; see `shards`.
    Plain data, so that it can be sent to the process or machine that runs it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["upstream", "features", "score", "time"]
    upstream: str
    """Name of an entry in the suite's `upstreams`."""
    task: int | None = None
    """Index into the suite's `tasks`; None unless the cell is a score or a shard."""
    task_name: str | None = None
    data: str | None = None
    """Name of the corpus where the suite has the task on several; otherwise None."""
    engine: Engine | None = None
    seed: int | None = None
    shard: int | None = None
    """Number of a shard of features, from 1; None for all other cells."""
    shards: int | None = None
    """How many shards there are."""

    @property
    def title(self) -> str:
        """Name in listings and in `--only`."""
        if self.kind == "features":
            return f"{self._scored_on} {self.upstream} features {self.shard} of {self.shards}"
        if self.kind != "score":
            return f"{self.kind} {self.upstream}"
        seed = "" if self.seed is None else f" seed {self.seed}"
        return f"{self._scored_on} {self.upstream} {self.engine}{seed}"

    @property
    def _scored_on(self) -> str:
        return " ".join(filter(None, (self.task_name, self.data)))

    @property
    def stem(self) -> str:
        """File stem of the cell's log.

        It starts with the index of the task, because two entries of one task on one corpus share
        their titles.
        """
        prefix = "" if self.task is None else f"{self.task + 1}."
        return prefix + re.sub(r"[^\w.+-]+", "-", self.title)


CELLS = TypeAdapter(tuple[SuiteCell, ...])
"""Serializes cells to and from JSON."""


def cells_of(suite: Suite) -> list[SuiteCell]:
    """Return all cells in an order that respects their dependencies.

    Upstreams come first, then one-pass scores: a score on s3prl's engine may use the learning rate
    that a one-pass score selected (see `rate_cells`).
    """
    cells = [SuiteCell(kind="upstream", upstream=entry.name) for entry in suite.upstreams]
    seeded = [
        (place, task, seed)
        for place, task in enumerate(suite.tasks)
        for seed in _seeds(suite, task)
    ]
    scores = [
        SuiteCell(
            kind="score",
            upstream=entry.name,
            task=place,
            task_name=task.task,
            data=_corpus_label(suite, task),
            engine=engine,
            seed=seed,
        )
        for place, task, seed in seeded
        for engine, entry in product(_engines(task), suite.upstreams)
        if not task.upstreams or entry.name in task.upstreams
    ]
    cells += sorted(scores, key=lambda cell: cell.engine != "onepass")
    if suite.time is not None:
        timed = [entry for entry in suite.upstreams if entry.name != suite.time.against]
        cells += [SuiteCell(kind="time", upstream=entry.name) for entry in timed or suite.upstreams]
    return cells


def _corpus_label(suite: Suite, task: TaskEntry) -> str | None:
    """Return the name of a task's corpus if the suite has the same task on others, too."""
    names = {_corpus_name(other.data) for other in suite.tasks if other.task == task.task}
    return _corpus_name(task.data) if len(names) > 1 else None


def _corpus_name(data: str) -> str:
    path = Path(data)
    return path.parent.name if path.name == "metadata.csv" else path.name


def select_cells(suite: Suite, cells: Sequence[SuiteCell], only: str | None) -> list[SuiteCell]:
    """Return the cells that match `only`, and the upstreams that these require.

    Args:
        suite: the suite that the cells belong to.
        cells: all of its cells.
        only: shell patterns separated by commas. A pattern matches a cell if it matches its title,
            upstream, task, corpus, engine or kind. None selects everything.

    Raises:
        InputError: a pattern matches no cell.
    """
    if only is None:
        return list(cells)
    selected: set[SuiteCell] = set()
    for pattern in filter(None, (part.strip() for part in only.split(","))):
        matching = {
            cell for cell in cells if any(fnmatchcase(name, pattern) for name in _names(cell))
        }
        if not matching:
            first = ", ".join(cell.title for cell in cells[:3])
            raise InputError(f"--only {pattern}: matches no cell; the first cells are: {first}")
        selected |= matching
    required = {name for cell in selected for name in required_upstreams(suite, cell)}
    return [c for c in cells if c in selected or (c.kind == "upstream" and c.upstream in required)]


def required_upstreams(suite: Suite, cell: SuiteCell) -> list[str]:
    """Return the upstreams that must exist before a cell runs, bases first.

    The bases of an upstream are included: a stored upstream is valid only as long as the base that
    it was made from is unchanged.
    """
    entries = {entry.name: entry for entry in suite.upstreams}
    names = [entry.name for entry in reversed(list(_ancestry(entries, cell.upstream)))]
    if cell.kind == "upstream":
        names = names[:-1]
    if cell.kind == "time" and suite.time is not None and suite.time.against is not None:
        against = reversed(list(_ancestry(entries, suite.time.against)))
        names += [entry.name for entry in against if entry.name not in names]
    return names


def rate_cells(suite: Suite, cell: SuiteCell, cells: Sequence[SuiteCell]) -> list[SuiteCell]:
    """Return the one-pass cells that select the learning rate of a cell on s3prl's engine.

    These have the same upstream, task, corpus, recipe and padding; the same seed if there is such a
    cell, otherwise any seed. The list is empty if the recipe sets its own learning rates, or if
    `cells` has no such cell; in the latter case `score` runs the one-pass engine first.
    """
    if cell.engine != "s3prl" or cell.task is None or not takes_onepass_rate(suite, cell):
        return []
    alike = [
        other
        for other in cells
        if (other.engine, other.upstream) == ("onepass", cell.upstream)
        and other.task is not None
        and _conditions(suite.tasks[other.task]) == _conditions(suite.tasks[cell.task])
    ]
    return [other for other in alike if other.seed == cell.seed] or alike


def takes_onepass_rate(suite: Suite, cell: SuiteCell) -> bool:
    """Tell whether a score is trained at the learning rate that the one-pass engine selects."""
    from ..evaluation import load_settings
    from ..evaluation.rates import onepass_scores
    from ..tasks.registry import find_task

    assert cell.task is not None
    assert cell.engine is not None
    task = suite.tasks[cell.task]
    entry = next(entry for entry in suite.upstreams if entry.name == cell.upstream)
    if cell.seed is None:  # no head is trained
        return False
    if not onepass_scores(find_task(task.task), third_party=entry.s3prl is not None):
        return False
    settings, _ = load_settings(task.task, task.recipe, cell.engine)
    return settings.rate_from is not None


def _engines(task: TaskEntry) -> tuple[Engine, ...]:
    """Return the engines of an entry; those that decode where no head is trained."""
    from ..tasks.registry import find_task

    scored = find_task(task.task)
    if scored.trains_head:
        return task.engines
    plain = scored.load_own_head().engine
    return (plain,) if task.lm is None else (plain, "lm")


def _seeds(suite: Suite, task: TaskEntry) -> tuple[int | None, ...]:
    """Return the seeds of an entry; the one None where no head is trained."""
    from ..tasks.registry import find_task

    return (task.seeds or suite.seeds) if find_task(task.task).trains_head else (None,)


def _conditions(task: TaskEntry) -> tuple[str | None, ...]:
    return task.task, task.data, task.recipe, task.padding


def _ancestry(entries: dict[str, UpstreamEntry], name: str) -> Iterator[UpstreamEntry]:
    """Yield an upstream, its base, the base of that, and so on."""
    entry: UpstreamEntry | None = entries[name]
    while entry is not None:
        yield entry
        entry = None if entry.base is None else entries[entry.base]


def _names(cell: SuiteCell) -> list[str]:
    parts = (cell.title, cell.upstream, cell.task_name, cell.data, cell.engine, cell.kind)
    return [part for part in parts if part is not None]
