"""Low rank: linears are replaced by two smaller ones, by truncated SVD."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from ...encoder.cost import nonzero_parameters
from ...encoder.linear import Linear, LowRankLinear, SharedLinear, dense_weight, optional_bias
from ...encoder.model import SpeechEncoder
from ...surgery.budget import Counts, RemovalOrder, find_sparsity
from ...surgery.cutting import stored_weights
from ...surgery.layered import LayeredModel
from ...surgery.rebuild import get_linear, low_rank_linear, rebuild
from ...surgery.setting_types import ALL_LINEARS, LinearNames, Sparsity
from ..calibration_audio import CalibratedConfig, waveforms
from ..registry import register
from .activations import INPUT_OF, second_moments


class LowRankConfig(CalibratedConfig):
    """Settings of low rank."""

    sparsity: Sparsity = 0.1
    """Fraction of the given encoder's stored parameters to remove, between 0 and 1."""
    allocation: Literal["energy", "uniform"] = "energy"
    """How the target is distributed over matrices. energy: every matrix loses the same fraction of
    its energy (the sum of its squared singular values); uniform: the same fraction of its rank."""
    audio: Path | None = None
    """Speech whose activations weight the error: a folder that is searched for wav, flac and ogg
    files (of LibriSpeech only the parts train-...), or a csv table with a column `file`. Without
    it, all inputs have the same weight."""
    audio_seconds: float = Field(default=120.0, gt=0)
    """Seconds of that speech to use at most."""
    damping: float = Field(default=1e-3, gt=0)
    """Constant added to the diagonal of the activations' second moments, as a fraction of its
    mean."""
    linears: LinearNames = ALL_LINEARS
    """Which of the six linears of each layer to factor: q, k, v, out, fc1, fc2."""
    seed: int = Field(default=0, ge=0)
    """Random seed for choosing files."""

    def recorded(self) -> dict[str, Any]:
        """Return the settings for the history: the audio by its fingerprint, without its path."""
        settings = super().recorded()
        if self.audio is None:
            return settings
        return settings | {"audio": self.listed(self.audio).described(self.audio)}


@dataclass(frozen=True)
class Spectrum:
    """The singular values of a linear, and the singular vectors of its smaller side."""

    values: NDArray[np.float64]
    """In descending order, [min(out, in)]."""
    basis: Tensor
    """Singular vectors of that side, as columns, float32."""
    scale: Tensor | None
    """Lower Cholesky factor of the inputs' second moments, [in, in]; None without activations, and
    if the smaller side is that of the outputs."""


@register("low_rank")
def low_rank(encoder: SpeechEncoder, config: LowRankConfig) -> SpeechEncoder:
    """Replace linears by two factors, by truncated SVD; needs no training.

    It applies to the six linears of each layer, of any kind. A linear stays as it is where
    factors would save nothing, for a dense one r (m + n) >= m n. Singular values below one
    threshold for all matrices, in energy or in rank, are removed. With `audio`, the error of the
    outputs on this speech is minimised rather than that of the weights: W S is decomposed, where
    S S^T is the second moment of the inputs.

    Reference:
        Wang, Zhang: Unstructured pruning and low rank factorisation of self-supervised
        pre-trained speech models, IEEE JSTSP 18(6), 2024, doi 10.1109/JSTSP.2024.3433616; here
        without its training. Activations: Wang et al.: SVD-LLM, ICLR 2025, arXiv 2403.07378.
    """
    places = [
        (number, name)
        for number in range(len(encoder.shape.layers))
        for name in config.linears
        if min(encoder.shape.layers[number].sizes(name, encoder.shape.hidden)) > 1
    ]
    moments = _moments(encoder, config)
    return rebuild(
        encoder, factor_linears(encoder, places, config, moments, nonzero_parameters(encoder))
    )


def factor_linears(
    model: LayeredModel,
    places: Sequence[tuple[int, str]],
    config: LowRankConfig,
    moments: dict[tuple[int, str], Tensor],
    total: int,
) -> dict[tuple[int, str], Linear]:
    """Return the low-rank linears with which the target sparsity is met, where they save weights.

    Args:
        model: the model with the linears; it is not changed.
        places: the linears that may be factored, by layer and name, in the order of `ALL_LINEARS`
            within each layer.
        config: settings of the method.
        moments: second moments of the inputs, see `second_moments`, which are removed while they
            are used; empty without activations.
        total: number of parameters of the model, over which the sparsity counts.

    Raises:
        InputError: the target cannot be met.
    """
    spectra: dict[tuple[int, str], Spectrum] = {}
    for number, name in tqdm(places, desc="singular values", file=sys.stderr, leave=False):
        moment = moments.get((number, INPUT_OF[name]))
        linear = get_linear(model, number, name)
        spectra[number, name] = spectrum(dense_weight(linear), moment, config.damping)
        if name in ("out", "fc1", "fc2"):  # v is the last linear that needs q's input
            moments.pop((number, name), None)
    moments.clear()
    counts = _choose(model, config, spectra, total)
    linears: dict[tuple[int, str], Linear] = {}
    for (place, own), removed in zip(spectra.items(), counts.tolist(), strict=True):
        linear = get_linear(model, *place)
        rank = len(own.values) - removed
        if _factored(linear, rank) < stored_weights(linear, None, None):
            factor_in, factor_out = truncate(dense_weight(linear), own, rank)
            linears[place] = low_rank_linear(factor_in, factor_out, optional_bias(linear))
    return linears


