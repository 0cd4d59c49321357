"""Distillation of the relations between frames."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..encoder import EncoderShape
from .layers import DistillationLoss, check_fit


class TemporalRelations(DistillationLoss):
    """Mean squared difference between temporal Gram matrices of student and teacher.

    A Gram matrix contains the inner products of all pairs of frames of an utterance, divided by
    their width: G = F F'^T / d, [frames, frames]. It is computed for every hidden state with
    itself (layer-wise), and for the input of every layer with its output (intra-layer); the two
    means are added. No projection is needed if widths differ, and the loss is invariant to
    rotations of a hidden state.

    Source: STaR (Jang, Kim, Kim, ICASSP 2024, arXiv 2312.09040); the division by d is ours.

    Raises:
        InputError: teacher and student differ in depth or frames.
    """

    def __init__(self, shape_teacher: EncoderShape, shape_student: EncoderShape) -> None:
        super().__init__()
        check_fit(shape_teacher, shape_student)

    def forward(
        self,
        student_states: Sequence[Tensor],
        teacher_states: Sequence[Tensor],
        frame_counts: Tensor,
        masks: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return `loss`, `layerwise` and `intralayer`; see `DistillationLoss`."""
        weights = _pair_weights(frame_counts, student_states[0])
        pairs = list(zip(student_states, teacher_states, strict=True))
        layerwise = torch.stack(
            [_difference((own, own), (wanted, wanted), weights) for own, wanted in pairs]
        ).mean()
        intralayer = torch.stack(
            [
                _difference((before[0], after[0]), (before[1], after[1]), weights)
                for before, after in pairwise(pairs)
            ]
        ).mean()
        return {
            "loss": layerwise + intralayer,
            "layerwise": layerwise.detach(),
            "intralayer": intralayer.detach(),
        }


def _difference(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], weights: Tensor
) -> Tensor:
    return ((_gram(*student) - _gram(*teacher)).square() * weights).sum()


def _gram(one: Tensor, other: Tensor) -> Tensor:
    """Return the inner products of frames [batch, frames, width]: [batch, frames, frames]."""
    with torch.autocast(one.device.type, enabled=False):  # products of large activations
        return one.float() @ other.float().transpose(1, 2) / one.shape[-1]


def _pair_weights(frame_counts: Tensor, state: Tensor) -> Tensor:
    """Return the weight of each pair of frames, [batch, frames, frames].

    Utterances are weighted by their number of frames; all pairs within one have equal weight.
    """
    counts = frame_counts.to(state.device, non_blocking=True)
    own = torch.arange(state.shape[1], device=state.device) < counts[:, None]
    pairs = (own[:, :, None] & own[:, None, :]).float()
    return pairs / counts[:, None, None] / float(frame_counts.sum())
