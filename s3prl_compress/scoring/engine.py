"""What every engine takes and gives: one cell's job, and its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..reporting.records import Padding, RateResult

if TYPE_CHECKING:
    from ..encoder import SpeechEncoder
    from .corpus import Item, KeywordCorpus
    from .task import Settings


@dataclass(frozen=True)
class Job:
    """One cell's work: an encoder on a corpus, with one seed and one set of settings."""

    encoder: SpeechEncoder
    checkpoint: Path | None
    """Folder of ours that holds the encoder, for an engine that starts another process."""
    corpus: KeywordCorpus
    settings: Settings
    seed: int
    padding: Padding
    work: Path
    """Scratch folder of this cell. It outlives a kill, so that an engine can resume from it."""
    device: str
    """As torch names it: "cpu", "cuda", "cuda:1"."""
    cache: Path | None = None
    """Folder of features that cells share; None: `work.parent / "features"`."""


@dataclass(frozen=True)
class EngineResult:
    """What an engine found out. The record is made from this and from nothing else."""

    predictions: list[tuple[str, str, str]]
    """Per test utterance, in the order of the corpus: file (relative to the test folder, "/"
    between: `utterance_name`), truth, predicted."""
    rates: tuple[RateResult, ...]
    """One per learning rate of the settings, in their order; dev scores in percent."""
    learning_rate: float
    """The rate with the highest dev score; the first in the settings' order where two tie."""
    dev_score: float
    """In percent."""
    approximate: bool
    """True where the engine's conditions for exactness did not hold; `notes` says which."""
    notes: tuple[str, ...] = ()
    """What a reader of the score must know, one sentence each."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by stage."""


RunJob = Callable[[Job], EngineResult]
"""What every engine is."""


def utterance_name(corpus: KeywordCorpus, item: Item) -> str:
    """Return the name of a test utterance in predictions: `<class>/<file>`."""
    return item.path.relative_to(corpus.test_root).as_posix()
