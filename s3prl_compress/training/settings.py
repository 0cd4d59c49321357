"""How to optimise: the settings that every learned method shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator
from torch import nn
from torch.optim import AdamW, Optimizer

from ..common.method_config import RenamedSettings


class LoopSettings(RenamedSettings):
    """Settings of the optimizer and of the training loop."""

    renamed: ClassVar[Mapping[str, str]] = {"clip": "max_grad_norm"}

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
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down so that their norm over all parameters is at most this."""
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

    def factor(self, step: int) -> float:
        """Return which part of its peak a learning rate has in step `step`, counted from 0."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        return (self.steps - step) / (self.steps - self.warmup_steps)

    def rate(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0."""
        return self.learning_rate * self.factor(step)


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that learn in a way of their own, without weight decay."""

    names: tuple[str, ...]
    """Last parts of their names, such as `log_alpha`."""
    learning_rate: float
    """At its peak; it rises and falls as that of all others."""
    maximize: bool = False
    """The loss is maximised over them: multipliers of a Lagrangian."""
    momentum: float | None = None
    """In place of AdamW's first beta."""


def build_optimizer(
    model: nn.Module, settings: LoopSettings, rules: Sequence[ParamGroup] = ()
) -> Optimizer:
    """Return AdamW over the parameters of `model` that require gradients.

    Every group says in `peak` what its learning rate rises to.
    """
    special: list[list[nn.Parameter]] = [[] for _ in rules]
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        last = name.rpartition(".")[2]
        owner = next((n for n, rule in enumerate(rules) if last in rule.names), None)
        if owner is not None:
            special[owner].append(parameter)
        else:
            (matrices if parameter.dim() > 1 else others).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": matrices, "peak": settings.learning_rate},
        {"params": others, "peak": settings.learning_rate, "weight_decay": 0.0},
    ]
    groups += [
        {
            "params": own,
            "peak": rule.learning_rate,
            "weight_decay": 0.0,
            "maximize": rule.maximize,
            "betas": (
                settings.betas[0] if rule.momentum is None else rule.momentum,
                settings.betas[1],
            ),
        }
        for rule, own in zip(rules, special, strict=True)
    ]
    return AdamW(
        groups,
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
    )
