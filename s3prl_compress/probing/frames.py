"""The frames of all hidden states, for recognition: on disk, or computed again in every step.

On disk they are computed once, then memory-mapped. They take about 1 MB per second of audio at base
size (13 layers of 768 float16 numbers, 50 times a second), so LibriSpeech's train-clean-100,
dev-clean and test-clean take some 400 GB: the space needed is derived from the lengths and compared
with the free space before anything is computed. Where it is short, frames are streamed instead.
"""

from __future__ import annotations

import hashlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from tqdm import tqdm

from ..audio.clips import SAMPLING_RATE
from ..common.errors import InputError
from ..common.files import locked
from ..encoder.frames import superb_frame_counts, superb_frames
from ..encoder.inference import inference_copy
from ..results.records import Padding
from ..tasks.base.corpus import SPLITS, Item, Split
from ..tasks.base.task import FrameSource
from ..tasks.base.transcripts import TranscribedCorpus
from .frame_file import FrameFile, FrameWriter, check_space, open_frames
from .pooling import batches_by_length, ready

if TYPE_CHECKING:
    from ..encoder import EncoderShape, SpeechEncoder
    from ..encoder.exported import ExportedEncoder

FRAMES_VERSION = 3
"""Part of the key: raised whenever the same key would give other frames."""


@dataclass(frozen=True)
class FramePlan:
    """Which utterances the frames are of, row by row: train, dev, test."""

    items: list[Item]
    rows: dict[Split, range]
    samples: list[int]
    counts: list[int]
    """Frames of each utterance."""

    @cached_property
    def starts(self) -> list[int]:
        """Frames of all utterances before each one."""
        return [0, *accumulate(self.counts)][:-1]


@dataclass(frozen=True, kw_only=True)
class Frames(ABC):
    """Every hidden state's frames of many utterances."""

    plan: FramePlan
    layers: int
    """Hidden states per utterance, L + 1 of the encoder."""
    width: int
    first_state: int = 0
    """The first hidden state that is read."""
    streamed: ClassVar[bool] = False
    """Whether reading them means to compute them."""

    @property
    def states(self) -> int:
        """Number of hidden states that are read of each utterance."""
        return self.layers - self.first_state

    @abstractmethod
    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """Return the frames of utterances: [states, frames, width] each, float16."""

    def ready(self) -> AbstractContextManager[None]:
        """Return a context in which they can be read."""
        return nullcontext()


@dataclass(frozen=True, kw_only=True)
class StoredFrames(Frames):
    """Frames that are mapped from one file."""

    file: FrameFile
    compute: Callable[[], StreamedFrames]
    """Opens the same frames as computed by the encoder, to replace damaged ones."""
    reused: bool
    """True: they were already on disk."""

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """See `Frames.read`.

        Raises:
            InputError: damaged frames cannot be computed or written again.
        """
        return [self._read(row) for row in rows]

    def _read(self, row: int) -> Tensor:
        stored = self.file.read(row)
        if stored is None:
            return self._computed_again(row)[self.first_state :]
        return torch.from_numpy(stored[self.first_state :].copy())

    def _computed_again(self, row: int) -> Tensor:
        name = self.plan.items[row].relative
        print(
            f"the stored frames of {name} are damaged (wrong checksum) and are computed again",
            file=sys.stderr,
        )
        source = self.compute()
        with source.ready():
            (frames,) = source.read([row])
        self.file.replace(row, frames)
        return frames


