"""Terms of the loss that depend only on the student."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .sparsity import SparsityLagrangian


class Penalty(nn.Module):
    """A term of the loss that depends only on the student and the number of the update.

    It is called with (student, step) and returns a dictionary of scalars: `loss` is added to the
    loss, the others are logged.
    """

    def begin(self, student: Any, step: int) -> None:
        """Prepare the student for update `step`; called before each batch of that update."""


class SparsityPenalty(Penalty):
    """Drives `student.expected_sparsity()` to a target."""

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
