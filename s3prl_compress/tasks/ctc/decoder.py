"""The part of an `OwnHead` that all ways of decoding a CTC head share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...encoder import SpeechEncoder, describe, load_unless_loaded, normalization_note
from ...encoder.adapter import UpstreamAdapter
from ...encoder.ctc_text import check_vocabulary
from ...encoder.exported import ExportedEncoder
from ...encoder.importers import is_whisper
from ...results.records import Upstream
from ..base.corpus import Corpus
from ..base.own_head import OwnHead, UnsuitableModelError
from ..base.test_set import TranscribedTestSet
from .emissions import CTCModel, ctc_head


@dataclass(frozen=True)
class CTCDecoder(OwnHead[CTCModel]):
    """A CTC head, in PyTorch or in an exported model."""

    def load(
        self,
        source: str | Path | SpeechEncoder | UpstreamAdapter,
        *,
        device: str | None = None,
        normalize: bool | None = None,
    ) -> CTCModel:
        """Load an encoder; without a CTC head it is an `UnsuitableModelError`."""
        given = str(source) if isinstance(source, (str, Path)) else "the encoder"
        if isinstance(source, (str, Path)) and is_whisper(source):
            raise UnsuitableModelError(
                f"{given}: is a Whisper model, which has no CTC head; score it with --task whisper"
            )
        encoder = load_unless_loaded(source, device=device, normalize=normalize)
        ctc_head(encoder, given)
        assert isinstance(encoder, SpeechEncoder | ExportedEncoder)  # `ctc_head` refuses all others
        return encoder

    def describe(self, model: CTCModel, name: str, source: str | None) -> Upstream:
        """Return the encoder's entry in a record."""
        if isinstance(model, ExportedEncoder):
            return model.describe(name)
        return describe(model, name, source or model.provenance.base)

    def check_corpus(self, model: CTCModel, corpus: Corpus) -> None:
        """Raise an `InputError` if the head's vocabulary is not one for the transcripts."""
        assert isinstance(corpus, TranscribedTestSet)
        head = ctc_head(model, "the encoder")
        check_vocabulary(corpus.speech.texts, head.vocabulary, str(corpus.root))


def notes_on(model: CTCModel, corpus: TranscribedTestSet) -> tuple[str, ...]:
    """Return notes on the runtime, on utterances that are too short, and on normalisation."""
    lengths = corpus.speech.audio.lengths
    notes = [model.note()] if isinstance(model, ExportedEncoder) else []
    if short := sum(length < model.shape.minimum_samples for length in lengths):
        notes.append(
            f"{short} of {len(lengths)} utterances are too short for the encoder: all their words "
            "count as errors."
        )
    if normalized := normalization_note(model):
        notes.append(normalized)
    return tuple(notes)
