"""Speech recognition by a checkpoint's own CTC head: greedy, without a language model.

Not SUPERB's ASR, where the upstream is frozen and a new head is trained on it: here a fine-tuned
model is measured as it stands, before compression, after it, and after fine-tuning.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from ..audio import TranscribedAudio, open_transcribed
from ..audio.table import Split
from ..common.errors import InputError
from ..common.precision import full_precision
from ..encoder import CTCHead, SpeechEncoder, inference_copy, load
from ..encoder.ctc_text import decode, plain_text
from ..statistics import find_metric


@dataclass(frozen=True)
class CTCScore:
    """The result of a CTC head on transcribed speech."""

    word_error_rate: float
    """In percent, over all words."""
    character_error_rate: float
    """In percent, over all characters, spaces included."""
    standard_error: float
    """Of the word error rate, over `error_units`."""
    interval: tuple[float, float]
    """95 %, of the word error rate."""
    error_units: str
    """See `metrics.Measured.units`."""
    predictions: list[tuple[str, str, str]]
    """Per utterance: file (relative to the data's folder), truth, predicted; upper case."""
    too_short: int
    """Utterances too short for the encoder: all their words count as deleted."""
    audio_fingerprint: str
    """Of the utterances' names, lengths and contents."""
    audio_seconds: float
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by stage."""


def score_ctc(
    source: str | Path | SpeechEncoder,
    data: str | Path,
    split: Split | None = "test",
    device: str = "cpu",
) -> CTCScore:
    """Recognise transcribed speech with the CTC head of a checkpoint, greedily.

    Texts are compared in upper case. Utterances go through one at a time, so that no padding
    has a say in them.

    Args:
        source: an encoder, or what `load` takes.
        data: a folder in LibriSpeech's layout, or a table; see `open_transcribed`.
        split: of the data; one without splits is taken whole.
        device: where the encoder runs.

    Raises:
        InputError: there is no head, or the data are not usable.
    """
    encoder = source if isinstance(source, SpeechEncoder) else load(source, device=device)
    needs_head(encoder, "the encoder" if isinstance(source, SpeechEncoder) else str(source))
    speech = open_transcribed(data, split, minimum_samples=0)
    with full_precision():
        return measure_ctc(encoder, speech, device)


def needs_head(encoder: SpeechEncoder, name: str) -> CTCHead:
    """Return the CTC head of an encoder; one without is an `InputError` that calls it `name`."""
    if encoder.head is None:
        raise InputError(
            f"{name}: has no CTC head; fine-tune it first: s3prl-compress compress {name} "
            "--method ctc --audio TRANSCRIBED --output DIR"
        )
    return encoder.head


def measure_ctc(encoder: SpeechEncoder, speech: TranscribedAudio, device: str = "cpu") -> CTCScore:
    """Recognise transcribed speech with the CTC head of an encoder; see `score_ctc`.

    Raises:
        InputError: there is no head, or the recordings cannot be read or are digital silence.
    """
    speech.audio.check_audible()
    head = needs_head(encoder, "the encoder")
    truth = [plain_text(text) for text in speech.texts]
    started = time.monotonic()
    predicted = recognise(encoder.to(device), head, speech)
    metric = find_metric("WER")
    measured = metric.measure(truth, predicted, speech.speakers)
    return CTCScore(
        word_error_rate=measured.score,
        character_error_rate=metric.other_metrics(truth, predicted)["cer"],
        standard_error=measured.standard_error,
        interval=measured.interval,
        error_units=measured.units,
        predictions=list(zip(speech.audio.files, truth, predicted, strict=True)),
        too_short=sum(n < encoder.shape.minimum_samples for n in speech.audio.lengths),
        audio_fingerprint=speech.audio.fingerprint(),
        audio_seconds=speech.audio.seconds,
        seconds={"recognition": time.monotonic() - started},
    )


def recognise(encoder: SpeechEncoder, head: CTCHead, speech: TranscribedAudio) -> list[str]:
    """Return the text of the best path through each utterance, upper case.

    It is empty for an utterance that is too short for the encoder to make a frame of.
    """
    texts = []
    lengths = tqdm(speech.audio.lengths, desc="recognition", unit="utterance", file=sys.stderr)
    encoder = inference_copy(encoder)
    with torch.inference_mode():
        for number, samples in enumerate(lengths):
            if samples < encoder.shape.minimum_samples:
                texts.append("")
                continue
            states, _ = encoder([speech.audio.read(number)])
            best = head(states[-1])[0].argmax(dim=-1).tolist()
            texts.append(plain_text(decode(best, head.vocabulary, head.blank)))
    return texts
