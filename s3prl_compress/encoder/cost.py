"""Cost of an encoder in parameters, multiply-adds and bytes; counted, not measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ..results.records import Cost, Upstream
from .adapter import UpstreamAdapter
from .checkpoint import fingerprint
from .linear import SparseLinear
from .model import SpeechEncoder
from .serialization import STORED_SIZES
from .shape import EncoderShape

# Lengths in samples of the SUPERB leaderboard's 32 utterances (LibriSpeech test-clean), from short
# to long, in four groups of eight. Multiply-adds depend on nothing else.
LEADERBOARD_SAMPLES = (
    20560, 34560, 38480, 42560, 45600, 48720, 52000, 55120,
    59120, 62720, 66400, 71200, 75200, 78640, 82800, 87520,
    92720, 98560, 104400, 111120, 118480, 125040, 132720, 142640,
    154000, 166720, 180880, 197920, 217920, 239280, 268160, 326000,
)  # fmt: skip

# Published on the leaderboard for the dense models (data of 2022-04). These parameter counts
# include the pre-training head, which an upstream does not use.
LEADERBOARD_COUNTS: dict[str, dict[str, float]] = {
    "hubert_base": {"parameters": 94.68e6, "macs_32": 1669e9},
    "hubert_large": {"parameters": 316.61e6, "macs_32": 4324e9},
    "wav2vec2_base": {"parameters": 95.04e6, "macs_32": 1669e9},
    "wav2vec2_large": {"parameters": 317.38e6, "macs_32": 4326e9},
    "wavlm_base": {"parameters": 94.70e6, "macs_32": 1670e9},
    "wavlm_large": {"parameters": 316.62e6, "macs_32": 4326e9},
}


def parameters(encoder: SpeechEncoder) -> int:
    """Count the weights that run: with the zeros of sparse linears, without a CTC head."""
    zeros = sum(
        module.in_features * module.out_features - len(module.values)
        for module in encoder.modules()
        if isinstance(module, SparseLinear)
    )
    return nonzero_parameters(encoder) + zeros


def nonzero_parameters(encoder: SpeechEncoder) -> int:
    """Count the stored weights: only the non-zeros of sparse linears, without a CTC head.

    Assignments of shared linears and bit masks are indices, not parameters; they count in
    `stored_bytes`.
    """
    return sum(
        parameter.numel()
        for name, parameter in encoder.named_parameters()
        if not name.startswith("head.")
    )


def stored_bytes(encoder: SpeechEncoder) -> int:
    """Return the bytes of weights, indices and bit masks on disk, without header and CTC head.

    Weights count in the type in which the encoder's checkpoint has them, or as float32 if the
    encoder was read from no checkpoint of this package.
    """
    total = 0
    for name, tensor in encoder.state_dict().items():
        if name.startswith("head."):
            continue
        size = tensor.element_size()
        if tensor.is_floating_point():
            size = STORED_SIZES[encoder.stored_as]
        if tensor.dtype == torch.long:  # assignments: see serialization.stored_tensors
            size = 1 if len(tensor) <= 256 else 4
        total += tensor.numel() * size
    return total


def macs(shape: EncoderShape, samples: Sequence[int] = LEADERBOARD_SAMPLES) -> int:
    """Return the multiply-adds of one forward pass at batch size 1 for each length in `samples`.

    torch's FlopCounterMode counts them on the meta device. It has no formula for the CPU's fused
    attention and would silently leave it out (6 % of HuBERT-base at 10 s), so one is given here.
    """
    return _macs(shape, tuple(samples))


@lru_cache(maxsize=64)  # a suite needs it in every cell
@torch.no_grad()
def _macs(shape: EncoderShape, samples: tuple[int, ...]) -> int:
    with torch.device("meta"):
        encoder = SpeechEncoder(shape)
    total = 0
    times: Counter[int] = Counter()
    features: dict[int, tuple[Tensor, Tensor | None]] = {}
    for length, repeated in Counter(samples).items():
        waveform = torch.zeros(length, device="meta")
        with _counting() as counter:
            x, valid, _ = encoder.features([waveform])
        total += repeated * (counter.get_total_flops() // 2)
        times[x.shape[1]] += repeated
        features[x.shape[1]] = x, valid

    def after_features(frames: int) -> int:
        x, valid = features[frames]
        with _counting() as counter:
            encoder.encoder(encoder.feature_projection(x), valid)
        return counter.get_total_flops() // 2

    counts = _by_frames(after_features, sorted(times))
    return total + sum(times[frames] * count for frames, count in counts.items())


def _by_frames(count: Callable[[int], int], frames: Sequence[int]) -> dict[int, int]:
    """Return `count` of every number of frames, in few calls: each takes some 20 ms per layer.

    A Transformer's count is a quadratic polynomial: attention is quadratic in the frames, all else
    linear. Three numbers give it and a fourth confirms it; if it does not, all are counted.
    """
    if len(frames) <= 4:
        return {number: count(number) for number in frames}
    third = len(frames) // 3
    *known, check = (
        (number, count(number))
        for number in (frames[0], frames[-1], frames[third], frames[-1 - third])
    )
    curve = {number: _through(known, number) for number in frames}
    if curve[check[0]] == check[1]:
        return {number: int(value) for number, value in curve.items()}
    return {number: count(number) for number in frames}


def _through(points: Sequence[tuple[int, int]], x: int) -> Fraction:
    """Return the value at x of the polynomial through the points (Lagrange's form)."""
    value = Fraction(0)
    for own, y in points:
        term = Fraction(y)
        for other, _ in points:
            if other != own:
                term *= Fraction(x - other, own - other)
        value += term
    return value


def _counting() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=_attention_formula())


def count_macs(
    forward: Callable[[Tensor], object], samples: Sequence[int], *, device: str = "cpu"
) -> int:
    """Return the multiply-adds of `forward` over one zero waveform for each length in `samples`."""
    total = 0
    for length, repeated in Counter(samples).items():
        with torch.no_grad(), _counting() as counter:
            forward(torch.zeros(length, device=device))
        total += repeated * (counter.get_total_flops() // 2)
    return total


def cost(encoder: SpeechEncoder | EncoderShape) -> Cost:
    """Return all counts of an encoder, or of a shape alone."""
    if isinstance(encoder, EncoderShape):
        with torch.device("meta"):
            encoder = SpeechEncoder(encoder)
    return Cost(
        parameters=parameters(encoder),
        nonzero_parameters=nonzero_parameters(encoder),
        macs_32=macs(encoder.shape),
        bytes=stored_bytes(encoder),
    )


def describe(encoder: SpeechEncoder | UpstreamAdapter, name: str, source: str) -> Upstream:
    """Return the entry of an encoder in a result record.

    Args:
        encoder: the one that was evaluated.
        name: its name in tables.
        source: where it was loaded from.
    """
    if isinstance(encoder, UpstreamAdapter):
        return encoder.describe(name)
    settings = encoder.shape.front_end
    return Upstream(
        name=name,
        checkpoint_sha256=fingerprint(encoder),
        source=source,
        base=encoder.provenance.base,
        random_weights=encoder.provenance.random_weights,
        normalize=encoder.normalize,
        front_end=None if settings is None else settings.model_dump(mode="json"),
        methods=encoder.provenance.chain(),
        cost=cost(encoder),
    )


def _attention_formula() -> dict[Any, Any]:
    def formula(
        query: tuple[int, ...],
        key: tuple[int, ...],
        value: tuple[int, ...],
        *rest: Any,
        out_shape: Any = None,
        **named: Any,
    ) -> int:
        return sdpa_flop_count(query, key, value)

    return {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: formula}
