"""A score at HuBERT-base size on an official corpus: its time, extrapolated from measured parts.

Measured are: the forward pass on recordings of the official corpus's mean length, in the engine's
batches; taking means or frames from its states; reading a recording and writing features; updates
and evaluations of the heads at the official sizes, on random features in memory.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from s3prl_compress.audio.clips import SAMPLING_RATE, read_samples
from s3prl_compress.common.precision import full_precision
from s3prl_compress.encoder import EncoderShape, SpeechEncoder, named_shape, random_encoder
from s3prl_compress.encoder.inference import inference_copy
from s3prl_compress.evaluation import Settings, load_settings
from s3prl_compress.latency.ratios import median
from s3prl_compress.probing.frames import layer_frames
from s3prl_compress.probing.heads import ParallelHeads
from s3prl_compress.probing.pooling import pool
from s3prl_compress.probing.recogniser import FrameHead, LinearRecogniser, Recogniser
from s3prl_compress.probing.recogniser_training import update
from s3prl_compress.probing.training import accumulate, predict
from s3prl_compress.probing.utterances import UtteranceClips, draw_batches
from s3prl_compress.tasks.base.corpus import Item
from s3prl_compress.tasks.base.facts import CorpusFacts
from s3prl_compress.tasks.pr.phonemes import PHONEMES, phoneme_symbols
from s3prl_compress.tasks.registry import find_task

FRAMES_PER_SECOND = 50
INTENT_SLOTS = (6, 14, 4)
FEATURE_ROWS = 2048
"""Utterances of random features that heads train on: 82 MB."""
HEAD_SECONDS = 3.0
"""Length of the utterances on which recognisers are measured: their time grows with it."""


@dataclass(frozen=True)
class Official:
    """An official corpus, as the engine meets it."""

    name: str
    files: int
    """Recordings that are checked and hashed."""
    hours: float
    """Of audio, each recording once."""


OFFICIAL = {
    # 60,973 clips that are used (16.9 of 18 hours), and 3,072 crops of background of 1 s.
    "ks": Official("Speech Commands v0.01", 67_814, 17.8),
    # Nagrani et al., Interspeech 2017.
    "sid": Official("VoxCeleb1", 153_516, 352.0),
    # 5,531 utterances of 4.5 s.
    "er": Official("IEMOCAP, four classes", 5_531, 7.0),
    # Panayotov et al., ICASSP 2015: 100.6 + 5.4 + 5.4.
    "asr": Official("LibriSpeech", 33_862, 111.4),
    "pr": Official("LibriSpeech", 33_862, 111.4),
    # Lugosch et al., Interspeech 2019: 14.7 + 1.9 + 2.4.
    "ic": Official("Fluent Speech Commands", 30_043, 19.0),
}


@dataclass(frozen=True)
class Extrapolation:
    """Seconds of a whole score at HuBERT-base size."""

    corpus: str
    files: int
    speed: float
    """Seconds of audio per second of the forward pass."""
    update_seconds: float
    """Of the heads, for all learning rates that train together."""
    seconds: dict[str, float]
    share_outside: float
    """Part of the whole that is not the forward pass."""
    unchanged: float
    """Seconds of checking and fingerprint when nothing has changed."""
    notes: tuple[str, ...]


def extrapolate(
    task: str,
    folder: Path,
    *,
    files: int,
    audio_seconds: float,
    stage_seconds: dict[str, float],
    base: str,
    updates: int,
) -> Extrapolation:
    """Extrapolate a rehearsal to an encoder of another shape on the official corpus.

    Args:
        task: its name.
        folder: on the disk that is to hold the features.
        files: recordings of the rehearsal.
        audio_seconds: audio of the rehearsal.
        stage_seconds: times of the rehearsal's stages.
        base: name of the shape.
        updates: of the heads, to measure.
    """
    declared, official = find_task(task), OFFICIAL[task]
    settings, _ = load_settings(task, "official", "onepass")
    facts = declared.official
    assert facts is not None
    frames = declared.features == "frames"
    shape, seconds = named_shape(base), 3600 * official.hours
    mean = seconds / official.files
    with full_precision(), torch.no_grad():
        encoder = inference_copy(random_encoder(shape).eval())
        forward, pooling = encoder_seconds(encoder, mean, settings.seconds_per_batch, frames)
    reading = read_seconds(folder, mean, ".flac" if frames else ".wav")
    features = (
        shape.states
        * shape.hidden
        * (2 * FRAMES_PER_SECOND * seconds if frames else 4 * official.files)
    )
    of_heads = recogniser_seconds if frames else head_seconds
    training, evaluating, testing, update_time = of_heads(task, shape, settings, facts, updates)
    growth = official.files / files
    by_stage = {
        "checking": growth * stage_seconds["checking, first"],
        # By bytes: an upper bound, since longer files take less time for each byte.
        "fingerprint, first time": stage_seconds["fingerprint, first"] * seconds / audio_seconds,
        "forward pass": forward * seconds,
        "reading recordings": reading * official.files,
        "means or frames of states": pooling * seconds,
        "writing features": features / write_speed(folder),
        "heads, updates": training,
        "heads, evaluations on dev": evaluating,
        "test": testing,
    }
    return Extrapolation(
        corpus=f"{official.name}, {official.hours:g} h",
        files=official.files,
        speed=1 / forward,
        update_seconds=update_time,
        seconds=by_stage,
        share_outside=1 - by_stage["forward pass"] / sum(by_stage.values()),
        unchanged=growth * (stage_seconds["checking, again"] + stage_seconds["fingerprint, again"]),
        notes=tuple(_notes(task, features, files)),
    )


def _notes(task: str, features: float, files: int) -> list[str]:
    notes = [f"features on disk: {features / 1e9:.1f} GB"]
    if task == "sid":
        notes.append(
            "the forward pass is a lower bound: of each longer training recording, 4 crops of 8 s "
            "go through, and take 4 rows of features"
        )
    if task in ("asr", "pr"):
        notes.append("where the disk is too small for them, the forward pass is in every update")
    if files < 1000:
        notes.append("below 1,000 files no hash is remembered: unchanged files were read again")
    return notes


def timed(step: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of a step, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return median(times[1:])


class Replayed:
    """An encoder whose hidden states are computed already."""

    def __init__(self, encoder: SpeechEncoder, waves: Sequence[Tensor]) -> None:
        self.shape, self.padding = encoder.shape, encoder.padding
        self._result = encoder(list(waves))

    def __call__(self, waveforms: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the states, whatever is given."""
        return self._result


