"""DPHuBERT, the published baseline of structured pruning with learned gates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..distillation import (
    GatedConfig,
    build_distillation_loss,
    distill,
    final_distillation,
)
from ..encoder.model import SpeechEncoder
from ..surgery.binarize import choose_units
from ..surgery.gate_layout import GateKind
from ..surgery.masked import MaskedEncoder
from .registry import register

START_NOISE = 0.01
"""Standard deviation of the initial log_alpha, as published."""


class DPHuBERTConfig(GatedConfig):
    """Settings of DPHuBERT; the defaults are the published ones."""

    conv_drop: float = Field(default=0.01, gt=0, lt=1)
    """Initial drop parameter p of the gates of convolution channels, between 0 and 1: log_alpha
    starts at log((1 - p) / p). A larger p starts gates closer to closing. As published, p is not
    the fraction of closed gates: at 0.01 about 0.2 % of them are closed in an update, at 0.5
    about 17 %."""
    head_drop: float = Field(default=0.01, gt=0, lt=1)
    """Initial drop parameter of the gates of attention heads; see conv_drop."""
    ffn_drop: float = Field(default=0.5, gt=0, lt=1)
    """Initial drop parameter of the gates of FFN units; see conv_drop."""
    layer_zero: Literal["projection", "hidden_state"] = "projection"
    """Which tensor of student and teacher is compared as layer 0. projection: the output of the
    feature projection, before the position convolution and its LayerNorm, as published;
    hidden_state: the input of the first Transformer layer, as in all other methods."""

    def compares_projection(self) -> bool:
        """Return whether layer 0 is the feature projection's output; see `layer_zero`."""
        return self.layer_zero == "projection"


@register("dphubert", needs="audio", learns=True, version=2)
def dphubert(encoder: SpeechEncoder, config: DPHuBERTConfig) -> SpeechEncoder:
    """Prune convolution channels, heads and FFN units by gates that are not rounded.

    As published: gates start at N(log((1 - p) / p), 0.01) and are trained with the weights under
    the Lagrangian. Each convolution, each FFN and the heads of each layer then keep their
    expected number of units, scaled by sigmoid(0.8 log_alpha / beta); the scales are folded into
    the next weight. The smaller model is distilled once more.

    Departures from the published code: the target is met within 1 % by adding one constant to
    all log_alpha in the expected numbers of units, with heads chosen first (the published result
    has the sparsity that its gates reached). A LayerNorm over convolution channels takes its
    statistics over open channels in training, too, so that the pruned encoder is the one that was
    trained; a layer without heads keeps the bias of its output. The student has no dropout
    (published: 0.1 for HuBERT-base, except on the units of its FFNs). Batches are padded; they
    consist of whole files and of pieces of longer ones, of up to `crop_seconds` (published: files
    of 2 to 15.6 s, all cropped to the shortest of the batch). The gradients of `accumulation`
    successive batches, which see the same gates, replace those of 4 GPUs. On a GPU the precision
    is bfloat16 (published: float16).

    Reference:
        Peng, Sudo, Muhammad, Watanabe: DPHuBERT: joint distillation and pruning of
        self-supervised speech models, Interspeech 2023, arXiv 2305.17651.
    """
    drops: dict[GateKind, float] = {"head": config.head_drop, "ffn": config.ffn_drop}
    if encoder.shape.convs:
        drops = {"conv": config.conv_drop, **drops}
    masked = MaskedEncoder(encoder, drops, straight_through=False)
    masked.add_init_noise(START_NOISE, config.seed)
    distance = build_distillation_loss(encoder, encoder.shape, config)
    distill(masked, encoder, config, config.gated_stage("gates"), config.control(), distance)
    masked.set_gates(choose_units(masked, encoder, "dphubert", config.sparsity))
    return final_distillation(masked.pruned(), encoder, config, config.final_stage(), distance)
