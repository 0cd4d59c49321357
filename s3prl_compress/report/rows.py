"""The rows of the tables, typed. A row is never changed: a later step returns a new one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..results.records import Environment, ScoreRecord
from ..statistics import Metric, recorded_metric


@dataclass(frozen=True)
class Conditions:
    """The conditions that define a block: rows are never compared across blocks."""

    task: str
    task_version: int
    variant: str
    metric: str
    engine: str
    padding: str
    recipe: str
    corpus: str
    corpus_fingerprint: str
    settings_sha256: str

    @classmethod
    def of(cls, record: ScoreRecord) -> Conditions:
        """Return the conditions of a record."""
        settings = json.dumps(record.settings, sort_keys=True).encode()
        return cls(
            record.task,
            record.task_version,
            record.variant,
            record.metric,
            record.engine,
            record.padding,
            record.recipe,
            record.corpus.name,
            record.corpus.fingerprint,
            hashlib.sha256(settings).hexdigest(),
        )


@dataclass(frozen=True)
class Significance:
    """A row's difference from its dense upstream, in points, and what the test says of it.

    Fields are None where there is nothing to compare with, or nothing was tested.
    """

    difference: float | None = None
    difference_error: float | None = None
    """Standard error."""
    difference_low: float | None = None
    """Ends of the two-sided 95 % interval."""
    difference_high: float | None = None
    degrees_of_freedom: float | None = None
    p_value: float | None = None
    p_corrected: float | None = None
    """After Holm, for all tested rows of the block."""
    p_test: str | None = None
    """Name of the test."""
    p_seeds: str | None = None
    """"3": seeds that both have, compared in pairs. "4 + 3": two independent samples of seeds."""
    p_segments: int | None = None
    compared_rows: int | None = None
    """Tested rows of the block."""
    significant: bool | None = None
    detectable: float | None = None
    """Smallest difference that the test detects with a power of 80 %, in points."""
    resolution: str = ""
    """"significant", "not resolved" or "one seed"; empty where nothing was to be tested."""


@dataclass(frozen=True)
class Companion:
    """A row's score by the second metric of its predictions; see `statistics.Metric.companion`."""

    metric: str
    """Name and unit."""
    score: float
    standard_error: float
    score_low: float
    """Ends of the two-sided 95 % interval."""
    score_high: float
    significance: Significance


@dataclass(frozen=True)
class Speed:
    """Measured speed; fields are None where it was not measured."""

    rtfx: float | None = None
    """Seconds of audio per second of computing."""
    speedup: float | None = None
    """Median of the paired ratios other / this: above 1 means faster than the other."""
    speedup_low: float | None = None
    speedup_high: float | None = None
    speedup_against: str | None = None
    """Name of the other upstream."""
    relative_time: float | None = None
    """Share of the time of the block's dense upstream, from pairs of one run."""
    relative_time_low: float | None = None
    relative_time_high: float | None = None
    peak_memory_bytes: int | None = None
    timing: str | None = None
    """Machine, device, threads and dtype of the measurement, in words."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The common base of rows of one task, of all tasks and of published scores."""

    row: int = 0
    """Number in the table and in the plots, from 1."""
    upstream: str
    base: str = ""
    methods: str = ""
    """Chain of methods with their settings; empty where nothing was compressed."""
    reference: bool = False
    """It is a dense upstream with which compressed rows are compared."""
    peer: bool = False
    """Neither compressed nor a reference: a third-party model in the same table."""
    metric: str
    higher_is_better: bool
    score: float | None
    standard_error: float | None
    score_low: float | None = None
    """Ends of the two-sided 95 % interval."""
    score_high: float | None = None
    chance: float | None = None
    approximate: bool = False
    parameters: float | None = None
    nonzero_parameters: float | None = None
    macs_32: float | None = None
    """Multiply-adds over the leaderboard's 32 utterances."""
    bytes: float | None = None
    random_weights: bool = False
    source: str = ""
    checkpoint_sha256: str = ""
    notes: tuple[str, ...] = ()
    speed: Speed = field(default_factory=Speed)
    front: tuple[str, ...] = ()
    """Keys of the costs on whose Pareto front it lies."""

    @property
    def significant(self) -> bool | None:
        """Whether it differs significantly from dense; None where that was not tested."""
        return None

    @property
    def oriented_score(self) -> float | None:
        """The score, or its negative where lower is better: more is always better."""
        if self.score is None:
            return None
        return self.score if self.higher_is_better else -self.score


