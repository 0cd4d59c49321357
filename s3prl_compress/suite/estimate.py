"""Estimate the time and disk space of the missing cells, for `--dry-run`.

Estimates come from past records of the same task, settings and corpus if there are any: the time
of the upstream is scaled by its multiply-adds, the time of the heads is not. Otherwise from rules
of thumb:

- The forward pass takes 2 x multiply-adds / (speed of a matrix product on this machine, measured
  briefly, x `_SHARE_OF_PEAK`) seconds.
- `onepass` sends every utterance through the upstream once, for all seeds and learning rates, and
  takes `_SECONDS_PER_RECORDING` more for each.
- `s3prl` sends all micro-batches through it for each learning rate, the dev set at every
  evaluation, and the test set once.
- Heads: a few updates at the real size are measured, see `head_times`; the seeds of a one-pass
  group share them.
- Compression without training takes no time.
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
from .cells import SuiteCell, rate_cells, takes_onepass_rate
from .corpora import corpus_facts
from .estimate_table import DONE, CellEstimate, estimate_table
from .groups import groups_of
from .head_times import head_seconds
from .plan import SuitePlan
from .sizes import UpstreamSize, checkpoint_bytes, feature_bytes, head_bytes, upstream_size
from .status import SuiteStatus

Number = TypeVar("Number", int, float)
_SHARE_OF_PEAK = 0.7
"""Speed of an encoder's forward pass relative to that of a matrix product. A rule of thumb."""
_SECONDS_PER_RECORDING = 1e-3
"""Reading a recording and writing its features. A rule of thumb, which counts where encoders are
small and recordings short."""
_BOARD_SECONDS = sum(LEADERBOARD_SAMPLES) / 16_000


def estimate(plan: SuitePlan, cells: Sequence[SuiteCell]) -> CommandResult:
    """Return a table of the cells with the estimated time and disk space; write nothing."""
    use_threads(plan.threads or plan.suite.threads)
    return estimate_table(plan, _Estimator(plan, cells).all())


class _Estimator:
    """Estimates cells; sizes and speeds are looked up or measured once for all of them."""

    def __init__(self, plan: SuitePlan, cells: Sequence[SuiteCell]) -> None:
        self._plan, self._cells = plan, cells
        self._corpora = [corpus_facts(entry, plan.corpora) for entry in plan.suite.tasks]
        self._status = SuiteStatus(plan, lambda place: self._corpora[place].fingerprint)
        groups = groups_of(plan.suite, cells)
        self._makes_features = {group.cells[0] for group in groups}
        self._together = {cell: len(group.cells) for group in groups for cell in group.cells}
        self._size = cache(lambda name: upstream_size(plan, name))
        self._device = pick_device(plan.device or plan.suite.device)
        self._speed = cache(lambda: _speed(self._device))
        self._rates_selected: set[tuple[int | None, str]] = set()
        """Tasks and upstreams for which an earlier s3prl cell runs the one-pass engine first."""

    def all(self) -> list[CellEstimate]:
        """Return the estimates of all cells, in their order."""
        return [self._of(cell) for cell in self._cells]

    def _of(self, cell: SuiteCell) -> CellEstimate:
        if self._status.is_complete(cell):
            return CellEstimate(cell, 0.0, 0, DONE)
        size = self._size(cell.upstream)
        if cell.kind == "upstream":
            return _of_upstream(self._plan, cell, size)
        if cell.kind == "time":
            return _of_time(self._plan, cell, size, self._speed())
        if cell.seed is None:
            return self._of_own_head(cell, size)
        score = self._of_score(cell, makes_features=cell in self._makes_features)
        if not self._runs_onepass_first(cell):
            return score
        self._rates_selected.add((cell.task, cell.upstream))
        onepass = cell.model_copy(update={"engine": "onepass"})
        first = self._of_score(onepass, makes_features=True)
        return CellEstimate(
            cell,
            _plus(score.seconds, first.seconds),
            _plus(score.bytes, first.bytes),
            f"{score.basis}; one-pass first",
        )

    def _of_own_head(self, cell: SuiteCell, size: UpstreamSize) -> CellEstimate:
        """Estimate a score for which nothing is trained: the test set goes through once."""
        assert cell.task is not None
        corpus = self._corpora[cell.task]
        if not corpus.known:
            return CellEstimate(cell, None, 0, "the corpus is not prepared yet")
        if cell.engine == "lm":
            return CellEstimate(cell, None, 0, "beam search: depends on the language model")
        audio = corpus.test * corpus.test_seconds
        seconds = 2 * size.macs_32 / _BOARD_SECONDS * audio / self._speed()
        return CellEstimate(cell, seconds, 0, "rule of thumb")

    def _runs_onepass_first(self, cell: SuiteCell) -> bool:
        """Whether a cell on s3prl's engine has to select its learning rate itself."""
        return (
            cell.engine == "s3prl"
            and takes_onepass_rate(self._plan.suite, cell)
            and not rate_cells(self._plan.suite, cell, self._cells)
            and (cell.task, cell.upstream) not in self._rates_selected
            and not self._status.rates(cell)
        )

    def _of_score(self, cell: SuiteCell, *, makes_features: bool) -> CellEstimate:
        """Estimate a score; without `makes_features`, an earlier cell computes the features."""
        assert cell.task is not None
        assert cell.engine is not None
        entry, corpus = self._plan.suite.tasks[cell.task], self._corpora[cell.task]
        size, onepass = self._size(cell.upstream), cell.engine == "onepass"
        recipe = self._status.settings(cell, cell.engine)
        settings = recipe
        if takes_onepass_rate(self._plan.suite, cell):
            settings = recipe.model_copy(update={"learning_rates": recipe.learning_rates[:1]})
        task = find_task(entry.task)
        if onepass:
            needed = feature_bytes(task, settings, size, corpus) if makes_features else 0
            audio = corpus.all_seconds if makes_features else 0.0
        else:
            needed = head_bytes(settings, size, corpus)
            audio = corpus.trained_seconds(settings)
        past = _PastRecords(self._matching(cell, recipe, corpus), size.macs_32)
        if past.heads is not None and (past.upstream is not None or audio == 0.0):
            seconds = past.heads + ((past.upstream or 0.0) if audio != 0.0 else 0.0)
            return CellEstimate(cell, seconds, needed, "past records")
        if audio is None or not corpus.known:
            return CellEstimate(cell, None, needed, "the corpus is not prepared yet")
        forward = 2 * size.macs_32 / _BOARD_SECONDS * audio / self._speed()
        if onepass and makes_features:
            forward += _SECONDS_PER_RECORDING * (corpus.clips or 0)
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
        return CellEstimate(cell, forward + heads, needed, basis)

    def _matching(
        self, cell: SuiteCell, settings: Settings, corpus: CorpusFacts
    ) -> list[ScoreRecord]:
        """Return the records that differ from a cell only in the upstream and the seed."""
        wanted = (cell.task_name, cell.engine, settings.identity(), corpus.fingerprint)
        return [
            record
            for record in self._status.scores
            if wanted == (record.task, record.engine, record.settings, record.corpus.fingerprint)
        ]


