"""Recovery: what a method made learns again to see what its teacher sees."""

from __future__ import annotations

import copy
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from ..distillation.config import DistillationConfig
from ..distillation.distill import final_distillation
from ..encoder.checkpoint import fingerprint
from ..encoder.loading import load
from ..encoder.model import SpeechEncoder
from .registry import register


class DistillConfig(DistillationConfig):
    """Settings of plain distillation; the defaults are those of DPHuBERT's second run."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    teacher: SpeechEncoder | str = Field(exclude=True)
    """What the encoder was made of: anything that can be loaded, or an encoder. `--then distill`
    takes the model that the method before was given."""
    steps: int = Field(default=25_000, ge=1)
    """Updates."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Of the weights, at its peak."""
    warmup: float = Field(default=0.2, ge=0, lt=1)
    """Fraction of the steps in which the learning rate rises; it falls to zero in the others."""

    @model_validator(mode="before")
    @classmethod
    def _paths_too(cls, values: dict[str, Any]) -> dict[str, Any]:
        given = values.get("teacher")
        if given is None or isinstance(given, SpeechEncoder):
            return values
        return {**values, "teacher": str(given)}

    def recorded(self) -> dict[str, Any]:
        """Return what the history keeps: of the teacher its base and its fingerprint."""
        teacher = self.opened_teacher()
        name = f"{teacher.provenance.base} (sha256 {fingerprint(teacher)})"
        return {"teacher": name} | super().recorded()

    def opened_teacher(self) -> SpeechEncoder:
        """Return the teacher, loaded the first time.

        Raises:
            InputError: it cannot be loaded.
        """
        if self._teacher is None:
            given = self.teacher
            self._teacher = given if isinstance(given, SpeechEncoder) else load(given)
        return self._teacher

    _teacher: SpeechEncoder | None = None


@register("distill", needs="audio", learns=True)
def distill(encoder: SpeechEncoder, config: DistillConfig) -> SpeechEncoder:
    """Distil a teacher's hidden states into the encoder, whose shape stays as it is.

    Single weights that were pruned to zero stay zero: they are not stored. What has low rank
    or shared rows keeps them, too.

    Reference:
        Peng et al.: DPHuBERT: joint distillation and pruning of self-supervised speech models,
        Interspeech 2023, arXiv 2305.17651; its second run.
    """
    teacher = config.opened_teacher()
    place = teacher.device
    student = copy.deepcopy(encoder)
    try:
        return final_distillation(
            student, teacher.to(encoder.device), config, config.stage("distill")
        )
    finally:
        teacher.to(place)  # the caller's own may be one