@dataclass(frozen=True, kw_only=True)
class Row(Entry):
    """One upstream in one block: its records of all seeds."""

    block: int = 0
    """Number of the block, from 1."""
    conditions: Conditions
    score: float
    """Mean over the seeds."""
    standard_error: float
    score_low: float
    score_high: float
    cer: float | None = None
    """Character error rate in percent, where the records have one."""
    companion: Companion | None = None
    """Only where nothing was trained."""
    edits: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    """Of recognised texts, by unit (`words`, `characters`): substitutions, deletions and insertions
    in percent of the truth, mean over the seeds. Empty where the records have none."""
    runaways: int | None = None
    """See `ScoreRecord.runaways`."""
    seeds: str
    """"0, 1, 2"; empty where nothing was drawn."""
    seed_count: int
    seed_spread: float | None
    """Standard deviation of the scores over seeds; None for one seed."""
    fold_sizes: tuple[int, ...] = ()
    """Test utterances of each fold."""
    fold_spread: float | None = None
    """Standard deviation of the scores over folds, mean over seeds."""
    learning_rate: str
    """The tested rates of all seeds, separated by spaces."""
    rate_choice: str
    """How the rates were found; see `records.RateChoice`. Of several ways, the weakest."""
    engine_version: int
    test_size: int
    generated_speech: bool
    first_state: int = 0
    """Hidden states before this one were left out of the heads' weighted sum."""
    language_model: str = ""
    """In words: the language model, its lexicon and the beam; empty without one."""
    lm_weight: float | None = None
    """See `records.LanguageModelRecord`."""
    word_score: float | None = None
    lm_dev_score: float | None = None
    with_lm: Mapping[str, Row] = field(default_factory=dict)
    """Of greedy decoding: the rows of this upstream with language models, by their settings."""
    layer_weights: tuple[float, ...] = ()
    """Mean share of each hidden state over the seeds that have them, state 0 first."""
    environment: Environment
    """Of the newest record."""
    error_units: str | None = None
    """Sampling units of the error; None if it is that of the records."""
    error_speakers: int | None = None
    over_speakers: bool | None = None
    """The error generalises over speakers."""
    significance: Significance = field(default_factory=Significance)

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.conditions.task

    @property
    def trained(self) -> bool:
        """Whether a head was trained for the task; otherwise the model was scored as it is."""
        return bool(self.seeds)

    @property
    def metric_object(self) -> Metric | None:
        """The metric; None if it is not registered."""
        return recorded_metric(self.metric)

    @property
    def significant(self) -> bool | None:
        """Whether it differs significantly from dense; None where that was not tested."""
        return self.significance.significant

    def figures(self) -> dict[str, Any]:
        """Return every figure under its name in the CSV file, in the file's order."""
        where, tested = self.environment, asdict(self.significance)
        flat = {**vars(self), "difference": tested.pop("difference")}
        return {
            "block": self.block,
            "row": self.row,
            **asdict(self.conditions),
            **{name: flat[name] for name in _OWN_FIGURES},
            "machine": where.machine,
            "device": where.device,
            "threads": where.threads,
            "date": where.date,
            "python": where.python,
            "packages": " ".join(f"{name}={version}" for name, version in where.packages.items()),
            "git_commit": where.git_commit,
            "git_dirty": where.git_dirty,
            "command": where.command,
            "error_units": self.error_units,
            "error_speakers": self.error_speakers,
            "over_speakers": self.over_speakers,
            **tested,
            **asdict(self.speed),
            "front": self.front,
            **self._edit_figures(),
            **self._companion_figures(),
            "runaways": self.runaways,
        }

    def _edit_figures(self) -> dict[str, float | None]:
        kinds = ("substitutions", "deletions", "insertions")
        return {
            f"{prefix}{kind}": self.edits[unit][place] if unit in self.edits else None
            for unit, prefix in (("words", ""), ("characters", "character_"))
            for place, kind in enumerate(kinds)
        }

    def _companion_figures(self) -> dict[str, Any]:
        if self.companion is None:
            return {f"companion_{name}": None for name in _COMPANION_FIGURES}
        flat = vars(self.companion) | vars(self.companion.significance)
        return {f"companion_{name}": flat[name] for name in _COMPANION_FIGURES}


@dataclass(frozen=True, kw_only=True)
class OverviewRow(Entry):
    """One upstream on all tasks of the same engine, padding and recipe."""

    tasks: Mapping[str, Row]
    """Its row of every task on which it was scored, by the task's name."""

    @property
    def significant(self) -> bool | None:
        """Whether it differs from dense on any task; None where not all were tested."""
        verdicts = [row.significant for row in self.tasks.values()]
        return True if any(verdicts) else None if None in verdicts else False


@dataclass(frozen=True, kw_only=True)
class PublishedRow(Entry):
    """One row from the literature."""

    kind: str
    """How it was made: "dense", or in a word or two what it was compressed by."""
    scores: Mapping[str, float]
    """By the task's name, in percent."""
    score: float


@dataclass(frozen=True)
class SpeedRow:
    """One measurement of speed."""

    upstream: str
    against: str | None
    rtfx: Mapping[str, float]
    """By bucket of lengths: seconds of audio per second of computing."""
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    peak_memory_bytes: int
    date: str
    notes: tuple[str, ...]

    def figures(self) -> dict[str, Any]:
        """Return every figure under its name in the CSV file, in the file's order."""
        return {
            "upstream": self.upstream,
            "against": self.against,
            **{f"rtfx_{bucket}": rtfx for bucket, rtfx in self.rtfx.items()},
            "speedup": self.speedup,
            "speedup_low": self.speedup_low,
            "speedup_high": self.speedup_high,
            "peak_memory_bytes": self.peak_memory_bytes,
            "date": self.date,
            "notes": self.notes,
        }


# Names and order are the format of leaderboard.csv: scripts of users read it, so neither changes.
_OWN_FIGURES = (
    "upstream",
    "base",
    "methods",
    "reference",
    "peer",
    "score",
    "standard_error",
    "score_low",
    "score_high",
    "higher_is_better",
    "cer",
    "difference",
    "seeds",
    "seed_count",
    "seed_spread",
    "fold_sizes",
    "fold_spread",
    "first_state",
    "layer_weights",
    "learning_rate",
    "rate_choice",
    "engine_version",
    "test_size",
    "chance",
    "approximate",
    "parameters",
    "nonzero_parameters",
    "macs_32",
    "bytes",
    "random_weights",
    "generated_speech",
    "notes",
    "source",
    "checkpoint_sha256",
)
_COMPANION_FIGURES = (
    "metric",
    "score",
    "standard_error",
    "score_low",
    "score_high",
    "difference",
    "difference_error",
    "difference_low",
    "difference_high",
    "p_value",
    "p_corrected",
    "p_test",
    "p_segments",
    "significant",
    "detectable",
    "resolution",
)
