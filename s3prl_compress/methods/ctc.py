"""Fine-tuning with a CTC head on transcribed speech: before compression, or after it."""

from __future__ import annotations

import copy
from typing import Any

from pydantic import Field

from ..encoder.model import SpeechEncoder
from ..training.ctc import add_head
from ..training.finetuning import TranscribedOnlyConfig, finetune, passes_to_steps
from ..training.stages import Stage
from .registry import register


class CTCConfig(TranscribedOnlyConfig):
    """Settings of fine-tuning."""

    epochs: float = Field(default=3.0, gt=0)
    """Passes over the speech; they say how many `steps` there are where these are not given."""
    learning_rate: float = Field(default=5e-5, gt=0)
    """Of weights and head, at its peak."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Fraction of the steps in which the learning rate rises; it falls to zero in the others."""
    new_head: bool = False
    """Start a new head even where there is one."""
    freeze_front_end: bool = True
    """Leave the convolutions as they are."""

    def updates(self) -> int:
        """Return the number of updates."""
        if "steps" in self.model_fields_set:
            return self.steps
        return passes_to_steps(self, self.listed_speech(), self.epochs)

    def recorded(self) -> dict[str, Any]:
        """Return what the history keeps: the updates that were taken."""
        return super().recorded() | {"steps": self.updates()}


@register("ctc", needs="transcribed_audio", learns=True)
def ctc(encoder: SpeechEncoder, config: CTCConfig) -> SpeechEncoder:
    """Fine-tune an encoder with a CTC head on transcribed speech; no size changes.

    A head that is there is trained on; else a new one gets a symbol for every character of the
    transcripts, a space, and a blank. Linears of every kind keep their kind, and masks theirs.
    There is neither dropout nor masking of the input, so that few passes suit it better than
    many. `s3prl-compress score --task ctc` measures the result.

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
