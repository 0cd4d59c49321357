"""Self-pinching gates: prune weights or units below a jointly learned threshold."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import nn

from ...audio import AudioSet
from ...distillation import (
    DistillationLoss,
    FinalDistillationConfig,
    build_distillation_loss,
    distill,
)
from ...encoder.linear import DenseLinear, SparseLinear
from ...encoder.model import SpeechEncoder
from ...surgery.parametrized import check_budget, linears_of, with_dense_linears
from ...surgery.setting_types import HiddenUnitNames, Sparsity
from ...training import ParamGroup, Penalty, Stage
from ...training.ctc import add_head
from ...training.finetuning import TranscribedConfig, finetune, texts_fingerprint
from ...training.regularisation import SETTINGS
from ..registry import register
from .thresholded import DensityPenalty, ThresholdedEncoder, ThresholdedUnits, ThresholdedWeights

_SHORT = 0.02
"""Largest part of the parameters that the cut at the end may remove without a note."""


class SelfPinchingConfig(TranscribedConfig, FinalDistillationConfig):
    """Settings of self-pinching gates."""

    renamed: ClassVar[Mapping[str, str]] = {"ramp": "sparsity_ramp_fraction"}

    sparsity: Sparsity = 0.65
    """Fraction of the given encoder's stored parameters to remove, between 0 and 1. The paper
    removes 0.65 for wav2vec2-base and 0.60 for HuBERT-large."""
    granularity: Literal["neuron", "weight"] = "neuron"
    """Granularity of pruning. neuron: FFN units and dimensions inside heads, which makes the model
    smaller and faster; weight: single weights, which makes only the file smaller."""
    objective: Literal["distill", "ctc"] = "distill"
    """Training objective. distill: distillation from the given encoder, for any task; ctc:
    recognition of transcribed speech, with the encoder's CTC head or a new one. `audio` must then
    have transcripts."""
    units: HiddenUnitNames = ("ffn", "qk", "vo")
    """Which units can be removed, with granularity neuron: ffn (FFN units), qk and vo (dimensions
    inside heads)."""
    started: float = Field(default=0.02, ge=0, le=0.05)
    """Fraction of the weights or units that are below the threshold at the start, at most 0.05."""
    sharpness: float = Field(default=0.1, gt=0)
    """Width of the sigmoid that gives the mask its gradient, in units of the weights' variance.
    Larger values spread the gradient over more weights."""
    eta: float = Field(default=2.0, gt=0)
    """Weight of the penalty on density above the target. It should be just large enough to reach
    the target: if it dominates the task's loss, all thresholds rise alike."""
    sparsity_ramp_fraction: float = Field(default=0.5, ge=0, le=1)
    """Fraction of `steps` during which the target sparsity rises linearly from 0. The ramp is
    ours: if the final target applies from the start, thresholds overshoot it."""
    threshold_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of the thresholds, in tenths of the standard deviation of the weights or
    units that they prune. The default is 200 / steps, several times what is needed to reach the
    target."""
    final_steps: int | None = Field(default=0, ge=0)
    """Number of further updates after pruning. The default is 0: as published, there is only one
    pass."""

    @model_validator(mode="after")
    def _units_of_neurons(self) -> SelfPinchingConfig:
        if self.granularity == "weight" and "units" in self.model_fields_set:
            raise ValueError("units go with granularity 'neuron' only")
        for name in (*SETTINGS, "cache_features"):
            if self.objective == "distill" and getattr(self, name):
                raise ValueError(f"{name} goes with objective 'ctc' only")
        return self

    def listed(self) -> AudioSet:
        """Return names and lengths of the audio files; see `LearnedConfig.listed`."""
        return self.listed_speech().audio if self.objective == "ctc" else super().listed()

    def open(self, minimum_samples: int) -> AudioSet:
        """Return the audio to train on; see `LearnedConfig.open`."""
        if self.objective == "ctc":
            return self.transcribed(minimum_samples).audio
        return super().open(minimum_samples)

    def recorded(self) -> dict[str, Any]:
        """Return the settings for the history, with a fingerprint of transcripts that are used."""
        if self.objective == "distill":
            return super().recorded()
        return super().recorded() | {"transcripts": texts_fingerprint(self.listed_speech())}


@register("self_pinching", needs="audio", learns=True)
def self_pinching(encoder: SpeechEncoder, config: SelfPinchingConfig) -> SpeechEncoder:
    """Prune weights or units below jointly learned thresholds, in one training pass.

    There is one threshold per matrix or kind of unit. Weights and thresholds are trained together
    by the task's loss and by the penalty eta max(0, density - target) over all of the encoder's
    parameters. The mask is a step in the forward pass and a sigmoid of the squared weight in the
    backward pass. At the end all thresholds are multiplied by one factor that meets the target
    exactly. Granularity weight prunes dense and sparse linears of the layers (existing zeros
    stay zero), granularity neuron prunes units whose two linears are dense. The equation of the
    mask is known only from reviews of the paper; its constants are ours.

    Reference:
        Xu et al.: Effective and efficient one-pass compression of speech foundation models using
        sparsity-aware self-pinching gates, Interspeech 2025, arXiv 2505.22608.
    """
    student = _student(encoder, config)
    rate = config.threshold_learning_rate or 200 / config.steps
    # With momentum, thresholds would overshoot the target.
    rule = ParamGroup(("raw_threshold",), rate, momentum=0.0)
    ramp_steps = round(config.sparsity_ramp_fraction * config.steps)
    penalty = DensityPenalty(config.sparsity, config.eta, ramp_steps)
    distance = None
    if config.objective == "distill":
        distance = build_distillation_loss(encoder, encoder.shape, config)
    train = partial(_train, encoder, config, distance)
    train(student, student.encoder, config.stage("pinch", (rule,)), penalty)
    _say_if_short(student, config)
    pruned = student.pruned(config.sparsity)
    final = config.final_stage()
    if final is not None:
        train(pruned, pruned, final, None)
    return pruned.requires_grad_(True).eval()


def _say_if_short(student: ThresholdedEncoder, config: SelfPinchingConfig) -> None:
    """Print a note if much of the target is left to the cut at the end, which no training follows.

    Such a model can be far worse than one that is pruned by magnitude and then trained.
    """
    reached = student.reached
    if reached is None or config.sparsity - reached <= _SHORT:
        return
    print(
        f"note: self_pinching: the thresholds have reached a sparsity of {reached:.3f}; the rest, "
        f"up to {config.sparsity:g}, is cut without training. Give a larger eta than "
        f"{config.eta:g}, or more steps",
        file=sys.stderr,
    )


def _student(encoder: SpeechEncoder, config: SelfPinchingConfig) -> ThresholdedEncoder:
    """Return a copy of `encoder` with thresholds, and with a CTC head if the objective is ctc."""
    places = list(linears_of(encoder, (DenseLinear, SparseLinear)))
    if config.granularity == "weight":
        check_budget("self_pinching", encoder, places, config.sparsity)
        copied = with_dense_linears(encoder, places)
    else:
        copied = copy.deepcopy(encoder).requires_grad_(True)
    if config.objective == "ctc" and copied.head is None:
        speech = config.transcribed(encoder.shape.minimum_samples)
        add_head(copied, speech.texts, config.seed)
    if config.granularity == "weight":
        return ThresholdedWeights(copied, places, config.started, config.sharpness)
    student = ThresholdedUnits(copied, config.units, config.started, config.sharpness)
    student.pruned(config.sparsity)  # fails before training if the target cannot be met
    return student


def _train(
    teacher: SpeechEncoder,
    config: SelfPinchingConfig,
    distance: DistillationLoss | None,
    student: nn.Module,
    trained: SpeechEncoder,
    stage: Stage,
    penalty: Penalty | None,
) -> None:
    """Train `student` for one stage of the objective.

    Args:
        teacher: the given encoder.
        config: settings of the method.
        distance: distillation loss; None with objective ctc.
        student: module to train.
        trained: the encoder inside `student`, or `student` itself.
        stage: schedule of this stage.
        penalty: penalty on the student.
    """
    if config.objective == "distill":
        distill(student, teacher, config, stage, penalty, distance)
        return
    trained.feature_extractor.requires_grad_(False)  # frozen as in fine-tuning
    finetune(student, trained, config, stage, penalty)
