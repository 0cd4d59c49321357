"""DPHuBERT, the published baseline of structured pruning with learned gates."""

from __future__ import annotations

from pydantic import Field

from ..encoder.model import SpeechEncoder
from ..training.gated import GatedConfig
from ..training.learned import distill, recover
from ..training.losses import distance_to
from .gate_layout import GateKind
from .harden import choose_units
from .masked import MaskedEncoder
from .registry import register


class DPHuBERTConfig(GatedConfig):
    """Settings of DPHuBERT; the defaults are the published ones."""

    conv_drop: float = Field(default=0.01, gt=0, lt=1)
    """How probably a convolution channel's gate is closed at the start."""
    head_drop: float = Field(default=0.01, gt=0, lt=1)
    """The same for heads."""
    ffn_drop: float = Field(default=0.5, gt=0, lt=1)
    """The same for FFN units."""


@register("dphubert", needs="audio", learns=True)
def dphubert(encoder: SpeechEncoder, config: DPHuBERTConfig) -> SpeechEncoder:
    """Prune convolution channels, heads and FFN units by gates that are not rounded.

    Survivors are scaled by their gates, which go into the next weight. A LayerNorm over
    convolution channels takes its statistics over open channels, while training too, so that
    what is shrunk is what was trained.

    Reference:
        Peng, Sudo, Muhammad, Watanabe: DPHuBERT: joint distillation and pruning of
        self-supervised speech models, Interspeech 2023, arXiv 2305.17651.
    """
    drops: dict[GateKind, float] = {
        "conv": config.conv_drop,
        "head": config.head_drop,
        "ffn": config.ffn_drop,
    }
    masked = MaskedEncoder(encoder, drops, straight_through=False)
    distance = distance_to(encoder, encoder.shape, config)
    distill(masked, encoder, config, config.gated_stage("gates"), config.control(), distance)
    masked.settle(choose_units(masked, encoder, "dphubert", config.sparsity))
    return recover(masked.shrunk(), encoder, config, config.final_stage(), distance)
