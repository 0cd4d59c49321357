"""How many frames SUPERB's downstreams take of an utterance, and which.

s3prl's `Featurizer` takes `round(samples / 320)` frames of every utterance of a batch. The
convolutions make one frame fewer for three lengths in four: in a padded batch the missing one is
then made of padding, alone it is not there at all. Here it is always the last valid frame once
more (what `S3PRLUpstream` does too), so that a mean over frames is the same in any batch.

Torch only: the s3prl upstream and the one-pass engine both use these functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SUPERB_STRIDE = 320
"""Samples from one frame to the next that s3prl counts with (16 kHz, 20 ms)."""


def superb_frame_counts(lengths: Sequence[int], stride: int = SUPERB_STRIDE) -> list[int]:
    """Return the number of frames that s3prl takes of utterances of `lengths` samples.

    It is Python's `round`, halves to even, as in `s3prl.upstream.interfaces.Featurizer.tolist`.
    """
    return [round(length / stride) for length in lengths]


def superb_frames(
    hidden_states: Sequence[Tensor],
    frame_counts: Tensor,
    lengths: Sequence[int],
    stride: int = SUPERB_STRIDE,
) -> list[Tensor]:
    """Cut or extend padded hidden states to the frames that SUPERB's downstreams take.

    Args:
        hidden_states: L + 1 tensors [batch, frames, width], of which the first
            `frame_counts[i]` frames of utterance i are valid; what follows them is not read.
        frame_counts: [batch], at least 1 each.
        lengths: samples of each utterance.
        stride: samples from one frame to the next.

    Returns:
        L + 1 tensors [batch, max(round(lengths / stride)), width]. Where an utterance has fewer
        valid frames than that, its last valid one is repeated to the end.
    """
    longest = max(superb_frame_counts(lengths, stride))
    device = hidden_states[0].device
    last = frame_counts.to(device).unsqueeze(1) - 1
    frame = torch.minimum(torch.arange(longest, device=device).unsqueeze(0), last)
    utterance = torch.arange(len(lengths), device=device).unsqueeze(1)
    return [state[utterance, frame] for state in hidden_states]