@dataclass(frozen=True, kw_only=True)
class StreamedFrames(Frames):
    """Frames that the frozen encoder computes whenever they are read, within `ready`."""

    encoder: SpeechEncoder | ExportedEncoder
    corpus: TranscribedCorpus
    padding: Padding
    device: str
    samples_per_batch: int
    """Samples of audio, padding included, in one forward pass."""
    streamed: ClassVar[bool] = True
    _lock: Lock = field(default_factory=Lock, repr=False)
    """Not every runtime can compute for two threads: the next batch is read during evaluations."""

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """See `Frames.read`.

        Raises:
            InputError: a recording cannot be read, or its hidden states are of no use.
        """
        found: dict[int, Tensor] = {}
        samples = [self.encoder.shape.samples_computed(self.plan.samples[row]) for row in rows]
        with self._lock, torch.no_grad():
            for batch in batches_by_length(samples, self.samples_per_batch):
                own = [rows[place] for place in batch]
                frames = _encoded(self.encoder, self.corpus, self.plan, own, self.device)
                found |= zip(batch, frames, strict=True)
        return [found[place][self.first_state :] for place in range(len(rows))]

    def ready(self) -> AbstractContextManager[None]:
        """See `Frames.ready`."""
        return ready(self.encoder, self.padding, self.device)


def plan_frames(corpus: TranscribedCorpus, shape: EncoderShape, padding: Padding) -> FramePlan:
    """List the utterances of a corpus and the frames that s3prl takes of each.

    `round(samples / 320)` of them; with fairseq's padding, where each utterance goes alone, not
    more than the convolutions make. Only headers are read.
    """
    items: list[Item] = []
    samples: list[int] = []
    rows = {}
    for split in SPLITS:
        rows[split] = range(len(items), len(items) + len(corpus.items(split)))
        items += corpus.items(split)
        samples += corpus.lengths(split)
    minimum = shape.minimum_samples
    short = [item for item, length in zip(items, samples, strict=True) if length < minimum]
    if short:
        raise InputError(
            f"{short[0].path}: shorter than the {minimum} samples that this encoder needs; "
            f"{len(short)} utterances are too short: remove them"
        )
    counts = superb_frame_counts(samples)
    if padding != "independent":
        counts = [
            min(count, shape.frames(length)) for count, length in zip(counts, samples, strict=True)
        ]
    return FramePlan(items, rows, samples, counts)


def bytes_of_frames(plan: FramePlan, shape: EncoderShape) -> int:
    """Return the space that the frames of a plan take on disk."""
    return sum(plan.counts) * shape.states * shape.hidden * 2


