"""Encoders with random weights, for tests, benchmarks and demos that must not download."""

from __future__ import annotations

import math

import torch
from torch import nn

from .front_ends.convolutional import WeightNormedConv
from .model import SpeechEncoder
from .provenance import Provenance
from .shape import EncoderShape


def random_encoder(shape: EncoderShape, seed: int = 0, normalize: bool = False) -> SpeechEncoder:
    """Return an encoder with the initial weights of the published training recipes.

    The same seed gives the same weights, and torch's global generator is not affected. The
    provenance states that the weights are random.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = SpeechEncoder(shape, normalize=normalize)
        for module in encoder.modules():
            _initialise(module)
        nn.init.uniform_(encoder.masked_spec_embed)
        if encoder.encoder.pos_conv_embed is not None:
            _initialise_positions(encoder.encoder.pos_conv_embed.conv)
    # Reports compare upstreams of the same base, so the base must name the shape as well.
    base = f"random weights (seed {seed}; {shape.family}, {len(shape.layers)} x {shape.hidden})"
    encoder.provenance = Provenance(base=base, random_weights=True)
    return encoder


def _initialise_positions(conv: WeightNormedConv) -> None:
    kernel, width = conv.kernel_size[0], conv.in_channels
    size = (conv.out_channels, width // conv.groups, kernel)
    conv.set_weight(torch.randn(size) * 2 * math.sqrt(1 / (kernel * width)))
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        if module.weight.numel():
            nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv1d) and not isinstance(module, WeightNormedConv):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            bound = math.sqrt(module.groups / (module.in_channels * module.kernel_size[0]))
            nn.init.uniform_(module.bias, -bound, bound)
