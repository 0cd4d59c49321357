"""Somebody else's upstream where a `SpeechEncoder` stands: to be scored and timed, no more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ..results.records import Upstream


@dataclass(frozen=True)
class GuestShape:
    """The little that features and timing ask of a shape."""

    states: int
    """Hidden states that come out."""
    hidden: int
    frame_stride: int
    """Samples from one frame to the next."""
    minimum_samples: int

    @property
    def layers(self) -> tuple[None, ...]:
        """As many as an encoder with that many hidden states has."""
        return (None,) * (self.states - 1)


class UpstreamAdapter(nn.Module, ABC):
    """An upstream that is not ours. It cannot be compressed or saved.

    What its batches do to its features is not known to us. So its `padding` counts as fairseq's,
    s3prl's own, and those who would have features of an utterance alone give it one at a time.
    """

    shape: GuestShape
    padding: Literal["fairseq"]

    def __init__(self, upstream: str, checkpoint: Path | None, shape: GuestShape) -> None:
        super().__init__()
        self.upstream = upstream
        """What s3prl calls it."""
        self.checkpoint = checkpoint
        self.shape = shape
        self.padding = "fairseq"
        # Says where the module is and of what type, even if it has no weights.
        self.anchor = nn.Parameter(torch.empty(0), requires_grad=False)

    @abstractmethod
    def forward(self, waveforms: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Encode utterances as `SpeechEncoder.forward` does."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what identifies it: the same for the same features."""

    @abstractmethod
    def describe(self, name: str) -> Upstream:
        """Return what a record says of it."""
