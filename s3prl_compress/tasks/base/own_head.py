"""`OwnHead`: how a task is scored for which nothing is trained, by the model's own output layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...results.records import Engine

if TYPE_CHECKING:
    from ...encoder import SpeechEncoder
    from ...encoder.adapter import UpstreamAdapter
    from ...encoder.exported import ExportedEncoder
    from .corpus import Corpus


@dataclass(frozen=True)
class OwnHead(ABC):
    """Predictions of models that were fine-tuned for a task, before and after compression."""

    engine: Engine
    """Name of the engine in records."""
    settings: Mapping[str, Any]
    """Every setting that can change a result beside the model and the speech, ready for JSON."""
    note: str
    """A note for readers of any score, in one sentence."""
    needs: str
    """The output layer that a model must have, in words: "CTC head"."""
    made_by: tuple[str, ...]
    """Names of the compression methods that give a model this layer. All others keep one."""

    @abstractmethod
    def check(self, encoder: SpeechEncoder | UpstreamAdapter, name: str) -> None:
        """Raise an `InputError` that calls the model `name` if it has no such layer."""

    @abstractmethod
    def predict(
        self, encoder: SpeechEncoder | ExportedEncoder, corpus: Corpus, device: str
    ) -> list[str]:
        """Return the prediction for every test utterance, in the order of `Corpus.test_items`."""

    def check_corpus(self, encoder: SpeechEncoder | ExportedEncoder, corpus: Corpus) -> None:
        """Raise an `InputError` if the layer cannot give the labels of this test set."""
        return None

    def notes(self, encoder: SpeechEncoder | ExportedEncoder, corpus: Corpus) -> tuple[str, ...]:
        """Return notes on the score of this model and test set, one sentence each."""
        return ()
