"""Selections of units to keep: heads, dimensions inside heads, FFN units, channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..common.errors import InputError
from ..encoder.shape import EncoderShape


@dataclass(frozen=True)
class HeadSelection:
    """The units to keep in one attention head."""

    position: int
    """Index of the head among the layer's present heads."""
    qk: tuple[int, ...]
    """Rows of q and k to keep, numbered inside the head, in ascending order."""
    vo: tuple[int, ...]
    """Rows of v and columns of out to keep, numbered inside the head, in ascending order."""


@dataclass(frozen=True)
class LayerSelection:
    """The units to keep in one Transformer layer; heads that are not listed are removed."""

    heads: tuple[HeadSelection, ...]
    ffn: tuple[int, ...]

    def keeping(
        self, *, heads: tuple[HeadSelection, ...] | None = None, ffn: tuple[int, ...] | None = None
    ) -> LayerSelection:
        """Return this selection with other heads or other FFN units."""
        return LayerSelection(
            heads=self.heads if heads is None else heads, ffn=self.ffn if ffn is None else ffn
        )


@dataclass(frozen=True)
class Selection:
    """The units to keep in an encoder: numbers in ascending order, for every layer."""

    layers: tuple[LayerSelection, ...]
    convs: tuple[tuple[int, ...], ...]
    """Output channels to keep, for every convolution."""

    @classmethod
    def everything(cls, shape: EncoderShape) -> Selection:
        """Return the selection of all units."""
        return cls(
            layers=tuple(
                LayerSelection(
                    heads=tuple(
                        HeadSelection(position, tuple(range(head.qk)), tuple(range(head.vo)))
                        for position, head in enumerate(layer.heads)
                    ),
                    ffn=tuple(range(layer.ffn)),
                )
                for layer in shape.layers
            ),
            convs=tuple(tuple(range(conv.width)) for conv in shape.convs),
        )

    def keeping(
        self,
        *,
        layers: tuple[LayerSelection, ...] | None = None,
        convs: tuple[tuple[int, ...], ...] | None = None,
    ) -> Selection:
        """Return this selection with other layers or other convolutions."""
        return Selection(
            layers=self.layers if layers is None else layers,
            convs=self.convs if convs is None else convs,
        )


def check_selection(shape: EncoderShape, selection: Selection) -> None:
    """Check that a selection fits a shape.

    Raises:
        InputError: it names layers, heads or units that do not exist, or not in ascending order.
    """
    if (len(selection.layers), len(selection.convs)) != (len(shape.layers), len(shape.convs)):
        raise InputError(
            f"selection: {len(selection.layers)} layers and {len(selection.convs)} convolutions, "
            f"the encoder has {len(shape.layers)} and {len(shape.convs)}"
        )
    for number, (layer, kept) in enumerate(zip(shape.layers, selection.layers, strict=True)):
        where = f"selection, layer {number}"
        _check_units(f"{where}, ffn", kept.ffn, layer.ffn)
        _check_units(f"{where}, heads", [head.position for head in kept.heads], len(layer.heads))
        for head in kept.heads:
            original = layer.heads[head.position]
            _check_units(f"{where}, head {head.position}, qk", head.qk, original.qk)
            _check_units(f"{where}, head {head.position}, vo", head.vo, original.vo)
    for number, (conv, channels) in enumerate(zip(shape.convs, selection.convs, strict=True)):
        _check_units(f"selection, conv {number}", channels, conv.width)
        if not channels:
            raise InputError(f"selection, conv {number}: at least one channel must stay")
    if not shape.projection and len(selection.convs[-1]) < shape.convs[-1].width:
        raise InputError(
            "selection: this model has no projection after its convolutions, so that the last "
            "one must keep all its channels"
        )


def _check_units(where: str, units: Sequence[int], size: int) -> None:
    if list(units) != sorted(set(units)) or (len(units) and not 0 <= units[0] <= units[-1] < size):
        raise InputError(
            f"{where}: units must be in ascending order and lie within 0 to {size - 1}"
        )
