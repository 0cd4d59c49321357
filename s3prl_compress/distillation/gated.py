"""Settings of methods with learned gates, and their training stage and penalty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from ..surgery.setting_types import Sparsity
from ..training.penalty import SparsityPenalty
from ..training.settings import ParamGroup
from ..training.sparsity import SparsityLagrangian
from ..training.stages import Stage
from .config import FinalDistillationConfig


class GatedConfig(FinalDistillationConfig):
    """Settings of gates that a Lagrangian drives to a target; the defaults are DPHuBERT's."""

    renamed: ClassVar[Mapping[str, str]] = {"ramp": "sparsity_ramp_fraction"}

    sparsity: Sparsity = 0.75
    """Fraction of the given encoder's stored parameters to remove, between 0 and 1."""
    sparsity_ramp_fraction: float = Field(default=0.1, ge=0, le=1)
    """Fraction of `steps` during which the target sparsity rises linearly from 0. Short runs need
    a larger fraction, so that the gates can follow."""
    gate_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of the gates, which rises and falls with that of the weights. The
    default is 0.02, or 40 / steps if that is larger: at 0.02 a short run would close no gate."""
    multiplier_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of the multipliers of the Lagrangian, which are maximised. The default
    is 0.02, or 400 / steps if that is larger: if they change more slowly than the gates, the
    sparsity overshoots its target."""

    def gated_stage(self, name: str) -> Stage:
        """Return the stage in which gates and weights are trained together."""
        rules = gate_param_groups(
            self.steps, self.gate_learning_rate, self.multiplier_learning_rate
        )
        return self.stage(name, rules)

    def control(self) -> SparsityPenalty:
        """Return the penalty that drives the gates to the target, which rises from 0."""
        ramp_steps = round(self.sparsity_ramp_fraction * self.steps)
        return SparsityPenalty(SparsityLagrangian(self.sparsity, ramp_steps))


def gate_param_groups(
    steps: int, gates: float | None, multipliers: float | None
) -> tuple[ParamGroup, ...]:
    """Return the parameter groups of gates and multipliers.

    Args:
        steps: number of updates of the stage.
        gates: peak learning rate of the gates; None for the default, see `GatedConfig`.
        multipliers: peak learning rate of the multipliers; None for the default.
    """
    return (
        ParamGroup(("log_alpha",), gates or max(0.02, 40 / steps)),
        ParamGroup(("lambda1", "lambda2"), multipliers or max(0.02, 400 / steps), maximize=True),
    )
