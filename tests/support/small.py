"""Small encoders for the tests of the methods."""

from __future__ import annotations

import torch
from torch import Tensor

from s3prl_compress.encoder import SpeechEncoder, dense_shape, random_encoder
from s3prl_compress.encoder.cost import nonzero_parameters
from s3prl_compress.encoder.shape import EncoderShape, Family
from s3prl_compress.training.ctc import add_head


def small_shape(
    family: Family = "hubert", *, layer_norm: bool = False, pre_norm: bool = False, layers: int = 2
) -> EncoderShape:
    shape = dense_shape(
        family,
        hidden=24,
        layers=layers,
        heads=3,
        ffn=10,
        conv_widths=(6, 5, 6, 5, 6, 5, 7),
        position_kernel=8,
        position_groups=2,
        large=layer_norm,
    )
    return shape.model_copy(update={"pre_norm": pre_norm})


def small_encoder(
    family: Family = "hubert",
    *,
    layer_norm: bool = False,
    pre_norm: bool = False,
    layers: int = 2,
    seed: int = 0,
) -> SpeechEncoder:
    """Return an encoder whose every parameter is random, the norms' and the biases too."""
    shape = small_shape(family, layer_norm=layer_norm, pre_norm=pre_norm, layers=layers)
    encoder = random_encoder(shape, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return encoder


def small_paper_model(name: str) -> SpeechEncoder:
    """Return a small random model of the architecture of one of the papers' models.

    It is large enough that sizes in multiples of 8 meet a target. HuBERT-large and wav2vec2-base
    have the CTC head of a fine-tuned model.

    Args:
        name: hubert_base, hubert_large or wav2vec2_base.
    """
    family, size = name.split("_")
    shape = dense_shape(
        family,  # type: ignore[arg-type]
        hidden=128,
        layers=2,
        heads=4,
        ffn=512,
        conv_widths=(16,) * 7,
        position_kernel=16,
        position_groups=16,
        large=size == "large",
    )
    encoder = random_encoder(shape, normalize=size == "large")
    if name != "hubert_base":
        add_head(encoder, ["THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG'S"], seed=0)
    return encoder


def speech(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(length, generator=generator) for length in lengths]


def states(encoder: SpeechEncoder, waveforms: list[Tensor]) -> list[list[Tensor]]:
    """Return, for every utterance, its own frames of all hidden states."""
    with torch.no_grad():
        hidden, counts = encoder(waveforms)
    return [
        [state[number, :count] for state in hidden] for number, count in enumerate(counts.tolist())
    ]


def assert_same(
    one: SpeechEncoder, other: SpeechEncoder, waveforms: list[Tensor], tolerance: float = 1e-4
) -> None:
    """Compare all hidden states, within `tolerance` of each one's largest value."""
    for left, right in zip(states(one, waveforms), states(other, waveforms), strict=True):
        for number, (a, b) in enumerate(zip(left, right, strict=True)):
            difference = float((a - b).abs().max())
            assert difference <= tolerance * float(b.abs().max()), f"state {number}: {difference}"


def reached(smaller: SpeechEncoder, encoder: SpeechEncoder) -> float:
    return 1 - nonzero_parameters(smaller) / nonzero_parameters(encoder)