def load_frames(
    encoder: SpeechEncoder | ExportedEncoder,
    corpus: TranscribedCorpus,
    *,
    padding: Padding,
    cache: Path,
    device: str = "cpu",
    seconds_per_batch: float = 16.0,
    how: FrameSource = "stored",
) -> StoredFrames | StreamedFrames:
    """Return the frames of a corpus, from `cache` where they are there already.

    The key is what decides the values, as for `load_features`. Two files per key, `<key>.frames`
    and `<key>.json`; the index is written last, so frames without one are incomplete. Utterances
    whose checksum is not that of the index are computed again when they are read. A killed process
    is resumed; of two that need the same frames, one computes them and the other waits.

    Args:
        encoder: the frozen upstream.
        corpus: the utterances.
        padding: of shorter utterances in a batch.
        cache: folder of stored frames.
        device: where the encoder computes.
        seconds_per_batch: of audio in one forward pass, padding included.
        how: "streamed": nothing is stored, and the encoder computes frames whenever they are read;
            "auto": that, if there is too little space for them.

    Raises:
        InputError: too little space, or hidden states that are of no use.
    """
    from ..encoder import fingerprint

    plan = plan_frames(corpus, encoder.shape, padding)
    states, width = encoder.shape.states, encoder.shape.hidden
    identity = {
        "version": FRAMES_VERSION,
        "encoder": fingerprint(encoder),
        "padding": padding,
        "corpus": corpus.fingerprint(),
        "shape": [states, sum(plan.counts), width],
        "dtype": "float16",
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
    path = cache / f"{key}.frames"
    cache.mkdir(parents=True, exist_ok=True)

    def streamed() -> StreamedFrames:
        return StreamedFrames(
            plan=plan,
            layers=states,
            width=width,
            encoder=inference_copy(encoder, device),
            corpus=corpus,
            padding=padding,
            device=device,
            samples_per_batch=_limit(seconds_per_batch, padding),
        )

    if how == "streamed":
        return streamed()
    with locked(path.with_suffix(".lock"), f"computing the same frames ({path})"):
        file = open_frames(path, identity, plan.starts)
        reused = file is not None
        if file is None:
            try:
                check_space(path, bytes_of_frames(plan, encoder.shape), len(plan.items))
            except InputError as error:
                if how == "stored":
                    raise
                print(f"{error}. They are now computed in every step instead", file=sys.stderr)
                return streamed()
            writer = FrameWriter(
                path, identity | {"seconds_per_batch": seconds_per_batch}, plan.starts
            )
            _encode(encoder, corpus, plan, writer, padding, device, seconds_per_batch)
            writer.finish(identity)
            file = open_frames(path, identity, plan.starts)
    if file is None:
        raise InputError(f"{path}: cannot be read back; is the file in use?")
    return StoredFrames(
        plan=plan, layers=states, width=width, file=file, compute=streamed, reused=reused
    )


def layer_frames(
    encoder: SpeechEncoder | ExportedEncoder, waveforms: Sequence[Tensor]
) -> list[Tensor]:
    """Return each utterance's hidden states, [layers + 1, frames, width] in float16.

    The frames are those that s3prl's Featurizer takes; see `plan_frames`.
    """
    lengths = [len(waveform) for waveform in waveforms]
    states, frame_counts = encoder(list(waveforms))
    if encoder.padding == "independent":
        states = tuple(superb_frames(states, frame_counts, lengths))
    elif len(waveforms) > 1:
        raise ValueError("fairseq's padding makes features depend on the batch: encode one by one")
    stacked = torch.stack([state.half() for state in states], dim=1)
    return [
        frames[:, :count].cpu()
        for frames, count in zip(stacked, superb_frame_counts(lengths), strict=True)
    ]


def _encode(
    encoder: SpeechEncoder | ExportedEncoder,
    corpus: TranscribedCorpus,
    plan: FramePlan,
    writer: FrameWriter,
    padding: Padding,
    device: str,
    seconds_per_batch: float,
) -> None:
    """Send every utterance through the upstream that `writer` does not have yet."""
    limit = _limit(seconds_per_batch, padding)
    bar = tqdm(
        total=len(plan.items), desc="upstream", unit="utterance", initial=writer.done, leave=False
    )
    seen, skipped = 0, writer.done
    encoder = inference_copy(encoder, device)
    with ready(encoder, padding, device), bar, torch.no_grad():
        lengths = [encoder.shape.samples_computed(samples) for samples in plan.samples]
        for rows in batches_by_length(lengths, limit):
            seen += len(rows)
            if seen <= skipped:
                continue
            try:
                encoded = _encoded(encoder, corpus, plan, rows, device)
            except InputError:
                writer.discard()
                raise
            for row, frames in zip(rows, encoded, strict=True):
                writer.put(row, frames)
            bar.update(len(rows))
            writer.mark()
    try:
        corpus.check_unchanged()
    except InputError:
        writer.discard()
        raise


def _encoded(
    encoder: SpeechEncoder | ExportedEncoder,
    corpus: TranscribedCorpus,
    plan: FramePlan,
    rows: Sequence[int],
    device: str,
) -> list[Tensor]:
    """Return `layer_frames` of the utterances in `rows`, which go through the upstream together.

    Raises:
        InputError: they are not finite.
    """
    waves = [corpus.read(plan.items[row].path).to(device) for row in rows]
    encoded = layer_frames(encoder, waves)
    for row, frames in zip(rows, encoded, strict=True):
        if not frames.isfinite().all():
            raise InputError(
                f"{plan.items[row].path}: the encoder's hidden states of it are not finite or "
                "beyond float16; score this encoder with the engine s3prl"
            )
    return encoded


def _limit(seconds_per_batch: float, padding: Padding) -> int:
    """Return the samples of a batch; with fairseq's padding each utterance goes alone."""
    return int(seconds_per_batch * SAMPLING_RATE) if padding == "independent" else 0
