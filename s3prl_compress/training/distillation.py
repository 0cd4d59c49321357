"""Distillation of hidden states: the student shall see what the teacher sees, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoder import EncoderShape
from ..errors import InputError

BASE_LAYERS = (0, 4, 8, 12)
"""DPHuBERT's choice for 12 layers: hidden state 0 is the input of the first layer."""


def scaled_layers(depth: int) -> tuple[int, ...]:
    """Return the hidden states as deep in a model of `depth` layers as `BASE_LAYERS` are in 12."""
    return tuple(sorted({round(layer * depth / max(BASE_LAYERS)) for layer in BASE_LAYERS}))


class LayerDistillation(nn.Module):
    """Mean over layers of L1(h_S P, h_T) - cos(h_S P, h_T).

    The projections P start at the identity. Hidden state 0 has its own; the others share one.

    Source: DPHuBERT (Peng et al., Interspeech 2023, arXiv 2305.17651), equation 1.

    Args:
        shape_teacher: of the teacher; as deep as the student.
        shape_student: of the student.
        layers: hidden states that are compared, 0 to the number of layers.

    Raises:
        InputError: teacher and student differ in depth or frames, or there is no such state.
    """

    def __init__(
        self, shape_teacher: EncoderShape, shape_student: EncoderShape, layers: Sequence[int]
    ) -> None:
        super().__init__()
        _check(shape_teacher, shape_student, layers)
        self.layers = tuple(layers)
        names = {"first" if layer == 0 else "others" for layer in self.layers}
        self.projections = nn.ModuleDict(
            {name: _identity(shape_student.hidden, shape_teacher.hidden) for name in sorted(names)}
        )

    def forward(
        self,
        student_states: Sequence[Tensor],
        teacher_states: Sequence[Tensor],
        frame_counts: Tensor,
    ) -> dict[str, Tensor]:
        """Return the scalars `loss`, `l1` and `cosine`, means over the utterances' own frames.

        Args:
            student_states: L + 1 hidden states [batch, frames, student's hidden].
            teacher_states: as many of [batch, frames, teacher's hidden], without gradients.
            frame_counts: frames that are no padding, [batch], on the CPU.
        """
        weights = _frame_weights(frame_counts, student_states[0])
        l1 = cosine = student_states[0].new_zeros((), dtype=torch.float32)
        for layer in self.layers:
            projection = self.projections["others" if layer else "first"]
            predicted = projection(student_states[layer]).float()
            wanted = teacher_states[layer].float()
            difference = (predicted - wanted).abs().mean(-1)
            similarity = F.cosine_similarity(predicted, wanted, dim=-1)
            l1 = l1 + (difference * weights).sum()
            cosine = cosine + (similarity * weights).sum()
        l1, cosine = l1 / len(self.layers), cosine / len(self.layers)
        return {"loss": l1 - cosine, "l1": l1.detach(), "cosine": cosine.detach()}


def _frame_weights(frame_counts: Tensor, state: Tensor) -> Tensor:
    """Return what each frame counts in a mean, [batch, frames]; without a selection by mask.

    Picking frames by a mask would make the device wait for the host.
    """
    counts = frame_counts.to(state.device, non_blocking=True)
    frames = torch.arange(state.shape[1], device=state.device)
    return (frames < counts[:, None]).float() / float(frame_counts.sum())


def _identity(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # torch's generator stays as it is
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _check(teacher: EncoderShape, student: EncoderShape, layers: Sequence[int]) -> None:
    if len(teacher.layers) != len(student.layers):
        raise InputError(
            f"distillation: the teacher has {len(teacher.layers)} layers and the student "
            f"{len(student.layers)}; give the model that the student was made of"
        )
    if [(conv.kernel, conv.stride) for conv in teacher.convs] != [
        (conv.kernel, conv.stride) for conv in student.convs
    ]:
        raise InputError("distillation: teacher and student cut speech into different frames")
    wrong = [layer for layer in layers if not 0 <= layer <= len(teacher.layers)]
    if wrong or not layers or len(set(layers)) < len(layers):
        raise InputError(
            f"distillation: layers must be different numbers from 0 to {len(teacher.layers)}, "
            f"not {', '.join(map(str, layers)) or 'none'}"
        )
