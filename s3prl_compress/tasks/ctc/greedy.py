"""Greedy decoding with a CTC head: the best symbol of every frame, no language model."""

from __future__ import annotations

import sys

import torch
from torch import Tensor
from tqdm import tqdm

from ...audio import SAMPLING_RATE, AudioSet
from ...common.errors import InputError
from ...encoder import CTCHead, SpeechEncoder, inference_copy
from ...encoder.adapter import UpstreamAdapter
from ...encoder.checkpoint import HeadConfig
from ...encoder.ctc_text import check_vocabulary, decode, plain_text
from ...encoder.exported import ExportedEncoder
from ...probing.pooling import batches_by_length, ready
from ..base.corpus import Corpus
from ..base.own_head import OwnHead
from .corpus import TranscribedTestSet

_SECONDS_PER_BATCH = 16.0
"""Audio in one forward pass, padding included. It changes results by rounding only."""


class GreedyHead(OwnHead):
    """A CTC head whose best path is merged and stripped of blanks."""

    def check(self, encoder: SpeechEncoder | UpstreamAdapter, name: str) -> None:
        """Raise an `InputError` that calls the model `name` if it has no CTC head."""
        ctc_head(encoder, name)

    def predict(
        self, encoder: SpeechEncoder | ExportedEncoder, corpus: Corpus, device: str
    ) -> list[str]:
        """Return the transcript of every test utterance, in upper case."""
        assert isinstance(corpus, TranscribedTestSet)
        return recognise(encoder, corpus.speech.audio, device)

    def check_corpus(self, encoder: SpeechEncoder | ExportedEncoder, corpus: Corpus) -> None:
        """Raise an `InputError` if the head's vocabulary is not one for the transcripts."""
        assert isinstance(corpus, TranscribedTestSet)
        head = ctc_head(encoder, "the encoder")
        check_vocabulary(corpus.speech.texts, head.vocabulary, str(corpus.root))

    def notes(self, encoder: SpeechEncoder | ExportedEncoder, corpus: Corpus) -> tuple[str, ...]:
        """Say how many utterances are too short for the encoder."""
        assert isinstance(corpus, TranscribedTestSet)
        lengths = corpus.speech.audio.lengths
        short = sum(length < encoder.shape.minimum_samples for length in lengths)
        if not short:
            return ()
        return (
            f"{short} of {len(lengths)} utterances are too short for the encoder: all their words "
            "count as errors.",
        )


def ctc_head(encoder: SpeechEncoder | UpstreamAdapter, name: str) -> CTCHead | HeadConfig:
    """Return the vocabulary and blank of an encoder's CTC head.

    Raises:
        InputError: it has none; the message calls it `name`.
    """
    if isinstance(encoder, UpstreamAdapter) and not isinstance(encoder, ExportedEncoder):
        raise InputError(f"{encoder.upstream}: an upstream of s3prl's own has no CTC head")
    if encoder.head is None:
        raise InputError(
            f"{name}: has no CTC head; fine-tune it first: s3prl-compress compress {name} "
            "--method ctc --audio TRANSCRIBED --output DIR"
        )
    return encoder.head


def recognise(
    encoder: SpeechEncoder | ExportedEncoder, audio: AudioSet, device: str = "cpu"
) -> list[str]:
    """Return the text of the best path through each utterance, in upper case.

    Utterances of similar lengths are batched, with independent padding: no text depends on what its
    utterance is batched with. It is empty for an utterance that is too short for the encoder to
    make a frame of.

    Raises:
        InputError: there is no CTC head, a recording cannot be read, or the weights give values
            that are not finite.
    """
    dense = inference_copy(encoder, device)
    head = ctc_head(dense, "the encoder")
    texts = [""] * len(audio.files)
    shortest = encoder.shape.minimum_samples
    long_enough = [n for n, length in enumerate(audio.lengths) if length >= shortest]
    limit = int(_SECONDS_PER_BATCH * SAMPLING_RATE)
    batches = batches_by_length([audio.lengths[number] for number in long_enough], limit)
    progress = tqdm(total=len(long_enough), desc="recognition", unit="utterance", file=sys.stderr)
    with ready(dense, "independent", device), progress, torch.inference_mode():
        for batch in batches:
            numbers = [long_enough[place] for place in batch]
            waveforms = [audio.read(number).to(device) for number in numbers]
            scores, frames = _symbol_scores(dense, waveforms)
            for number, values, count in zip(numbers, scores.cpu(), frames.tolist(), strict=True):
                if not values[:count].isfinite().all():
                    raise InputError(
                        f"{audio.root / audio.files[number]}: the CTC head's values for it are not "
                        "finite; the weights are of no use"
                    )
                path = values[:count].argmax(dim=-1).tolist()
                texts[number] = plain_text(decode(path, head.vocabulary, head.blank))
            progress.update(len(numbers))
    return texts


def _symbol_scores(
    encoder: SpeechEncoder | ExportedEncoder, waveforms: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return scores of the symbols that rank them, [batch, frames, symbols], and the frames."""
    if isinstance(encoder, ExportedEncoder):
        return encoder.log_probs(waveforms)
    states, frames = encoder(waveforms)
    assert encoder.head is not None
    return encoder.head(states[-1]), frames


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
