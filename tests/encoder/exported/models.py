"""Small encoders that together have everything that an exported graph has to hold.

They have two convolutions in place of seven: tracing takes long for long chains of sizes.
"""

from __future__ import annotations

import torch

from s3prl_compress.encoder import (
    CTCHead,
    HeadShape,
    LayerShape,
    LinearShape,
    SpeechEncoder,
    random_encoder,
)
from s3prl_compress.encoder.linear import SharedLinear, SparseLinear, pack_bits
from s3prl_compress.encoder.shape import ConvShape, EncoderShape

from ...support.baselines import baselines, small_shape

SYMBOLS = ("<pad>", "|", "A", "B")
_CONVS = (ConvShape(width=12, kernel=10, stride=5), ConvShape(width=16, kernel=70, stride=64))


def _shape(family: str, large: bool, layers: tuple[LayerShape, ...]) -> EncoderShape:
    return small_shape(family, large).model_copy(update={"convs": _CONVS, "layers": layers})


def odd_encoder() -> SpeechEncoder:
    """A WavLM with ragged heads, all kinds of linears, and layers without heads or FFN units."""
    dense = small_shape("wavlm", False).layers[0]
    mixed = LayerShape(
        heads=(HeadShape(original=0, qk=12, vo=12), HeadShape(original=2, qk=5, vo=7)),
        ffn=20,
        q=LinearShape(kind="sparse", nonzeros=300),
        v=LinearShape(kind="low_rank", rank=6),
        out=LinearShape(kind="shared", centroids=11),
    )
    no_queries = (HeadShape(original=1, qk=0, vo=3), HeadShape(original=2, qk=0, vo=5))
    some_queries = (HeadShape(original=0, qk=4, vo=3), HeadShape(original=3, qk=0, vo=6))
    layers = (
        LayerShape(heads=(), ffn=6),
        mixed,
        LayerShape(heads=dense.heads, ffn=0),
        LayerShape(heads=no_queries, ffn=3),
        LayerShape(heads=some_queries, ffn=5),
        LayerShape(heads=(HeadShape(original=0, qk=4, vo=0),), ffn=5),
    )
    encoder = random_encoder(_shape("wavlm", False, layers)).eval()
    baselines.randomise(encoder)
    for module in encoder.modules():
        if isinstance(module, SharedLinear):
            module.assignment.copy_(torch.arange(len(module.assignment)) % len(module.centroids))
        elif isinstance(module, SparseLinear):
            mask = torch.zeros(module.in_features * module.out_features, dtype=torch.bool)
            mask[: 2 * len(module.values) : 2] = True
            module.bitmask.copy_(pack_bits(mask))
    return encoder


def group_normed_encoder() -> SpeechEncoder:
    """A HuBERT of the base kind, whose first convolution has a GroupNorm."""
    shape = _shape("hubert", False, small_shape("hubert", False).layers)
    encoder = random_encoder(shape).eval()
    baselines.randomise(encoder)
    return encoder


def tuned_encoder() -> SpeechEncoder:
    """A wav2vec2 of the large kind, which normalises its input and has a CTC head."""
    shape = _shape("wav2vec2", True, small_shape("wav2vec2", True).layers)
    encoder = random_encoder(shape, normalize=True)
    baselines.randomise(encoder)
    encoder.head = CTCHead(shape.hidden, SYMBOLS, 0)
    generator = torch.Generator().manual_seed(0)
    for parameter in encoder.head.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return encoder.eval()
