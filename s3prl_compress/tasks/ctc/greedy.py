"""Greedy decoding with a CTC head: the best symbol of every frame, no language model."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from tqdm import tqdm

from ...audio import SAMPLING_RATE, AudioSet
from ...common.errors import InputError
from ...encoder import (
    CTCHead,
    SpeechEncoder,
    describe,
    inference_copy,
    load_unless_loaded,
    normalization_note,
)
from ...encoder.adapter import UpstreamAdapter
from ...encoder.ctc_text import decode, plain_text
from ...encoder.importers.whisper_source import is_whisper
from ...probing.pooling import batches_by_length, ready
from ...results.records import Upstream
from ..base.corpus import Corpus
from ..base.own_head import OwnHead, Recognition, UnsuitableModelError
from ..base.test_set import TranscribedTestSet

_SECONDS_PER_BATCH = 16.0
"""Audio in one forward pass, padding included. It changes results by rounding only."""


class GreedyHead(OwnHead[SpeechEncoder | UpstreamAdapter]):
    """A CTC head whose best path is merged and stripped of blanks."""

    def load(
        self,
        source: str | Path | SpeechEncoder | UpstreamAdapter,
        *,
        device: str | None = None,
        normalize: bool | None = None,
    ) -> SpeechEncoder | UpstreamAdapter:
        """Load an encoder; without a CTC head it is an `UnsuitableModelError`."""
        given = str(source) if isinstance(source, (str, Path)) else "the encoder"
        if isinstance(source, (str, Path)) and is_whisper(source):
            raise UnsuitableModelError(
                f"{given}: is a Whisper model, which has no CTC head; score it with --task whisper"
            )
        encoder = load_unless_loaded(source, device=device, normalize=normalize)
        ctc_head(encoder, given)
        return encoder

    def describe(
        self, model: SpeechEncoder | UpstreamAdapter, name: str, source: str | None
    ) -> Upstream:
        """Return the encoder's entry in a record."""
        assert isinstance(model, SpeechEncoder)  # `load` refuses all others
        return describe(model, name, source or model.provenance.base)

    def recognise(
        self, model: SpeechEncoder | UpstreamAdapter, corpus: Corpus, device: str
    ) -> Recognition:
        """Return transcripts in upper case; utterances that are too short have empty ones."""
        assert isinstance(model, SpeechEncoder)
        assert isinstance(corpus, TranscribedTestSet)
        texts = recognise(model, corpus.speech.audio, device)
        notes = (_note_on_length(model, corpus.speech.audio), normalization_note(model))
        truth = [item.label for item in corpus.test_items()]
        return Recognition(truth, texts, notes=tuple(filter(None, notes)))


def ctc_head(encoder: SpeechEncoder | UpstreamAdapter, name: str) -> CTCHead:
    """Return the CTC head of an encoder, called `name` in messages.

    Raises:
        UnsuitableModelError: it has none.
    """
    if isinstance(encoder, UpstreamAdapter):
        raise UnsuitableModelError(
            f"{encoder.upstream}: an upstream of s3prl's own has no CTC head"
        )
    if encoder.head is None:
        raise UnsuitableModelError(
            f"{name}: has no CTC head; fine-tune it first: s3prl-compress compress {name} "
            "--method ctc --audio TRANSCRIBED --output DIR"
        )
    return encoder.head


def recognise(encoder: SpeechEncoder, audio: AudioSet, device: str = "cpu") -> list[str]:
    """Return the text of the best path through each utterance, in upper case.

    Utterances of similar lengths are batched, with independent padding: no text depends on what its
    utterance is batched with. It is empty for an utterance that is too short for the encoder to
    make a frame of.

    Raises:
        InputError: there is no CTC head, a recording cannot be read, or the weights give values
            that are not finite.
    """
    dense = inference_copy(encoder)
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
            states, frames = dense([audio.read(number).to(device) for number in numbers])
            logits = head(states[-1]).cpu()
            for number, values, count in zip(numbers, logits, frames.tolist(), strict=True):
                if not values[:count].isfinite().all():
                    raise InputError(
                        f"{audio.root / audio.files[number]}: the CTC head's values for it are not "
                        "finite; the weights are of no use"
                    )
                path = values[:count].argmax(dim=-1).tolist()
                texts[number] = plain_text(decode(path, head.vocabulary, head.blank))
            progress.update(len(numbers))
    return texts


def _note_on_length(encoder: SpeechEncoder, audio: AudioSet) -> str | None:
    """Say how many utterances are too short for the encoder."""
    short = sum(length < encoder.shape.minimum_samples for length in audio.lengths)
    if not short:
        return None
    return (
        f"{short} of {len(audio.lengths)} utterances are too short for the encoder: all their "
        "words count as errors."
    )


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
