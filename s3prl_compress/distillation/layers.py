"""Distillation of hidden states, layer by layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.errors import InputError
from ..encoder import EncoderShape

BASE_LAYERS = (0, 4, 8, 12)
"""DPHuBERT's choice for 12 layers; `LayerDistillation` explains state 0."""


def scaled_layers(depth: int) -> tuple[int, ...]:
    """Return the hidden states at the relative depths that `BASE_LAYERS` have in 12 layers."""
    return tuple(sorted({round(layer * depth / max(BASE_LAYERS)) for layer in BASE_LAYERS}))


class DistillationLoss(nn.Module, ABC):
    """A loss between the hidden states of a student and those of its teacher."""

    hides_frames = False
    """Whether some frames are masked in the student's input."""
    projected_input = False
    """Whether state 0 of both models is the output of the feature projection, before the position
    convolution and its LayerNorm, instead of the input of the first Transformer layer."""

    @abstractmethod
    def forward(
        self,
        student_states: Sequence[Tensor],
        teacher_states: Sequence[Tensor],
        frame_counts: Tensor,
        masks: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the scalar `loss` and its parts, averaged over all frames that are not padding.

        Args:
            student_states: L + 1 hidden states, [batch, frames, hidden of the student] each.
            teacher_states: L + 1 hidden states, [batch, frames, hidden of the teacher] each,
                without gradients.
            frame_counts: number of frames without padding, [batch], on the CPU.
            masks: True where a frame was masked in the student's input, [batch, frames].
        """


class LayerDistillation(DistillationLoss):
    """Mean over groups of hidden states of L1(h_S P, h_T) - cos(h_S P, h_T), h the group's mean.

    The projections P start at the identity. The group with hidden state 0 has a projection of its
    own; all others share one.

    Source: DPHuBERT (Peng et al., Interspeech 2023, arXiv 2305.17651), equation 1, where every
    group is one state and layer 0 is the feature projection's output (`extract_features` of its
    published code); means of similar ones after SKILL (Zampierin et al., arXiv 2402.16830).

    Args:
        shape_teacher: shape of the teacher, which has as many hidden states as the student.
        shape_student: shape of the student.
        groups: numbers of the hidden states to compare: single ones, or groups.
        projected_input: see `DistillationLoss`.

    Raises:
        InputError: teacher and student differ in depth or frames, or there is no such state.
    """

    def __init__(
        self,
        shape_teacher: EncoderShape,
        shape_student: EncoderShape,
        groups: Sequence[int | Sequence[int]],
        *,
        projected_input: bool = False,
    ) -> None:
        super().__init__()
        self.projected_input = projected_input
        self.groups = tuple((own,) if isinstance(own, int) else tuple(own) for own in groups)
        check_fit(shape_teacher, shape_student)
        _check_states([state for group in self.groups for state in group], shape_teacher)
        names = {_projection_of(group) for group in self.groups}
        self.projections = nn.ModuleDict(
            {name: identity(shape_student.hidden, shape_teacher.hidden) for name in sorted(names)}
        )

    def forward(
        self,
        student_states: Sequence[Tensor],
        teacher_states: Sequence[Tensor],
        frame_counts: Tensor,
        masks: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return `loss`, `l1` and `cosine`; see `DistillationLoss`."""
        weights = _frame_weights(frame_counts, student_states[0])
        l1 = cosine = student_states[0].new_zeros((), dtype=torch.float32)
        for group in self.groups:
            projection = self.projections[_projection_of(group)]
            predicted = projection(_mean(student_states, group)).float()
            wanted = _mean(teacher_states, group).float()
            difference = (predicted - wanted).abs().mean(-1)
            similarity = F.cosine_similarity(predicted, wanted, dim=-1)
            l1 = l1 + (difference * weights).sum()
            cosine = cosine + (similarity * weights).sum()
        l1, cosine = l1 / len(self.groups), cosine / len(self.groups)
        return {"loss": l1 - cosine, "l1": l1.detach(), "cosine": cosine.detach()}


def _projection_of(group: Sequence[int]) -> str:
    return "first" if 0 in group else "others"


def _mean(states: Sequence[Tensor], group: Sequence[int]) -> Tensor:
    if len(group) == 1:
        return states[group[0]]
    return torch.stack([states[number] for number in group]).mean(0)


def _frame_weights(frame_counts: Tensor, state: Tensor) -> Tensor:
    """Return the weight of each frame in a mean over all frames, [batch, frames].

    Weights are used because selecting frames by a mask would synchronise device and host.
    """
    counts = frame_counts.to(state.device, non_blocking=True)
    frames = torch.arange(state.shape[1], device=state.device)
    return (frames < counts[:, None]).float() / float(frame_counts.sum())


def identity(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer initialised to the identity, truncated if the sizes differ."""
    linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # torch's generator stays as it is
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def check_fit(teacher: EncoderShape, student: EncoderShape) -> None:
    """Check that each hidden state of a student can be compared with the teacher's.

    Raises:
        InputError: the models differ in their number of hidden states or in their frames.
    """
    if teacher.states != student.states:
        raise InputError(
            f"distillation: the teacher has {len(teacher.layers)} layers and the student "
            f"{len(student.layers)}; give the model that the student was made from, or remove "
            "layers with repeat_states, which keeps the number of hidden states"
        )
    if [(conv.kernel, conv.stride) for conv in teacher.convs] != [
        (conv.kernel, conv.stride) for conv in student.convs
    ]:
        raise InputError("distillation: teacher and student have different frame rates or windows")


def _check_states(states: Sequence[int], shape: EncoderShape) -> None:
    last = shape.states - 1
    wrong = [state for state in states if not 0 <= state <= last]
    if wrong or not states or len(set(states)) < len(states):
        raise InputError(
            f"distillation: layers must be different numbers from 0 to {last}, "
            f"not {', '.join(map(str, states)) or 'none'}"
        )
