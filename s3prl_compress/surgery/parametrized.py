"""Encoders that run with other weights than they store: masked, gated, or factored ones.

What is learned are the encoder's own weights, and whatever says what becomes of them. In every
step the weights that take effect are put together anew and the encoder runs with them, so that
no layer has to know about masks.
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
from ..encoder.linear import DenseLinear, Linear, dense_bias, dense_weight
from ..encoder.shape import LINEARS
from .rebuild import dense_linear, get_linear, linear_name, rebuild

Place = tuple[int, str]
"""A Transformer layer and one of its six linears."""


class ParametrizedEncoder(nn.Module, ABC):
    """An encoder whose linears run with weights that are made of the stored ones in every step.

    Args:
        encoder: the student, taken over and trained in place.
    """

    def __init__(self, encoder: SpeechEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def shape(self) -> EncoderShape:
        """Shape of the encoder, with all that masks and gates leave out."""
        return self.encoder.shape

    @property
    def head(self) -> CTCHead | None:
        """The encoder's CTC head."""
        return self.encoder.head

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """Return the tensors that take effect, by their names in the encoder."""

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
    """Return the name of a place that a `ModuleDict` allows."""
    return f"{place[0]}_{place[1]}"


def linears_of(encoder: SpeechEncoder, kinds: tuple[type[Linear], ...]) -> dict[Place, Linear]:
    """Return the linears of some kinds that have weights at all."""
    places = [(layer, name) for layer in range(len(encoder.shape.layers)) for name in LINEARS]
    found = {place: get_linear(encoder, *place) for place in places}
    return {
        place: linear
        for place, linear in found.items()
        if isinstance(linear, kinds) and dense_weight(linear).numel()
    }


def with_dense_linears(encoder: SpeechEncoder, places: Iterable[Place]) -> SpeechEncoder:
    """Return a copy to be trained whose linears at `places` are dense, zeros included."""
    linears: dict[Place, Linear] = {}
    for place in places:
        linear = get_linear(encoder, *place)
        linears[place] = dense_linear(dense_weight(linear), dense_bias(linear))
    return rebuild(encoder, linears).requires_grad_(True)


def dense_weights(encoder: SpeechEncoder, places: Iterable[Place]) -> dict[Place, nn.Parameter]:
    """Return the weights of dense linears, as they are trained."""
    found: dict[Place, nn.Parameter] = {}
    for place in places:
        linear = get_linear(encoder, *place)
        assert isinstance(linear, DenseLinear)
        weight = linear.weight
        assert isinstance(weight, nn.Parameter)
        found[place] = weight
    return found


def kept_budget(encoder: SpeechEncoder, places: Iterable[Place], sparsity: float) -> int:
    """Return how many weights at `places` stay where the encoder loses the fraction `sparsity`.

    All other parameters stay. Negative where they alone are too many.
    """
    total = nonzero_parameters(encoder)
    within = sum(int(torch.count_nonzero(dense_weight(get_linear(encoder, *p)))) for p in places)
    return round(total * (1 - sparsity)) - (total - within)


def check_budget(
    method: str, encoder: SpeechEncoder, places: Iterable[Place], sparsity: float
) -> None:
    """Check that pruning the weights at `places` can take the fraction `sparsity` away.

    Raises:
        InputError: all of them together are less.
    """
    places = list(places)
    if kept_budget(encoder, places, sparsity) < 0:
        most = kept_budget(encoder, places, 0.0) / nonzero_parameters(encoder)
        raise InputError(
            f"method {method}: sparsity {sparsity:g} cannot be reached on this encoder, where it "
            f"can remove at most {most:.3f} of the parameters"
        )