def spectrum(weight: Tensor, moment: Tensor | None, damping: float = 1e-3) -> Spectrum:
    """Return the singular values of W, or of W S where S S^T is the damped `moment` [in, in].

    They are computed in float64 from the eigenvalues of the Gram matrix of the smaller side. This
    is exact enough for float32 weights, and cheaper than an SVD of the whole matrix.
    """
    matrix = weight.detach().double()
    scale = None
    if moment is not None:
        damped = moment.to(torch.float64, copy=True)
        mean = damped.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
        damped.diagonal().add_(damping * mean)
    if matrix.shape[0] <= matrix.shape[1]:
        gram = matrix @ matrix.t() if moment is None else matrix @ damped @ matrix.t()
    else:
        if moment is not None:
            factor = torch.linalg.cholesky(damped)
            matrix, scale = matrix @ factor, factor.float()
        gram = matrix.t() @ matrix
    squares, basis = torch.linalg.eigh((gram + gram.t()) / 2)
    values = squares.flip(0).clamp(min=0).sqrt().cpu().numpy()
    return Spectrum(values, basis.flip(1).float(), scale)


def truncate(weight: Tensor, own: Spectrum, rank: int) -> tuple[Tensor, Tensor]:
    """Return the factors [r, in] and [out, r] of the best approximation of rank `rank`.

    Eckart and Young 1936, for W S: with the left singular vectors U of W S it is
    `U (U^T W S) S^-1 = U (U^T W)`, so that S need not be inverted; with the right ones V it is
    `(W S V) (V^T S^-1)`.
    """
    basis, matrix = own.basis[:, :rank], weight.float()
    if matrix.shape[0] <= matrix.shape[1]:
        factor_in, factor_out = basis.t() @ matrix, basis
    elif own.scale is None:
        factor_in, factor_out = basis.t(), matrix @ basis
    else:
        root = own.scale.double()
        inverse = torch.linalg.solve_triangular(root.t(), basis.double(), upper=True)
        factor_in, factor_out = inverse.t().float(), (matrix @ own.scale) @ basis
    return factor_in.to(weight.dtype), factor_out.to(weight.dtype)


def _moments(encoder: SpeechEncoder, config: LowRankConfig) -> dict[tuple[int, str], Tensor]:
    if config.audio is None:
        return {}
    speech = waveforms(
        config.listed(config.audio),
        seconds=config.audio_seconds,
        minimum_samples=encoder.shape.minimum_samples,
        seed=config.seed,
    )
    return second_moments(encoder, speech, config.linears, config.audio_seconds)


def _choose(
    model: LayeredModel,
    config: LowRankConfig,
    spectra: dict[tuple[int, str], Spectrum],
    total: int,
) -> Counts:
    """Return how many singular values of each linear to remove."""
    linears = [get_linear(model, *place) for place in spectra]
    now = [stored_weights(linear, None, None) for linear in linears]
    ranks = [len(own.values) for own in spectra.values()]

    def stored(counts: Counts) -> int:
        after = (
            min(_factored(linear, rank - removed), before)
            for linear, rank, removed, before in zip(
                linears, ranks, counts.tolist(), now, strict=True
            )
        )
        return total - sum(now) + sum(after)

    order = RemovalOrder([_keys(own, config.allocation) for own in spectra.values()])
    return find_sparsity("low_rank", config.sparsity, total, order, stored)


def _factored(linear: Linear, rank: int) -> int:
    """Return the number of parameters of a linear as two factors, bias included."""
    outputs, inputs = _sizes(linear)
    return rank * (outputs + inputs) + (0 if optional_bias(linear) is None else outputs)


def _sizes(linear: Linear) -> tuple[int, int]:
    if isinstance(linear, LowRankLinear):
        return linear.factor_out.shape[0], linear.factor_in.shape[1]
    if isinstance(linear, SharedLinear):
        return len(linear.assignment), linear.centroids.shape[1]
    return linear.out_features, linear.in_features


def _keys(own: Spectrum, allocation: str) -> NDArray[np.float64]:
    """Return the loss after removing 1, 2, ... singular values, up to all but one."""
    size = len(own.values)
    if allocation == "uniform":
        return np.arange(1, size) / size
    lost = np.cumsum(np.square(own.values[::-1]))
    return (lost / lost[-1])[:-1] if lost[-1] > 0 else np.zeros(size - 1)
