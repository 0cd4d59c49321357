"""The frames of an utterance that SUPERB's downstreams use.

s3prl's `Featurizer` takes `round(samples / stride)` frames of every utterance in a batch; the
stride is 320 samples (20 ms) for all published encoders. For three
lengths in four, the convolutions make one frame fewer: in a padded batch the missing frame is
computed from padding, and for a single utterance it does not exist. Here it always repeats the last
valid frame (as `S3PRLUpstream` does), so that a mean over frames does not depend on the batch.

Both the s3prl upstream and the one-pass engine use these functions, which need torch only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def superb_frame_counts(lengths: Sequence[int], stride: int) -> list[int]:
    """Return the number of frames that s3prl uses of utterances of `lengths` samples.

    `stride` is the number of samples from one frame to the next (`EncoderShape.frame_stride`).
    Halves are rounded to even, as in `s3prl.upstream.interfaces.Featurizer.tolist`.
    """
    return [round(length / stride) for length in lengths]


def superb_frames(
    hidden_states: Sequence[Tensor],
    frame_counts: Tensor,
    lengths: Sequence[int],
    stride: int,
) -> list[Tensor]:
    """Cut or extend padded hidden states to the frames that SUPERB's downstreams use.

    Args:
        hidden_states: L + 1 tensors [batch, frames, width]; the first `frame_counts[i]` frames of
            utterance i are valid, and the others are not read.
        frame_counts: [batch], at least 1 each.
        lengths: samples of each utterance.
        stride: samples from one frame to the next.

    Returns:
        L + 1 tensors [batch, max(round(lengths / stride)), width]. If an utterance has fewer
        valid frames than that, its last valid frame is repeated to the end.
    """
    longest = max(superb_frame_counts(lengths, stride))
    device = hidden_states[0].device
    last = frame_counts.to(device).unsqueeze(1) - 1
    frame = torch.minimum(torch.arange(longest, device=device).unsqueeze(0), last)
    utterance = torch.arange(len(lengths), device=device).unsqueeze(1)
    return [state[utterance, frame] for state in hidden_states]
