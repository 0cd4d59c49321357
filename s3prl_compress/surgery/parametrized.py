"""Encoders that run with weights computed from the stored ones: masked, gated or factored.

The encoder's own weights are trained together with the parameters of the masks, thresholds or
factors. Every forward pass computes the effective weights again and runs the encoder with them,
so that no layer needs to know about masks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..common.errors import InputError
from ..encoder import CTCHead, EncoderShape, SpeechEncoder
from ..encoder.cost import nonzero_parameters
from ..encoder.linear import DenseLinear, Linear, dense_weight, optional_bias
from ..encoder.shape import LINEARS, linear_name
from .rebuild import dense_linear, get_linear, rebuild

Place = tuple[int, str]
"""A Transformer layer and one of its six linears."""


class ParametrizedEncoder(nn.Module, ABC):
    """Wraps an encoder whose effective weights are computed in every forward pass.

    Args:
        encoder: the student, which is trained in place.
    """

    def __init__(self, encoder: SpeechEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def shape(self) -> EncoderShape:
        """Shape of the encoder, including units that masks and gates close."""
        return self.encoder.shape

    @property
    def head(self) -> CTCHead | None:
        """The encoder's CTC head."""
        return self.encoder.head

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """Return the effective weights by their parameter names in the encoder."""

    def forward(
        self, waveforms: Sequence[Tensor], masks: Tensor | None = None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return hidden states and frame counts as the encoder does."""
        result: tuple[tuple[Tensor, ...], Tensor] = functional_call(
            self.encoder, self.weights(), (waveforms, masks)
        )
        return result


def weight_name(place: Place) -> str:
    """Return the name of a linear's weight in the encoder."""
    return f"{linear_name(*place)}.weight"


def bias_name(place: Place) -> str:
    """Return the name of a linear's bias in the encoder."""
    return f"{linear_name(*place)}.bias"


def key_of(place: Place) -> str:
    """Return a name for a place that is valid as a key of a `ModuleDict`."""
    return f"{place[0]}_{place[1]}"


def linears_of(encoder: SpeechEncoder, kinds: tuple[type[Linear], ...]) -> dict[Place, Linear]:
    """Return the linears of the given kinds that are not empty."""
    places = [(layer, name) for layer in range(len(encoder.shape.layers)) for name in LINEARS]
    linears = {place: get_linear(encoder, *place) for place in places}
    return {
        place: linear
        for place, linear in linears.items()
        if isinstance(linear, kinds) and dense_weight(linear).numel()
    }


def with_dense_linears(encoder: SpeechEncoder, places: Iterable[Place]) -> SpeechEncoder:
    """Return a trainable copy whose linears at `places` are dense, with explicit zeros."""
    linears: dict[Place, Linear] = {}
    for place in places:
        linear = get_linear(encoder, *place)
        linears[place] = dense_linear(dense_weight(linear), optional_bias(linear))
    return rebuild(encoder, linears).requires_grad_(True)


def dense_weights(encoder: SpeechEncoder, places: Iterable[Place]) -> dict[Place, nn.Parameter]:
    """Return the parameters that hold the weights of the dense linears at `places`."""
    weights: dict[Place, nn.Parameter] = {}
    for place in places:
        linear = get_linear(encoder, *place)
        assert isinstance(linear, DenseLinear)
        weight = linear.weight
        assert isinstance(weight, nn.Parameter)
        weights[place] = weight
    return weights


def kept_budget(encoder: SpeechEncoder, places: Iterable[Place], sparsity: float) -> int:
    """Return how many weights at `places` may remain to reach the given sparsity.

    All other parameters of the encoder are kept. The result is negative if they alone are more
    than the target allows.
    """
    total = nonzero_parameters(encoder)
    within = sum(int(torch.count_nonzero(dense_weight(get_linear(encoder, *p)))) for p in places)
    return round(total * (1 - sparsity)) - (total - within)


def check_budget(
    method: str, encoder: SpeechEncoder, places: Iterable[Place], sparsity: float
) -> None:
    """Check that pruning weights at `places` can reach the given sparsity.

    Raises:
        InputError: removing all of them is not enough.
    """
    places = list(places)
    if kept_budget(encoder, places, sparsity) < 0:
        most = kept_budget(encoder, places, 0.0) / nonzero_parameters(encoder)
        raise InputError(
            f"method {method}: sparsity {sparsity:g} cannot be reached on this model, where it "
            f"can remove at most {most:.3f} of the parameters"
        )
