"""Terms of the loss that depend on the student alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .sparsity import SparsityLagrangian


class Penalty(nn.Module):
    """Term of the loss that depends on the student and the number of the update only.

    It is called with (student, step) and returns a dictionary of scalars, of which `loss` is added
    to the loss and the others are logged.
    """

    def begin(self, student: Any, step: int) -> None:
        """Prepare the student for update `step`; called before each of its batches is run."""


class SparsityPenalty(Penalty):
    """Holds a student to a target by `student.expected_sparsity()`."""

    def __init__(self, control: SparsityLagrangian) -> None:
        super().__init__()
        self.control = control

    def forward(self, student: nn.Module, step: int) -> dict[str, Tensor]:
        """Return `loss` (the Lagrangian), `sparsity` (expected) and `target`."""
        sparsity: Tensor = student.expected_sparsity()  # type: ignore[operator]
        return {
            "loss": self.control.penalty(sparsity, step),
            "sparsity": sparsity.detach(),
            "target": torch.tensor(self.control.target_at(step)),
        }
