"""The frames of all hidden states, for recognition: on disk, or computed again in every step.

On disk they are computed once, then memory-mapped. They take about 1 MB per second of audio at base
size (13 layers of 768 float16 numbers, 50 times a second), so LibriSpeech's train-clean-100,
dev-clean and test-clean take some 400 GB: the space needed is derived from the lengths and compared
with the free space before anything is computed. Where it is short, frames are streamed instead.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from threading import Lock
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ..common.errors import InputError
from ..encoder.frames import superb_frame_counts, superb_frames
from ..results.records import Padding
from ..tasks.base.corpus import SPLITS, Item, Split
from ..tasks.base.transcripts import TranscribedCorpus
from .frame_file import FrameFile
from .pooling import batches_by_length, ready

if TYPE_CHECKING:
    from ..encoder import EncoderShape, SpeechEncoder
    from ..encoder.exported import ExportedEncoder


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

    def part(self, rows: Sequence[int]) -> FramePlan:
        """Return the plan of some utterances only, as rows in the given order."""
        items = [self.items[row] for row in rows]
        samples = [self.samples[row] for row in rows]
        counts = [self.counts[row] for row in rows]
        return FramePlan(items, {}, samples, counts)


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
        print(damaged(self.plan.items[row]), file=sys.stderr)
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
    half: bool = False
    """Compute in bfloat16."""
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
                frames = encode(
                    self.encoder, self.corpus, self.plan, own, self.device, half=self.half
                )
                found |= zip(batch, frames, strict=True)
        return [found[place][self.first_state :] for place in range(len(rows))]

    def ready(self) -> AbstractContextManager[None]:
        """See `Frames.ready`."""
        return ready(self.encoder, self.padding, self.device)


def plan_frames(corpus: TranscribedCorpus, shape: EncoderShape, padding: Padding) -> FramePlan:
    """List the utterances of a corpus and the frames that s3prl takes of each.

    `round(samples / stride)` of them; with fairseq's padding, where each utterance goes alone, not
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
    counts = superb_frame_counts(samples, shape.frame_stride)
    if padding != "independent":
        counts = [
            min(count, shape.frames(length)) for count, length in zip(counts, samples, strict=True)
        ]
    return FramePlan(items, rows, samples, counts)


def bytes_of_frames(plan: FramePlan, shape: EncoderShape) -> int:
    """Return the space that the frames of a plan take on disk."""
    return sum(plan.counts) * shape.states * shape.hidden * 2


def layer_frames(
    encoder: SpeechEncoder | ExportedEncoder, waveforms: Sequence[Tensor], *, half: bool = False
) -> list[Tensor]:
    """Return each utterance's hidden states, [layers + 1, frames, width] in float16.

    The frames are those that s3prl's Featurizer takes; see `plan_frames`. `half`: the encoder
    computes in bfloat16, except for what torch's autocast keeps in float32.
    """
    lengths, stride = [len(waveform) for waveform in waveforms], encoder.shape.frame_stride
    with torch.autocast(waveforms[0].device.type, torch.bfloat16, enabled=half):
        states, frame_counts = encoder(list(waveforms))
    if encoder.padding == "independent":
        states = tuple(superb_frames(states, frame_counts, lengths, stride))
    elif len(waveforms) > 1:
        raise ValueError("fairseq's padding makes features depend on the batch: encode one by one")
    stacked = torch.stack([state.half() for state in states], dim=1)
    return [
        frames[:, :count].cpu()
        for frames, count in zip(stacked, superb_frame_counts(lengths, stride), strict=True)
    ]


def damaged(item: Item) -> str:
    """Return the notice of an utterance whose checksum is wrong."""
    return (
        f"the stored frames of {item.relative} are damaged (wrong checksum) and are computed again"
    )


def encode(
    encoder: SpeechEncoder | ExportedEncoder,
    corpus: TranscribedCorpus,
    plan: FramePlan,
    rows: Sequence[int],
    device: str,
    *,
    half: bool = False,
) -> list[Tensor]:
    """Return `layer_frames` of the utterances in `rows`, which go through the upstream together.

    Raises:
        InputError: they are not finite.
    """
    waves = [corpus.read(plan.items[row].path).to(device) for row in rows]
    encoded = layer_frames(encoder, waves, half=half)
    for row, frames in zip(rows, encoded, strict=True):
        if not frames.isfinite().all():
            raise InputError(
                f"{plan.items[row].path}: the encoder's hidden states of it are not finite or "
                "beyond float16; score this encoder with the engine s3prl"
            )
    return encoded
