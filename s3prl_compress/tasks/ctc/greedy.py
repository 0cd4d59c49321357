"""Greedy decoding with a CTC head: the best symbol of every frame, no language model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...audio import AudioSet
from ...encoder import CTCHead
from ...encoder.checkpoint import HeadConfig
from ...encoder.ctc_text import decode, plain_text
from ..base.corpus import Corpus
from ..base.own_head import LanguageModelOptions, Recognition
from ..base.test_set import TranscribedTestSet
from .decoder import CTCDecoder, notes_on
from .emissions import (
    EMISSIONS_FOLDER,
    CTCModel,
    Emissions,
    cached_emissions,
    compute_emissions,
    ctc_head,
)

if TYPE_CHECKING:
    from .beam_head import BeamHead


class GreedyHead(CTCDecoder):
    """A CTC head whose best path is merged and stripped of blanks."""

    def recognise(self, model: CTCModel, corpus: Corpus, device: str, work: Path) -> Recognition:
        """Return transcripts in upper case; utterances that are too short have empty ones."""
        assert isinstance(corpus, TranscribedTestSet)
        emissions = cached_emissions(model, corpus.speech.audio, device, work / EMISSIONS_FOLDER)
        texts = best_paths(emissions, ctc_head(model, "the encoder"))
        truth = [item.label for item in corpus.test_items()]
        return Recognition(truth, texts, notes=notes_on(model, corpus))

    def with_language_model(self, options: LanguageModelOptions, corpus: Corpus) -> BeamHead:
        """Return the same task with beam search and a language model."""
        from .beam_head import beam_head

        assert isinstance(corpus, TranscribedTestSet)
        return beam_head(options, corpus)


def recognise(encoder: CTCModel, audio: AudioSet, device: str = "cpu") -> list[str]:
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
