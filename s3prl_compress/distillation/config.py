"""Settings of methods that distil, and the stages that follow from them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from ..surgery.setting_types import Numbers
from ..training.stages import LearnedConfig, Stage

_LOSS_OF = {"layers": "layers", "layer_zero": "layers", "groups": "groups", "codes": "codes"}
"""Settings that have an effect with one loss only, and that loss."""


class DistillationConfig(LearnedConfig):
    """Settings of methods that are trained by distillation from a teacher."""

    crop_seconds: float = Field(default=15.0, gt=0)
    """Length in seconds of the crops into which longer files are cut."""
    loss: Literal["layers", "groups", "relations", "codes"] = "layers"
    """Distillation loss. layers: some hidden states, as in DPHuBERT; groups: the means of groups of
    similar hidden states, after SKILL; relations: the relations between all frames of an
    utterance in every hidden state, as in STaR; codes: prediction of the teacher's clusters of
    masked frames, after DiceHuBERT."""
    layers: Numbers | None = None
    """Numbers of the hidden states to compare, with the loss layers. The default is 0,4,8,12 for
    12 layers, and the same relative depths otherwise. 0 is the input of the first Transformer
    layer, after the position convolution; in dphubert, layer_zero can choose another tensor."""
    groups: int = Field(default=4, ge=1)
    """Number of groups of hidden states, with the loss groups."""
    codes: int = Field(default=500, ge=2)
    """Number of clusters, with the loss codes. The hidden state that is clustered has the relative
    depth of state 9 of 12, as in HuBERT."""

    @model_validator(mode="after")
    def _belongs_to_the_loss(self) -> DistillationConfig:
        for name, loss in _LOSS_OF.items():
            if name in self.model_fields_set and getattr(self, name) and self.loss != loss:
                raise ValueError(f"{name} needs the loss {loss!r}, not {self.loss!r}")
        return self

    def compares_projection(self) -> bool:
        """Return whether layer 0 is the feature projection's output; see `LayerDistillation`."""
        return False

    def recorded(self) -> dict[str, Any]:
        """Return the settings for the history, without those of losses that are not used."""
        others = [name for name, loss in _LOSS_OF.items() if loss != self.loss]
        return {key: value for key, value in super().recorded().items() if key not in others}


class FinalDistillationConfig(DistillationConfig):
    """Settings of methods that end with plain distillation of the compressed model."""

    final_steps: int | None = Field(default=None, ge=0)
    """Number of updates of the final distillation, without gates or penalties. The default is half
    of `steps`."""
    final_learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate of the final distillation."""
    final_warmup: float = Field(default=0.2, ge=0, lt=1)
    """Fraction of the final distillation's updates in which its learning rate rises."""

    def final_stage(self) -> Stage | None:
        """Return the stage of the final distillation; None if it has no updates."""
        steps = self.steps // 2 if self.final_steps is None else self.final_steps
        if steps == 0:
            return None
        return Stage("final", steps, self.final_learning_rate, self.final_warmup)
