"""Shapes of uncompressed models, and those that commands and tests refer to by name."""

from __future__ import annotations

from collections.abc import Sequence

from ..common.errors import InputError
from .front_ends.whisper import WhisperSettings
from .shape import (
    ConvShape,
    EncoderShape,
    Family,
    LayerShape,
    PositionConvShape,
    RelativePositionShape,
    dense_layer,
)


def dense_shape(
    family: Family,
    *,
    hidden: int = 768,
    layers: int = 12,
    heads: int = 12,
    ffn: int = 3072,
    conv_widths: tuple[int, ...] = (512,) * 7,
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2),
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2),
    large: bool = False,
    position_kernel: int = 128,
    position_groups: int = 16,
) -> EncoderShape:
    """Return the shape of an uncompressed model; the defaults are those of the base models.

    With `large`, convolutions have layer norms and biases, and normalisation precedes attention
    and FFN, as in the large models. (WavLM's convolutions have no biases even there.)

    Raises:
        ValueError: the sizes contradict each other.
    """
    if hidden % heads:
        raise ValueError(f"hidden {hidden} is not divisible by heads {heads}")
    return EncoderShape(
        family=family,
        hidden=hidden,
        convs=tuple(
            ConvShape(width=width, kernel=kernel, stride=stride)
            for width, kernel, stride in zip(conv_widths, conv_kernels, conv_strides, strict=True)
        ),
        conv_norm="layer" if large else "group",
        conv_bias=large and family != "wavlm",
        pre_norm=large,
        original_heads=heads,
        head_size=hidden // heads,
        position_conv=PositionConvShape(kernel=position_kernel, groups=position_groups),
        relative_position=(
            RelativePositionShape(buckets=320, max_distance=800) if family == "wavlm" else None
        ),
        layers=(dense_layer(heads, hidden // heads, ffn),) * layers,
    )


def whisper_shape(
    *,
    hidden: int,
    heads: int,
    layers: Sequence[LayerShape],
    mel_bins: int = 80,
    positions: int = 1500,
) -> EncoderShape:
    """Return the shape of a Whisper encoder.

    Args:
        hidden: width of the residual stream.
        heads: number of heads before any were removed.
        layers: the layers with their remaining heads and FFN units.
        mel_bins: number of log-mel bins; 128 from large-v3 on.
        positions: length of the table of positions, in frames of 20 ms.

    Raises:
        ValueError: the sizes contradict each other.
    """
    return EncoderShape(
        family="whisper",
        hidden=hidden,
        pre_norm=True,
        key_bias=False,
        original_heads=heads,
        head_size=hidden // heads,
        learned_positions=positions,
        front_end=WhisperSettings(mel_bins=mel_bins),
        layers=tuple(layers),
    )


def _published_whisper(hidden: int, layers: int, mel_bins: int = 80) -> EncoderShape:
    """Return one of openai's: heads of 64 dimensions, and four FFN units per dimension."""
    layer = dense_layer(hidden // 64, 64, 4 * hidden)
    return whisper_shape(
        hidden=hidden, heads=hidden // 64, layers=(layer,) * layers, mel_bins=mel_bins
    )


_LARGE = {"hidden": 1024, "layers": 24, "heads": 16, "ffn": 4096, "large": True}

NAMED_SHAPES: dict[str, EncoderShape] = {
    "hubert_base": dense_shape("hubert"),
    "hubert_large": dense_shape("hubert", **_LARGE),  # type: ignore[arg-type]
    "wav2vec2_base": dense_shape("wav2vec2"),
    "wav2vec2_large": dense_shape("wav2vec2", **_LARGE),  # type: ignore[arg-type]
    "wavlm_base": dense_shape("wavlm"),
    "wavlm_large": dense_shape("wavlm", **_LARGE),  # type: ignore[arg-type]
    # Whisper's encoders; that of turbo and of the distilled large models is large_v3's.
    "whisper_tiny": _published_whisper(384, 4),
    "whisper_base": _published_whisper(512, 6),
    "whisper_small": _published_whisper(768, 12),
    "whisper_medium": _published_whisper(1024, 24),
    "whisper_large": _published_whisper(1280, 32),
    "whisper_large_v3": _published_whisper(1280, 32, mel_bins=128),
    # The pruned shape of the speed benchmark: 4 heads, 700 FFN units and 384 conv channels.
    "hubert_base_pruned": dense_shape("hubert", ffn=700, conv_widths=(384,) * 7).model_copy(
        update={"layers": (dense_layer(4, 64, 700),) * 12}
    ),
    # Small enough for tests and the demo.
    "hubert_small": dense_shape(
        "hubert",
        hidden=256,
        layers=6,
        heads=4,
        ffn=1024,
        conv_widths=(128,) * 7,
    ),
    "hubert_tiny": dense_shape(
        "hubert",
        hidden=32,
        layers=2,
        heads=4,
        ffn=48,
        conv_widths=(16,) * 7,
        position_kernel=16,
        position_groups=4,
    ),
}
"""Shapes that commands and tests refer to by name. They do not imply any weights."""


def named_shape(name: str) -> EncoderShape:
    """Return one of `NAMED_SHAPES`.

    Raises:
        InputError: there is none of this name.
    """
    if name not in NAMED_SHAPES:
        raise InputError(f"no shape {name!r}; there are: {', '.join(NAMED_SHAPES)}")
    return NAMED_SHAPES[name]
