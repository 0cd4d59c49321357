"""Which cells are complete already, found out without doing them.

A run need not ask: `score` and the others skip what is complete by themselves. This is for a dry
run, and for a cluster, where a job that has nothing to do still waits in the queue.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, cached_property

from ..common.errors import InputError
from ..common.validation import pick_device
from ..encoder import fingerprint
from ..evaluation import Settings, load_settings
from ..evaluation.identity import cell_identity, record_identity
from ..evaluation.rates import rates_by_onepass
from ..results.records import Engine, ScoreRecord, TimeRecord, read_record
from ..s3prl_bridge.upstream import foreign_fingerprint
from ..tasks.registry import find_task
from .baselines import peer_facts
from .cells import Cell, takes_rate
from .plan import Plan
from .times import fits
from .upstreams import load_upstream, upstream_recipe


class Finished:
    """Looks into a suite's output folder.

    Args:
        plan: of the suite.
        corpus: the fingerprint of a task's corpus by its place in the suite; None where it is not
            prepared yet.
    """

    def __init__(self, plan: Plan, corpus: Callable[[int], str | None]) -> None:
        self._plan = plan
        self._corpus = cache(corpus)
        self._entries = {entry.name: entry for entry in plan.suite.upstreams}
        self.checkpoint = cache(self._checkpoint)

    @cached_property
    def scores(self) -> list[ScoreRecord]:
        """The score records that lie there, with all their predictions."""
        records = [record for record in self._records if isinstance(record, ScoreRecord)]
        return [r for r in records if (self._plan.records / r.predictions).is_file()]

    def is_finished(self, cell: Cell) -> bool:
        """Tell whether a run would find the cell complete."""
        checkpoint = self.checkpoint(cell.upstream)
        if checkpoint is None:
            return False
        if cell.kind == "upstream":
            return True
        return self._scored(cell, checkpoint) if cell.kind == "score" else self._timed(cell)

    def _scored(self, cell: Cell, checkpoint: str) -> bool:
        assert cell.task is not None
        assert cell.engine is not None
        entry = self._plan.suite.tasks[cell.task]
        settings = self.settings(cell, cell.engine)
        rates: set[float | None] = {None}
        if takes_rate(self._plan.suite, cell):
            rates = {*self.rates(cell)}
        corpus = self._corpus(cell.task) or ""
        task = find_task(entry.task)
        wanted = [
            cell_identity(checkpoint, corpus, task, settings, cell.engine, cell.seed, rate)
            for rate in rates
        ]
        return any(record_identity(record) in wanted for record in self.scores)

    def rates(self, cell: Cell) -> set[float]:
        """Return the learning rates that one-pass records choose for a cell."""
        assert cell.task is not None
        checkpoint = self.checkpoint(cell.upstream)
        if checkpoint is None:
            return set()
        chosen = rates_by_onepass(
            self.scores,
            checkpoint=checkpoint,
            task=find_task(self._plan.suite.tasks[cell.task].task),
            corpus=self._corpus(cell.task) or "",
            settings=self.settings(cell, "onepass"),
            seed=cell.seed,
        )
        return {rate.learning_rate for rate in chosen}

    def settings(self, cell: Cell, engine: Engine) -> Settings:
        """Return the settings of a cell's recipe for an engine, with the padding that is used."""
        assert cell.task is not None
        entry = self._plan.suite.tasks[cell.task]
        settings, _ = load_settings(entry.task, entry.recipe, engine)
        foreign = self._entries[cell.upstream].s3prl is not None
        padding = "fairseq" if foreign else entry.padding or settings.padding
        return settings.model_copy(update={"padding": padding})

    def _timed(self, cell: Cell) -> bool:
        timing = self._plan.suite.time
        assert timing is not None
        alone = timing.against in (None, cell.upstream)
        other = None if alone else self.checkpoint(str(timing.against))
        if other is None and not alone:
            return False
        this = str(self.checkpoint(cell.upstream))
        device = pick_device(self._plan.device or self._plan.suite.device)
        threads = self._plan.threads or self._plan.suite.threads
        times = [record for record in self._records if isinstance(record, TimeRecord)]
        return any(fits(record, this, other, timing, device, threads) for record in times)

    def _checkpoint(self, name: str) -> str | None:
        """Return an upstream's fingerprint, or None where it would have to be made (again)."""
        entry, folder = self._entries[name], self._plan.upstreams
        try:
            if entry.source is not None:
                return fingerprint(load_upstream(entry, folder))
            if entry.s3prl is not None:
                facts = peer_facts(entry, folder)
                return None if facts is None else foreign_fingerprint(entry.s3prl, entry.checkpoint)
            base = None if entry.base is None else self.checkpoint(entry.base)
            if entry.base is not None and base is None:
                return None
            card = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            if card["recipe"] != upstream_recipe(entry, base):
                return None
            found = fingerprint(load_upstream(entry, folder))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if found == card["sha256"] else None

    @cached_property
    def _records(self) -> list[ScoreRecord | TimeRecord]:
        found = []
        for path in sorted(self._plan.records.glob("*.json")):
            try:
                found.append(read_record(path))
            except InputError:
                continue  # the report names a broken record
        return found