def encoder_seconds(
    encoder: SpeechEncoder, mean: float, seconds_per_batch: float, frames: bool
) -> tuple[float, float]:
    """Return seconds per second of audio: of the forward pass, and of making features of it."""
    count = max(1, int(seconds_per_batch / mean))
    waves = [0.1 * torch.randn(round(mean * SAMPLING_RATE)) for _ in range(count)]
    forward = timed(lambda: encoder(waves), 3)
    replayed, make = Replayed(encoder, waves), layer_frames if frames else pool
    after = timed(lambda: make(replayed, waves), 5)
    return forward / (count * mean), after / (count * mean)


def read_seconds(folder: Path, mean: float, suffix: str) -> float:
    """Return the seconds in which a recording of the mean length is read, from the page cache."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / f"noise{suffix}"
        wave = (0.1 * torch.randn(round(mean * SAMPLING_RATE))).numpy()
        soundfile.write(path, wave, SAMPLING_RATE, subtype="PCM_16")
        return timed(lambda: read_samples(path), 20)


def write_speed(folder: Path, size: int = 2**27) -> float:
    """Return the bytes per second that reach the disk."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        block = os.urandom(2**20)
        started = time.perf_counter()
        for _ in range(size // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return size / (time.perf_counter() - started)


def head_seconds(
    task: str, shape: EncoderShape, settings: Settings, facts: CorpusFacts, updates: int
) -> tuple[float, float, float, float]:
    """Return seconds of heads on means: updates, evaluations on dev, test; and of one update."""
    slots = INTENT_SLOTS if task == "ic" else (facts.classes,)
    heads = ParallelHeads(
        shape.states,
        shape.hidden,
        sum(slots),
        settings.learning_rates,
        projector_dim=settings.projector_dim,
        slots=slots,
    )
    values = torch.randn(FEATURE_ROWS, shape.states, shape.hidden)
    labels = torch.stack([torch.randint(size, (FEATURE_ROWS,)) for size in slots], 1)
    labels = labels.squeeze(1) if len(slots) == 1 else labels
    items = [Item(Path(), "", str(row)) for row in range(FEATURE_ROWS)]
    places = {item.relative: range(row, row + 1) for row, item in enumerate(items)}
    drawn = draw_batches(
        UtteranceClips([], {}, places, None),
        items,
        labels,
        settings.batch_size,
        torch.Generator().manual_seed(0),
    )
    batches = accumulate(drawn, settings.accumulation)

    def step() -> None:
        rows, own, shares = (part.unsqueeze(0) for part in next(batches))
        heads.update(values[rows], own, shares)

    one = timed(step, updates)
    row = timed(lambda: predict(heads, values, range(FEATURE_ROWS), slots), 3) / FEATURE_ROWS
    looks = settings.total_steps // settings.eval_step
    dev = facts.dev + facts.background * settings.crops_per_file
    return (
        facts.folds * settings.total_steps * one,
        facts.folds * looks * dev * row,
        facts.folds * facts.test * row / len(settings.learning_rates),
        one,
    )


def recogniser_seconds(
    task: str, shape: EncoderShape, settings: Settings, facts: CorpusFacts, updates: int
) -> tuple[float, float, float, float]:
    """Return seconds of heads on frames: updates, evaluations on dev, test; and of one update.

    At most two updates are measured, of one learning rate.
    """
    head: FrameHead
    batch = settings.batch_size
    if settings.recognition is not None:
        head = Recogniser(shape.states, shape.hidden, settings.recognition)
        batch //= 2  # s3prl halves ASR's buckets
    else:
        symbols = phoneme_symbols(PHONEMES)
        head = LinearRecogniser(shape.states, shape.hidden, settings.projector_dim, symbols)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-4)
    count = round(HEAD_SECONDS * FRAMES_PER_SECOND)
    features = [torch.randn(shape.states, count, shape.hidden).half() for _ in range(batch)]
    targets = [torch.randint(4, len(head.symbols.names), (count // 5,)) for _ in range(batch)]
    batches = [(features, targets)] * settings.accumulation
    audio = HEAD_SECONDS * batch
    per_second = timed(lambda: update(head, optimizer, batches, 1.0), min(2, updates)) / (
        settings.accumulation * audio
    )
    head.eval()
    with torch.no_grad():
        heard = timed(lambda: head.texts(features), 1) / audio
    one = per_second * settings.accumulation * batch * facts.train_seconds
    rates = len(settings.learning_rates)
    looks = settings.total_steps // settings.eval_step
    return (
        rates * settings.total_steps * one,
        rates * looks * facts.dev * facts.dev_seconds * heard,
        facts.test * facts.test_seconds * heard,
        one,
    )
