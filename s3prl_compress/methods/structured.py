"""Fine-grained structured pruning with learned gates, then distillation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from ..distillation import (
    GatedConfig,
    build_distillation_loss,
    distill,
    final_distillation,
)
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
    """Which units have gates and can be removed: qk and vo (dimensions inside heads), head
    (attention heads), attention (whole blocks), ffn (FFN units), ffn_block (whole FFNs), conv
    (output channels of convolutions)."""
    gate_drop_prob: float = Field(default=0.01, gt=0, lt=1)
    """Initial probability that a gate is closed in an update, between 0 and 1."""
    gate_init_spread: float = Field(default=0.0, ge=0)
    """Initial advantage of units with large weights: log_alpha per standard deviation of the
    units' magnitudes inside a head or FFN. At 0 all gates start alike, and in a short run noise
    decides much of the choice."""
    equal_heads: bool = True
    """Keep equally many dimensions in all remaining heads of a layer, which is faster for the same
    number of parameters (benchmarks/head_sizes.py). Otherwise the encoder pads all heads to the
    layer's largest."""
    head_multiple: Multiple = 1
    """Numbers of dimensions kept in heads are multiples of this number."""
    multiple: Multiple = 1
    """Numbers of FFN units and of convolution channels that are kept are multiples of this
    number."""

    @model_validator(mode="after")
    def _something_fine(self) -> StructuredConfig:
        if not {"qk", "vo", "ffn", "conv"} & set(self.units):
            raise ValueError("units needs one of qk, vo, ffn, conv to meet the target exactly")
        return self


@register("structured", needs="audio", learns=True)
def structured(encoder: SpeechEncoder, config: StructuredConfig) -> SpeechEncoder:
    """Prune dimensions inside heads, heads, FFN units and blocks by learned gates.

    Gates are rounded in the forward pass (straight-through). They are trained together with the
    weights to reproduce the hidden states of the given encoder, while a Lagrangian drives the
    expected number of parameters to the target. Then the units with the largest log_alpha are
    kept, as many as the target allows, and the smaller model is distilled once more, without
    gates. Where the paper gives no schedule or constants, they are DPHuBERT's.

    Reference:
        Wang et al.: Task-agnostic structured pruning of speech representation models,
        Interspeech 2023, arXiv 2306.01385.
    """
    drops = dict.fromkeys(config.units, config.gate_drop_prob)
    masked = MaskedEncoder(encoder, drops, straight_through=True)
    masked.init_gates_by_magnitude(config.gate_init_spread)
    distance = build_distillation_loss(encoder, encoder.shape, config)
    distill(masked, encoder, config, config.gated_stage("gates"), config.control(), distance)
    rounding = Rounding(config.multiple, config.head_multiple, config.equal_heads)
    masked.set_gates(choose_units(masked, encoder, "structured", config.sparsity, rounding))
    return final_distillation(masked.pruned(), encoder, config, config.final_stage(), distance)
