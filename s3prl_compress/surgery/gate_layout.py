"""The layout of gates: all gates of one kind are a single vector, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from ..encoder.shape import EncoderShape
from .selection import HeadSelection, LayerSelection, Selection

GateKind = Literal["qk", "vo", "head", "attention", "ffn", "ffn_block", "conv"]
"""(q, k) and (v, out) dimensions inside heads, heads, attention blocks, FFN units, FFN blocks,
output channels of convolutions."""


def gate_sizes(shape: EncoderShape) -> dict[str, list[int]]:
    """Return the number of units of each kind in every layer; for conv, in every convolution."""
    convs = [conv.width for conv in shape.convs]
    if not shape.projection:  # the last convolution then writes to the residual stream
        convs[-1] = 0
    return {
        "qk": [layer.qk_size for layer in shape.layers],
        "vo": [layer.vo_size for layer in shape.layers],
        "head": [len(layer.heads) for layer in shape.layers],
        "attention": [1 for _ in shape.layers],
        "ffn": [layer.ffn for layer in shape.layers],
        "ffn_block": [1 for _ in shape.layers],
        "conv": convs,
    }


def selection_of_gates(shape: EncoderShape, kept: Mapping[GateKind, Tensor]) -> Selection:
    """Return the selection of the units that are `kept`, one bool per gate.

    A head is removed if its gate or its block's gate is closed, or if it has no (v, out)
    dimension left.
    """
    flags: dict[str, list[list[bool]]] = {
        kind: [list(part) for part in _split(own.tolist(), gate_sizes(shape)[kind])]
        for kind, own in kept.items()
    }
    layers = []
    for number, layer in enumerate(shape.layers):
        heads = []
        qk = vo = 0
        for position, head in enumerate(layer.heads):
            gated = (("head", position), ("attention", 0))
            open_ = all(flags[kind][number][at] for kind, at in gated if kind in flags)
            own_qk = _places(flags, "qk", number, qk, head.qk)
            own_vo = _places(flags, "vo", number, vo, head.vo)
            qk, vo = qk + head.qk, vo + head.vo
            if open_ and own_vo:
                heads.append(HeadSelection(position, own_qk, own_vo))
        ffn = _places(flags, "ffn", number, 0, layer.ffn)
        if "ffn_block" in flags and not flags["ffn_block"][number][0]:
            ffn = ()
        layers.append(LayerSelection(tuple(heads), ffn))
    everything = Selection.everything(shape)
    convs = everything.convs
    if "conv" in flags:
        convs = tuple(
            _places(flags, "conv", number, 0, len(all_)) if flags["conv"][number] else all_
            for number, all_ in enumerate(convs)
        )
    return Selection(tuple(layers), convs)


def _places(
    flags: Mapping[str, list[list[bool]]], kind: str, layer: int, start: int, size: int
) -> tuple[int, ...]:
    """Return which of the `size` units from `start` on are kept, numbered from `start`."""
    if kind not in flags:
        return tuple(range(size))
    return tuple(place for place in range(size) if flags[kind][layer][start + place])


def _split(values: list[bool], sizes: list[int]) -> list[list[bool]]:
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    return [values[start : start + size] for start, size in zip(starts, sizes, strict=True)]
