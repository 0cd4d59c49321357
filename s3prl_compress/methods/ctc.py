"""Fine-tuning with a CTC head on transcribed speech, before or after compression."""

from __future__ import annotations

import copy
from typing import Any

from pydantic import Field, model_validator

from ..encoder.model import SpeechEncoder
from ..training.ctc import add_head
from ..training.finetuning import TranscribedOnlyConfig, epochs_to_updates, finetune
from ..training.stages import Stage
from .registry import register


class CTCConfig(TranscribedOnlyConfig):
    """Settings of fine-tuning."""

    epochs: float = Field(default=3.0, gt=0)
    """Number of passes over the speech. Ignored if `steps` is given."""
    learning_rate: float = Field(default=5e-5, gt=0)
    """Peak learning rate of the encoder's weights and the head."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Fraction of the updates in which the learning rate rises linearly to its peak; afterwards it
    falls linearly to zero."""
    new_head: bool = False
    """Replace a head that the encoder has by a new one."""
    freeze_front_end: bool = True
    """Do not train the convolutions."""

    @model_validator(mode="after")
    def _frozen_if_cached(self) -> CTCConfig:
        if self.cache_features and not self.freeze_front_end:
            raise ValueError("cache_features needs freeze_front_end")
        return self

    def updates(self) -> int:
        """Return the number of optimizer updates."""
        if "steps" in self.model_fields_set:
            return self.steps
        return epochs_to_updates(self, self.listed_speech(), self.epochs)

    def recorded(self) -> dict[str, Any]:
        """Return the settings for the history, with the number of updates that are carried out."""
        return super().recorded() | {"steps": self.updates()}


@register("ctc", needs="transcribed_audio", learns=True)
def ctc(encoder: SpeechEncoder, config: CTCConfig) -> SpeechEncoder:
    """Fine-tune an encoder with a CTC head on transcribed speech; its shape stays as it is.

    An existing head is trained further. Otherwise a new one is created with a symbol for every
    character of the transcripts, a space and a blank. Linears keep their kind, and sparse ones
    their zeros. By default neither dropout nor masking of the input is used, so few passes work
    better than many; many passes over few hours need `mask_time` and `dropout`. `s3prl-compress
    score --task ctc` measures the result.

    Reference:
        Graves, Fernández, Gomez, Schmidhuber: Connectionist temporal classification, ICML 2006.
        Fine-tuning with a linear layer: Baevski, Zhou, Mohamed, Auli: wav2vec 2.0, NeurIPS 2020,
        arXiv 2006.11477.
    """
    student = copy.deepcopy(encoder).requires_grad_(True)
    speech = config.transcribed(encoder.shape.minimum_samples)
    if student.head is None or config.new_head:
        add_head(student, speech.texts, config.seed)
    student.feature_extractor.requires_grad_(not config.freeze_front_end)
    stage = Stage("ctc", config.updates(), config.learning_rate, config.warmup)
    finetune(student, student, config, stage)
    return student.requires_grad_(True)
