"""`OwnHead`: how a task is scored for which nothing is trained, by the model's own output layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...common.errors import InputError
from ...common.model_errors import first_mistake
from ...results.records import Engine, LanguageModelRecord, Upstream

if TYPE_CHECKING:
    from .corpus import Corpus

ModelT = TypeVar("ModelT")

LM_LEXICON, NO_LEXICON = "lm", "none"
"""Values of `LanguageModelOptions.lexicon` that are no file."""


class UnsuitableModelError(InputError):
    """A model that is intact, but lacks the output layer that a task needs."""


class TaskOptions(BaseModel):
    """Base of the options that a task which trains no head may have.

    Each is a typed field with a default and a docstring, which is its help on the command line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


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
class Recognition:
    """The result of recognising a test set; all sequences are in the order of its utterances."""

    truth: Sequence[str]
    """Transcripts, in the form in which they are scored."""
    predicted: Sequence[str]
    """Recognised texts, in the same form."""
    further: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Further columns of the file of predictions, by their names."""
    runaways: int | None = None
    """See `ScoreRecord.runaways`."""
    language_model: LanguageModelRecord | None = None
    """How a language model was used; None without one."""
    notes: tuple[str, ...] = ()
    """Notes on the score of this model and test set, one sentence each."""


@dataclass(frozen=True)
class OwnHead(ABC, Generic[ModelT]):
    """Predictions of models that need no training for a task, before and after compression."""

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

    @property
    def options(self) -> type[TaskOptions]:
        """The class of the task's options; without any by default."""
        return TaskOptions

    def with_options(self, given: Mapping[str, Any], where: str) -> OwnHead[ModelT]:
        """Return this head with some options other than their defaults.

        Args:
            given: options by name; values may be texts as typed by the user.
            where: start of the error message.

        Raises:
            InputError: there is no such option, or a value is not allowed.
        """
        try:
            options = self.options.model_validate(dict(given))
        except ValidationError as error:
            known = list(self.options.model_fields)
            if not known:
                names = ", ".join(given)
                raise InputError(f"{where}: takes no {names}; leave that out") from error
            reason = first_mistake(error, lambda location: known, "option")
            raise InputError(f"{where}: {reason}") from error
        return self._configured(options)

    def _configured(self, options: TaskOptions) -> OwnHead[ModelT]:
        """Return this head with validated options."""
        return self

    @abstractmethod
    def load(
        self,
        source: str | Path | ModelT,
        *,
        device: str | None = None,
        normalize: bool | None = None,
    ) -> ModelT:
        """Load a model, unless it is loaded already, and check that it can be scored.

        Args:
            source: a folder, a file, a hub id, or a model.
            device: torch device for the weights; None: the CPU.
            normalize: whether waveforms are normalised; overrides the checkpoint.

        Raises:
            UnsuitableModelError: the model lacks the output layer.
            InputError: the model cannot be loaded, or cannot be scored with these options.
        """

    @abstractmethod
    def describe(self, model: ModelT, name: str, source: str | None) -> Upstream:
        """Return a model's entry in a record; `source` is where it was loaded from, if known."""

    @abstractmethod
    def recognise(self, model: ModelT, corpus: Corpus, device: str, work: Path) -> Recognition:
        """Recognise every test utterance, in the order of `Corpus.test_items`.

        `work` is a folder for files that later calls can use again.
        """

    def check_corpus(self, model: ModelT, corpus: Corpus) -> None:
        """Raise an `InputError` if the model cannot give the labels of this test set."""
        return None

    def with_language_model(self, options: LanguageModelOptions, corpus: Corpus) -> OwnHead[ModelT]:
        """Return a head that decodes a test set with a language model, under its own engine name.

        Raises:
            InputError: the task takes no language model, or this one cannot be used.
        """
        raise InputError("this task takes no language model; leave it out")
