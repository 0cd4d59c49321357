"""Random spans of masked frames, as in wav2vec 2.0 and HuBERT."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor


class MaskSettings(BaseModel):
    """Settings of span masking; with HuBERT's defaults, a little over half of all frames."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start_probability: float = Field(default=0.08, gt=0, le=1)
    """Number of spans per frame. (fairseq's `mask_prob` is this times the span: 0.8.)"""
    span: int = Field(default=10, ge=1)
    """Number of frames in a span; spans may overlap."""
    minimum: int = Field(default=1, ge=1)
    """Smallest number of spans in an utterance."""


def draw_masks(
    frame_counts: Sequence[int], settings: MaskSettings, random: np.random.Generator
) -> Tensor:
    """Draw spans for a batch: True where a frame is masked, [batch, longest].

    Each utterance gets `start_probability * frames` spans, rounded up or down at random so that
    the expected number is exact. Their starts are drawn without replacement from those that keep
    the whole span inside the utterance; padding is never masked. In an utterance no longer than a
    span, every frame but the first is masked; a single frame is masked.

    Source: wav2vec 2.0 (arXiv 2006.11477), section 3.1 and appendix A.
    """
    masks = np.zeros((len(frame_counts), max(frame_counts)), dtype=bool)
    for row, frames in zip(masks, frame_counts, strict=True):
        if frames <= settings.span:
            row[min(1, frames - 1) : frames] = True
            continue
        spans = int(settings.start_probability * frames + random.random())
        possible = frames - settings.span + 1
        spans = min(max(spans, settings.minimum), possible)
        starts = random.choice(possible, size=spans, replace=False)
        row[(starts[:, None] + np.arange(settings.span)).ravel()] = True
    return torch.from_numpy(masks)
