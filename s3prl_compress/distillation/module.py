"""Teacher and student on one batch: the loss of every learned method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..encoder import SpeechEncoder
from ..training.penalty import Penalty
from .layers import DistillationLoss


class DistillationModule(nn.Module):
    """The student's distance from the teacher, and a penalty.

    The teacher is no submodule: its weights are neither trained nor part of a checkpoint.

    Args:
        student: called as an encoder is.
        teacher: without gradients, on the device of training; its type is that of its weights.
        distance: between hidden states.
        penalty: of the student; its parameters are trained, too.
        seed: of whatever the student draws while it trains.
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
        """Return `loss` and the scalars that it is made of.

        Gates follow from the seed and the update, so that a resumed run draws what it would have
        drawn, and all batches and processes of an update see the same gates.

        Args:
            waveforms: 1-D, at 16 kHz.
            step: number of the update.
            weight: of this batch's distance.
            masks: True where the student is not shown a frame, [batch, frames]; None: nowhere.
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
        """Return hidden states and frame counts, with the state 0 that the distance asks for."""
        if not self.distance.projected_input:
            found: tuple[tuple[Tensor, ...], Tensor] = model(waveforms, masks)
            return found
        projected: list[Tensor] = []
        # A student that is no encoder runs its own submodule `encoder` with other weights.
        encoder = model if isinstance(model, SpeechEncoder) else model.encoder
        assert isinstance(encoder, SpeechEncoder)
        hook = encoder.feature_projection.register_forward_hook(
            lambda module, inputs, output: projected.append(output)
        )
        try:
            states, counts = model(waveforms, masks)
        finally:
            hook.remove()
        return (projected[0], *states[1:]), counts
