"""Removing the top Transformer layers: the control that every other method is compared with."""

from __future__ import annotations

from pydantic import Field

from ..common.errors import InputError
from ..common.method_config import MethodConfig
from ..encoder.model import SpeechEncoder
from ..encoder.shape import MAX_LAYERS
from ..surgery.rebuild import rebuild
from .registry import register


class LayersConfig(MethodConfig):
    """Settings of layer removal."""

    keep: int = Field(ge=0, le=MAX_LAYERS)
    """Number of Transformer layers that stay, counted from the bottom. 0 keeps none: the encoder
    is the convolutional front end with its projection, and has one hidden state."""


@register("layers")
def layers(encoder: SpeechEncoder, config: LayersConfig) -> SpeechEncoder:
    """Remove the top Transformer layers.

    The position convolution and the stack's LayerNorm stay. Of a model that normalises before
    attention (the large ones) the last hidden state is normalised, as it is in the full model, so
    that state `keep` differs from the full model's state of that number, which is not. The states
    below it are equal. A CTC head stays and reads the new last state.

    Reference:
        Sajjad, Dalvi, Durrani, Nakov: On the effect of dropping layers of pre-trained Transformer
        models, Computer Speech & Language 77, 2023 (arXiv 2004.03844; "top-layer dropping"). What
        each layer of a speech encoder holds: Pasad, Chou, Livescu: Layer-wise analysis of a
        self-supervised speech representation model, ASRU 2021 (arXiv 2107.04734).
    """
    present = len(encoder.shape.layers)
    if config.keep > present:
        raise InputError(
            f"method layers: keep {config.keep} is more than the {present} layers of this encoder"
        )
    return rebuild(encoder, {}, layers=encoder.shape.layers[: config.keep])
