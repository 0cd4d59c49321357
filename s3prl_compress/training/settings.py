"""How to optimise: the settings that every learned method shares."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn
from torch.optim import AdamW, Optimizer


class LoopSettings(BaseModel):
    """How to optimise."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(ge=1)
    """Updates of the weights."""
    learning_rate: float = Field(gt=0)
    """At its peak."""
    warmup_steps: int = Field(default=0, ge=0)
    """Linear rise to the peak; a linear fall to zero at the last step follows."""
    accumulation: int = Field(default=1, ge=1)
    """Batches per step; the step takes the mean of their losses."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's, for matrices only (not biases, norms, and single vectors)."""
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = Field(default=1e-6, gt=0)
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of all gradients together."""
    precision: Literal["bf16", "no"] = "bf16"
    """bf16: autocast to bfloat16 (weights and moments stay float32); no: float32 throughout."""
    log_every: int = Field(default=20, ge=1)
    checkpoint_every: int = Field(default=500, ge=1)
    """A killed run goes on from the last multiple of this; validation is done then, too."""

    @model_validator(mode="after")
    def _rise_before_fall(self) -> LoopSettings:
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps must be less than the {self.steps} steps")
        if self.checkpoint_every % self.log_every:
            # Else a resumed run would log means over fewer steps than an undisturbed one.
            raise ValueError("checkpoint_every must be a multiple of log_every")
        return self

    def rate(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / (self.warmup_steps + 1)
        left = (self.steps - step) / (self.steps - self.warmup_steps)
        return self.learning_rate * left


def build_optimizer(model: nn.Module, settings: LoopSettings) -> Optimizer:
    """Return AdamW over the parameters of `model` that require gradients."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    others = [parameter for parameter in parameters if parameter.dim() <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices},
        {"params": others, "weight_decay": 0.0},
    ]
    return AdamW(
        groups,
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
    )
