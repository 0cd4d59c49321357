"""Settings of the training loop, and the optimizer that follows from them."""

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
    """Number of optimizer updates."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    warmup_steps: int = Field(default=0, ge=0)
    """Number of updates in which the learning rate rises linearly to its peak. Afterwards it
    falls linearly and reaches zero at the end."""
    accumulation: int = Field(default=1, ge=1)
    """Number of batches whose losses are averaged in one update."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay of AdamW, applied to matrices only, not to biases, norms and other vectors."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay rates of AdamW's first and second moment."""
    epsilon: float = Field(default=1e-6, gt=0)
    """Constant that AdamW adds to the denominator."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down so that their norm over all parameters is at most this."""
    precision: Literal["bf16", "no"] = "bf16"
    """bf16: autocast to bfloat16 (weights and moments stay float32); no: float32 throughout."""
    log_every: int = Field(default=20, ge=1)
    """Number of updates between two log entries."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Number of updates between two saved states; the model is also validated then."""

    @model_validator(mode="after")
    def _rise_before_fall(self) -> LoopSettings:
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps must be less than the {self.steps} steps")
        if self.checkpoint_every % self.log_every:
            # Otherwise a resumed run would log means over fewer updates than an uninterrupted one.
            raise ValueError("checkpoint_every must be a multiple of log_every")
        return self

    def factor(self, step: int) -> float:
        """Return the learning rate of update `step`, counted from 0, relative to its peak."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        return (self.steps - step) / (self.steps - self.warmup_steps)

    def rate(self, step: int) -> float:
        """Return the learning rate of update `step`, counted from 0."""
        return self.learning_rate * self.factor(step)


@dataclass(frozen=True)
class ParamGroup:
    """Parameters with optimizer settings of their own, and without weight decay."""

    names: tuple[str, ...]
    """Last components of the parameters' names, such as `log_alpha`."""
    learning_rate: float
    """Peak learning rate; it follows the same schedule as that of all other parameters."""
    maximize: bool = False
    """Maximise the loss over these parameters, as for multipliers of a Lagrangian."""
    momentum: float | None = None
    """Replaces AdamW's first beta."""


def build_optimizer(
    model: nn.Module, settings: LoopSettings, rules: Sequence[ParamGroup] = ()
) -> Optimizer:
    """Return AdamW over the parameters of `model` that require gradients.

    Every group of the optimizer has an entry `peak`, its peak learning rate.
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
