"""Greedy decoding with a CTC head: the best symbol of every frame, no language model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...audio import AudioSet
from ...encoder import CTCHead, SpeechEncoder
from ...encoder.adapter import UpstreamAdapter
from ...encoder.checkpoint import HeadConfig
from ...encoder.ctc_text import check_vocabulary, decode, plain_text
from ...encoder.exported import ExportedEncoder
from ..base.corpus import Corpus
from ..base.own_head import LanguageModelOptions, OwnHead, OwnHeadResult
from .corpus import TranscribedTestSet
from .emissions import (
    EMISSIONS_FOLDER,
    Emissions,
    cached_emissions,
    compute_emissions,
    ctc_head,
)

if TYPE_CHECKING:
    from .beam_head import BeamHead


class GreedyHead(OwnHead):
    """A CTC head whose best path is merged and stripped of blanks."""

    def check(self, encoder: SpeechEncoder | UpstreamAdapter, name: str) -> None:
        """Raise an `InputError` that calls the model `name` if it has no CTC head."""
        ctc_head(encoder, name)

    def predict(
        self,
        encoder: SpeechEncoder | ExportedEncoder,
        corpus: Corpus,
        device: str,
        work: Path,
    ) -> OwnHeadResult:
        """Return the transcript of every test utterance, in upper case."""
        assert isinstance(corpus, TranscribedTestSet)
        audio = corpus.speech.audio
        emissions = cached_emissions(encoder, audio, device, work / EMISSIONS_FOLDER)
        return OwnHeadResult(best_paths(emissions, ctc_head(encoder, "the encoder")))

    def check_corpus(self, encoder: SpeechEncoder | ExportedEncoder, corpus: Corpus) -> None:
        """Raise an `InputError` if the head's vocabulary is not one for the transcripts."""
        assert isinstance(corpus, TranscribedTestSet)
        head = ctc_head(encoder, "the encoder")
        check_vocabulary(corpus.speech.texts, head.vocabulary, str(corpus.root))

    def notes(self, encoder: SpeechEncoder | ExportedEncoder, corpus: Corpus) -> tuple[str, ...]:
        """Say how many utterances are too short for the encoder."""
        return short_utterances(encoder, corpus)

    def with_language_model(self, options: LanguageModelOptions, corpus: Corpus) -> BeamHead:
        """Return the same task with beam search and a language model."""
        from .beam_head import beam_head

        assert isinstance(corpus, TranscribedTestSet)
        return beam_head(options, corpus)


def short_utterances(encoder: SpeechEncoder | ExportedEncoder, corpus: Corpus) -> tuple[str, ...]:
    """Return a note on the utterances that are too short for the encoder; none if there are none.

    `corpus` is a `TranscribedTestSet`.
    """
    assert isinstance(corpus, TranscribedTestSet)
    lengths = corpus.speech.audio.lengths
    short = sum(length < encoder.shape.minimum_samples for length in lengths)
    if not short:
        return ()
    return (
        f"{short} of {len(lengths)} utterances are too short for the encoder: all their words "
        "count as errors.",
    )


def recognise(
    encoder: SpeechEncoder | ExportedEncoder, audio: AudioSet, device: str = "cpu"
) -> list[str]:
    """Return the text of the best path through each utterance, in upper case.

    It is empty for an utterance that is too short for the encoder to make a frame of.

    Raises:
        InputError: as for `compute_emissions`.
    """
    head = ctc_head(encoder, "the encoder")
    return best_paths(compute_emissions(encoder, audio, device), head)


def best_paths(emissions: Emissions, head: CTCHead | HeadConfig) -> list[str]:
    """Return the text of the best symbol of every frame: repeats merged, then blanks dropped."""
    return [
        plain_text(decode(values.argmax(dim=-1).tolist(), head.vocabulary, head.blank))
        for values in emissions.utterances()
    ]


GREEDY = GreedyHead(
    engine="greedy",
    settings={"decoding": "greedy"},
    note=(
        "Word errors of the model's own CTC head, greedy, without a language model: not SUPERB's "
        "ASR, for which a new head is trained on the frozen upstream."
    ),
    needs="CTC head",
    made_by=("ctc",),
)
