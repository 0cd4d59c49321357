"""Cost of an encoder in parameters, multiply-adds and bytes; counted, not measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """Return the bytes of weights, indices and bit masks on disk, without header and CTC head."""
    total = 0
    for name, tensor in encoder.state_dict().items():
        if name.startswith("head."):
            continue
        size = tensor.element_size()
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


@lru_cache(maxsize=64)  # it takes seconds for a large model, and a suite needs it in every cell
def _macs(shape: EncoderShape, samples: tuple[int, ...]) -> int:
    with torch.device("meta"):
        encoder = SpeechEncoder(shape)
    return count_macs(lambda waveform: encoder([waveform]), samples, device="meta")


def count_macs(
    forward: Callable[[Tensor], object], samples: Sequence[int], *, device: str = "cpu"
) -> int:
    """Return the multiply-adds of `forward` over one zero waveform for each length in `samples`."""
    total = 0
    for length in set(samples):
        counter = FlopCounterMode(display=False, custom_mapping=_attention_formula())
        with torch.no_grad(), counter:
            forward(torch.zeros(length, device=device))
        total += samples.count(length) * (counter.get_total_flops() // 2)
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
