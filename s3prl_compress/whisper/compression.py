"""Methods that compress Whisper without training: clustering, magnitude, low rank, layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field, model_validator

from ..common.errors import InputError
from ..common.method_config import MethodConfig
from ..encoder.shape import MAX_LAYERS
from ..methods import method_step, validated_settings
from ..methods.clustering.method import ClusteringConfig, fold_groups
from ..methods.low_rank.method import LowRankConfig, factor_linears
from ..methods.magnitude import Kept, MagnitudeConfig, largest_channels
from ..surgery.channels import ChannelGroup, UnitKind, layer_groups, layer_selections
from ..surgery.cutting import cut_layers, parameters_cut
from ..surgery.layered import LayerEdit
from .counting import count
from .model import Whisper, rebuild_whisper
from .shape import Part


class WhisperClusteringConfig(ClusteringConfig):
    """Settings of parameter clustering for Whisper."""

    part: Part = "both"
    """Which layers are clustered: encoder, decoder (with its cross-attention), or both."""

    @model_validator(mode="after")
    def _fold_only(self) -> WhisperClusteringConfig:
        if self.form != "fold":
            raise ValueError("only form 'fold' applies to Whisper")
        return self


class WhisperMagnitudeConfig(MagnitudeConfig):
    """Settings of magnitude pruning for Whisper."""

    part: Part = "both"
    """Which layers are pruned: encoder, decoder (with its cross-attention), or both."""

    @model_validator(mode="after")
    def _inside_layers(self) -> WhisperMagnitudeConfig:
        if self.granularity != "channel":
            raise ValueError("only granularity 'channel' applies to Whisper")
        if "conv" in self.units:
            raise ValueError("Whisper's convolutions are not pruned; units: ffn, qk, vo, head")
        return self


class WhisperLowRankConfig(LowRankConfig):
    """Settings of low rank for Whisper."""

    part: Part = "both"
    """Which layers are factored: encoder, decoder (with its cross-attention), or both."""

    @model_validator(mode="after")
    def _without_audio(self) -> WhisperLowRankConfig:
        if self.audio is not None:
            raise ValueError("weighting by audio does not apply to Whisper")
        return self


class WhisperLayersConfig(MethodConfig):
    """Settings of layer removal for Whisper."""

    keep: int = Field(ge=1, le=MAX_LAYERS)
    """Number of layers that stay in each stack, counted from the bottom."""
    part: Part = "both"
    """Which stacks lose layers: encoder, decoder, or both."""


def clustering(whisper: Whisper, config: WhisperClusteringConfig) -> Whisper:
    """Merge similar FFN units, (q, k) and (v, out) dimensions inside heads, by k-means."""
    groups = _groups(whisper, config.part, config.units)
    total = count(whisper).total
    return rebuild_whisper(whisper, fold_groups(whisper, groups, config, total))


def magnitude(whisper: Whisper, config: WhisperMagnitudeConfig) -> Whisper:
    """Remove the FFN units, dimensions inside heads, or heads of smallest magnitude."""
    groups = _groups(whisper, config.part, config.units)
    total, layers = count(whisper).total, whisper.shape.layers

    def after(kept: Kept) -> int:
        return total - parameters_cut(whisper, layer_selections(layers, kept))

    kept = largest_channels(whisper, groups, config, total, after)
    return rebuild_whisper(whisper, cut_layers(whisper, layer_selections(layers, kept)))


def low_rank(whisper: Whisper, config: WhisperLowRankConfig) -> Whisper:
    """Replace linears by two factors, by truncated SVD."""
    shape = whisper.shape
    places = [
        (number, name)
        for number in shape.part_layers(config.part)
        for name in config.linears
        if min(shape.layers[number].sizes(name, shape.hidden)) > 1
    ]
    linears = factor_linears(whisper, places, config, {}, count(whisper).total)
    return rebuild_whisper(whisper, LayerEdit(linears, list(shape.layers)))


def layers(whisper: Whisper, config: WhisperLayersConfig) -> Whisper:
    """Remove the top layers of the encoder, of the decoder, or of both."""
    shape = whisper.shape
    encoder, decoder, cross = shape.encoder, shape.decoder, shape.cross_attention
    for part, stack in (("encoder", encoder), ("decoder", decoder)):
        if config.part in (part, "both") and config.keep > len(stack):
            raise InputError(
                f"method layers: keep {config.keep} is more than the {len(stack)} layers of this "
                f"{part}"
            )
    if config.part != "decoder":
        encoder = encoder[: config.keep]
    if config.part != "encoder":
        decoder, cross = decoder[: config.keep], cross[: config.keep]
    smaller = shape.with_stacks(encoder, decoder, cross)
    return rebuild_whisper(whisper, LayerEdit({}, list(smaller.layers)), stacks=smaller)


@dataclass(frozen=True)
class WhisperMethod:
    """A method in the form that applies to Whisper."""

    function: Callable[[Whisper, Any], Whisper]
    config: type[MethodConfig]
    version: int = 1
    """Version of its result: raised whenever the same settings give another model."""


METHODS: dict[str, WhisperMethod] = {
    "clustering": WhisperMethod(clustering, WhisperClusteringConfig),
    "magnitude": WhisperMethod(magnitude, WhisperMagnitudeConfig),
    "low_rank": WhisperMethod(low_rank, WhisperLowRankConfig),
    "layers": WhisperMethod(layers, WhisperLayersConfig),
}
"""The methods for Whisper, under the names that they have for encoders."""


def compress(whisper: Whisper, method: str = "clustering", **settings: Any) -> Whisper:
    """Return a compressed model; the given one is not changed, and shares no memory with it.

    FFN units and dimensions inside heads are chosen as in encoders, in encoder, decoder and
    cross-attention alike. In cross-attention, q's rows read the decoder's states, k's and v's the
    encoder's; dimensions of q and k still belong together, as those of v and out. The embedding,
    positions, convolutions and LayerNorms stay as they are. Methods can be chained.

    Args:
        whisper: a model of any shape.
        method: clustering, magnitude, low_rank or layers.
        settings: those of the method of this name for encoders, and `part`: "encoder", "decoder"
            or "both" (default). `sparsity` is the fraction of the whole model's parameters to
            remove, whatever the part, as in publications.

    Raises:
        InputError: the method or a setting does not exist or does not apply to Whisper, or the
            target cannot be reached.
    """
    known = find_method(method)
    config = check_settings(method, settings)
    with torch.inference_mode(False), torch.no_grad():
        result = known.function(whisper, config)
    result.provenance = whisper.provenance.after(method_step(method, known.version, config))
    return result


def check_settings(method: str, settings: Mapping[str, Any]) -> MethodConfig:
    """Return the validated settings of a method, with defaults for those that are not given.

    Raises:
        InputError: the method or a setting does not exist or does not apply to Whisper.
    """
    return validated_settings(method, find_method(method).config, settings)


def find_method(name: str) -> WhisperMethod:
    """Return a method for Whisper by its name.

    Raises:
        InputError: there is none of this name.
    """
    if name not in METHODS:
        raise InputError(
            f"no method {name!r} for Whisper; there are: {', '.join(METHODS)} (all without "
            "training); the others take its encoder, which `export --format checkpoint` writes"
        )
    return METHODS[name]


def _groups(whisper: Whisper, part: Part, kinds: tuple[UnitKind, ...]) -> list[ChannelGroup]:
    """Return the groups of channels in a part that have at least two channels."""
    inside = set(whisper.shape.part_layers(part))
    groups = layer_groups(whisper.shape.layers, kinds)
    return [group for group in groups if group.layer in inside]
