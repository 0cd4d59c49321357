"""SpecAugment on the weighted sum of hidden states, drawn as s3prl draws it.

Park et al.: SpecAugment, Interspeech 2019, arXiv 1904.08779; with the numbers of SUPERB's recipe
for ASR. Random numbers come from torch's global generators in the order of `s3prl.downstream.
specaug.SpecAug`, so that equal seeds give equal masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class SpecAugment:
    """Warps time, then hides channels, then stretches of time."""

    warp_window: int = 5
    """Frames by which a random frame moves, at most."""
    channel_masks: int = 4
    channel_width: int = 50
    """Channels that a mask hides: fewer than this."""
    time_masks: int = 2
    time_width: int = 40
    """Frames that a mask hides: fewer than this."""

    def __call__(self, features: Tensor, counts: Tensor) -> Tensor:
        """Augment a batch.

        Args:
            features: [batch, frames, width], zeros behind each utterance's end.
            counts: frames of each utterance, [batch], on the CPU.
        """
        warped = [
            F.pad(self._warp(row[:count]), (0, 0, 0, len(row) - count))
            for row, count in zip(features, counts.tolist(), strict=True)
        ]
        features = torch.stack(warped)
        features = _hide(features, 2, self.channel_masks, self.channel_width)
        return _hide(features, 1, self.time_masks, self.time_width)

    def _warp(self, features: Tensor) -> Tensor:
        """Move a random frame of [frames, width] by a few frames, and stretch both sides."""
        frames, width = features.shape
        if frames <= 2 * self.warp_window:
            return features
        centre = int(torch.randint(self.warp_window, frames - self.warp_window, (1,)))
        moved = 1 + int(torch.randint(centre - self.warp_window, centre + self.warp_window, (1,)))
        parts = ((features[:centre], moved), (features[centre:], frames - moved))
        stretched = [
            F.interpolate(part[None, None], (size, width), mode="bicubic", align_corners=False)
            for part, size in parts
        ]
        return torch.cat(stretched, dim=2)[0, 0]


def _hide(features: Tensor, axis: int, masks: int, width: int) -> Tensor:
    """Set random stretches of `axis` to zero, in every utterance others.

    The starts are drawn below `size - longest`, the longest mask of the batch, over the padded
    size: in s3prl a mask may lie in the padding.
    """
    batch, size = len(features), features.shape[axis]
    lengths = torch.randint(0, width, (batch, masks, 1), device=features.device)
    last = max(1, size - int(lengths.max()))
    starts = torch.randint(0, last, (batch, masks, 1), device=features.device)
    places = torch.arange(size, device=features.device)
    hidden = ((starts <= places) & (places < starts + lengths)).any(dim=1)
    return features.masked_fill(hidden.unsqueeze(3 - axis), 0.0)
