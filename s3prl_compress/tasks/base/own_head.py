"""`OwnHead`: how a task is scored for which nothing is trained, by the model's own output layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from ...common.errors import InputError
from ...results.records import Engine, LanguageModelRecord

if TYPE_CHECKING:
    from ...encoder import SpeechEncoder
    from ...encoder.adapter import UpstreamAdapter
    from ...encoder.exported import ExportedEncoder
    from .corpus import Corpus

LM_LEXICON, NO_LEXICON = "lm", "none"
"""Values of `LanguageModelOptions.lexicon` that are no file."""


class LanguageModelOptions(BaseModel):
    """A language model and how to decode with it. Paths are relative to the current folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    file: str
    """n-gram language model: ARPA (may be compressed by gzip), or a KenLM binary."""
    lexicon: str = LM_LEXICON
    """lm: the words of an ARPA file; none: any sequence of characters, for a language model of
    characters; or a file with one word per line, which may be followed by its spelling."""
    dev: str | None = None
    """Transcribed speech on which weight and word_score are tuned; by default the dev split that
    belongs to the test set."""
    beam: int = Field(default=50, ge=1)
    """Number of hypotheses that are kept after each frame."""
    weight: float | None = Field(default=None, ge=0)
    """Factor of the language model's log10 probabilities; by default tuned on dev."""
    word_score: float | None = None
    """Added for each word; without a lexicon, for each frame with the word separator. By default
    tuned on dev."""


@dataclass(frozen=True)
class OwnHeadResult:
    """The predictions for a test set."""

    predictions: list[str]
    """In the order of `Corpus.test_items`."""
    language_model: LanguageModelRecord | None = None
    """How a language model was used; None without one."""
    notes: tuple[str, ...] = ()
    """Notes for readers of the score, one sentence each."""


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
        self, encoder: SpeechEncoder | ExportedEncoder, corpus: Corpus, device: str, work: Path
    ) -> OwnHeadResult:
        """Return the prediction for every test utterance.

        `work` is a folder for files that later calls can use again.
        """

    def check_corpus(self, encoder: SpeechEncoder | ExportedEncoder, corpus: Corpus) -> None:
        """Raise an `InputError` if the layer cannot give the labels of this test set."""
        return None

    def notes(self, encoder: SpeechEncoder | ExportedEncoder, corpus: Corpus) -> tuple[str, ...]:
        """Return notes on the score of this model and test set, one sentence each."""
        return ()

    def with_language_model(self, options: LanguageModelOptions, corpus: Corpus) -> OwnHead:
        """Return a head that decodes a test set with a language model, under its own engine name.

        Raises:
            InputError: the task takes no language model, or this one cannot be used.
        """
        raise InputError("this task takes no language model; leave it out")
