"""Masked input and dropout for fine-tuning, given to an encoder that has neither by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..encoder import SpeechEncoder
from ..encoder.layers import TransformerLayer
from .masking import MaskSettings, draw_masks
from .stages import LearnedConfig

TIME_SPAN = 10
"""Number of frames in a masked span."""
CHANNEL_SPAN = 1 / 12
"""Number of channels in a masked span, as a fraction of the width: 64 of 768."""

SETTINGS = ("mask_time", "mask_channels", "dropout")
"""Names of the settings of `RegularisedConfig`."""


class RegularisedConfig(LearnedConfig):
    """Settings of masks and dropout. All are off by default."""

    mask_time: float = Field(default=0.0, ge=0, le=1)
    """Spans of 10 frames per frame that are replaced by the learned mask embedding before the
    Transformer, drawn anew for every batch; wav2vec 2.0 fine-tunes on 10 h with 0.065, which hides
    almost half of the frames."""
    mask_channels: float = Field(default=0.0, ge=0, le=1)
    """Spans of a twelfth of all channels (64 of 768), per channel, that are set to zero before the
    Transformer; wav2vec 2.0 fine-tunes on 10 h with 0.004."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Probability with which a value that attention or feed-forward adds to the hidden states is
    set to zero."""

    def recorded(self) -> dict[str, Any]:
        """Return the settings for the history; those that are off are left out.

        Runs that were begun, and checkpoints that were written, before these settings existed
        thus keep their fingerprints.
        """
        recorded = super().recorded()
        return {name: value for name, value in recorded.items() if name not in SETTINGS or value}


class Regularisation:
    """Draws what the hooks of `regularised` apply to the next forward pass."""

    def __init__(self, encoder: SpeechEncoder, config: RegularisedConfig) -> None:
        self.width = encoder.shape.hidden
        self.config = config
        self.kept_channels: Tensor | None = None

    def draw(self, frames: Sequence[int], *key: int) -> Tensor | None:
        """Draw masks for a batch, and seed torch's generator for its dropout.

        Both are a function of `key` and the seed of the settings, so that an interrupted run
        resumes exactly.

        Args:
            frames: number of frames of each utterance.
            key: numbers that no other batch has.

        Returns:
            True where a frame is to be masked, [batch, frames]; None if no frame is.
        """
        config = self.config
        random = np.random.default_rng([config.seed, *key])
        if config.dropout:
            torch.manual_seed(int(random.integers(2**62)))
        if config.mask_channels:
            self.kept_channels = ~self._channels(len(frames), random)
        if not config.mask_time:
            return None
        spans = MaskSettings(start_probability=config.mask_time, span=TIME_SPAN)
        return draw_masks(frames, spans, random)

    def _channels(self, utterances: int, random: np.random.Generator) -> Tensor:
        """Return True where a channel is masked, [batch, hidden]; there may be none."""
        width = self.width
        span = max(1, round(width * CHANNEL_SPAN))
        masks = np.zeros((utterances, width), dtype=bool)
        for row in masks:
            spans = min(int(self.config.mask_channels * width + random.random()), width - span + 1)
            starts = random.choice(width - span + 1, size=spans, replace=False)
            row[(starts[:, None] + np.arange(span)).ravel()] = True
        return torch.from_numpy(masks)


@contextmanager
def regularised(encoder: SpeechEncoder, config: RegularisedConfig) -> Iterator[Regularisation]:
    """Apply dropout and masked channels in all forward passes of `encoder`'s modules in training.

    They are hooks, because modules that train an encoder with other weights call its parts.

    Args:
        encoder: the encoder whose weights are trained.
        config: what to apply.

    Yields:
        The source of masks: its `draw` must be called before each forward pass.
    """
    drawn = Regularisation(encoder, config)

    def mask(module: nn.Module, _: Any, output: Tensor) -> Tensor:
        if not module.training or drawn.kept_channels is None:
            return output
        return output * drawn.kept_channels[:, None].to(output)

    def drop(module: nn.Module, _: Any, output: Tensor) -> Tensor:
        return F.dropout(output, config.dropout, module.training)

    hooks = []
    if config.mask_channels:
        hooks.append(encoder.feature_projection.register_forward_hook(mask))
    if config.dropout:
        for layer in cast(Iterable[TransformerLayer], encoder.encoder.layers):
            hooks.append(layer.attention.register_forward_hook(drop))
            hooks.append(layer.feed_forward.register_forward_hook(drop))
    try:
        yield drawn
    finally:
        for hook in hooks:
            hook.remove()