class _PastRecords:
    """Seconds according to past records of the upstream that is nearest in multiply-adds."""

    heads: float | None = None
    """Training and testing heads. 0 for s3prl's engine, which does not measure them separately."""
    upstream: float | None = None
    """Forward passes of the upstream, scaled by multiply-adds. For s3prl's engine: everything."""

    def __init__(self, records: Sequence[ScoreRecord], macs_32: int) -> None:
        near = [
            (macs_32 / max(record.upstream.cost.macs_32, 1), record)
            for record in records
            if record.upstream.cost is not None and "total" in record.seconds
        ]
        for ratio, record in sorted(near, key=lambda one: abs(one[0] - 1)):
            total = record.seconds["total"]
            # 0 if another cell computed the features.
            features = total if record.engine == "s3prl" else record.seconds.get("features", 0.0)
            if self.heads is None:
                self.heads = total - features
            if self.upstream is None and features > 0:
                # A record holds the share of one seed; a cell computes features for all seeds.
                self.upstream = features * record.seeds_together * ratio


def _of_upstream(plan: SuitePlan, cell: SuiteCell, size: UpstreamSize) -> CellEstimate:
    entry = next(entry for entry in plan.suite.upstreams if entry.name == cell.upstream)
    if entry.source is not None or entry.s3prl is not None:
        return CellEstimate(cell, 0.0, 0, "only read, not made")
    if size.learned:
        return CellEstimate(cell, None, checkpoint_bytes(size), "learned: depends on its steps")
    return CellEstimate(cell, 0.0, checkpoint_bytes(size), "rule of thumb")


def _of_time(plan: SuitePlan, cell: SuiteCell, size: UpstreamSize, speed: float) -> CellEstimate:
    timing = plan.suite.time
    assert timing is not None
    share = (timing.utterances_per_bucket or 8) / 8
    rounds = timing.repeats + timing.warmup + 1
    sides = 1 if timing.against in (None, cell.upstream) else 2
    seconds = 2 * size.macs_32 / speed * share * rounds * sides
    return CellEstimate(cell, seconds, 0, "rule of thumb")


def _plus(one: Number | None, other: Number | None) -> Number | None:
    return None if one is None or other is None else one + other


def _speed(device: str) -> float:
    """Return the floating-point operations per second of a forward pass on this machine."""
    matrix = torch.rand(2048, 2048, device=device)
    best = float("inf")
    for _ in range(4):  # the first iteration warms up
        started = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # reading a number waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * 2048**3 / best * _SHARE_OF_PEAK
