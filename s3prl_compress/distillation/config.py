"""Settings of the learned methods, and the stages that follow from them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from ..surgery.setting_types import Numbers
from ..training.stages import LearnedConfig, Stage

_LOSS_OF = {"layers": "layers", "layer_zero": "layers", "groups": "groups", "codes": "codes"}
"""Settings that have an effect with one loss only, and that loss."""


class DistillationConfig(LearnedConfig):
    """Settings of methods that learn from a teacher."""

    crop_seconds: float = Field(default=15.0, gt=0)
    """Longer files are cut into crops of this length."""
    loss: Literal["layers", "groups", "relations", "codes"] = "layers"
    """What the student learns of the teacher. layers: some hidden states, as DPHuBERT; groups: the
    means of groups of similar ones, after SKILL; relations: between all frames of an utterance in
    every state, as STaR; codes: to predict the teacher's clusters of masked frames, after
    DiceHuBERT."""
    layers: Numbers | None = None
    """Numbers of the hidden states that are compared. The default is 0, 4, 8 and 12 for 12 layers,
    and the same relative depths otherwise. 0 is the input of the first Transformer layer, after
    the position convolution; in dphubert, layer_zero can choose another tensor."""
    groups: int = Field(default=4, ge=1)
    """How many groups of hidden states there are."""
    codes: int = Field(default=500, ge=2)
    """How many clusters; of the state as deep as HuBERT's ninth of 12."""

    @model_validator(mode="after")
    def _belongs_to_the_loss(self) -> DistillationConfig:
        for name, loss in _LOSS_OF.items():
            if name in self.model_fields_set and getattr(self, name) and self.loss != loss:
                raise ValueError(f"{name} goes with the loss {loss!r} only, not {self.loss!r}")
        return self

    def compares_projection(self) -> bool:
        """Say whether layer 0 is the feature projection's output, see `LayerDistillation`."""
        return False

    def recorded(self) -> dict[str, Any]:
        """Return what the history keeps: of what belongs to one loss, that of the one used."""
        others = [name for name, loss in _LOSS_OF.items() if loss != self.loss]
        return {key: value for key, value in super().recorded().items() if key not in others}


class FinalDistillationConfig(DistillationConfig):
    """Settings of learned methods that end with plain distillation of what they made."""

    final_steps: int | None = Field(default=None, ge=0)
    """Updates of plain distillation at the end; by default half as many as `steps`."""
    final_learning_rate: float = Field(default=1e-4, gt=0)
    """Its learning rate, at the peak."""
    final_warmup: float = Field(default=0.2, ge=0, lt=1)
    """Fraction of its steps in which the learning rate rises."""

    def final_stage(self) -> Stage | None:
        """Return the stage of plain distillation; None where it has no steps."""
        steps = self.steps // 2 if self.final_steps is None else self.final_steps
        if steps == 0:
            return None
        return Stage("final", steps, self.final_learning_rate, self.final_warmup)
