"""Adapter for upstreams that are not modules of ours: evaluation and timing only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..results.records import Padding, Upstream


@dataclass(frozen=True)
class UpstreamShape:
    """The subset of `EncoderShape` that feature extraction and timing read."""

    states: int
    """Number of hidden states in the output."""
    hidden: int
    frame_stride: int
    """Samples from one frame to the next."""
    minimum_samples: int

    @property
    def layers(self) -> tuple[None, ...]:
        """One entry per layer of an encoder with this many hidden states."""
        return (None,) * (self.states - 1)

    def samples_computed(self, samples: int) -> int:
        """Return `samples`: whether the upstream pads them further is unknown."""
        return samples


class UpstreamAdapter(nn.Module, ABC):
    """Another upstream in the place of a `SpeechEncoder`. It cannot be compressed or saved.

    Whether a third-party upstream's features depend on what an utterance is batched with is
    unknown, so its `padding` is reported as "fairseq", as for s3prl's own upstreams. For features
    that are certainly independent of the batch, pass utterances one at a time.
    """

    shape: UpstreamShape
    padding: Padding = "fairseq"
    frames_known: ClassVar[bool] = False
    """Whether the number of frames follows from an utterance's length, as in a `SpeechEncoder`."""

    def __init__(self, upstream: str, checkpoint: Path | None, shape: UpstreamShape) -> None:
        super().__init__()
        self.upstream = upstream
        """Its name in s3prl."""
        self.checkpoint = checkpoint
        """The file that s3prl loads, for upstreams that need one."""
        self.shape = shape
        # Gives the module a device and a dtype even if the upstream has no weights.
        self.anchor = nn.Parameter(torch.empty(0), requires_grad=False)

    @property
    def name(self) -> str:
        """Name in tables and messages."""
        return self.upstream

    @abstractmethod
    def forward(self, waveforms: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Encode utterances as `SpeechEncoder.forward` does."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash that is equal for upstreams with equal features."""

    @abstractmethod
    def describe(self, name: str) -> Upstream:
        """Return its entry in a result record."""
