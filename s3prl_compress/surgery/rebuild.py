"""Build a new encoder from an old one with some linears and tensors replaced."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..encoder.checkpoint import rebuild_buffers
from ..encoder.layers import POSITION_TABLE
from ..encoder.linear import (
    DenseLinear,
    Linear,
    LowRankLinear,
    SharedLinear,
    linear_shape,
    new_dense_linear,
)
from ..encoder.model import SpeechEncoder
from ..encoder.shape import ConvShape, EncoderShape, LayerShape
from .layered import LayeredModel


def get_linear(model: LayeredModel, layer: int, name: str) -> Linear:
    """Return one of the six linears of a layer; it may be of any kind."""
    return model.get_submodule(model.shape.linear_name(layer, name))  # type: ignore[return-value]


def dense_linear(weight: Tensor, bias: Tensor | None) -> DenseLinear:
    """Return a dense linear with copies of `weight` [out, in] and `bias` [out], if any."""
    with torch.device("meta"):
        linear = new_dense_linear(weight.shape[1], weight.shape[0], bias is not None)
    linear.weight = _parameter(weight)
    if bias is not None:
        linear.bias = _parameter(bias)
    return linear


def low_rank_linear(factor_in: Tensor, factor_out: Tensor, bias: Tensor | None) -> LowRankLinear:
    """Return `y = factor_out (factor_in x) + bias` with copies of [r, in], [out, r] and [out]."""
    linear = LowRankLinear(0, 0, 0, bias is not None)
    linear.factor_in = _parameter(factor_in)
    linear.factor_out = _parameter(factor_out)
    if bias is not None:
        linear.bias = _parameter(bias)
    return linear


def shared_linear(
    centroids: Tensor, centroid_bias: Tensor | None, assignment: Tensor
) -> SharedLinear:
    """Return `y = (C x + c)[a]` with copies of [K, in], [K] (if any) and [out]."""
    linear = SharedLinear(0, 0, 0, centroid_bias is not None)
    linear.centroids = _parameter(centroids)
    if centroid_bias is not None:
        linear.centroid_bias = _parameter(centroid_bias)
    linear.assignment = assignment.detach().clone().to(torch.long)
    return linear


def rebuild(
    encoder: SpeechEncoder,
    linears: Mapping[tuple[int, str], Linear],
    *,
    layers: Sequence[LayerShape] | None = None,
    kept: Sequence[int] | None = None,
    repeat_states: bool = False,
    convs: Sequence[ConvShape] | None = None,
    tensors: Mapping[str, Tensor] | None = None,
) -> SpeechEncoder:
    """Return a new encoder that shares no memory with the old one.

    Args:
        encoder: source of everything that is not replaced; it is not changed.
        linears: new linears by (layer, one of q, k, v, out, fc1, fc2), with the numbers that the
            layers will have. Their tensors are used without a copy, so they must not be those of
            `encoder`.
        layers: new head and FFN sizes of all layers that stay, if they change; the kinds of the
            linears are filled in by this function.
        kept: the layers that stay, by their present numbers in ascending order; None: all.
            WavLM's position table moves to the lowest of them.
        repeat_states: with layers removed: repeat hidden states, so that there are as many as now.
            Otherwise the output states of removed layers are removed, too.
        convs: new shapes of all convolutions, if they change.
        tensors: other tensors that change, by their names in the state dictionary; a scale after
            the convolutions may be added this way.
    """
    places = list(range(len(encoder.shape.layers)) if kept is None else kept)
    present = [encoder.shape.layers[number] for number in places]
    new_layers = list(layers if layers is not None else present)
    new: dict[str, Tensor] = {}
    for (layer, name), linear in linears.items():
        new_layers[layer] = new_layers[layer].model_copy(update={name: linear_shape(linear)})
        path = encoder.shape.linear_name(layer, name)
        new.update(
            {f"{path}.{key}": tensor.detach() for key, tensor in linear.state_dict().items()}
        )
    replaced = {encoder.shape.linear_name(*place) for place in linears}
    old = {
        new_name: tensor
        for name, tensor in encoder.state_dict().items()
        if not _of_head(name)
        and (new_name := _renumbered(name, places)) is not None
        and new_name.rpartition(".")[0] not in replaced
    }
    old.update(tensors or {})
    new.update({name: tensor.detach().clone() for name, tensor in old.items()})
    update: dict[str, object] = {
        "layers": tuple(new_layers),
        "convs": tuple(convs or encoder.shape.convs),
        "feature_scale": "feature_extractor.scale" in new,
        "hidden_states": _states_after(encoder.shape, places, repeat_states),
    }
    # Validate a dump, because `model_copy` does not run the shape's checks.
    shape = EncoderShape.model_validate(encoder.shape.model_copy(update=update).model_dump())
    with torch.device("meta"):
        result = SpeechEncoder(
            shape,
            normalize=encoder.normalize,
            normalize_eps=encoder.normalize_eps,
            padding=encoder.padding,
        )
    result.load_state_dict(new, strict=True, assign=True)
    rebuild_buffers(result)
    result.to(encoder.device)
    result.head = copy.deepcopy(encoder.head)
    result.sampling_rate = encoder.sampling_rate
    result.provenance = encoder.provenance
    return result.train(encoder.training)


def _parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().clone().contiguous())


def _renumbered(name: str, kept: Sequence[int]) -> str | None:
    """Return the name of a tensor after layers are removed; None if it is removed."""
    found = re.match(r"encoder\.layers\.(\d+)\.(.*)", name)
    if found is None:
        return name
    layer, own = int(found[1]), found[2]
    if own == POSITION_TABLE:
        return f"encoder.layers.0.{own}" if kept else None
    return f"encoder.layers.{kept.index(layer)}.{own}" if layer in kept else None


def _states_after(
    shape: EncoderShape, kept: Sequence[int], repeat_states: bool
) -> tuple[int, ...] | None:
    """Return `EncoderShape.hidden_states` with only the layers `kept`."""
    states = tuple(
        sum(layer < state for layer in kept)
        for state in shape.state_inputs
        if repeat_states or state == 0 or state - 1 in kept
    )
    return None if len(states) == len(kept) + 1 else states


def _of_head(name: str) -> bool:
    return name.startswith("head.")
