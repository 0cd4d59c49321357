"""The `OwnHead` of Whisper models: their decoder, and OpenAI's normaliser of texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from ...common.errors import InputError
from ...common.extras import require_extra
from ...encoder import is_checkpoint, read_config
from ...results.records import Upstream
from ...whisper import Recogniser, Whisper, describe, is_whisper, language_code, load
from ...whisper.normalization import normalizer_name, text_normalizer
from ...whisper.recognition import NEW_TOKENS
from ..base.corpus import Corpus
from ..base.own_head import OwnHead, Recognition, TaskOptions, UnsuitableModelError
from ..base.test_set import TranscribedTestSet


class DecodingOptions(TaskOptions):
    """Options of decoding, and of the normaliser that follows from the language."""

    language: str | None = None
    """Language of the speech: a code such as de, or its English name. Default: English; models
    that know no other language accept none."""
    suppress_tokens: Literal["checkpoint", "none"] = "checkpoint"
    """Tokens that are never written: those in the model's generation config, or none at all."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Largest number of tokens to write for 30 s of speech. Default: 224, as in OpenAI's code."""
    tokenizer: str | None = None
    """Folder or hub id of a tokenizer. Default: that of the model, or of the model it was made
    from."""

    @field_validator("language")
    @classmethod
    def _known(cls, language: str | None) -> str | None:
        return None if language is None else language_code(language)

    @property
    def spoken(self) -> str:
        """Code of the language of the speech."""
        return self.language or "en"

    def recorded(self) -> dict[str, Any]:
        """Return all settings that can change a score, as records have them."""
        settings = {
            "decoding": "greedy",
            "task": "transcribe",
            "language": self.spoken,
            "suppress_tokens": self.suppress_tokens,
            "max_new_tokens": self.max_new_tokens or NEW_TOKENS,
            "longer_than_30_s": "sequential, without earlier text",
            "normalizer": normalizer_name(self.spoken),
            "transformers": metadata.version("transformers"),
        }
        return settings if self.tokenizer is None else settings | {"tokenizer": self.tokenizer}


@dataclass(frozen=True)
class WhisperDecoder(OwnHead[Whisper]):
    """A Whisper model's decoder, whose texts are normalised as OpenAI does it."""

    decoding: DecodingOptions = DecodingOptions()  # noqa: RUF009  # it is frozen

    @property
    def options(self) -> type[TaskOptions]:
        """Options of decoding."""
        return DecodingOptions

    def _configured(self, options: TaskOptions) -> WhisperDecoder:
        assert isinstance(options, DecodingOptions)
        return replace(self, decoding=options, settings=options.recorded())

    def load(
        self,
        source: str | Path | Whisper,
        *,
        device: str | None = None,
        normalize: bool | None = None,
    ) -> Whisper:
        """Load a Whisper model, and check that it has a tokenizer and knows the language."""
        if normalize is not None:
            raise InputError(
                "task whisper: takes no normalize: its log-mel features have a scale of their own; "
                "leave that out"
            )
        require_extra("whisper", "task whisper")
        if isinstance(source, (str, Path)):
            _refuse_encoder(source)
            whisper, name = load(source, device=device), str(source)
        elif isinstance(source, Whisper):
            whisper, name = source, "the model"
        else:
            raise UnsuitableModelError(f"a {type(source).__name__}: is not a Whisper model")
        self._recogniser(whisper, name)
        return whisper

    def describe(self, model: Whisper, name: str, source: str | None) -> Upstream:
        """Return the model's entry in a record."""
        return describe(model, name, source or model.provenance.base)

    def recognise(self, model: Whisper, corpus: Corpus, device: str, work: Path) -> Recognition:
        """Return normalised texts, and the raw ones as further columns."""
        assert isinstance(corpus, TranscribedTestSet)
        normalize = text_normalizer(self.decoding.spoken)
        found = self._recogniser(model, "the model").transcribe(corpus.speech.audio, device)
        raw_truth, raw = list(corpus.speech.texts), [one.text for one in found]
        truth = [normalize(text) for text in raw_truth]
        if not any(truth):
            raise InputError(
                f"{corpus.root}: nothing is left of any transcript after the normaliser "
                f"({normalizer_name(self.decoding.spoken)})"
            )
        runaways = [one.runaway for one in found]
        capped, repetitive = [one.capped for one in found], [one.repetitive for one in found]
        return Recognition(
            truth,
            [normalize(text) for text in raw],
            further={"raw_truth": raw_truth, "raw_predicted": raw, "runaway": runaways},
            runaways=sum(map(bool, runaways)),
            notes=tuple(_notes(truth, capped, repetitive)),
        )

    def _recogniser(self, whisper: Whisper, name: str) -> Recogniser:
        options = self.decoding
        return Recogniser(
            whisper,
            language=options.language,
            suppress=options.suppress_tokens == "checkpoint",
            max_new_tokens=options.max_new_tokens,
            tokenizer=options.tokenizer,
            name=name,
        )


def _refuse_encoder(source: str | Path) -> None:
    """Refuse what exists and is something else; what is missing or broken is left to `load`."""
    if is_whisper(source) or not Path(source).is_dir():
        return
    if is_checkpoint(source) and read_config(Path(source)).shape.family == "whisper":
        raise UnsuitableModelError(
            f"{source}: holds the encoder of a Whisper model alone; give the whole model"
        )
    raise UnsuitableModelError(
        f"{source}: is not a Whisper model (exported ones are not scored); recognition by other "
        "models is the task ctc (with a CTC head) or asr"
    )


def _notes(truth: list[str], capped: list[bool], repetitive: list[bool]) -> list[str]:
    """Say how many texts ran on, and how many transcripts are empty after normalisation."""
    notes, total = [], len(truth)
    if any(capped) or any(repetitive):
        either = sum(map(any, zip(capped, repetitive, strict=True)))
        notes.append(
            f"Runaways in {either} of {total} utterances: {sum(capped)} reached the cap on new "
            f"tokens, {sum(repetitive)} repeat themselves (compression ratio above 2.4)."
        )
    if empty := sum(not text for text in truth):
        notes.append(
            f"{empty} of {total} transcripts are empty after normalisation; all words recognised "
            "there count as insertions."
        )
    return notes


DECODER = WhisperDecoder(
    engine="greedy",
    settings=DecodingOptions().recorded(),
    note=(
        "Word errors of a Whisper model's own greedy decoder after OpenAI's normaliser; the "
        "multiply-adds are those of its encoder alone."
    ),
    needs="Whisper decoder",
    made_by=(),
)
