"""The interface of an engine: one cell's job, and its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...results.records import Engine, FoldResult, Padding, RateResult

if TYPE_CHECKING:
    from ...encoder import SpeechEncoder
    from ...encoder.adapter import UpstreamAdapter
    from .corpus import Corpus
    from .task import Settings, Task


ENGINE_VERSIONS: Mapping[Engine, int] = {"onepass": 2, "s3prl": 2, "greedy": 2, "lm": 1}
"""Part of a score's identity, as a task's version is: raised whenever a change of an engine, or of
what it computes with, changes results. Scores of different versions are never averaged or compared.

2: TensorFloat-32 is off on CUDA.
"""


WORK_FOLDER = ".work"
"""Folder below the output: state from which engines resume, and the features that cells share."""


@dataclass(frozen=True)
class Job:
    """One cell's work: an encoder on a corpus, with one seed and one set of settings."""

    encoder: SpeechEncoder | UpstreamAdapter
    checkpoint: Path | None
    """Folder of ours that holds the encoder, for an engine that starts another process; or the
    file of an upstream of s3prl's own, where it has one."""
    task: Task
    corpus: Corpus
    settings: Settings
    seed: int
    padding: Padding
    work: Path
    """Scratch folder of this cell. It outlives a kill, so that an engine can resume from it."""
    device: str
    """As torch names it: "cpu", "cuda", "cuda:1"."""
    cache: Path | None = None
    """Folder of features, to share them with other output folders."""
    upstream: str = "compressed"
    """Name in s3prl's hub: ours, or one of s3prl's own."""

    @property
    def features_folder(self) -> Path:
        """Folder of the features that cells share: `cache`, or one beside the cells' own."""
        return self.cache or self.work.parent / "features"


@dataclass(frozen=True)
class EngineResult:
    """The result of an engine, from which alone the record is made."""

    predictions: list[tuple[str, str, str]]
    """Per test utterance, in the order of `Corpus.test_items`: its `utterance_name`, truth,
    predicted. Classes; for recognition, texts."""
    rates: tuple[RateResult, ...]
    """One per learning rate of the settings, in their order; dev scores in percent, those of
    cross-validation the means over the folds."""
    learning_rate: float
    """The rate with the best dev score (the lowest WER); the first in the settings' order where
    two tie. One for all folds."""
    dev_score: float
    """In percent."""
    approximate: bool
    """True where the engine's conditions for exactness did not hold; `notes` says which."""
    notes: tuple[str, ...] = ()
    """Notes for readers of the score, one sentence each."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by stage; see `RunSeeds` for several seeds."""
    folds: tuple[FoldResult, ...] = ()
    """Of cross-validation: one result per fold."""
    layer_weights: tuple[float, ...] = ()
    """See `ScoreRecord.layer_weights`."""
    resumed: bool = False
    """True: training was resumed with other random batches than an undisturbed run would have
    drawn, so the result differs from that of one."""


RunJob = Callable[[Job], EngineResult]
"""The signature of an engine."""

RunSeeds = Callable[[Sequence[Job]], Iterator[EngineResult]]
"""An engine that does several seeds at once. The jobs differ in `seed` and `work` only; their
results come in the same order, each as soon as it is known, and each equals that of its job alone
up to rounding. `EngineResult.seconds` is a job's own time, and its share of what all took together:
the sum over the jobs is the time that passed."""
