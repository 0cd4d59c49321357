"""Self-pinching gates: weights, or units, below a threshold that is learned with them go."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import nn

from ...audio import AudioSet
from ...distillation.config import FinalDistillationConfig
from ...distillation.distill import distill
from ...distillation.layers import DistillationLoss
from ...distillation.losses import build_distillation_loss
from ...encoder.linear import DenseLinear, SparseLinear
from ...encoder.model import SpeechEncoder
from ...surgery.parametrized import check_budget, linears_of, with_dense_linears
from ...surgery.setting_types import HiddenUnitNames, Sparsity
from ...training.ctc import add_head
from ...training.finetuning import TranscribedConfig, finetune, texts_fingerprint
from ...training.penalty import Penalty
from ...training.settings import ParamGroup
from ...training.stages import Stage
from ..registry import register
from .pinched import DensityPenalty, PinchedEncoder, PinchedUnits, PinchedWeights


class SelfPinchingConfig(TranscribedConfig, FinalDistillationConfig):
    """Settings of self-pinching gates."""

    renamed: ClassVar[Mapping[str, str]] = {"ramp": "sparsity_ramp_fraction"}

    sparsity: Sparsity = 0.65
    """Fraction of the parameters that the encoder stores which goes; the paper's is 0.65 for
    wav2vec2-base and 0.60 for HuBERT-large."""
    granularity: Literal["neuron", "weight"] = "neuron"
    """neuron: FFN units and dimensions inside heads, the encoder is really smaller; weight: single
    weights, the file shrinks and no time is saved."""
    objective: Literal["distill", "ctc"] = "distill"
    """distill: imitate the given encoder, for any task; ctc: recognise transcribed speech, with
    the encoder's CTC head or with a new one. `audio` holds transcripts then."""
    units: HiddenUnitNames = ("ffn", "qk", "vo")
    """Granularity neuron: ffn (FFN units), qk and vo (dimensions inside heads)."""
    started: float = Field(default=0.02, ge=0, le=0.05)
    """Fraction of the weights, or units, that is below the threshold at the start."""
    sharpness: float = Field(default=0.1, gt=0)
    """c: how soft the mask's gradient is, in units of the weights' variance."""
    eta: float = Field(default=2.0, gt=0)
    """Weight of what the density is above its target: as large as reaching it takes, since where
    it drowns the task's loss all thresholds rise alike."""
    sparsity_ramp_fraction: float = Field(default=0.5, ge=0, le=1)
    """Fraction of the steps in which the target density falls from 1. It is ours: where the whole
    target holds from the start, thresholds shoot past it."""
    threshold_learning_rate: float | None = Field(default=None, gt=0)
    """Of the thresholds, at its peak, in tenths of the standard deviation of what they prune; by
    default 200 over the number of steps, several times what the way to the target takes."""
    final_steps: int | None = Field(default=0, ge=0)
    """Updates at the end with what is left fixed; none as published, which has one pass."""

    @model_validator(mode="after")
    def _units_of_neurons(self) -> SelfPinchingConfig:
        if self.granularity == "weight" and "units" in self.model_fields_set:
            raise ValueError("units go with granularity 'neuron' only")
        return self

    def listed(self) -> AudioSet:
        """Return names and lengths of the audio, of that with transcripts where they are used."""
        return self.listed_speech().audio if self.objective == "ctc" else super().listed()

    def open(self, minimum_samples: int) -> AudioSet:
        """Return the audio to train on, that with transcripts where they are used."""
        if self.objective == "ctc":
            return self.transcribed(minimum_samples).audio
        return super().open(minimum_samples)

    def recorded(self) -> dict[str, Any]:
        """Return what the history keeps: the transcripts by their fingerprint, too."""
        if self.objective == "distill":
            return super().recorded()
        return super().recorded() | {"transcripts": texts_fingerprint(self.listed_speech())}


@register("self_pinching", needs="audio", learns=True)
def self_pinching(encoder: SpeechEncoder, config: SelfPinchingConfig) -> SpeechEncoder:
    """Prune what is below learned thresholds, one for each matrix or kind of units, in one pass.

    Weights and thresholds learn together, by the task's loss and by eta max(0, density - target)
    over all of the encoder's parameters; the mask is a step forward and a sigmoid of the squared
    weight backward. At the end all thresholds are multiplied by one factor that meets the target
    exactly. Granularity weight acts on dense and sparse linears of the layers, whose zeros stay;
    neuron on units whose two linears are dense. The mask's equation is known from reviews of the
    paper only; its constants are ours.

    Reference:
        Xu et al.: Effective and efficient one-pass compression of speech foundation models using
        sparsity-aware self-pinching gates, Interspeech 2025, arXiv 2505.22608.
    """
    student = _student(encoder, config)
    rate = config.threshold_learning_rate or 200 / config.steps
    # With momentum they would shoot past the target.
    rule = ParamGroup(("raw_threshold",), rate, momentum=0.0)
    ramp_steps = round(config.sparsity_ramp_fraction * config.steps)
    penalty = DensityPenalty(config.sparsity, config.eta, ramp_steps)
    distance = None
    if config.objective == "distill":
        distance = build_distillation_loss(encoder, encoder.shape, config)
    train = partial(_train, encoder, config, distance)
    train(student, student.encoder, config.stage("pinch", (rule,)), penalty)
    pruned = student.hardened(config.sparsity)
    final = config.final_stage()
    if final is not None:
        train(pruned, pruned, final, None)
    return pruned.requires_grad_(True).eval()


def _student(encoder: SpeechEncoder, config: SelfPinchingConfig) -> PinchedEncoder:
    """Return a copy with thresholds, and with a CTC head where one is needed."""
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
        return PinchedWeights(copied, places, config.started, config.sharpness)
    student = PinchedUnits(copied, config.units, config.started, config.sharpness)
    student.hardened(config.sparsity)  # a target that cannot be met is found before training
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
    """Run a stage of the objective; `trained` is the encoder in the student, or the student."""
    if config.objective == "distill":
        distill(student, teacher, config, stage, penalty, distance)
        return
    trained.feature_extractor.requires_grad_(False)  # as fine-tuning does it
    finetune(student, trained, config, stage, penalty)
