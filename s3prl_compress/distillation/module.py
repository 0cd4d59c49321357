"""Student, teacher, loss and penalty as one trainable module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..encoder import SpeechEncoder
from ..training.penalty import Penalty
from .layers import DistillationLoss


class DistillationModule(nn.Module):
    """A student with its teacher, the loss between them, and an optional penalty.

    The teacher is not a submodule: its weights are neither trained nor saved.

    Args:
        student: called like an encoder.
        teacher: the teacher without gradients, on the device to train on. It runs in the data
            type of its weights.
        distance: loss between hidden states. (Saved states contain the attribute's name.)
        penalty: penalty on the student; its own parameters are trained as well.
        seed: random seed for everything that the student draws in training, such as gates.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: SpeechEncoder,
        distance: DistillationLoss,
        penalty: Penalty | None,
        seed: int,
    ) -> None:
        super().__init__()
        self.student = student
        self.distance = distance
        self.penalty = penalty
        self.seed = seed
        self._teacher = (teacher,)

    def forward(
        self, waveforms: Sequence[Tensor], step: int, weight: float, masks: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return `loss` and its parts, all scalars.

        Gates are drawn from the seed and the number of the update. A resumed run therefore draws
        the same gates, and all batches and processes of an update share them.

        Args:
            waveforms: 1-D, at 16 kHz.
            step: number of the update.
            weight: factor of this batch's distillation loss.
            masks: True where a frame is masked in the student's input, [batch, frames].
        """
        (teacher,) = self._teacher
        if self.penalty is not None:
            self.penalty.begin(self.student, step)
        with torch.no_grad(), torch.autocast(teacher.device.type, enabled=False):
            wanted, _ = self._states(teacher, waveforms)
        torch.manual_seed(int(np.random.SeedSequence([self.seed, step]).generate_state(1)[0]))
        states, counts = self._states(self.student, waveforms, masks)
        scalars = self.distance(states, wanted, counts, masks)
        scalars = {name: value * weight for name, value in scalars.items()}
        if self.penalty is not None:
            added = dict(self.penalty(self.student, step))
            scalars["distillation"] = scalars["loss"].detach()
            scalars["loss"] = scalars["loss"] + added.pop("loss")
            scalars |= added
        return scalars

    def _states(
        self, model: nn.Module, waveforms: Sequence[Tensor], masks: Tensor | None = None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return hidden states and frame counts; state 0 is the one that the loss requires."""
        if not self.distance.projected_input:
            result: tuple[tuple[Tensor, ...], Tensor] = model(waveforms, masks)
            return result
        projected: list[Tensor] = []
        # Any other student runs its submodule `encoder` with other weights.
        encoder = model if isinstance(model, SpeechEncoder) else model.encoder
        assert isinstance(encoder, SpeechEncoder)
        hook = encoder.feature_projection.register_forward_hook(
            lambda module, inputs, output: projected.append(output)
        )
        try:
            states, counts = model(waveforms, masks)
        finally:
            hook.remove()
        # Without the padding to a fixed duration, which the states have lost.
        return (projected[0][:, : states[-1].shape[1]], *states[1:]), counts
