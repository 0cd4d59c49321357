"""Distillation after any method: the smaller model learns its teacher's hidden states."""

from __future__ import annotations

import copy
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from ..distillation import DistillationConfig, final_distillation
from ..encoder.checkpoint import fingerprint
from ..encoder.loading import load
from ..encoder.model import SpeechEncoder
from .registry import register


class DistillConfig(DistillationConfig):
    """Settings of plain distillation; the defaults are those of DPHuBERT's second run."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    teacher: SpeechEncoder | str = Field(exclude=True)
    """Model whose hidden states are learned, usually the one that was compressed: anything that
    can be loaded, or an encoder. `--then distill` uses the model that `compress` was given."""
    steps: int = Field(default=25_000, ge=1)
    """Number of optimizer updates."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate of the weights."""
    warmup: float = Field(default=0.2, ge=0, lt=1)
    """Fraction of the updates in which the learning rate rises linearly to its peak; afterwards it
    falls linearly to zero."""

    @model_validator(mode="before")
    @classmethod
    def _paths_too(cls, values: dict[str, Any]) -> dict[str, Any]:
        given = values.get("teacher")
        if given is None or isinstance(given, SpeechEncoder):
            return values
        return {**values, "teacher": str(given)}

    def recorded(self) -> dict[str, Any]:
        """Return the settings for the history: the teacher by its base and its fingerprint."""
        teacher = self.opened_teacher()
        name = f"{teacher.provenance.base} (sha256 {fingerprint(teacher)})"
        return {"teacher": name} | super().recorded()

    def opened_teacher(self) -> SpeechEncoder:
        """Return the teacher; it is loaded in the first call.

        Raises:
            InputError: the teacher cannot be loaded.
        """
        if self._teacher is None:
            given = self.teacher
            self._teacher = given if isinstance(given, SpeechEncoder) else load(given)
        return self._teacher

    _teacher: SpeechEncoder | None = None


@register("distill", needs="audio", learns=True)
def distill(encoder: SpeechEncoder, config: DistillConfig) -> SpeechEncoder:
    """Distil a teacher's hidden states into the encoder, without changing its shape.

    Single weights that were pruned stay zero, since they are not stored. Low-rank factors and
    shared rows are kept as well.

    Reference:
        Peng et al.: DPHuBERT: joint distillation and pruning of self-supervised speech models,
        Interspeech 2023, arXiv 2305.17651; its second training run.
    """
    teacher = config.opened_teacher()
    place = teacher.device
    student = copy.deepcopy(encoder)
    try:
        return final_distillation(
            student, teacher.to(encoder.device), config, config.stage("distill")
        )
    finally:
        teacher.to(place)  # the teacher may be the caller's object
