"""Small encoders that hold every kind of linear."""

from __future__ import annotations

import torch

from s3prl_compress.encoder import (
    EncoderShape,
    HeadShape,
    LayerShape,
    LinearShape,
    SpeechEncoder,
    random_encoder,
)
from s3prl_compress.encoder.linear import SharedLinear, SparseLinear, pack_bits

from ..support.baselines import baselines, small_shape


def mixed_shape(family: str, large: bool = False) -> EncoderShape:
    """Two layers: one dense, one of pruned heads and low-rank, shared and sparse linears."""
    dense = small_shape(family, large)
    layer = LayerShape(
        heads=(HeadShape(original=0, qk=12, vo=12), HeadShape(original=2, qk=5, vo=7)),
        ffn=20,
        q=LinearShape(kind="sparse", nonzeros=300),
        v=LinearShape(kind="low_rank", rank=6),
        out=LinearShape(kind="shared", centroids=11),
        fc1=LinearShape(kind="sparse", nonzeros=500),
        fc2=LinearShape(kind="shared", centroids=9),
    )
    return dense.model_copy(update={"layers": (dense.layers[0], layer)})


def mixed_encoder(family: str, large: bool = False) -> SpeechEncoder:
    """An encoder of that shape all of whose weights matter."""
    encoder = random_encoder(mixed_shape(family, large)).eval()
    baselines.randomise(encoder)
    generator = torch.Generator().manual_seed(1)
    for module in encoder.modules():
        if isinstance(module, SharedLinear):
            module.assignment.copy_(torch.arange(len(module.assignment)) % len(module.centroids))
        elif isinstance(module, SparseLinear):
            mask = torch.zeros(module.in_features * module.out_features, dtype=torch.bool)
            mask[torch.randperm(len(mask), generator=generator)[: len(module.values)]] = True
            module.bitmask.copy_(pack_bits(mask))
    return encoder
