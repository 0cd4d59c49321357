"""The interface of models that consist of Transformer layers, and changes to such layers.

A `SpeechEncoder` implements it, and so does a `Whisper`, whose decoder layers count as layers too.
Methods that only choose and replace linears are written against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from ..encoder.linear import Linear
from ..encoder.shape import LayerShape


class LayeredShape(Protocol):
    """The shape of a model with Transformer layers."""

    @property
    def hidden(self) -> int:
        """Width of the residual stream."""

    @property
    def layers(self) -> tuple[LayerShape, ...]:
        """All layers; a layer number is a position in this list."""

    def linear_name(self, layer: int, name: str) -> str:
        """Return the full module name of one of the six linears of a layer."""


class LayeredModel(Protocol):
    """A model with Transformer layers."""

    @property
    def shape(self) -> LayeredShape:
        """Its shape."""

    @property
    def device(self) -> torch.device:
        """Device of its weights."""

    def get_submodule(self, target: str) -> nn.Module:
        """Return the module of this name."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters; one that is used twice is yielded once."""


@dataclass(frozen=True)
class LayerEdit:
    """New linears, and the shapes that all layers have with them."""

    linears: dict[tuple[int, str], Linear]
    """By (layer, one of q, k, v, out, fc1, fc2)."""
    layers: list[LayerShape]
    """All layers, changed or not. The kinds of the new linears are filled in by `rebuild`."""
