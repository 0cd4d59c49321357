"""`--dry-run`: which cells there are, and what the missing ones will take of time and disk.

From past records of the same task, settings and corpus where there are any: what the upstream took
of them is scaled by multiply-adds, what the heads took is not. Else by rules of thumb:

- seconds of a forward pass = 2 x multiply-adds / (what this machine does in a matrix product,
  measured for a moment, x `_SHARE_OF_PEAK`);
- `onepass`: every utterance goes through the upstream once, for all seeds and learning rates;
- `s3prl`: for each learning rate all micro-batches do, and dev at every evaluation; test once;
- heads: a few updates at the real size, measured for a moment, see `head_times`; the seeds of a
  one-pass group share them;
- compressing without training: nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import torch

from ..common.command_result import CommandResult
from ..common.validation import pick_device, use_threads
from ..encoder import LEADERBOARD_SAMPLES
from ..evaluation import Settings
from ..results.records import ScoreRecord
from ..tasks.base.facts import CorpusFacts
from ..tasks.registry import find_task
from .cells import Cell, rate_needs, takes_rate
from .corpora import corpus_facts
from .estimate_table import DONE, Estimate, estimate_table
from .groups import groups_of
from .head_times import head_seconds
from .plan import Plan
from .sizes import UpstreamSize, checkpoint_bytes, feature_bytes, head_bytes, upstream_size
from .status import Finished

Number = TypeVar("Number", int, float)
_SHARE_OF_PEAK = 0.7
"""Of a matrix product's speed, in an encoder's forward pass. A rule of thumb."""
_BOARD_SECONDS = sum(LEADERBOARD_SAMPLES) / 16_000


def estimate(plan: Plan, cells: Sequence[Cell]) -> CommandResult:
    """Return the list of cells with what each will take; nothing is written."""
    use_threads(plan.threads or plan.suite.threads)
    return estimate_table(plan, _Estimator(plan, cells).all())


class _Estimator:
    """What is looked up or measured once for all cells."""

    def __init__(self, plan: Plan, cells: Sequence[Cell]) -> None:
        self._plan, self._cells = plan, cells
        self._facts = [corpus_facts(entry, plan.corpora) for entry in plan.suite.tasks]
        self._finished = Finished(plan, lambda place: self._facts[place].fingerprint)
        groups = groups_of(plan.suite, cells)
        self._makes_features = {group.cells[0] for group in groups}
        self._together = {cell: len(group.cells) for group in groups for cell in group.cells}
        self._size = cache(lambda name: upstream_size(plan, name))
        self._device = pick_device(plan.device or plan.suite.device)
        self._speed = cache(lambda: _speed(self._device))
        self._chosen: set[tuple[int | None, str]] = set()
        """Tasks and upstreams whose rate an earlier cell of s3prl's engine has one-pass choose."""

    def all(self) -> list[Estimate]:
        """Return what each cell will take."""
        return [self._of(cell) for cell in self._cells]

    def _of(self, cell: Cell) -> Estimate:
        if self._finished.is_finished(cell):
            return Estimate(cell, 0.0, 0, DONE)
        size = self._size(cell.upstream)
        if cell.kind == "upstream":
            return _of_upstream(self._plan, cell, size)
        if cell.kind == "time":
            return _of_time(self._plan, cell, size, self._speed())
        score = self._of_score(cell, makes_features=cell in self._makes_features)
        if not self._runs_onepass_first(cell):
            return score
        self._chosen.add((cell.task, cell.upstream))
        onepass = cell.model_copy(update={"engine": "onepass"})
        first = self._of_score(onepass, makes_features=True)
        return Estimate(
            cell,
            _plus(score.seconds, first.seconds),
            _plus(score.bytes, first.bytes),
            f"{score.basis}; one-pass first",
        )

    def _runs_onepass_first(self, cell: Cell) -> bool:
        """Whether nothing before a cell of s3prl's engine chooses its learning rate."""
        return (
            cell.engine == "s3prl"
            and takes_rate(self._plan.suite, cell)
            and not rate_needs(self._plan.suite, cell, self._cells)
            and (cell.task, cell.upstream) not in self._chosen
            and not self._finished.rates(cell)
        )

    def _of_score(self, cell: Cell, *, makes_features: bool) -> Estimate:
        """Estimate a score; not `makes_features`: another cell before it does."""
        assert cell.task is not None
        assert cell.engine is not None
        entry, corpus = self._plan.suite.tasks[cell.task], self._facts[cell.task]
        size, onepass = self._size(cell.upstream), cell.engine == "onepass"
        recipe = self._finished.settings(cell, cell.engine)
        settings = recipe
        if takes_rate(self._plan.suite, cell):
            settings = recipe.model_copy(update={"learning_rates": recipe.learning_rates[:1]})
        task = find_task(entry.task)
        if onepass:
            needed = feature_bytes(task, settings, size, corpus) if makes_features else 0
            audio = corpus.all_seconds if makes_features else 0.0
        else:
            needed = head_bytes(settings, size, corpus)
            audio = corpus.trained_seconds(settings)
        past = _Past(self._matching(cell, recipe, corpus), size.macs_32)
        if past.heads is not None and (past.upstream is not None or audio == 0.0):
            seconds = past.heads + ((past.upstream or 0.0) if audio != 0.0 else 0.0)
            return Estimate(cell, seconds, needed, "past records")
        if audio is None or not corpus.known:
            return Estimate(cell, None, needed, "the corpus is not prepared yet")
        forward = 2 * size.macs_32 / _BOARD_SECONDS * audio / self._speed()
        heads = past.heads
        if heads is None:
            heads = head_seconds(
                settings,
                size,
                corpus,
                onepass=onepass,
                device=self._device,
                ctc=task.features == "frames",
                seeds=self._together.get(cell, 1),
            )
        basis = "rule of thumb"
        if corpus.fingerprint is None:
            basis += ", the official corpus's size"
        return Estimate(cell, forward + heads, needed, basis)

    def _matching(self, cell: Cell, settings: Settings, corpus: CorpusFacts) -> list[ScoreRecord]:
        """Return the records of everything the same but the upstream and the seed."""
        wanted = (cell.task_name, cell.engine, settings.identity(), corpus.fingerprint)
        return [
            record
            for record in self._finished.scores
            if wanted == (record.task, record.engine, record.settings, record.corpus.fingerprint)
        ]


