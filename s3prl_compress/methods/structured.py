"""Fine-grained structured pruning with learned gates, then distillation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from ..distillation.distill import distill, final_distillation
from ..distillation.gated import GatedConfig
from ..distillation.losses import build_distillation_loss
from ..encoder.model import SpeechEncoder
from ..surgery.binarize import Rounding, choose_units
from ..surgery.masked import MaskedEncoder
from ..surgery.setting_types import GateNames, Multiple, Sparsity
from .registry import register


class StructuredConfig(GatedConfig):
    """Settings of fine-grained structured pruning."""

    renamed: ClassVar[Mapping[str, str]] = {
        "drop": "gate_drop_prob",
        "spread": "gate_init_spread",
    }

    sparsity: Sparsity = 0.72
    """Fraction of the given encoder's stored parameters to remove, between 0 and 1. The paper
    removes 0.72."""
    units: GateNames = ("qk", "vo", "head", "attention", "ffn", "ffn_block")
    """Which units have gates and can be removed: qk and vo (dimensions inside heads), head,
    attention (whole blocks), ffn (FFN units), ffn_block (whole FFNs), conv (output channels of
    convolutions)."""
    gate_drop_prob: float = Field(default=0.01, gt=0, lt=1)
    """Probability, between 0 and 1, that a gate is closed in an update at the start."""
    gate_init_spread: float = Field(default=0.0, ge=0)
    """Advantage in log_alpha that gates of units with large weights start with, for each standard
    deviation of the units' magnitudes inside a head or an FFN. At 0 all gates start alike, and in
    a short run noise decides much of the choice."""
    equal_heads: bool = True
    """Keep equally many dimensions in all remaining heads of a layer, which is faster at equal
    parameters (benchmarks/head_sizes.py). Otherwise the encoder pads heads to the layer's
    largest."""
    head_multiple: Multiple = 1
    """The number of dimensions kept in a head is a multiple of this number."""
    multiple: Multiple = 1
    """The numbers of FFN units and of convolution channels that are kept are multiples of this
    number."""

    @model_validator(mode="after")
    def _something_fine(self) -> StructuredConfig:
        if not {"qk", "vo", "ffn", "conv"} & set(self.units):
            raise ValueError("units needs one of qk, vo, ffn, conv, to meet the target exactly")
        return self


@register("structured", needs="audio", learns=True)
def structured(encoder: SpeechEncoder, config: StructuredConfig) -> SpeechEncoder:
    """Prune dimensions inside heads, heads, FFN units and blocks by learned gates.

    Gates are rounded in the forward pass (straight-through) and learn together with the weights
    to imitate the given encoder, while a Lagrangian brings the expected number of parameters to
    the target. Then the units with the largest log_alpha stay, as many as the target allows, and
    what is left is distilled once more, without gates. After the paper: schedule and constants
    are DPHuBERT's where it says nothing.

    Reference:
        Wang et al.: Task-agnostic structured pruning of speech representation models,
        Interspeech 2023, arXiv 2306.01385.
    """
    drops = dict.fromkeys(config.units, config.gate_drop_prob)
    masked = MaskedEncoder(encoder, drops, straight_through=True)
    masked.start_by_magnitude(config.gate_init_spread)
    distance = build_distillation_loss(encoder, encoder.shape, config)
    distill(masked, encoder, config, config.gated_stage("gates"), config.control(), distance)
    rounding = Rounding(config.multiple, config.head_multiple, config.equal_heads)
    masked.set_gates(choose_units(masked, encoder, "structured", config.sparsity, rounding))
    return final_distillation(masked.pruned(), encoder, config, config.final_stage(), distance)
