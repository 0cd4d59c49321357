"""Determine which cells are complete, without running them.

A run on this machine does not need this, because `score` and the other steps skip what is complete.
A dry run does, and so does a cluster, where even a job with nothing to do waits in the queue.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

from ..common.errors import InputError
from ..common.validation import pick_device
from ..encoder import fingerprint, load_unless_loaded
from ..encoder.exported import exported_runtime
from ..evaluation import Settings, load_settings
from ..evaluation.identity import (
    cell_identity,
    own_head_identity,
    record_identity,
    same_own_head_cell,
)
from ..evaluation.rates import rates_by_onepass
from ..results.records import Engine, ScoreRecord, TimeRecord, read_record
from ..s3prl_bridge.upstream import foreign_fingerprint
from ..tasks.base.own_head import OwnHead
from ..tasks.registry import corpus_folder, find_task, open_corpus
from .baselines import baseline_info
from .cells import SuiteCell, takes_onepass_rate
from .models import WHISPER, kind_of_entry, kind_of_model
from .plan import SuitePlan
from .times import is_same_comparison
from .upstreams import load_upstream, same_spec, upstream_source, upstream_spec


class SuiteStatus:
    """The completed cells in a suite's output folder.

    Args:
        plan: the suite and where its output goes.
        corpus: function from the index of a task to the fingerprint of its corpus, or to None if
            the corpus is not prepared yet.
    """

    def __init__(self, plan: SuitePlan, corpus: Callable[[int], str | None]) -> None:
        self._plan = plan
        self._corpus = cache(corpus)
        self._entries = {entry.name: entry for entry in plan.suite.upstreams}
        self.checkpoint = cache(self._checkpoint)
        self.encoder = cache(self._encoder)

    @cached_property
    def scores(self) -> list[ScoreRecord]:
        """The score records in the output folder whose predictions are there too."""
        records = [record for record in self._records if isinstance(record, ScoreRecord)]
        return [r for r in records if (self._plan.records / r.predictions).is_file()]

    def is_complete(self, cell: SuiteCell) -> bool:
        """Tell whether a run would skip the cell."""
        if self.checkpoint(cell.upstream) is None:
            return False
        if cell.kind == "upstream":
            return True
        return self._scored(cell) if cell.kind == "score" else self._timed(cell)

    def _scored(self, cell: SuiteCell) -> bool:
        assert cell.task is not None
        assert cell.engine is not None
        entry = self._plan.suite.tasks[cell.task]
        task, corpus = find_task(entry.task), self._corpus(cell.task) or ""
        if not task.trains_head:
            if not corpus:
                return False
            model = str(self.checkpoint(cell.upstream))
            identity = own_head_identity(model, corpus, task, self._head(cell))
            return any(same_own_head_cell(record, identity) for record in self.scores)
        encoder = self.encoder(cell.upstream)
        if encoder is None:
            return False
        settings = self.settings(cell, cell.engine)
        rates: set[float | None] = {None}
        if takes_onepass_rate(self._plan.suite, cell):
            rates = {*self.rates(cell)}
        wanted = [
            cell_identity(encoder, corpus, task, settings, cell.engine, cell.seed, rate)
            for rate in rates
        ]
        return any(record_identity(record) in wanted for record in self.scores)

    def _head(self, cell: SuiteCell) -> OwnHead[Any]:
        """Return how a task that trains no head is scored."""
        assert cell.task is not None
        entry = self._plan.suite.tasks[cell.task]
        head = find_task(entry.task).load_own_head(entry.options)
        if cell.engine != "lm" or entry.lm is None:
            return head
        place = corpus_folder(entry.task, entry.data, self._plan.corpora)
        return head.with_language_model(entry.lm, open_corpus(place, entry.task))

    def rates(self, cell: SuiteCell) -> set[float]:
        """Return the learning rates that the one-pass records select for a cell."""
        assert cell.task is not None
        encoder = self.encoder(cell.upstream)
        if encoder is None:
            return set()
        chosen = rates_by_onepass(
            self.scores,
            checkpoint=encoder,
            task=find_task(self._plan.suite.tasks[cell.task].task),
            corpus=self._corpus(cell.task) or "",
            settings=self.settings(cell, "onepass"),
            seed=cell.seed,
        )
        return {rate.learning_rate for rate in chosen}

    def settings(self, cell: SuiteCell, engine: Engine) -> Settings:
        """Return a cell's settings for an engine, with the padding that takes effect."""
        assert cell.task is not None
        entry = self._plan.suite.tasks[cell.task]
        settings, _ = load_settings(entry.task, entry.recipe, engine)
        upstream = self._entries[cell.upstream]
        padding = "fairseq" if upstream.s3prl is not None else entry.padding or settings.padding
        if upstream.export is not None or exported_runtime(upstream.source or "") is not None:
            padding = "independent"
        return settings.model_copy(update={"padding": padding})

    def _timed(self, cell: SuiteCell) -> bool:
        timing = self._plan.suite.time
        assert timing is not None
        alone = timing.against in (None, cell.upstream)
        this = self.encoder(cell.upstream)
        other = None if alone else self.encoder(str(timing.against))
        if this is None or (other is None and not alone):
            return False
        device = pick_device(self._plan.device or self._plan.suite.device)
        threads = self._plan.threads or self._plan.suite.threads
        times = [record for record in self._records if isinstance(record, TimeRecord)]
        return any(
            is_same_comparison(record, this, other, timing, device, threads) for record in times
        )

    def _checkpoint(self, name: str) -> str | None:
        """Return an upstream's fingerprint; None if it would have to be made, or made again."""
        entry, folder = self._entries[name], self._plan.upstreams
        try:
            if entry.source is not None:
                model = load_upstream(entry, folder)
                return kind_of_model(model).fingerprint(model)
            if entry.s3prl is not None:
                cached = baseline_info(entry, folder)
                identity = foreign_fingerprint(entry.s3prl, entry.checkpoint)
                return None if cached is None else identity
            base = None if entry.base is None else self.checkpoint(entry.base)
            if entry.base is not None and base is None:
                return None
            card = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            kind = kind_of_entry(tuple(self._entries.values()), name)
            if not same_spec(card["recipe"], upstream_spec(entry, base, kind)):
                return None
            stored = kind.fingerprint(load_upstream(entry, folder))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return stored if stored == card["sha256"] else None

    def _encoder(self, name: str) -> str | None:
        """Return the fingerprint of what is timed and scored on tasks that train a head.

        It is that of the upstream, except that a Whisper model's encoder has its own.
        """
        checkpoint = self.checkpoint(name)
        if checkpoint is None or kind_of_entry(tuple(self._entries.values()), name) is not WHISPER:
            return checkpoint
        entry = self._entries[name]
        try:
            source = upstream_source(entry, self._plan.upstreams)
            return fingerprint(load_unless_loaded(source, normalize=entry.normalize))
        except InputError:
            return None

    @cached_property
    def _records(self) -> list[ScoreRecord | TimeRecord]:
        records = []
        for path in sorted(self._plan.records.glob("*.json")):
            try:
                records.append(read_record(path))
            except InputError:
                continue  # the report names unreadable records
        return records
