"""Sizes of a corpus, known or estimated, from which a suite estimates time and disk space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .task import Settings


@dataclass(frozen=True)
class CorpusFacts:
    """Sizes of a corpus; without a fingerprint it is not prepared yet."""

    fingerprint: str | None = None
    known: bool = True
    """False: not even the sizes."""
    train: int = 0
    dev: int = 0
    test: int = 0
    train_seconds: float = 0.0
    """Mean length of an utterance."""
    dev_seconds: float = 0.0
    test_seconds: float = 0.0
    background: int = 0
    """Recordings that silence is cut from."""
    classes: int = 0
    folds: int = 1

    @property
    def clips(self) -> int | None:
        """Utterances of all splits; None where nobody knows."""
        return self.train + self.dev + self.test if self.known else None

    @property
    def all_seconds(self) -> float | None:
        """Audio of all splits; None where nobody knows."""
        if not self.known:
            return None
        train, dev = self.train * self.train_seconds, self.dev * self.dev_seconds
        return train + dev + self.test * self.test_seconds

    def trained_seconds(self, settings: Settings) -> float | None:
        """Return the audio that s3prl sends through the upstream in all runs of a cell."""
        if not self.known:
            return None
        drawn = settings.total_steps * settings.batch_size * self.train_seconds
        drawn *= settings.accumulation
        looks = settings.total_steps // settings.eval_step
        once = drawn + looks * self.dev * self.dev_seconds
        runs = len(settings.learning_rates) * self.folds
        return runs * once + self.folds * self.test * self.test_seconds