class _Past:
    """Seconds by past records; of several upstreams the one nearest in multiply-adds counts."""

    heads: float | None = None
    """Of training and testing heads; of s3prl's engine nothing, since its runs are not apart."""
    upstream: float | None = None
    """Of the upstream's forward passes, scaled by multiply-adds; of s3prl's engine, of all."""

    def __init__(self, records: Sequence[ScoreRecord], macs_32: int) -> None:
        near = [
            (macs_32 / max(record.upstream.cost.macs_32, 1), record)
            for record in records
            if record.upstream.cost is not None and "total" in record.seconds
        ]
        for ratio, record in sorted(near, key=lambda one: abs(one[0] - 1)):
            total = record.seconds["total"]
            # 0 where the features were made by another cell.
            features = total if record.engine == "s3prl" else record.seconds.get("features", 0.0)
            if self.heads is None:
                self.heads = total - features
            if self.upstream is None and features > 0:
                # A record has its share; a cell that makes features makes them for all seeds.
                self.upstream = features * record.seeds_together * ratio


def _of_upstream(plan: Plan, cell: Cell, size: UpstreamSize) -> Estimate:
    entry = next(entry for entry in plan.suite.upstreams if entry.name == cell.upstream)
    if entry.source is not None or entry.s3prl is not None:
        return Estimate(cell, 0.0, 0, "is read only")
    if size.learned:
        return Estimate(cell, None, checkpoint_bytes(size), "learned: its steps decide")
    return Estimate(cell, 0.0, checkpoint_bytes(size), "rule of thumb")


def _of_time(plan: Plan, cell: Cell, size: UpstreamSize, speed: float) -> Estimate:
    timing = plan.suite.time
    assert timing is not None
    share = (timing.utterances_per_bucket or 8) / 8
    rounds = timing.repeats + timing.warmup + 1
    sides = 1 if timing.against in (None, cell.upstream) else 2
    seconds = 2 * size.macs_32 / speed * share * rounds * sides
    return Estimate(cell, seconds, 0, "rule of thumb")


def _plus(one: Number | None, other: Number | None) -> Number | None:
    return None if one is None or other is None else one + other


def _speed(device: str) -> float:
    """Return floating-point operations per second of a forward pass on this machine."""
    matrix = torch.rand(2048, 2048, device=device)
    best = float("inf")
    for _ in range(4):  # the first one warms up
        started = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * 2048**3 / best * _SHARE_OF_PEAK
